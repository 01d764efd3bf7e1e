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
    return max(0, attempt.amount - on_their_way - lost(payment, attempt, disputed))


def lost(payment: Payment, attempt: Attempt, disputed: Iterable[Dispute]) -> int:
    """What lost disputes took of a second success.

    Older rows do not say of which success they took. Whatever of theirs the payment itself has not lost counts as
    this one's: what the bank may have taken already is not given back once more.
    """
    its = others = unnamed = 0
    for dispute in disputed:
        if dispute.state is not DisputeState.lost:
            continue
        if dispute.attempt_id == attempt.id:
            its += dispute.amount or 0
        elif dispute.attempt_id is None:
            unnamed += dispute.amount or 0
        else:
            others += dispute.amount or 0
    # The rest of the payment's own loss; less where one of the others is a third success.
    own_unnamed = max(0, payment.amount_lost - others)
    return its + max(0, unnamed - own_unnamed)


async def end_if_gone(
    db: PracticeDb, unit: Unit, payment: Payment, attempt: Attempt, gone: int, resolution: dict[str, Any], by: str,
    now: datetime,
) -> None:  # fmt: skip
    """End the case of a second success where, with ``gone`` minor units more, all of it has gone back."""
    known, disputed = await refunds.of_payment(db, payment.id), await refunds.disputes_of(db, payment.id)
    back = sum(r.amount for r in known if r.attempt_id == attempt.id and r.state in REFUND_DONE)
    if back + gone + lost(payment, attempt, disputed) < attempt.amount:
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
