"""How much of one attempt's money was returned by refunds and lost disputes, and which of them are the same money.

Refunds are booked as they are. Of a lost dispute, only the part that no refund has already returned is booked:

1. A refund that names the dispute is how the provider paid it, at every provider.
2. If a provider pays a lost dispute by a refund (``Handler.disputes_are_refunded``), a refund of the same amount that
   was not made here is that refund.
3. Such a provider returns no more than it took. Any excess that refunds and disputes name is the same money.
4. If staff decided that a dispute is separate from every refund, 2 and 3 do not apply to it.
5. What a past payment's host has recorded as refunded, as a sum, may be what a dispute took: any excess is, at every
   provider, as in 3; and whatever fits, if its host says that the payment was disputed, as in 2.

At other providers a chargeback is separate money beside any refund. A conclusion from 2 without a total that proves it,
or from 3, opens a review case with both facts, unless staff decided that it is the same money; so does a return of more
than was taken. Everything is computed again from all facts of the attempt. So their order of arrival makes no
difference, and a refund that is reversed later restores the dispute's loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.ids import new_id
from polytill.domain.ledger import LedgerAccount, LedgerFact, provider_account
from polytill.domain.past_payments import Doubt
from polytill.domain.review_cases import CaseKind, CaseResolution, CaseState
from polytill.domain.sources import Source
from polytill.domain.states import REFUND_DONE, CountedAs, DisputeState, RefundOrigin
from polytill.flows.context import Context, Practice
from polytill.flows.events import open_case
from polytill.flows.handlers import handler_for
from polytill.flows.payments import duplicates, reversals
from polytill.storage import audit, cases, disputes, ledger, refunds
from polytill.storage.attempts import Attempt
from polytill.storage.disputes import Dispute
from polytill.storage.ledger import Entry
from polytill.storage.payments import Change, Payment
from polytill.storage.refunds import Refund
from polytill.storage.units import Unit

# How a refund resolves the case of the duplicate payment that it returns.
REFUNDED_BY = {
    RefundOrigin.api: CaseResolution.refund_duplicate,
    RefundOrigin.provider: CaseResolution.refunded_at_provider,
}
# The resolution of a case whose facts were reversed; it is reopened if they hold again.
BY_FACTS: dict[str, Any] = {"action": CaseResolution.facts_changed}


@dataclass(slots=True)
class Shares:
    """The booked part of each lost dispute, by our id of it. ``unclear``: it depends on an assumption."""

    booked: dict[str, int] = field(default_factory=dict)
    unclear: bool = False

    def assume(self, dispute: Dispute, unproven: bool) -> None:
        """Count a dispute as the same money as a refund. Unclear if nothing proves it and staff did not decide it."""
        self.unclear = self.unclear or (unproven and dispute.counted_as is None)


def share(
    taken: int, refunded: Iterable[Refund], disputed: Iterable[Dispute], are_refunded: bool, was_disputed: bool = False
) -> Shares:
    """The booked part of each dispute beside the refunds of the same attempt, of which ``taken`` was captured. Pure.

    ``was_disputed``: of a past payment, whether its host says so."""
    done = [r for r in refunded if r.state in REFUND_DONE]
    lost = sorted(
        (d for d in disputed if d.state is DisputeState.lost and d.amount), key=lambda d: d.provider_dispute_id
    )
    shares, names = Shares(), {d.provider_dispute_id for d in lost}
    free = [r for r in done if r.provider_dispute_id not in names]
    for dispute in lost:
        by_name = sum(r.amount for r in done if r.provider_dispute_id == dispute.provider_dispute_id)
        shares.booked[dispute.id] = max(0, (dispute.amount or 0) - by_name)
    total = sum(r.amount for r in done)
    lost = [d for d in lost if d.counted_as is not CountedAs.separate]
    past = sum(r.amount for r in free if r.is_past_sum)
    for dispute in lost if was_disputed else ():
        same = min(past, shares.booked[dispute.id])
        if same:
            shares.assume(dispute, total + sum(shares.booked.values()) <= taken)
            shares.booked[dispute.id] -= same
            past -= same
    if not are_refunded:
        _share_excess(shares, lost, total - taken, past)
        return shares
    for dispute in lost:
        left = shares.booked[dispute.id]
        its = next((r for r in free if r.origin is RefundOrigin.provider and left and r.amount == left), None)
        if its is not None:
            free.remove(its)
            shares.assume(dispute, total + sum(shares.booked.values()) <= taken)
            shares.booked[dispute.id] = 0
    _share_excess(shares, lost, total - taken, past + sum(r.amount for r in free if not r.is_past_sum))
    return shares


def _share_excess(shares: Shares, lost: Iterable[Dispute], over: int, most: int) -> None:
    """Count what refunds and disputes return beyond what was taken as the same money, up to ``most``. ``over``: what
    the refunds alone return beyond it."""
    lost = list(lost)
    beyond = min(over + sum(shares.booked[d.id] for d in lost), most)
    for dispute in lost:
        same = max(0, min(beyond, shares.booked[dispute.id]))
        shares.booked[dispute.id] -= same
        shares.assume(dispute, same > 0)
        beyond -= same


def undisputed(payment: Payment) -> int:
    """The amount that can be refunded and is not under an open chargeback, in minor units."""
    return max(0, refundable(payment) - payment.amount_disputed)


def refundable(payment: Payment) -> int:
    """The amount that can still be refunded, in minor units, disputed amounts included."""
    return payment.amount_captured - payment.amount_refunded - payment.refund_reserved - payment.amount_lost


# ── Booking ──


@dataclass(frozen=True, slots=True)
class Returned:
    """What one attempt took, in minor units, and everything that returned it."""

    taken: int
    refunds: list[Refund]
    disputes: list[Dispute]
    shares: Shares

    @property
    def lost(self) -> int:
        """What lost disputes took beside the refunds, in minor units."""
        return sum(self.shares.booked.values())

    @property
    def total(self) -> int:
        """What refunds and lost disputes returned, in minor units."""
        return sum(r.amount for r in self.refunds if r.state in REFUND_DONE) + self.lost


@dataclass(slots=True)
class News:
    """One fact that a unit writes: the refund or the dispute in its next state, and its source (``by``)."""

    by: str
    current: str  # the attempt whose money the payment itself has captured; any other success is a duplicate payment
    refund: Refund | None = None
    left: Refund | None = None  # the sum of earlier refunds that it was part of
    dispute: Dispute | None = None
    captured: int = 0  # additional captured amount
    depends: bool = True  # on other facts of the attempt: only one of two concurrent units may be written
    decision: dict[str, Any] | None = None  # by staff: the resolution of the case about the same money

    @property
    def resolution(self) -> dict[str, Any]:
        """The resolution of a duplicate payment's case by this fact."""
        if self.refund is None:
            named = self.dispute.provider_dispute_id if self.dispute else None
            return {"action": CaseResolution.lost_in_dispute, "dispute": named}
        return {"action": REFUNDED_BY[self.refund.origin], "refund": self.refund.id}


async def book(practice: Practice, unit: Unit, payment: Payment, attempt: Attempt, news: News) -> Change:
    """Book the part of an attempt's disputes that is lost given ``news``, and open or close the review cases.

    Returns the change of the payment's amounts, for the caller to write: with the payment's version as read if
    ``depends``, else with that of its disputes. Sets ``booked`` on ``news.dispute``; the caller writes that row, too.
    """
    now = practice.now()
    known = await refunds.of_payment(practice.db, payment.id)
    everything = await disputes.of_payment(practice.db, payment.id)
    for changed in (news.refund, news.left):
        if changed is not None:
            known = [*(r for r in known if r.id != changed.id), changed]
    if news.dispute is not None:
        everything = [*(d for d in everything if d.id != news.dispute.id), news.dispute]
    refunded = [r for r in known if r.attempt_id == attempt.id]
    disputed = [d for d in everything if d.attempt_id == attempt.id]
    own = attempt.id == news.current
    taken = payment.amount_captured + news.captured if own else attempt.amount
    was_disputed = Doubt.disputed in (payment.doubts or ())
    shares = share(taken, refunded, disputed, await _are_refunded(practice.context, attempt), was_disputed)
    returned = Returned(taken, refunded, disputed, shares)
    news.depends = bool(disputed) or not own
    change = Change(payment.status, dispute_news=news.dispute is not None)
    for dispute in disputed:
        booked = shares.booked.get(dispute.id, 0)
        more = booked - dispute.booked
        if dispute is news.dispute:
            dispute.booked = booked
        elif more:
            disputes.book(unit, dispute, booked, now)
        change.add_lost += more if own else 0
        _enter(practice, unit, payment, attempt, more, own)
    blocked = [d for d in everything if d.attempt_id in (news.current, None) and d.blocks_refunds]
    disputed_now = sum(payment.amount if d.amount is None else d.amount for d in blocked)
    change.add_disputed = disputed_now - payment.amount_disputed
    if not own:
        await duplicates.follow(practice, unit, attempt, returned.total >= attempt.amount, news.resolution, news.by)
    await _follow_cases(practice, unit, payment, attempt, returned, news)
    return change


async def captured(practice: Practice, unit: Unit, payment: Payment, attempt: Attempt, change: Change) -> int | None:
    """Add to ``change`` how a further capture changes the amounts returned before. Returns the payment's version that
    this depends on; None if nothing was returned and nothing is disputed."""
    gone = payment.amount_refunded or payment.amount_lost or payment.duplicate_refunded or payment.amount_disputed
    if not change.add_captured or not gone:
        return None
    news = News("provider", attempt.id, captured=change.add_captured)
    booked = await book(practice, unit, payment, attempt, news)
    change.add_lost, change.add_disputed = booked.add_lost, booked.add_disputed
    return payment.version


async def _are_refunded(context: Context, attempt: Attempt) -> bool:
    handler = await handler_for(context, attempt)
    return handler is not None and handler.disputes_are_refunded


def _enter(practice: Practice, unit: Unit, payment: Payment, attempt: Attempt, more: int, own: bool) -> None:
    """Write the ledger entry of a loss, or of the reversal of one."""
    if not more:
        return
    provider = provider_account(attempt.provider_code)
    account = LedgerAccount.disputes if own else LedgerAccount.duplicate_payments
    entry = (
        Entry(LedgerFact.dispute_lost, account, provider, more, payment.currency)
        if more > 0
        else Entry(LedgerFact.dispute_reversed, provider, account, -more, payment.currency)
    )
    ledger.book(unit, new_id(practice.context.world), payment, entry, practice.now())


# ── Review cases ──


async def _follow_cases(
    practice: Practice, unit: Unit, payment: Payment, attempt: Attempt, returned: Returned, news: News
) -> None:
    lost = [d for d in returned.disputes if d.state is DisputeState.lost]
    seen = {
        "attempt": attempt.id,
        "currency": payment.currency,
        "captured": returned.taken,
        "refunded": returned.total - returned.lost,
        "disputed": sum(d.amount or 0 for d in lost),
        "lost": returned.lost,
        "beyond": max(0, returned.total - returned.taken),
        "refunds": [r.id for r in returned.refunds if r.state in REFUND_DONE],
        "disputes": [d.provider_dispute_id for d in lost],
    }
    still = reversals.still_taken(returned.refunds, returned.disputes)
    taken_for = {
        "attempt": attempt.id,
        "currency": payment.currency,
        "reversed": sum(r.amount for r in still),
        "refunds": [r.id for r in still],
        "disputes": [d.provider_dispute_id for d in returned.disputes if d.state in reversals.IN_FAVOR],
    }
    too_much = Condition(CaseKind.over_returned, attempt.id, returned.total > returned.taken, seen)
    await follow_case(practice, unit, payment, too_much)
    unclear = Condition(CaseKind.refund_or_dispute, attempt.id, returned.shares.unclear, seen)
    await follow_case(practice, unit, payment, unclear, news)
    won = Condition(CaseKind.reversed_and_won, attempt.id, bool(still), taken_for)
    await follow_case(practice, unit, payment, won)


@dataclass(frozen=True, slots=True)
class Condition:
    """What a review case is about: the case is open while this ``holds``."""

    kind: CaseKind
    subject: str
    holds: bool
    detail: dict[str, Any]


async def follow_case(
    practice: Practice, unit: Unit, payment: Payment, condition: Condition, news: News | None = None
) -> None:
    """Open a case once while a condition holds; close it afterwards, by a staff decision (``news``) or by facts.

    A case is reopened if the condition holds again; a case that a person has resolved, only if its figures changed.
    """
    kind, holds, detail = condition.kind, condition.holds, condition.detail
    known = next(iter(await cases.listed(practice.db, None, kind, subject=condition.subject)), None)
    now = practice.now()
    if known is None:
        if holds:
            open_case(practice.context, unit, payment, kind, condition.subject, detail)
        return
    if known.state is CaseState.open:
        if not holds:
            ended, by = BY_FACTS, "provider"
            if news is not None and news.decision is not None:
                ended, by = news.decision, news.by
            cases.close(unit, known, ended, by, now)
            audit.append(unit, now, by, AuditAction.case_resolved, known.id, {"kind": kind, **ended})
        elif any(known.detail.get(name) != value for name, value in detail.items()):
            cases.update(unit, known, detail)
        return
    by_facts = known.detail.get("resolution", {}).get("action") == BY_FACTS["action"]
    if holds and (by_facts or any(known.detail.get(name) != value for name, value in detail.items())):
        cases.reopen(unit, known, detail)
        audit.append(unit, now, Source.provider, AuditAction.case_reopened, known.id, {"kind": kind})
