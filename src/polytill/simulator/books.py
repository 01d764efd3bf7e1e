"""The books: what the simulated providers hold, in integer ISO minor units.

This module has the records of money (transactions, refunds, disputes) and the account that owns them. Field names,
amounts or encodings of a provider do not belong here.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]


def iso_time(moment: float) -> str:
    """A time as RFC 3339 in UTC with milliseconds, as the control calls print it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(moment * 1000) % 1000:03d}Z"


def number_of(key: str) -> int:
    """A stable number of the account with this key that reveals nothing about the key."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % 900_000 + 100_000


@dataclass(slots=True)
class Refund:
    """A refund. ``status``: pending | succeeded | failed."""

    id: str
    amount: int
    currency: str
    status: str
    created_at: float
    reference: str | None = None
    wire: Json = field(default_factory=dict)

    def as_control(self) -> Json:
        """The refund as the control calls show it."""
        return {
            "id": self.id,
            "amount": self.amount,
            "currency": self.currency,
            "status": self.status,
            "reference": self.reference,
            "createdAt": iso_time(self.created_at),
        }


@dataclass(slots=True)
class Dispute:
    """A dispute. ``status``: open | won | lost | closed; ``kind``: inquiry | chargeback.

    ``paid_by_refund``: a lost dispute was paid by its own refund, which has webhooks, too. ``capped``: the provider
    never returns more than it took, so a lost dispute costs only what no refund has returned. ``bare``: webhooks carry
    neither its currency nor its amount.
    """

    id: str
    amount: int
    status: str
    created_at: float
    closed_at: float | None = None
    kind: str = "chargeback"
    reason: str | None = None
    bare: bool = False
    capped: bool = False
    paid_by_refund: bool = False
    changed_at: float | None = None  # for providers that list by the last change
    withdrawn: Refund | None = None  # by which the provider took the money before it was decided
    shows_money: bool = False


@dataclass(frozen=True, slots=True)
class DisputeStory:
    """How a dispute continues. ``amount`` None: all that is left; ``reason``: the provider's own code."""

    kind: str = "chargeback"
    amount: int | None = None
    reason: str | None = None
    bare: bool = False
    with_refund: bool = False  # a lost one also sends the webhooks of the refund that pays it
    with_reversal: bool = False  # and PayPal calls it a reversal; of one that is open: the funds are withdrawn at once
    shows_money: bool = False  # the movements of the merchant's money are shown with it (PayPal)
    again: bool = False  # the newest dispute is decided once more, as on an appeal


USUAL = DisputeStory()


@dataclass(slots=True)
class Transaction:
    """One payment as a provider holds it.

    ``status``: created | requires_action | processing | authorized | succeeded | failed | canceled, where ``failed``
    means that the last attempt was declined: the payer may try again unless the transaction is ``closed``. ``wire`` is
    the provider's own record, read by that provider alone. ``said`` is the code and the text of the next decline, if a
    script chose them.
    """

    provider: str
    account: str
    id: str
    reference: str | None
    amount: int
    currency: str
    created_at: float
    status: str = "created"
    closed: bool = False
    captured: int = 0
    fee: int = 0
    idempotency_key: str | None = None
    paid_at: float | None = None
    said: tuple[str, str] | None = None
    refunds: list[Refund] = field(default_factory=list)
    disputes: list[Dispute] = field(default_factory=list)
    wire: Any = None

    @property
    def refunded(self) -> int:
        """Money that was returned for certain."""
        return sum(refund.amount for refund in self.refunds if refund.status == "succeeded")

    @property
    def reserved(self) -> int:
        """Money that was returned or is being returned."""
        return sum(refund.amount for refund in self.refunds if refund.status != "failed")

    @property
    def refundable(self) -> int:
        """What can still be refunded."""
        return self.captured - self.reserved

    @property
    def lost(self) -> int:
        """What lost disputes took in addition to all refunds."""
        lost = [dispute for dispute in self.disputes if dispute.status == "lost" and not dispute.paid_by_refund]
        taken = sum(dispute.amount for dispute in lost)
        return min(taken, self.captured - self.refunded) if any(dispute.capped for dispute in lost) else taken

    @property
    def payable(self) -> bool:
        """Whether the payer can still pay."""
        return not self.closed and self.status in ("created", "requires_action", "processing", "failed")

    def pay(self, now: float) -> None:
        """Book the whole amount as paid."""
        self.status, self.captured, self.paid_at = "succeeded", self.amount, now

    def dispute_for(self, story: DisputeStory) -> Dispute | None:
        """The dispute that a story goes on with, if there is one."""
        return self.disputes[-1] if story.again and self.disputes else self.open_dispute()

    def open_dispute(self) -> Dispute | None:
        """The open dispute, if there is one."""
        return next((dispute for dispute in self.disputes if dispute.status == "open"), None)

    def as_control(self) -> Json:
        """The transaction as the control calls show it: the oracle of every test."""
        return {
            "provider": self.provider,
            "account": self.account,
            "id": self.id,
            "reference": self.reference,
            "status": self.status,
            "amount": self.amount,
            "currency": self.currency,
            "captured": self.captured,
            "refunded": self.refunded,
            "fee": self.fee,
            "idempotencyKey": self.idempotency_key,
            "refunds": [refund.as_control() for refund in self.refunds],
            "disputes": [
                {"id": d.id, "amount": d.amount, "status": d.status, "kind": d.kind, "reason": d.reason}
                for d in self.disputes
            ],
            "lost": self.lost,
            "createdAt": iso_time(self.created_at),
        }


@dataclass(slots=True)
class Account:
    """One merchant account: everything that was created with one secret key. Accounts are isolated from each other.

    ``standing``: active; inactive (the business is not activated or approved); unknown (the provider has no such key);
    other_environment (the key is of the other mode). ``denied``: what the key may not do, of payments, refunds,
    account. ``public_key``: the account's own, if a script chose it; None: any publishable key of the same mode belongs
    to it.
    """

    provider: str
    key: str
    standing: str = "active"
    denied: frozenset[str] = frozenset()
    public_key: str | None = None
    transactions: list[Transaction] = field(default_factory=list)
    things: dict[str, Any] = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)
    memory: defaultdict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def refunds(self) -> list[tuple[Transaction, Refund]]:
        """All refunds with their transactions, in the order of the transactions."""
        return [(tx, refund) for tx in self.transactions for refund in tx.refunds]

    @property
    def disputes(self) -> list[tuple[Transaction, Dispute]]:
        """All disputes with their transactions, in the order of the transactions."""
        return [(tx, dispute) for tx in self.transactions for dispute in tx.disputes]

    def balances(self) -> dict[str, int]:
        """What each currency holds after refunds, fees and lost disputes."""
        sums: dict[str, int] = {}
        for tx in self.transactions:
            sums[tx.currency] = sums.get(tx.currency, 0) + tx.captured - tx.reserved - tx.fee - tx.lost
        return sums

    @property
    def number(self) -> int:
        """A stable number of the account that reveals nothing about its key."""
        return number_of(self.key)

    @property
    def label(self) -> str:
        """A stable opaque name for the account."""
        return hashlib.sha256(b"account" + self.key.encode()).hexdigest()[:16]
