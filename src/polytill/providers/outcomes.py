"""The six outcomes of a call to a provider, and the closed list of reasons.

``Succeeded`` (or authorized), ``NeedsAction``, ``Pending``, ``Declined``, ``NotSent``, ``Unknown``: nothing else can
come back from a handler, and ``flows/payments/settle.py`` matches them exhaustively.
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
    declined = "declined"  # The bank or the provider declined, and said no more.
    insufficient_funds = "insufficient_funds"  # Not enough money on the account or card.
    expired_card = "expired_card"  # The card has expired.
    incorrect_details = "incorrect_details"  # The customer's details are wrong: number, code, PIN or password.
    authentication_required = "authentication_required"  # The bank wants the customer to confirm it.
    # The provider refused the request as it stands.
    validation = "validation"  # The provider refused the request as it stands.
    amount_too_small = "amount_too_small"  # The amount is below the provider's minimum.
    amount_too_large = "amount_too_large"  # The amount is above the provider's maximum.
    currency_not_supported = "currency_not_supported"  # The provider or the account does not take this currency.
    duplicate = "duplicate"  # The provider has seen this reference.
    not_found = "not_found"  # The provider does not know it.
    invalid_state = "invalid_state"  # It is in a state in which this cannot be done.
    disputed = "disputed"  # It is disputed, and cannot be refunded.
    integrator_bug = "integrator_bug"  # The request is one that this handler must not make.
    # The practice's account or keys.
    config = "config"  # The practice's account or keys.
    # Not now.
    conflict = "conflict"  # Something else is in progress for it.
    rate_limited = "rate_limited"  # Too many requests.
    provider_unavailable = "provider_unavailable"  # The provider has an outage.
    unreachable = "unreachable"  # No connection was made.
    timeout = "timeout"  # No answer in time.
    unreadable = "unreadable"  # The answer could not be understood.
    # The attempt is over without a decline.
    canceled = "canceled"  # The attempt was canceled.
    expired = "expired"  # The attempt has expired.


# ── The six outcomes ──


@dataclass(frozen=True, slots=True)
class SavedMethod:
    """A method that can be charged again. Whoever has the token has the payer's consent: sealed, never logged."""

    token: Secret  # What charges the method again. Sealed; never logged or shown.
    kind: str  # What it is: `card`, `mandate`, …
    brand: str | None = None  # What the customer knows it by, for example `visa`.
    last4: str | None = None  # Its last four digits.
    expires: str | None = None  # The month in which it expires, `YYYY-MM`.
    fingerprint: str | None = None  # The same for the same card under whichever token.
    provider_customer_id: str | None = None  # The provider's customer that holds it, where a charge has to name one.


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Money moved. ``amount`` is what the merchant asked for and got; ``charged`` what the payer paid, when that differs."""

    # What the merchant asked for and received. Another amount or currency than the attempt's opens a review case.
    amount: Money
    # The provider's id of the payment; of the refund where a refund was asked for.
    provider_transaction_id: str | None = None
    fee: Money | None = None  # What the provider keeps of it.
    charged: Money | None = None  # What the customer paid, where that differs.
    authorized_only: bool = False  # The amount is held, and no money has moved.
    response: JsonObject | None = None  # What the provider said, as JSON without secret fields; it is kept.
    saved_method: SavedMethod | None = None  # A method that can be charged again, where the customer agreed to it.
    # With ``authorized_only``: what was captured already, while ``amount`` is still held.
    captured: Money | None = None


class NextKind(StrEnum):
    """How the payer goes on."""

    redirect = "redirect"  # To the provider's page.
    # On our page, with the provider's script.
    client_token = "client_token"  # noqa: S105
    instructions = "instructions"  # As the instructions say: dial, transfer, confirm on a phone.
    input = "input"  # The provider wants to know something (``NextAction.wants``).


class Wants(StrEnum):
    """What a direct charge asks the payer for next: a closed list, so that a page can have a form for each."""

    pin = "pin"  # The card's PIN.
    otp = "otp"  # A one-time password.
    phone = "phone"  # A phone number.
    birthday = "birthday"  # The date of birth.
    address = "address"  # The billing address.


@dataclass(frozen=True, slots=True)
class PayOffline:
    """How to pay away from any page: a code to dial, an account to pay into, a prompt on a phone. What applies is set."""

    ussd_code: str | None = None  # A code to dial.
    bank: str | None = None  # The bank to pay into.
    account_number: str | None = None  # The account to pay into.
    account_name: str | None = None  # The name of that account.
    transfer_reference: str | None = None  # What the customer must write on the transfer.
    expires_at: str | None = None  # Until when it can be used, ISO 8601 in UTC.
    prompted_phone: str | None = None  # The phone on which a mobile-money prompt appears.


@dataclass(frozen=True, slots=True)
class NextAction:
    """What the payer must do. ``provider_token`` goes to the paying browser only and is never logged.

    ``continuation``: what the provider must be told again together with the payer's answer; sealed, shown to nobody.
    """

    kind: NextKind  # How the customer continues.
    url: str | None = None  # With `redirect`: where the customer pays.
    provider_token: Secret | None = None  # With `client_token`: for the paying browser only; never logged.
    instructions: str | None = None  # With `instructions`: what the customer must do, in English.
    wants: Wants | None = None  # With `input`: what the provider asks for.
    offline: PayOffline | None = None  # Beside ``instructions``: the same for a program to read.
    # What the provider must be told again together with the customer's answer. Sealed; never shown.
    continuation: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class NeedsAction:
    """The payer must act. A ``None`` action: the payer must act, but nobody holds what they need for it."""

    action: NextAction | None  # What the customer must do; None: what they would need for it is lost.
    amount: Money | None = None  # The amount, where the provider echoes it.
    provider_transaction_id: str | None = None  # The provider's id of the payment.
    last_decline: Declined | None = None  # The decline of the customer's last try, where they may try again.
    response: JsonObject | None = None  # What the provider said, as JSON without secret fields; it is kept.


@dataclass(frozen=True, slots=True)
class Pending:
    """The provider is working on it."""

    amount: Money | None = None  # The amount, where the provider echoes it.
    # The provider's id of the payment; of the refund where a refund was asked for.
    provider_transaction_id: str | None = None
    response: JsonObject | None = None  # What the provider said, as JSON without secret fields; it is kept.


@dataclass(frozen=True, slots=True)
class Declined:
    """The provider said no. Not ``final`` where the customer may try again on the same intent or link.

    ``closed_for_certain`` belongs to a final ``canceled`` or ``expired``: the provider guarantees that nobody can pay this
    attempt any more (Mollie, Adyen, Square). It then ends the attempt alone, and the customer may make a new one. Without
    it such an end closes the payment, since the provider's page may still take the money.
    """

    reason: Reason  # One of our reasons.
    final: bool  # Whether the attempt is over; else the customer may try again on the same intent or link.
    code: str | None = None  # The provider's own code, kept and shown to staff.
    detail: str | None = None  # The provider's own words, kept and shown to staff.
    provider_transaction_id: str | None = None  # The provider's id of the payment.
    response: JsonObject | None = None  # What the provider said, as JSON without secret fields; it is kept.
    # Belongs to a final `canceled` or `expired`: nobody can pay this attempt any more.
    closed_for_certain: bool = False


@dataclass(frozen=True, slots=True)
class NotSent:
    """Certain: nothing happened over there. ``not_found`` from a lookup counts only past ``settle_horizon_s``."""

    reason: Reason  # One of our reasons.
    code: str | None = None  # The provider's own code, kept and shown to staff.
    detail: str | None = None  # The provider's own words, kept and shown to staff.
    retry_after_s: float | None = None  # When the provider may be asked again, in seconds.


@dataclass(frozen=True, slots=True)
class Unknown:
    """Not known: money may have moved. Only a lookup may follow: never a repeat, another provider, or "failed"."""

    reason: Reason  # One of our reasons.
    code: str | None = None  # The provider's own code, kept and shown to staff.
    detail: str | None = None  # The provider's own words, kept and shown to staff.


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
