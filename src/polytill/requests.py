"""What the library is asked, and the checks of values that no call takes. HTTP requests have shapes of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from polytill.domain.currencies import CURRENCIES
from polytill.domain.errors import FieldError, Invalid, invalid
from polytill.domain.money import MAX_MINOR, Money
from polytill.domain.secret import Secret
from polytill.domain.states import CaptureMode, Environment
from polytill.domain.text import visible
from polytill.flows.command import Command
from polytill.flows.payments.request import PaymentRequest
from polytill.providers.http import origin_of

_visible_ascii = re.compile(r"[\x21-\x7e]{1,200}").fullmatch
_code = re.compile(r"[a-z][a-z0-9_]{1,39}").fullmatch
_control = re.compile("[\\x00-\\x1f\\x7f\\ud800-\\udfff]").search
LONGEST_ACTOR = 100


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a provider gave the practice to authenticate with. Which of them a provider needs, its configuration form
    shows."""

    public_key: str | None = None
    secret_key: Secret | None = None
    webhook_secret: Secret | None = None
    config: Mapping[str, Any] | None = field(default=None, repr=False)  # Further settings; some are secret.


@dataclass(frozen=True, slots=True)
class ConfigurationRequest:
    """A provider's configuration as it shall be. It replaces an earlier one of the same provider."""

    provider_code: str  # As in the catalog, such as ``paystack``.
    credentials: Credentials = field(default_factory=Credentials)
    environment: Environment = Environment.sandbox  # What new payments use.
    is_enabled: bool = True
    is_default: bool = False  # Preferred for its currencies.
    currencies: tuple[str, ...] | None = None  # None: all that the catalog lists for it.
    priority: int | None = None  # The higher one is preferred.


def command(key: str, actor: str) -> Command:
    """A command under an idempotency key: 1 to 200 visible ASCII characters."""
    if not isinstance(key, str) or not _visible_ascii(key):
        raise invalid("/key", "An idempotency key has 1 to 200 visible ASCII characters.")
    return Command(key, checked_actor(actor))


def checked_actor(actor: str) -> str:
    """Who makes a change, for the audit log."""
    if not isinstance(actor, str) or not visible(actor) or len(actor) > LONGEST_ACTOR or _control(actor):
        raise invalid("/actor", f"An actor has 1 to {LONGEST_ACTOR} characters, such as user:17.")
    return actor


def checked_reason(reason: str | None) -> str | None:
    """Why something is refunded: at most 500 characters."""
    if errors := list(_text("/reason", reason, 500)):
        raise Invalid(errors)
    return reason


def minor_of(amount: Money | None, currency: str) -> int | None:
    """The minor units of an amount of a payment in ``currency``; None for everything that is left."""
    if amount is None:
        return None
    errors = list(_amount(amount))
    if not errors and amount.currency != currency:
        errors = [FieldError("/amount", f"The payment is in {currency}.")]
    if errors:
        raise Invalid(errors)
    return amount.minor


def check_payment(request: PaymentRequest) -> None:
    """``Invalid`` with every value that no payment can have. Customer data and metadata are checked by the flow."""
    errors = [
        *_amount(request.amount),
        *_text("/description", request.description, 500),
        *_text("/reference", request.reference, 200),
        *_codes(("/providerCode", request.provider_code), ("/paymentMethod", request.payment_method)),
    ]
    if not isinstance(request.capture, CaptureMode):
        errors.append(FieldError("/capture", "The capture mode is CaptureMode.automatic or CaptureMode.manual."))
    if request.environment is not None and not isinstance(request.environment, Environment):
        errors.append(FieldError("/environment", "The environment is Environment.sandbox or Environment.production."))
    url = request.return_url
    if url is not None and (len(url) > 2000 or origin_of(url) is None or _control(url) or re.search(r"[\s\\]", url)):
        errors.append(FieldError("/returnUrl", "The address must be http or https."))
    if request.expires_at is not None and request.expires_at.tzinfo is None:
        errors.append(FieldError("/expiresAt", "The time needs a time zone."))
    chosen = request.payment_method or request.save_method or request.method_details is not None
    if request.saved_method and (chosen or request.capture is CaptureMode.manual):
        text = "A saved method excludes a payment method, saving, method details and manual capture."
        errors.append(FieldError("/savedMethod", text))
    if request.method_details is not None and request.save_method:
        errors.append(FieldError("/saveMethod", "A direct charge cannot save the method."))
    if errors:
        raise Invalid(errors)


def _amount(amount: Money) -> Iterable[FieldError]:
    minor = amount.minor
    if isinstance(minor, bool) or not isinstance(minor, int) or not 0 < minor <= MAX_MINOR:
        yield FieldError("/amount", f"The amount must be a whole number of minor units from 1 to {MAX_MINOR}.")
    if amount.currency not in CURRENCIES:
        yield FieldError("/currency", "This is not an ISO 4217 currency code.")


def _text(pointer: str, text: str | None, most: int) -> Iterable[FieldError]:
    if text is not None and (not isinstance(text, str) or len(text) > most or _control(text)):
        yield FieldError(pointer, f"The text has at most {most} characters and no control characters.")


def _codes(*codes: tuple[str, str | None]) -> Iterable[FieldError]:
    for pointer, code in codes:
        if code and not (isinstance(code, str) and _code(code)):
            yield FieldError(pointer, "A code has lower-case letters, digits and underscores, such as mobile_money.")
