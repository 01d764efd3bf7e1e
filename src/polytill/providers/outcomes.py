"""The six outcomes of a call to a provider, and the closed list of reasons.

A handler returns ``Succeeded`` (or authorized), ``NeedsAction``, ``Pending``, ``Declined``, ``NotSent`` or ``Unknown``,
and nothing else. ``flows/payments/settle.py`` matches them exhaustively.
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
    """Why a call or payment failed: a closed list. The provider's own code is stored with it."""

    # The customer or their bank declined.
    declined = "declined"  # The bank or the provider declined and gave no reason.
    insufficient_funds = "insufficient_funds"  # Not enough money on the account or card.
    expired_card = "expired_card"  # The card has expired.
    incorrect_details = "incorrect_details"  # The customer's details are wrong: number, code, PIN or password.
    authentication_required = "authentication_required"  # The bank requires the customer's confirmation.
    # The provider rejected the request.
    validation = "validation"  # The provider rejected the request as invalid.
    amount_too_small = "amount_too_small"  # The amount is below the provider's minimum.
    amount_too_large = "amount_too_large"  # The amount is above the provider's maximum.
    currency_not_supported = "currency_not_supported"  # The provider or the account does not take this currency.
    duplicate = "duplicate"  # The provider has already seen this reference.
    not_found = "not_found"  # The provider does not know the payment or refund.
    invalid_state = "invalid_state"  # The payment or refund is in a state that does not allow this.
    disputed = "disputed"  # The payment is disputed and cannot be refunded.
    integrator_bug = "integrator_bug"  # The handler sent a request that it must not send.
    # The practice's account or keys.
    config = "config"  # The practice's account or keys are the cause.
    # The call can succeed later.
    conflict = "conflict"  # Another request for the same payment or refund is in progress.
    rate_limited = "rate_limited"  # Too many requests.
    provider_unavailable = "provider_unavailable"  # The provider has an outage.
    unreachable = "unreachable"  # No connection could be made.
    timeout = "timeout"  # No answer arrived in time.
    unreadable = "unreadable"  # The answer could not be read.
    # The attempt ended without a decline.
    canceled = "canceled"  # The attempt was canceled.
    expired = "expired"  # The attempt has expired.


# ── The six outcomes ──


@dataclass(frozen=True, slots=True)
class SavedMethod:
    """A method that can be charged again. Its token is enough to charge the customer: it is sealed and never logged."""

    token: Secret  # The token that charges the method again. Sealed; never logged or shown.
    kind: str  # The kind of method: `card`, `mandate`, …
    brand: str | None = None  # The brand that the customer knows, for example `visa`.
    last4: str | None = None  # The last four digits.
    expires: str | None = None  # The month in which it expires, `YYYY-MM`.
    fingerprint: str | None = None  # Identifies a card: it is the same under every token.
    provider_customer_id: str | None = None  # The provider's customer that holds the method, if a charge must name one.


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Money moved. ``amount`` is what the merchant requested and received; ``charged`` is what the customer paid, if
    that differs."""

    # What the merchant requested and received. If it differs from the attempt's amount or currency, a review case is
    # opened.
    amount: Money
    # The provider's id of the payment, or of the refund if a refund was requested.
    provider_transaction_id: str | None = None
    fee: Money | None = None  # The fee that the provider deducts.
    charged: Money | None = None  # What the customer paid, if that differs.
    authorized_only: bool = False  # The amount is authorized, and no money has moved.
    response: JsonObject | None = None  # The provider's answer as JSON, without secret fields; it is stored.
    saved_method: SavedMethod | None = None  # A method that can be charged again, if the customer agreed to that.
    # With ``authorized_only``: the amount already captured, while ``amount`` is still authorized.
    captured: Money | None = None


class NextKind(StrEnum):
    """How the customer continues."""

    redirect = "redirect"  # On the provider's page.
    # On our page, with the provider's script.
    client_token = "client_token"  # noqa: S105
    instructions = "instructions"  # By following the instructions: dial, transfer, confirm on a phone.
    input = "input"  # By entering a payment input (``NextAction.wants``).


class Wants(StrEnum):
    """The payment input that a direct charge requires next: a closed list, so that a page can have a form for each."""

    pin = "pin"  # The card's PIN.
    otp = "otp"  # A one-time password.
    phone = "phone"  # A phone number.
    birthday = "birthday"  # The date of birth.
    address = "address"  # The billing address.


@dataclass(frozen=True, slots=True)
class PayOffline:
    """How to pay without a page: a code to dial, an account to pay into, a prompt on a phone. Only the fields that
    apply are set."""

    ussd_code: str | None = None  # A code to dial.
    bank: str | None = None  # The bank to pay into.
    account_number: str | None = None  # The account to pay into.
    account_name: str | None = None  # The holder of that account.
    transfer_reference: str | None = None  # The reference that the customer must write on the transfer.
    expires_at: str | None = None  # When it expires, ISO 8601 in UTC.
    prompted_phone: str | None = None  # The phone on which a mobile-money prompt appears.


@dataclass(frozen=True, slots=True)
class NextAction:
    """What the customer must do next. ``provider_token`` is sent to the paying browser only and is never logged.

    ``continuation`` is returned to the provider together with the customer's input. It is sealed and never shown.
    """

    kind: NextKind  # How the customer continues.
    url: str | None = None  # With `redirect`: where the customer pays.
    provider_token: Secret | None = None  # With `client_token`: for the paying browser only; never logged.
    instructions: str | None = None  # With `instructions`: what the customer must do, in English.
    wants: Wants | None = None  # With `input`: the payment input that the provider requires.
    offline: PayOffline | None = None  # With ``instructions``: the same in machine-readable form.
    # What must be returned to the provider together with the customer's input. Sealed; never shown.
    continuation: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class NeedsAction:
    """The customer must act. ``action`` None: the customer must act, but the link or token for it was lost."""

    action: NextAction | None  # What the customer must do; None: the link or token for it was lost.
    amount: Money | None = None  # The amount, if the provider returns it.
    provider_transaction_id: str | None = None  # The provider's id of the payment.
    last_decline: Declined | None = None  # The decline of the customer's last try, if they may try again.
    response: JsonObject | None = None  # The provider's answer as JSON, without secret fields; it is stored.


@dataclass(frozen=True, slots=True)
class Pending:
    """The provider is processing it."""

    amount: Money | None = None  # The amount, if the provider returns it.
    # The provider's id of the payment, or of the refund if a refund was requested.
    provider_transaction_id: str | None = None
    response: JsonObject | None = None  # The provider's answer as JSON, without secret fields; it is stored.


@dataclass(frozen=True, slots=True)
class Declined:
    """The provider or the bank declined. ``final`` is False if the customer may try again on the same intent or link.

    ``closed_for_certain`` applies to a final ``canceled`` or ``expired``: the provider guarantees that nobody can pay
    this attempt any more (Mollie, Adyen, Square). Only the attempt ends, and the customer may start another. Without
    it, the payment is closed as well, because the provider's page could still take the money.
    """

    reason: Reason  # One of our reasons.
    final: bool  # Whether the attempt is over. If not, the customer may try again on the same intent or link.
    code: str | None = None  # The provider's own code; stored and shown to staff.
    detail: str | None = None  # The provider's own message; stored and shown to staff.
    provider_transaction_id: str | None = None  # The provider's id of the payment.
    response: JsonObject | None = None  # The provider's answer as JSON, without secret fields; it is stored.
    # With a final `canceled` or `expired`: nobody can pay this attempt any more.
    closed_for_certain: bool = False


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing happened at the provider, for certain. ``not_found`` from a lookup counts only after
    ``settle_horizon_s``."""

    reason: Reason  # One of our reasons.
    code: str | None = None  # The provider's own code; stored and shown to staff.
    detail: str | None = None  # The provider's own message; stored and shown to staff.
    retry_after_s: float | None = None  # After how many seconds the call may be repeated.


@dataclass(frozen=True, slots=True)
class Unknown:
    """The outcome is unknown: money may have moved. Only a lookup may follow, never a repeat or another provider, and
    the payment must not be reported as failed."""

    reason: Reason  # One of our reasons.
    code: str | None = None  # The provider's own code; stored and shown to staff.
    detail: str | None = None  # The provider's own message; stored and shown to staff.


# Reasons for a failure that can be temporary.
NOT_NOW = frozenset(
    {Reason.conflict, Reason.rate_limited, Reason.provider_unavailable, Reason.unreachable, Reason.timeout}
)

# The code of a ``NotSent`` from a cancel: the provider has nothing that could be closed (PayPal's orders), so the
# payment can only be canceled on our side.
NOTHING_TO_CLOSE = "nothing_to_close"

Outcome = Succeeded | NeedsAction | Pending | Declined | NotSent | Unknown

# If a provider replays by idempotency key, the rejection of an identical request for one of these reasons proves that
# the first one did nothing. Otherwise the provider would have returned the first result.
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


def as_unknown(failed: Declined | NotSent | Unknown) -> Unknown:
    """The same failure as an unknown outcome, for a call that it says nothing about."""
    return Unknown(failed.reason, failed.code, failed.detail)


def unproven(outcome: Outcome, proofs: frozenset[Reason] = frozenset()) -> Outcome:
    """The outcome of a failed lookup: ``Unknown``, unless its reason is in ``proofs``. A failed lookup says nothing
    about the call that it looks up."""
    if isinstance(outcome, NotSent) and outcome.reason not in proofs:
        return as_unknown(outcome)
    return outcome


def is_missing(outcome: object) -> bool:
    """Whether an outcome says that nothing was found."""
    return isinstance(outcome, NotSent) and outcome.reason is Reason.not_found


def unless_missing(error: Outcome) -> Outcome:
    """The error of a request to which "not found" is not an answer. A 404 can come from a gateway or from an address
    that is temporarily not served, so it becomes ``Unknown``."""
    if isinstance(error, NotSent) and is_missing(error):
        return Unknown(Reason.unreadable, error.code, error.detail)
    return error
