"""Reversals: a provider takes a payment's money itself when it is disputed, and returns it when the practice wins.

A reversal is booked as a refund that was made at the provider. When its dispute ends in the practice's favor, the
refund becomes a failed one if the provider shows that the money was returned; otherwise a review case reports that it
may be missing. A reversal is matched to its dispute by the dispute's id if the provider names it, else by amounts:
first to disputes that are open or lost, whose money is still withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from polytill.domain.states import REFUND_DONE, DisputeKind, DisputeState, RefundOrigin, RefundState
from polytill.providers.contract import RefundFact
from polytill.storage import disputes, refunds
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.disputes import Dispute
from polytill.storage.refunds import Refund

IN_FAVOR = frozenset({DisputeState.won, DisputeState.closed})
# The state of a ``RefundFact`` about a reversal whose money the provider has since returned to the practice.
UNDONE = "undone"


def by_dispute(made: Iterable[Refund], disputed: Iterable[Dispute]) -> dict[str, list[Refund]]:
    """The reversals among an attempt's refunds, by our id of the dispute that each belongs to. Pure."""
    left = [r for r in made if r.is_reversal or r.provider_dispute_id is not None]
    chargebacks = sorted(
        (d for d in disputed if d.kind is DisputeKind.chargeback or d.state is DisputeState.lost),
        key=lambda d: (d.state in IN_FAVOR, d.provider_dispute_id),
    )
    names = {d.provider_dispute_id for d in chargebacks}
    found: dict[str, list[Refund]] = {}
    for dispute in chargebacks:
        rest = dispute.amount
        for refund in list(left):
            is_named = refund.provider_dispute_id == dispute.provider_dispute_id
            fits = refund.provider_dispute_id not in names and (rest is None or refund.amount <= rest)
            if is_named or fits:
                left.remove(refund)
                found.setdefault(dispute.id, []).append(refund)
                rest = None if rest is None else rest - refund.amount
    return found


def still_taken(made: Iterable[Refund], disputed: Iterable[Dispute]) -> list[Refund]:
    """The reversals that are still booked although their dispute has ended in the practice's favor."""
    disputed = list(disputed)
    ended = {d.id for d in disputed if d.state in IN_FAVOR}
    found = by_dispute((r for r in made if r.state in REFUND_DONE or r.is_undone), disputed)
    return [r for name, its in found.items() if name in ended for r in its if r.state in REFUND_DONE]


async def as_it_stands(db: PracticeDb, attempt: Attempt, fact: RefundFact) -> RefundFact:
    """Mark a reversal as undone if it is reported after its money was returned: it is recorded and never booked."""
    if not fact.is_reversal or fact.state != "succeeded" or fact.amount is None:
        return fact
    made = [r for r in await refunds.of_payment(db, attempt.payment_id) if r.attempt_id == attempt.id]
    known = next((r for r in made if r.provider_refund_id == fact.provider_refund_id), None)
    if known is not None:
        return replace(fact, state=UNDONE) if known.is_undone else fact
    disputed = [d for d in await disputes.of_payment(db, attempt.payment_id) if d.attempt_id == attempt.id]
    returned = {d.id for d in disputed if d.state in IN_FAVOR and d.funds_returned}
    told = Refund(
        "",
        attempt.payment_id,
        attempt.practice_id,
        attempt.environment,
        attempt.id,
        RefundState.succeeded,
        fact.amount.minor,
        fact.amount.currency,
        None,
        RefundOrigin.provider,
        "",
        "",
        "",
        attempt.created_at,
        attempt.created_at,
        is_reversal=True,
    )
    found = by_dispute([*(r for r in made if r.state in REFUND_DONE or r.is_undone), told], disputed)
    is_undone = any(r is told for name, its in found.items() if name in returned for r in its)
    return replace(fact, state=UNDONE) if is_undone else fact
