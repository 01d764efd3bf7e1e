"""Deliberate bugs about decisions by staff: found among the seeds with such decisions."""

from __future__ import annotations

from typing import Any

from polytill.flows.payments import contradictions
from polytill.flows.review import staff_decisions as review_staff_decisions
from polytill.storage import payment_identifiers, staff_decisions
from simulation.planting import Swap, bug_of_staff


@bug_of_staff
def contradiction_not_recorded() -> list[Swap]:
    """A provider contradicts a decision by staff, and no review case opens."""
    return [(contradictions, "contradict", lambda *_: None)]


@bug_of_staff
def own_success_booked_again() -> list[Swap]:
    """The provider reports the payment that staff marked as paid under its own id, and it is booked a second time."""

    async def never_the_same(*_: Any) -> bool:
        return False

    return [(contradictions, "_is_same", never_the_same)]


@bug_of_staff
def decision_not_kept() -> list[Swap]:
    """A decision by staff is applied, but not stored."""
    return [(staff_decisions, "insert", lambda *_: None)]


@bug_of_staff
def late_refund_not_contradicted() -> list[Swap]:
    """Staff marked a refund as not made, and the provider's later report of it opens no case."""
    against = contradictions.refund_against_staff

    async def never(db: Any, refund: Any, outcome: Any, becomes: Any) -> Any:
        return None if becomes is not None else await against(db, refund, outcome, becomes)

    return [(contradictions, "refund_against_staff", never)]


@bug_of_staff
def one_transaction_pays_two() -> list[Swap]:
    """A transaction that paid one attempt is accepted as the proof of another."""

    async def nobody(*_: Any) -> None:
        return None

    return [(payment_identifiers, "other_attempt", nobody), (review_staff_decisions, "_no_other", nobody)]
