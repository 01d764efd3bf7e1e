"""A second success of one payment: what of it is gone again, and its case, which ends and begins with that."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from polytill.domain.states import REFUND_VOID, DisputeState
from polytill.storage import audit, cases
from polytill.storage.databases import PracticeDb
from polytill.storage.disputes import Dispute
from polytill.storage.payments import Attempt, Payment
from polytill.storage.refunds import Refund
from polytill.storage.units import Unit

# Ways in which facts have ended a case: where such a fact is taken back, it begins again.
_ENDED_BY_FACTS = frozenset({"refund_excess", "refunded_at_provider", "lost_in_dispute"})


def left(payment: Payment, attempt: Attempt, known: Iterable[Refund], disputed: Iterable[Dispute]) -> int:
    """What of a second success can still be given back, in minor units, after every refund that may count."""
    on_their_way = sum(r.amount for r in known if r.attempt_id == attempt.id and r.state not in REFUND_VOID)
    return max(0, attempt.amount - on_their_way - lost(payment, attempt, disputed))


def disputed(attempt: Attempt, known: Iterable[Dispute]) -> int:
    """What open chargebacks are about of a duplicate payment, in minor units."""
    about = [d for d in known if d.attempt_id == attempt.id and d.blocks_refunds]
    return sum(attempt.amount if d.amount is None else d.amount for d in about)


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
            its += dispute.booked
        elif dispute.attempt_id is None:
            unnamed += dispute.booked
        else:
            others += dispute.booked
    # The rest of the payment's own loss; less where one of the others is a third success.
    own_unnamed = max(0, payment.amount_lost - others)
    return its + max(0, unnamed - own_unnamed)


async def follow(
    db: PracticeDb, unit: Unit, attempt: Attempt, is_gone: bool, resolution: dict[str, Any], by: str, now: datetime
) -> None:
    """End the case of a duplicate payment where all of its money has gone back; open it again where that has come to
    nothing."""
    for case in await cases.listed(db, "open" if is_gone else "resolved", "excess", subject=attempt.id):
        if is_gone:
            cases.close(unit, case, resolution, by, now)
            audit.append(unit, now, by, "case.resolved", case.id, {"kind": case.kind, **resolution})
        elif case.detail["resolution"]["action"] in _ENDED_BY_FACTS:
            cases.reopen(unit, case)
            audit.append(unit, now, by, "case.reopened", case.id, {"kind": case.kind})
