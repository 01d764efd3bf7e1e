"""A second success of one payment: what of it is gone again, and its case, which ends and begins with that."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from polytill.domain.states import REFUND_DONE, REFUND_VOID, DisputeState
from polytill.storage import audit, cases, refunds
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Attempt, Payment
from polytill.storage.refunds import Dispute, Refund
from polytill.storage.units import Unit

# Ways in which facts have ended a case: where such a fact is taken back, it begins again.
_ENDED_BY_FACTS = frozenset({"refund_excess", "refunded_at_provider", "lost_in_dispute"})


def left(payment: Payment, attempt: Attempt, known: Iterable[Refund], disputed: Iterable[Dispute]) -> int:
    """What of a second success can still be given back, in minor units, after every refund that may count."""
    on_their_way = sum(r.amount for r in known if r.attempt_id == attempt.id and r.state not in REFUND_VOID)
    return max(0, attempt.amount - on_their_way - lost(payment, disputed))


def lost(payment: Payment, disputed: Iterable[Dispute]) -> int:
    """What lost disputes took of second successes: all that they took, but for what the payment itself has lost."""
    return sum(d.amount or 0 for d in disputed if d.state is DisputeState.lost) - payment.amount_lost


async def end_if_gone(
    db: PracticeDb, unit: Unit, payment: Payment, attempt: Attempt, gone: int, resolution: dict[str, Any], by: str,
    now: datetime,
) -> None:  # fmt: skip
    """End the case of a second success where, with ``gone`` minor units more, all of it has gone back."""
    known, disputed = await refunds.of_payment(db, payment.id), await refunds.disputes_of(db, payment.id)
    back = sum(r.amount for r in known if r.attempt_id == attempt.id and r.state in REFUND_DONE)
    if back + gone + lost(payment, disputed) < attempt.amount:
        return
    for case in await cases.listed(db, kind="excess", subject=attempt.id):
        cases.close(unit, case, resolution, by, now)
        audit.append(unit, now, by, "case.resolved", case.id, {"kind": case.kind, **resolution})


async def begin_again(db: PracticeDb, unit: Unit, attempt: Attempt, by: str, now: datetime) -> None:
    """Open the case of a second success again: what had gone back has come to nothing."""
    for case in await cases.listed(db, state="resolved", kind="excess", subject=attempt.id):
        if case.detail["resolution"]["action"] in _ENDED_BY_FACTS:
            cases.reopen(unit, case)
            audit.append(unit, now, by, "case.reopened", case.id, {"kind": case.kind})
