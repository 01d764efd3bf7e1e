"""Refunds that a past payment had before it was taken over, and that its host knows only as a sum.

The sum is one refund without the provider's id. When the provider names a refund, it is part of the sum, or it was made
since: its time tells. A part of the sum gets a row of its own, with its id, and nothing is booked. If the named parts
exceed the sum, the host knew too little: what is beyond it is booked. If nothing tells, a person decides: so it is for one
that was made between the host's record, perhaps an old export, and the take-over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum

from polytill.domain.audit_actions import AuditAction
from polytill.domain.ids import made_at, new_id
from polytill.domain.ledger import LedgerAccount, LedgerFact, provider_account
from polytill.domain.review_cases import CaseKind
from polytill.domain.sources import Source
from polytill.flows.context import Practice
from polytill.flows.events import open_case
from polytill.flows.finding import AddSteps
from polytill.flows.payments import returned_amounts
from polytill.flows.payments.reading import current_attempt
from polytill.flows.payments.returned_amounts import News
from polytill.providers.contract import RefundFact
from polytill.storage import attempts, audit, ledger, payments, refunds
from polytill.storage.attempts import Attempt
from polytill.storage.ledger import Entry
from polytill.storage.payments import Change, Payment
from polytill.storage.refunds import Refund
from polytill.storage.units import Unit

# A refund so near to the record or the take-over may be before or after it: two clocks tell its times.
NEAR = timedelta(seconds=60)


class Made(Enum):
    """When a refund was made that a provider names: before its host's record was made, since its payment was taken over,
    or nobody knows."""

    before = "before"
    since = "since"
    unknown = "unknown"


def past_sum(known: Sequence[Refund], attempt: Attempt) -> Refund | None:
    """The sum of an attempt's earlier refunds that no provider has named yet, if there is one."""
    return next((one for one in known if one.attempt_id == attempt.id and one.is_past_sum), None)


def known_as_of(past: Refund) -> datetime:
    """When the host's record of a sum was made: an export is older than the take-over. The row's own time is that of the
    refunds."""
    return made_at(past.id)


def when_made(fact: RefundFact, past: Refund) -> Made:
    """Whether a refund may be part of a sum. Pure."""
    at = _moment(fact.made_at)
    if at is None or fact.provider_refund_id is None:
        return Made.unknown
    if at <= known_as_of(past) - NEAR:
        return Made.before
    return Made.since if at >= made_at(past.payment_id) + NEAR else Made.unknown


def _moment(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


async def name_part(practice: Practice, payment: Payment, attempt: Attempt, past: Refund, fact: RefundFact) -> None:
    """Give a named refund of before its own row, out of the sum. ``Stale`` if the sum is not as it was read.

    What is beyond the sum is booked. The sum may have been counted as what a dispute took, so that is decided again.
    """
    assert fact.amount is not None
    amount, now, unit = fact.amount.minor, practice.now(), Unit()
    named = replace(
        past, amount=amount, booked=min(amount, past.amount), provider_refund_id=fact.provider_refund_id,
        is_reversal=fact.is_reversal, created_at=_moment(fact.made_at) or past.created_at, updated_at=now,
    )  # fmt: skip
    left = None
    if amount < past.amount:
        rest = past.amount - amount
        left = replace(past, amount=rest, booked=rest, updated_at=now)
        named.id = new_id(practice.context.world)
        named.idempotency_key = f"{past.idempotency_key} {named.id}"
    current = current_attempt(payment, await attempts.of_payment(practice.db, payment.id)).id
    news = News("provider", current, named, left)
    change = await returned_amounts.book(practice, unit, payment, attempt, news)
    if amount > past.amount:
        _book_beyond(practice, unit, payment, attempt, (past, named, change))
    version = payment.version if news.depends or amount > past.amount else None
    payments.change(unit, payment, change, now, version, payment.dispute_version)
    refunds.resize(unit, past, left or named)
    if left is not None:
        refunds.insert(unit, named)
    detail = {"refund": named.id, "amount": amount, "part_of": past.id}
    audit.append(unit, now, Source.provider, AuditAction.refund_adopted, payment.id, detail)
    await practice.db.commit(unit)


def _book_beyond(
    practice: Practice, unit: Unit, payment: Payment, attempt: Attempt, changes: tuple[Refund, Refund, Change]
) -> None:
    """Book what the provider has refunded beyond the sum that the host knew."""
    past, named, change = changes
    beyond = named.amount - past.amount
    available = max(0, payment.amount_captured - payment.amount_refunded - payment.refund_reserved)
    change.add_refunded = min(beyond, available)
    change.add_duplicate_refunded = beyond - change.add_refunded
    named.booked, named.booked_duplicate = past.booked + change.add_refunded, change.add_duplicate_refunded
    entry = Entry(
        LedgerFact.refund, LedgerAccount.refunds, provider_account(attempt.provider_code), beyond, named.currency
    )
    ledger.book(unit, new_id(practice.context.world), payment, entry, named.updated_at, named.id)
    detail = {"refund": named.provider_refund_id, "refunded": named.amount, "recorded": past.amount}
    open_case(practice.context, unit, payment, CaseKind.refund_unclear, f"{payment.id}:{named.id}", detail)


async def leave_to_staff(practice: Practice, payment: Payment, fact: RefundFact, past: Refund, also: AddSteps) -> None:
    """Open a review case for a refund that may be part of the sum, or made since. Nothing is booked."""
    unit = Unit()
    amount = fact.amount.minor if fact.amount else None
    detail = {"refund": fact.provider_refund_id, "refunded": amount, "recorded": past.amount}
    subject = f"{payment.id}:{fact.provider_refund_id}"
    open_case(practice.context, unit, payment, CaseKind.refund_unclear, subject, detail)
    also(unit)
    await practice.db.commit(unit)
