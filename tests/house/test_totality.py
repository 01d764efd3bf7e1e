"""Every place that writes out the members of a closed type has all of them, and no other."""

from __future__ import annotations

import pytest

from polytill.domain.audit_actions import AuditAction
from polytill.domain.states import (
    REFUND_NEXT,
    CountedAs,
    DecidedOn,
    DetachmentState,
    DisputeState,
    OperationKind,
    PaymentStatus,
)
from tests.house.closed_types import PLACES, Place

# Actions that flows put together from the state that they wrote.
PUT_TOGETHER = [
    *(f"payment.{each}" for each in (*PaymentStatus, *OperationKind)),
    *(f"refund.{each}" for each in sorted(frozenset().union(*REFUND_NEXT.values()))),
    *(f"dispute.{each}" for each in DisputeState),
    *(f"inquiry.{each}" for each in DisputeState if each is not DisputeState.lost),  # then it is a dispute
    *(f"dispute.counted_{each}" for each in CountedAs),
    *(f"saved_method.{each}" for each in DetachmentState if each is not DetachmentState.due),
    *(
        f"{what}.marked_{done}"
        for what in DecidedOn
        for done in ("done", "not_done")
        if what is not DecidedOn.payment  # it has an action of its own: marked as paid
    ),
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.type.__name__}: {place.name}")
def test_place(place: Place) -> None:
    mistakes = list(place.mistakes())
    assert not mistakes, "\n" + "\n".join(mistakes)


@pytest.mark.parametrize("action", PUT_TOGETHER)
def test_an_action_that_is_put_together_exists(action: str) -> None:
    assert action in AuditAction.__members__.values()
