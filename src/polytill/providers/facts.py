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

    outcome: Outcome
    reference: str | None = None
    provider_transaction_id: str | None = None
    metadata: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class RefundFact:
    """What a provider says of a refund: of one refund (``amount``), or of all of a payment's together (``total``).

    ``state`` unknown: the provider's status is not known to the handler. The provider is asked about that refund.
    """

    state: str  # pending | requires_action | succeeded | failed | unknown
    reference: str | None = None  # our refund id, where the provider echoes it
    provider_refund_id: str | None = None
    payment_reference: str | None = None
    provider_transaction_id: str | None = None
    amount: Money | None = None
    total: Money | None = None
    response: JsonObject | None = None
    provider_charge_id: str | None = None  # where a refund names the capture or charge, not the payment (PayPal)
    provider_dispute_id: str | None = None  # where the provider says that it paid a dispute by this refund (Paystack)

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

    state: str
    provider_state: str
    provider_dispute_id: str
    payment_reference: str | None = None
    provider_transaction_id: str | None = None
    provider_charge_id: str | None = None
    amount: Money | None = None
    funds_withdrawn: bool = False
    due_at: str | None = None
    kind: str = "chargeback"
    reason: str | None = None
    provider_reason: str | None = None
    bare_amount: tuple[int, int] | None = None
    understood: bool = True


Fact = PaymentFact | RefundFact | DisputeFact

FactT = TypeVar("FactT", PaymentFact, RefundFact, DisputeFact)


@dataclass(frozen=True, slots=True)
class Page(Generic[FactT]):
    """One page of a listing. ``next`` asks for the following one, whatever a provider's cursor is; None: the end.

    A page may be empty and still have a next one. ``unread``: how many entries could not be read as facts; they are
    left out here, and logged and counted by whoever reads the listing.
    """

    facts: tuple[FactT, ...]
    next: str | None = None
    unread: int = 0


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

    event_type: str
    dedupe_key: str
    action: str  # apply | ignore | notify
    environment: Environment | None = None
    event_id: str | None = None
    facts: tuple[Fact, ...] = ()
    must_fetch: bool = False
    reason: str | None = None
    body: JsonObject | None = None  # the delivery with its secret fields removed: what is kept


class KeyFinding(StrEnum):
    """What a test of keys found. Each has a sentence in every language that says what to do (``finding.…``)."""

    # With these every payment fails.
    keys_refused = "keys_refused"
    wrong_environment = "wrong_environment"
    account_not_activated = "account_not_activated"
    no_payments = "no_payments"  # the keys lack the permission
    public_key_refused = "public_key_refused"
    public_key_elsewhere = "public_key_elsewhere"  # of another account than the secret key
    short_code_refused = "short_code_refused"  # or its passkey
    # With these payments work, or nothing says that they do not.
    no_refunds = "no_refunds"
    payment_proves_it = "payment_proves_it"
    not_all_checked = "not_all_checked"


@dataclass(frozen=True, slots=True)
class CredentialTest:
    """Whether payments can be made with the keys, and in which environment they turned out to be.

    ``detail`` is a sentence in English; ``finding`` names what was found from a closed list. ``ok`` with a finding: the
    keys work, and the finding says what does not, or what could not be checked.
    """

    ok: bool
    detail: str
    environment: Environment | None = None
    reached: bool = True  # False: the provider did not say, so the keys may be good or bad
    finding: KeyFinding | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """What a provider holds for the practice: one sum for each currency, ready to be paid out, and on its way."""

    available: tuple[Money, ...]
    pending: tuple[Money, ...] = ()
