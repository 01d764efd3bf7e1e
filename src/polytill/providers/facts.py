"""Results of a handler other than outcomes: facts from webhooks and listings, tests of credentials, balances."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from polytill.domain.money import Money
from polytill.domain.states import Environment
from polytill.providers.outcomes import JsonObject, NotSent, Outcome, Unknown


@dataclass(frozen=True, slots=True)
class PaymentFact:
    """What a provider reports about a payment. ``reference`` or ``provider_transaction_id`` is always set."""

    outcome: Outcome  # The state of the payment.
    reference: str | None = None  # Our reference of the attempt, if the provider returns it.
    provider_transaction_id: str | None = None  # The provider's id of the payment.
    # The metadata that the provider returns. If it names another payment id, the webhook is parked.
    metadata: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class RefundFact:
    """What a provider reports about refunds: about one (``amount``), or about all of a payment together (``total``).

    ``state`` ``unknown``: the handler does not know the provider's status, and a lookup of that refund follows.
    """

    # `pending`, `requires_action`, `succeeded`, `failed`, or `unknown`: the handler does not know the provider's
    # status, and a lookup of that refund follows.
    state: str
    reference: str | None = None  # Our id of the refund, if the provider returns it.
    provider_refund_id: str | None = None  # The provider's id of the refund.
    payment_reference: str | None = None  # Our reference of the attempt that was refunded.
    provider_transaction_id: str | None = None  # The provider's id of the payment that was refunded.
    amount: Money | None = None  # The amount of this one refund.
    total: Money | None = None  # The amount of all refunds of the payment together, if the provider reports only that.
    response: JsonObject | None = None  # The provider's answer as JSON, without secret fields; it is stored.
    # The id of the capture or charge, if a refund names that instead of the payment (PayPal).
    provider_charge_id: str | None = None
    provider_dispute_id: str | None = None  # The dispute that this refund paid, if the provider reports it (Paystack).
    is_reversal: bool = False  # The provider itself took the money, for a dispute or a bank (PayPal).
    made_at: str | None = None  # When it was made, ISO 8601. It tells it apart from those before polytill.

    @property
    def named(self) -> bool:
        """Whether it identifies one refund."""
        return self.reference is not None or self.provider_refund_id is not None


@dataclass(frozen=True, slots=True)
class DisputeFact:
    """What a provider reports about a dispute. ``state`` is ours; ``provider_state`` is the provider's own status.

    ``kind`` is inquiry or chargeback. ``reason`` is one of ``DisputeReason``; ``provider_reason`` is the provider's own
    code. ``bare_amount`` is an integer and its exponent if the provider names no currency; the currency is the
    attempt's. ``understood`` False: the handler does not know the status. The dispute counts as open, and the status is
    logged.
    """

    state: str  # `open`, `won`, `lost`, or `closed` without a decision about money.
    provider_state: str  # The provider's own status.
    provider_dispute_id: str  # The provider's id of the dispute.
    payment_reference: str | None = None  # Our reference of the disputed attempt.
    provider_transaction_id: str | None = None  # The provider's id of the disputed payment.
    # The id of the capture or charge, if a dispute names that instead of the payment.
    provider_charge_id: str | None = None
    amount: Money | None = None  # The disputed amount.
    funds_withdrawn: bool = False  # Whether the provider has already withdrawn the amount.
    due_at: str | None = None  # The deadline for evidence, ISO 8601 in UTC.
    kind: str = "chargeback"  # `inquiry` (a question, no funds withdrawn) or `chargeback`.
    reason: str | None = None  # One of our dispute reasons (`DisputeReason`).
    provider_reason: str | None = None  # The provider's own reason code.
    # An integer and its exponent, if the provider names no currency; the currency is the attempt's.
    bare_amount: tuple[int, int] | None = None
    # False: the handler does not know the provider's status. The dispute stays open, and the status is logged.
    understood: bool = True
    # The provider shows that funds were withdrawn for the dispute, and that all of them were returned later.
    funds_returned: bool = False


Fact = PaymentFact | RefundFact | DisputeFact

FactT = TypeVar("FactT", PaymentFact, RefundFact, DisputeFact)


@dataclass(frozen=True, slots=True)
class Page(Generic[FactT]):
    """One page of a listing. ``next`` is the cursor of the following page, in the provider's own form; None: the end.

    A page may be empty and still have a next one. ``unread`` counts the entries that could not be read as facts. They
    are left out; the caller logs and counts them.
    """

    facts: tuple[FactT, ...]  # The entries that could be read.
    # The cursor of the following page, in the provider's own form; None: this is the last page.
    next: str | None = None
    unread: int = 0  # How many entries could not be read. They are left out, logged and counted.


Listing = Page[FactT] | NotSent | Unknown  # the result of a listing call


def read_page(found: Iterable[FactT | None], following: str | None) -> Page[FactT]:
    """A page of the entries that could be read as facts. The others (None) are counted."""
    entries = list(found)
    facts = tuple(fact for fact in entries if fact is not None)
    return Page(facts, following, len(entries) - len(facts))


@dataclass(frozen=True, slots=True)
class WebhookResult:
    """A webhook that was read. ``dedupe_key`` differs for a later state of the same object. ``environment`` None: the
    webhook names none.

    ``must_fetch``: the webhook is unsigned. Its facts only name what to look up; they are not trusted.
    """

    event_type: str  # The provider's name of the event.
    dedupe_key: str  # The same for each repeat of this webhook, different for a later state of the same object.
    action: str  # `apply` the facts, `ignore` the webhook, or `notify`: no money is booked, and staff see it.
    # The environment that the webhook names. If the keys belong to the other one, the webhook is parked. None: it names
    # none.
    environment: Environment | None = None
    event_id: str | None = None  # The provider's id of the event.
    facts: tuple[Fact, ...] = ()  # What the webhook reports about payments, refunds and disputes.
    # The webhook is unsigned: its facts only name what to look up, and only the provider's answer is trusted.
    must_fetch: bool = False
    reason: str | None = None  # Why it is ignored, or why staff must see it.
    # The webhook as JSON, without its secret fields. It is stored, and ``process_webhook`` can read it again.
    body: JsonObject | None = None


class KeyFinding(StrEnum):
    """What a test of keys found. Each has a sentence in every language with the next step (``finding.…``)."""

    # With these findings, every payment fails.
    keys_refused = "keys_refused"  # The provider rejects the keys.
    wrong_environment = "wrong_environment"  # The keys belong to the other environment.
    account_not_activated = "account_not_activated"  # The account cannot take payments yet.
    no_payments = "no_payments"  # The keys lack the permission to create payments.
    public_key_refused = "public_key_refused"  # The provider rejects the public key.
    public_key_elsewhere = "public_key_elsewhere"  # The public key belongs to another account than the secret key.
    short_code_refused = "short_code_refused"  # The short code or its passkey is wrong.
    # With these findings, payments work, or nothing indicates that they do not.
    no_refunds = "no_refunds"  # The keys lack the permission to refund.
    payment_proves_it = "payment_proves_it"  # Only a payment can show whether it works.
    not_all_checked = "not_all_checked"  # Not everything could be checked.


@dataclass(frozen=True, slots=True)
class CredentialTest:
    """Whether the keys can take payments, and in which environment.

    ``detail`` is a sentence in English; ``finding`` is one of a closed list. ``ok`` with a finding: the keys work, and
    the finding names what does not work or could not be checked.
    """

    ok: bool  # Whether the keys can take payments.
    detail: str  # A sentence in English for staff, without any key.
    # The environment to which the keys belong; None: the provider does not report it.
    environment: Environment | None = None
    reached: bool = True  # False: the provider did not answer, so the keys may be good or bad.
    finding: KeyFinding | None = None  # What was found. With ``ok``: what does not work or could not be checked.


def keys_failed(detail: str, reached: bool) -> CredentialTest:
    """The provider rejects the keys, or, if it was not ``reached``, they could not be tested."""
    return CredentialTest(False, detail, reached=reached, finding=KeyFinding.keys_refused if reached else None)


@dataclass(frozen=True, slots=True)
class Balance:
    """The practice's balance at a provider: one sum for each currency, available for payout and pending."""

    available: tuple[Money, ...]  # What is available for payout, one sum for each currency.
    pending: tuple[Money, ...] = ()  # What is not yet available, one sum for each currency.
