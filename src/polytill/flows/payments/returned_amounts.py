"""What was returned of one attempt's money: by refunds, by lost disputes, and which of both are the same money.

Refunds are booked as they are. Of a lost dispute that is booked which no refund has returned already:

1. A refund that names the dispute is how the provider paid it, at every provider.
2. Where a provider pays a lost dispute by a refund (``Handler.disputes_are_refunded``), a refund of the same amount that
   was not made here is it, too.
3. Such a provider returns no more than it took. What refunds and disputes name beyond that is the same money.
4. Where staff decided that a dispute is separate from every refund, 2 and 3 do not apply to it.

Elsewhere a chargeback is money of its own beside any refund. What follows from 2 without a total that proves it, and
from 3, opens a review case with both facts, unless staff decided that it is the same money; so does more money returned
than was taken. Everything is computed again from all facts of the attempt, so the order in which they arrive makes no
difference, and a refund that is reversed later brings the dispute's loss back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from polytill.domain.ids import new_id
from polytill.domain.states import REFUND_DONE, CountedAs, DisputeState
from polytill.flows.context import Desk
from polytill.flows.events import open_case
from polytill.flows.payments import duplicates, reversals
from polytill.flows.provider_calls import handler_of
from polytill.storage import audit, cases, disputes, ledger, refunds
from polytill.storage.databases import PracticeDb
from polytill.storage.disputes import Dispute
from polytill.storage.ledger import Entry
from polytill.storage.payments import Attempt, Change, Payment
from polytill.storage.refunds import Refund
from polytill.storage.units import Unit

OVER_RETURNED, SAME_MONEY, REVERSED_AND_WON = "over_returned", "refund_or_dispute", "reversed_and_won"
# How a case ends when the facts that opened it were taken back; it is opened again where they come back.
BY_FACTS: dict[str, Any] = {"action": "facts_changed"}


@dataclass(slots=True)
class Shares:
    """How much of each lost dispute is booked, by our id of it. ``unclear``: that rests on an assumption."""

    booked: dict[str, int] = field(default_factory=dict)
    unclear: bool = False

    def assume(self, dispute: Dispute, unproven: bool) -> None:
        """A dispute counts as the same money as a refund. Unclear where nothing proves it and staff did not decide it."""
        self.unclear = self.unclear or (unproven and dispute.counted_as is None)


def share(taken: int, refunded: Iterable[Refund], disputed: Iterable[Dispute], are_refunded: bool) -> Shares:
    """What of each dispute is booked beside the refunds of the same attempt, of which ``taken`` was captured. Pure."""
    done = [r for r in refunded if r.state in REFUND_DONE]
    lost = sorted(
        (d for d in disputed if d.state is DisputeState.lost and d.amount), key=lambda d: d.provider_dispute_id
    )
    shares, names = Shares(), {d.provider_dispute_id for d in lost}
    free = [r for r in done if r.provider_dispute_id not in names]
    for dispute in lost:
        by_name = sum(r.amount for r in done if r.provider_dispute_id == dispute.provider_dispute_id)
        shares.booked[dispute.id] = max(0, (dispute.amount or 0) - by_name)
    if not are_refunded:
        return shares
    total = sum(r.amount for r in done)
    lost = [d for d in lost if d.counted_as is not CountedAs.separate]
    for dispute in lost:
        left = shares.booked[dispute.id]
        its = next((r for r in free if r.origin == "provider" and left and r.amount == left), None)
        if its is not None:
            free.remove(its)
            shares.assume(dispute, total + sum(shares.booked.values()) <= taken)
            shares.booked[dispute.id] = 0
    beyond = min(total + sum(shares.booked[d.id] for d in lost) - taken, sum(r.amount for r in free))
    for dispute in lost:
        same = max(0, min(beyond, shares.booked[dispute.id]))
        shares.booked[dispute.id] -= same
        shares.assume(dispute, same > 0)
        beyond -= same
    return shares


def undisputed(payment: Payment) -> int:
    """How much can be refunded that no open chargeback is about, in minor units."""
    return max(0, refundable(payment) - payment.amount_disputed)


def refundable(payment: Payment) -> int:
    """How much can still be refunded, in minor units, what is disputed included."""
    return payment.amount_captured - payment.amount_refunded - payment.refund_reserved - payment.amount_lost


# ── Booking ──


@dataclass(slots=True)
class News:
    """One fact that a unit writes: the refund or the dispute as it is from now on, and who or what tells it."""

    by: str
    current: str  # the attempt whose money the payment itself has captured; any other one's is a duplicate payment
    refund: Refund | None = None
    dispute: Dispute | None = None
    captured: int = 0  # by how much more is taken
    depends: bool = True  # on other facts of the attempt: of two such at once only one may be written
    decision: dict[str, Any] | None = None  # by staff: how the case about the same money ends

    @property
    def resolution(self) -> dict[str, Any]:
        """How the case of a duplicate payment ends by this."""
        if self.refund is None:
            return {"action": "lost_in_dispute", "dispute": self.dispute.provider_dispute_id if self.dispute else None}
        return {
            "action": "refund_excess" if self.refund.origin == "api" else "refunded_at_provider",
            "refund": self.refund.id,
        }


async def book(desk: Desk, db: PracticeDb, unit: Unit, payment: Payment, attempt: Attempt, news: News) -> Change:
    """Book what of an attempt's disputes is lost now that there is ``news``, and open or end the review cases of it.

    What that does to the payment's amounts is answered, for the caller to write: with the payment's version as it was read
    where ``depends`` says so, else with that of its disputes. ``news.dispute`` gets its ``booked``, and is the caller's to
    write, too.
    """
    now = desk.world.now()
    known = await refunds.of_payment(db, payment.id)
    everything = await disputes.of_payment(db, payment.id)
    if news.refund is not None:
        known = [*(r for r in known if r.id != news.refund.id), news.refund]
    if news.dispute is not None:
        everything = [*(d for d in everything if d.id != news.dispute.id), news.dispute]
    refunded = [r for r in known if r.attempt_id == attempt.id]
    disputed = [d for d in everything if d.attempt_id == attempt.id]
    own = attempt.id == news.current
    taken = payment.amount_captured + news.captured if own else attempt.amount
    shares = share(taken, refunded, disputed, await _are_refunded(desk, attempt))
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
        _enter(desk, unit, payment, attempt, more, own, now)
    blocked = [d for d in everything if d.attempt_id in (news.current, None) and d.blocks_refunds]
    disputed_now = sum(payment.amount if d.amount is None else d.amount for d in blocked)
    change.add_disputed = disputed_now - payment.amount_disputed
    if not own:
        await duplicates.follow(
            db, unit, attempt, _gone(refunded, shares) >= attempt.amount, news.resolution, news.by, now
        )
    await _follow_cases(desk, db, unit, payment, attempt, taken, refunded, disputed, shares, news)
    return change


async def captured(
    desk: Desk, db: PracticeDb, unit: Unit, payment: Payment, attempt: Attempt, change: Change
) -> int | None:
    """Book what a further capture changes about what was returned already, into ``change``. The version of the payment
    that it was concluded from; None where nothing was returned and nothing is disputed."""
    gone = payment.amount_refunded or payment.amount_lost or payment.excess_refunded or payment.amount_disputed
    if not change.add_captured or not gone:
        return None
    news = News("provider", attempt.id, captured=change.add_captured)
    booked = await book(desk, db, unit, payment, attempt, news)
    change.add_lost, change.add_disputed = booked.add_lost, booked.add_disputed
    return payment.version


async def _are_refunded(desk: Desk, attempt: Attempt) -> bool:
    handler = await handler_of(desk, attempt)
    return handler is not None and handler.disputes_are_refunded


def _gone(refunded: list[Refund], shares: Shares) -> int:
    return sum(r.amount for r in refunded if r.state in REFUND_DONE) + sum(shares.booked.values())


def _enter(desk: Desk, unit: Unit, payment: Payment, attempt: Attempt, more: int, own: bool, now: datetime) -> None:
    """The ledger entry of a loss, or of one that turned out to be none."""
    if not more:
        return
    account, provider = "disputes" if own else "excess", f"provider:{attempt.provider_code}"
    entry = (
        Entry("dispute_lost", account, provider, more, payment.currency)
        if more > 0
        else Entry("dispute_reversed", provider, account, -more, payment.currency)
    )
    ledger.book(unit, new_id(desk.world), payment.practice_id, payment.environment, payment.id, entry, now)


# ── Review cases ──


async def _follow_cases(
    desk: Desk, db: PracticeDb, unit: Unit, payment: Payment, attempt: Attempt, taken: int, refunded: list[Refund],
    disputed: list[Dispute], shares: Shares, news: News,
) -> None:  # fmt: skip
    gone, lost = _gone(refunded, shares), sum(shares.booked.values())
    seen = {
        "attempt": attempt.id, "currency": payment.currency, "captured": taken, "refunded": gone - lost,
        "disputed": sum(d.amount or 0 for d in disputed if d.state is DisputeState.lost), "lost": lost,
        "beyond": max(0, gone - taken),
    }  # fmt: skip
    named = {
        "refunds": [r.id for r in refunded if r.state in REFUND_DONE],
        "disputes": [d.provider_dispute_id for d in disputed if d.state is DisputeState.lost],
    }
    await follow_case(desk, db, unit, payment, OVER_RETURNED, attempt.id, gone > taken, {**seen, **named})
    await follow_case(desk, db, unit, payment, SAME_MONEY, attempt.id, shares.unclear, {**seen, **named}, news)
    still = reversals.still_taken(refunded, disputed)
    taken_for = {
        "attempt": attempt.id, "currency": payment.currency, "reversed": sum(r.amount for r in still),
        "refunds": [r.id for r in still],
        "disputes": [d.provider_dispute_id for d in disputed if d.state in reversals.IN_FAVOUR],
    }  # fmt: skip
    await follow_case(desk, db, unit, payment, REVERSED_AND_WON, attempt.id, bool(still), taken_for)


async def follow_case(
    desk: Desk, db: PracticeDb, unit: Unit, payment: Payment, kind: str, subject: str, holds: bool,
    detail: dict[str, Any], news: News | None = None,
) -> None:  # fmt: skip
    """Open a case where a thing holds, once; end it where it holds no more, by what staff decided (``news``) or by facts.

    It is opened again when it holds again, and where a person has resolved it, when the figures are others by then.
    """
    known = next(iter(await cases.listed(db, None, kind, subject=subject)), None)
    now = desk.world.now()
    if known is None:
        if holds:
            open_case(desk, unit, payment, kind, subject, detail)
        return
    if known.state == "open":
        if not holds:
            ended, by = BY_FACTS, "provider"
            if news is not None and news.decision is not None:
                ended, by = news.decision, news.by
            cases.close(unit, known, ended, by, now)
            audit.append(unit, now, by, "case.resolved", known.id, {"kind": kind, **ended})
        elif any(known.detail.get(name) != value for name, value in detail.items()):
            cases.update(unit, known, detail)
        return
    by_facts = known.detail.get("resolution", {}).get("action") == BY_FACTS["action"]
    if holds and (by_facts or any(known.detail.get(name) != value for name, value in detail.items())):
        cases.reopen(unit, known, detail)
        audit.append(unit, now, "provider", "case.reopened", known.id, {"kind": kind})
