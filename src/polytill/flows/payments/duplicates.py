"""Duplicate payments: how much of one was returned, and its case, which closes and reopens accordingly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.review_cases import CaseKind, CaseResolution, CaseState
from polytill.domain.states import REFUND_VOID, DisputeState
from polytill.flows.context import Practice
from polytill.storage import audit, cases
from polytill.storage.attempts import Attempt
from polytill.storage.disputes import Dispute
from polytill.storage.refunds import Refund
from polytill.storage.units import Unit

# Resolutions by facts. If such a fact is reversed, the case is reopened.
_ENDED_BY_FACTS = frozenset(
    {CaseResolution.refund_duplicate, CaseResolution.refunded_at_provider, CaseResolution.lost_in_dispute}
)


def left(attempt: Attempt, known: Iterable[Refund], disputed: Iterable[Dispute]) -> int:
    """How much of a duplicate payment can still be refunded, in minor units, after every refund that may count."""
    on_their_way = sum(r.amount for r in known if r.attempt_id == attempt.id and r.state not in REFUND_VOID)
    return max(0, attempt.amount - on_their_way - lost(attempt, disputed))


def disputed(attempt: Attempt, known: Iterable[Dispute]) -> int:
    """The amount of a duplicate payment under open chargebacks, in minor units."""
    about = [d for d in known if d.attempt_id == attempt.id and d.blocks_refunds]
    return sum(attempt.amount if d.amount is None else d.amount for d in about)


def lost(attempt: Attempt, disputed: Iterable[Dispute]) -> int:
    """What lost disputes took of a duplicate payment, in minor units."""
    return sum(d.booked for d in disputed if d.state is DisputeState.lost and d.attempt_id == attempt.id)


async def follow(
    practice: Practice, unit: Unit, attempt: Attempt, is_gone: bool, resolution: dict[str, Any], by: str
) -> None:
    """Close the case of a duplicate payment once all of its money was returned; reopen it if a return was reversed."""
    now = practice.now()
    for case in await cases.listed(
        practice.db, CaseState.open if is_gone else CaseState.resolved, CaseKind.duplicate_payment, subject=attempt.id
    ):
        if is_gone:
            cases.close(unit, case, resolution, by, now)
            audit.append(unit, now, by, AuditAction.case_resolved, case.id, {"kind": case.kind, **resolution})
        elif case.detail["resolution"]["action"] in _ENDED_BY_FACTS:
            cases.reopen(unit, case)
            audit.append(unit, now, by, AuditAction.case_reopened, case.id, {"kind": case.kind})
