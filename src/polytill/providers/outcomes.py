"""The six outcomes of a call to a provider, and the closed list of reasons.

``Succeeded`` (or authorized), ``NeedsAction``, ``Pending``, ``Declined``, ``NotSent``, ``Unknown``: nothing else can
come back from a handler, and ``flows/settle.py`` matches them exhaustively.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from polytill.domain.money import Money
from polytill.domain.secret import Secret

JsonObject = dict[str, Any]


class Reason(StrEnum):
    """Why something did not go through: a closed list. The provider's own word is kept beside it."""

    # The payer or their bank said no.
    declined = "declined"
    insufficient_funds = "insufficient_funds"
    expired_card = "expired_card"
    incorrect_details = "incorrect_details"
    authentication_required = "authentication_required"
    # The provider refused the request as it stands.
    validation = "validation"
    amount_too_small = "amount_too_small"
    amount_too_large = "amount_too_large"
    currency_not_supported = "currency_not_supported"
    duplicate = "duplicate"
    not_found = "not_found"
    invalid_state = "invalid_state"
    disputed = "disputed"
    integrator_bug = "integrator_bug"
    # The practice's account or keys.
    config = "config"
    # Not now.
    conflict = "conflict"
    rate_limited = "rate_limited"
    provider_unavailable = "provider_unavailable"
    unreachable = "unreachable"
    timeout = "timeout"
    unreadable = "unreadable"
    # The attempt is over without a decline.
    canceled = "canceled"
    expired = "expired"


# ── The six outcomes ──


@dataclass(frozen=True, slots=True)
class SavedMethod:
    """A method that can be charged again. Whoever has the token has the payer's consent: sealed, never logged."""

    token: Secret
    kind: str  # card, mandate, …
    brand: str | None = None  # what the payer knows it by: "visa", and the last four digits
    last4: str | None = None
    expires: str | None = None  # YYYY-MM
    fingerprint: str | None = None  # the same for the same card under whichever token
    provider_customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Money moved. ``amount`` is what the merchant asked for and got; ``charged`` what the payer paid, when that differs."""

    amount: Money
    provider_transaction_id: str | None = None
    fee: Money | None = None
    charged: Money | None = None
    authorized_only: bool = False  # Authorized: the amount is held, nothing has moved
    response: JsonObject | None = None
    saved_method: SavedMethod | None = None
    captured: Money | None = None  # with ``authorized_only``: what was taken already, while ``amount`` is still held


class NextKind(StrEnum):
    """How the payer goes on."""

    redirect = "redirect"
    client_token = "client_token"  # noqa: S105
    instructions = "instructions"
    input = "input"  # the provider wants to know something (``NextAction.wants``)


class Wants(StrEnum):
    """What a direct charge asks the payer for next: a closed list, so that a page can have a form for each."""

    pin = "pin"
    otp = "otp"
    phone = "phone"
    birthday = "birthday"
    address = "address"


@dataclass(frozen=True, slots=True)
class PayOffline:
    """How to pay away from any page: a code to dial, an account to pay into, a prompt on a phone. What applies is set."""

    ussd_code: str | None = None
    bank: str | None = None
    account_number: str | None = None
    account_name: str | None = None
    transfer_reference: str | None = None
    expires_at: str | None = None
    prompted_phone: str | None = None  # the phone on which a mobile-money prompt appears


@dataclass(frozen=True, slots=True)
class NextAction:
    """What the payer must do. ``provider_token`` goes to the paying browser only and is never logged.

    ``continuation``: what the provider must be told again together with the payer's answer; sealed, shown to nobody.
    """

    kind: NextKind
    url: str | None = None
    provider_token: Secret | None = None
    instructions: str | None = None
    wants: Wants | None = None
    offline: PayOffline | None = None  # beside ``instructions``, for a program to read
    continuation: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class NeedsAction:
    """The payer must act. A ``None`` action: the payer must act, but nobody holds what they need for it."""

    action: NextAction | None
    amount: Money | None = None
    provider_transaction_id: str | None = None
    last_decline: Declined | None = None
    response: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """The provider is working on it."""

    amount: Money | None = None
    provider_transaction_id: str | None = None
    response: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Declined:
    """The provider said no. Not ``final`` where the customer may try again on the same intent or link.

    ``closed_for_certain`` belongs to a final ``canceled`` or ``expired``: the provider guarantees that nobody can pay this
    attempt any more (Mollie, Adyen, Square). It then ends the attempt alone, and the customer may make a new one. Without
    it such an end closes the payment, since the provider's page may still take the money.
    """

    reason: Reason
    final: bool
    code: str | None = None
    detail: str | None = None
    provider_transaction_id: str | None = None
    response: JsonObject | None = None
    closed_for_certain: bool = False


@dataclass(frozen=True, slots=True)
class NotSent:
    """Certain: nothing happened over there. ``not_found`` from a lookup counts only past ``settle_horizon_s``."""

    reason: Reason
    code: str | None = None
    detail: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Not known: money may have moved. Only a lookup may follow: never a repeat, another provider, or "failed"."""

    reason: Reason
    code: str | None = None
    detail: str | None = None


# Why a call did not get through that may another time.
NOT_NOW = frozenset(
    {Reason.conflict, Reason.rate_limited, Reason.provider_unavailable, Reason.unreachable, Reason.timeout}
)

# The code of the ``NotSent`` with which a cancel says that there is nothing over there that could be closed (PayPal's
# orders): the payment can only be called off here.
NOTHING_TO_CLOSE = "nothing_to_close"

Outcome = Succeeded | NeedsAction | Pending | Declined | NotSent | Unknown

# Where a provider replays by idempotency key, an identical request that is refused for one of these proves that the
# first one did nothing: had it worked, its result had come back.
REFUSED_AGAIN = frozenset(
    {
        Reason.validation,
        Reason.amount_too_small,
        Reason.amount_too_large,
        Reason.currency_not_supported,
        Reason.invalid_state,
        Reason.integrator_bug,
    }
)


def unproven(outcome: Outcome, proofs: frozenset[Reason] = frozenset()) -> Outcome:
    """A lookup's own failure says nothing about what it asks for, but for refusals that are proof of it."""
    if isinstance(outcome, NotSent) and outcome.reason not in proofs:
        return Unknown(outcome.reason, outcome.code, outcome.detail)
    return outcome


def unless_missing(error: Outcome) -> Outcome:
    """The error of a question to which "not found" is no answer: a 404 may be a gateway's, or of an address that is not
    served just now."""
    if isinstance(error, NotSent) and error.reason is Reason.not_found:
        return Unknown(Reason.unreadable, error.code, error.detail)
    return error
