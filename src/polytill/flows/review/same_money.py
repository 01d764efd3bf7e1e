"""Staff decide whether a refund and a lost dispute are the same money, if the provider does not say so."""

from __future__ import annotations

from polytill.domain.errors import CheckRefused, Conflict, Stale, invalid
from polytill.domain.review_cases import CaseKind, CaseResolution, CaseState
from polytill.domain.states import CountedAs, DisputeState
from polytill.flows.commits import until_committed
from polytill.flows.context import Context
from polytill.flows.lease import may_begin
from polytill.flows.refunds.disputes import count_dispute
from polytill.flows.review.resolve import Evidence, evidence, open_or_conflict
from polytill.storage import cases, disputes
from polytill.storage.cases import OperatorCase
from polytill.storage.databases import PracticeDb
from polytill.storage.disputes import Dispute

COUNTED = {CountedAs.separate: CaseResolution.counted_separate, CountedAs.same: CaseResolution.counted_same}


async def count(
    context: Context, practice_id: int, case_id: str, counted_as: CountedAs, note: str, actor: str
) -> Evidence:
    """Book the disputes of a ``refund_or_dispute`` case as money of their own beside the refunds (``separate``), or
    once together with them (``same``). The case ends. A case about more money returned than was captured may open."""
    practice = await context.practice(practice_id)
    case = await open_or_conflict(practice.db, case_id)
    if case.kind is not CaseKind.refund_or_dispute:
        raise Conflict(
            "Only a case about a refund and a dispute can be resolved in this way.", code="not_refund_or_dispute"
        )
    if not note.strip():
        raise invalid("/note", "Describe the proof, for example the provider's statement.", reason="say_how_known")
    resolution = {"action": COUNTED[counted_as], "note": note.strip()}
    await may_begin(context, practice_id, case.environment)

    async def count_next() -> bool:
        """Count one dispute of the case. False if none is left, or the case is resolved."""
        waiting = await _undecided(practice.db, case)
        fresh = await cases.by_id(practice.db, case_id)
        if not waiting or fresh is None or fresh.state is not CaseState.open:
            return False
        await count_dispute(practice, fresh, waiting[0], counted_as, resolution, actor)
        return True

    while await until_committed(count_next, (Stale, CheckRefused)):
        pass
    found = await evidence(context, practice_id, case_id)
    if (found.case.resolved_by, found.case.detail.get("resolution")) != (actor, resolution):
        raise Conflict("This case is already resolved.", code="case_resolved")
    return found


async def _undecided(db: PracticeDb, case: OperatorCase) -> list[Dispute]:
    """Return the lost disputes of a case's attempt that staff have not decided yet."""
    assert case.payment_id is not None
    return [
        d
        for d in await disputes.of_payment(db, case.payment_id)
        if d.attempt_id == case.subject and d.state is DisputeState.lost and d.amount and d.counted_as is None
    ]
