"""Duplicate payments on a payment's page: the amount received twice, its refunds, and its review case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from polytill.domain.review_cases import CaseKind
from polytill.domain.states import REFUND_DONE, REFUND_VOID, AttemptState
from polytill.storage.attempts import Attempt
from polytill.storage.cases import OperatorCase
from polytill.storage.refunds import Refund


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A second success of one payment. Amounts in minor units; ``case_id`` is None if it has no review case."""

    attempt_id: str
    received: int
    refunded: int
    pending: int
    case_id: str | None


def duplicates_of(
    attempts: Iterable[Attempt], known: Iterable[Refund], found: Iterable[OperatorCase]
) -> list[Duplicate]:
    """The duplicates among a payment's attempts: those with a review case of that kind, open or resolved."""
    about = {case.subject: case.id for case in found if case.kind is CaseKind.duplicate_payment}
    known = list(known)
    listed = []
    for one in attempts:
        if one.id in about and one.state is AttemptState.succeeded:
            its = [refund for refund in known if refund.attempt_id == one.id]
            back = sum(refund.amount for refund in its if refund.state in REFUND_DONE)
            pending = sum(refund.amount for refund in its if refund.state not in REFUND_DONE | REFUND_VOID)
            listed.append(Duplicate(one.id, one.amount, back, pending, about[one.id]))
    return listed
