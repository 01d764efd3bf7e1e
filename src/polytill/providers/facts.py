"""What a handler says besides outcomes: facts from deliveries and listings, tested credentials, balances."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from polytill.domain.money import Money
from polytill.domain.states import Environment
from polytill.providers.outcomes import JsonObject, Outcome


@dataclass(frozen=True, slots=True)
class PaymentFact:
    """What a provider says of a payment. At least one of ``reference`` and ``provider_transaction_id`` is there."""

    outcome: Outcome  # How the payment stands.
    reference: str | None = None  # Our reference of the attempt, where the provider echoes it.
    provider_transaction_id: str | None = None  # The provider's id of the payment.
    # The metadata that the provider echoes; a foreign payment id in it parks the webhook.
    metadata: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class RefundFact:
    """What a provider says of a refund: of one refund (``amount``), or of all of a payment's together (``total``).

    ``state`` unknown: the provider's status is not known to the handler. The provider is asked about that refund.
    """

    # `pending`, `requires_action`, `succeeded`, `failed`, or `unknown`: the handler does not know the provider's
    # status, and the provider is asked about that refund.
    state: str
    reference: str | None = None  # Our id of the refund, where the provider echoes it.
    provider_refund_id: str | None = None  # The provider's id of the refund.
    payment_reference: str | None = None  # Our reference of the attempt that was refunded.
    provider_transaction_id: str | None = None  # The provider's id of the payment that was refunded.
    amount: Money | None = None  # The amount of this one refund.
    total: Money | None = None  # The amount of all refunds of the payment together, where the provider names that only.
    response: JsonObject | None = None  # What the provider said, as JSON without secret fields; it is kept.
    # The id of the capture or charge, where a refund names that and not the payment (PayPal).
    provider_charge_id: str | None = None
    provider_dispute_id: str | None = None  # The dispute that this refund paid, where the provider says so (Paystack).
    is_reversal: bool = False  # The provider itself took the money, for a dispute or a bank (PayPal).

    @property
    def named(self) -> bool:
        """Whether it says which refund it is about."""
        return self.reference is not None or self.provider_refund_id is not None


@dataclass(frozen=True, slots=True)
class DisputeFact:
    """What a provider says of a dispute. ``state`` is open, won, lost or closed; ``provider_state`` its own word.

    ``kind`` is inquiry or chargeback; ``reason`` one of ``DisputeReason`` and ``provider_reason`` the provider's own code.
    ``bare_amount``: an integer and its exponent where the provider names no currency; the attempt's is meant then.
    ``understood`` False: its status is not known to the handler; the dispute is open as far as we know, and that is logged.
    """

    state: str  # `open`, `won`, `lost`, or `closed` without a decision about money.
    provider_state: str  # The provider's own word for it.
    provider_dispute_id: str  # The provider's id of the dispute.
    payment_reference: str | None = None  # Our reference of the disputed attempt.
    provider_transaction_id: str | None = None  # The provider's id of the disputed payment.
    # The id of the capture or charge, where a dispute names that and not the payment.
    provider_charge_id: str | None = None
    amount: Money | None = None  # The disputed amount.
    funds_withdrawn: bool = False  # Whether the provider has withdrawn the amount already.
    due_at: str | None = None  # Until when evidence can be sent, ISO 8601 in UTC.
    kind: str = "chargeback"  # `inquiry` (a question, no funds withdrawn) or `chargeback`.
    reason: str | None = None  # One of our reasons of disputes (`DisputeReason`).
    provider_reason: str | None = None  # The provider's own code of the reason.
    # An integer and its exponent, where the provider names no currency; the attempt's is meant.
    bare_amount: tuple[int, int] | None = None
    # False: the handler does not know the provider's status. The dispute stays open, and the word is logged.
    understood: bool = True
    # The provider shows that funds were withdrawn for it, and that all of them were returned since.
    funds_returned: bool = False


Fact = PaymentFact | RefundFact | DisputeFact

FactT = TypeVar("FactT", PaymentFact, RefundFact, DisputeFact)


@dataclass(frozen=True, slots=True)
class Page(Generic[FactT]):
    """One page of a listing. ``next`` asks for the following one, whatever a provider's cursor is; None: the end.

    A page may be empty and still have a next one. ``unread``: how many entries could not be read as facts; they are
    left out here, and logged and counted by whoever reads the listing.
    """

    facts: tuple[FactT, ...]  # The entries that could be read.
    # What asks for the following page, whatever a provider's cursor is; None: this is the last one.
    next: str | None = None
    unread: int = 0  # How many entries could not be read. They are left out, logged and counted.


def read_page(found: Iterable[FactT | None], following: str | None) -> Page[FactT]:
    """A page of what could be read as facts; what could not (None) is counted."""
    entries = list(found)
    facts = tuple(fact for fact in entries if fact is not None)
    return Page(facts, following, len(entries) - len(facts))


@dataclass(frozen=True, slots=True)
class WebhookResult:
    """One delivery, read. ``dedupe_key`` lets a later state of the same object through; ``environment`` None: not said.

    ``must_fetch``: the delivery proves nothing by itself. Its facts are hints of what to ask the provider about, and
    only the provider's answer is believed.
    """

    event_type: str  # The provider's name of the event.
    dedupe_key: str  # The same for each repeat of this webhook, another for a later state of the same object.
    action: str  # `apply` the facts, `ignore` it, or `notify`: nothing is booked, and a person sees it.
    # The environment that the webhook names; another than that of the keys parks it. None: it names none.
    environment: Environment | None = None
    event_id: str | None = None  # The provider's id of the event.
    facts: tuple[Fact, ...] = ()  # What the webhook says of payments, refunds and disputes.
    # The webhook proves nothing: its facts are hints of what to ask, and only the provider's answer is believed.
    must_fetch: bool = False
    reason: str | None = None  # Why it is ignored or a person has to see it.
    # The webhook without its secret fields, as JSON: what is kept, and read again by ``process_webhook``.
    body: JsonObject | None = None


class KeyFinding(StrEnum):
    """What a test of keys found. Each has a sentence in every language that says what to do (``finding.…``)."""

    # With these every payment fails.
    keys_refused = "keys_refused"  # The provider refuses the keys.
    wrong_environment = "wrong_environment"  # The keys are of the other environment.
    account_not_activated = "account_not_activated"  # The account cannot take payments yet.
    no_payments = "no_payments"  # The keys lack the permission to create payments.
    public_key_refused = "public_key_refused"  # The provider refuses the public key.
    public_key_elsewhere = "public_key_elsewhere"  # The public key is of another account than the secret key.
    short_code_refused = "short_code_refused"  # The short code or its passkey is wrong.
    # With these payments work, or nothing says that they do not.
    no_refunds = "no_refunds"  # The keys lack the permission to refund.
    payment_proves_it = "payment_proves_it"  # Only a payment can show whether it works.
    not_all_checked = "not_all_checked"  # Not everything could be checked.


@dataclass(frozen=True, slots=True)
class CredentialTest:
    """Whether payments can be made with the keys, and in which environment they turned out to be.

    ``detail`` is a sentence in English; ``finding`` names what was found from a closed list. ``ok`` with a finding: the
    keys work, and the finding says what does not, or what could not be checked.
    """

    ok: bool  # Whether payments can be made with the keys.
    detail: str  # A sentence in English for staff, without any key.
    # The environment that the keys turned out to be of; None: the provider does not say.
    environment: Environment | None = None
    reached: bool = True  # False: the provider did not answer, so the keys may be good or bad.
    finding: KeyFinding | None = None  # What was found. With ``ok``: what does not work, or could not be checked.


@dataclass(frozen=True, slots=True)
class Balance:
    """What a provider holds for the practice: one sum for each currency, ready to be paid out, and on its way."""

    available: tuple[Money, ...]  # What is ready to be paid out, one sum for each currency.
    pending: tuple[Money, ...] = ()  # What is on its way there, one sum for each currency.
