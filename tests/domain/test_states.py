"""The tables of states are total, their order is total, and each fact that a provider may report is possible."""

from __future__ import annotations

from enum import StrEnum
from itertools import combinations

import pytest

from polytill.domain import states
from polytill.domain.states import (
    ATTEMPT_CLOSED,
    ATTEMPT_LIVE,
    ATTEMPT_NEXT,
    ATTEMPT_WON,
    PAYMENT_NEXT,
    REFUND_DONE,
    REFUND_NEXT,
    REFUND_RESERVES,
    REFUND_VOID,
    AttemptState,
    PaymentStatus,
    RefundState,
)

TABLES = [(PaymentStatus, PAYMENT_NEXT), (AttemptState, ATTEMPT_NEXT), (RefundState, REFUND_NEXT)]
SORTED = [
    (AttemptState, (ATTEMPT_LIVE, ATTEMPT_CLOSED, ATTEMPT_WON)),
    (RefundState, (REFUND_RESERVES, REFUND_DONE, REFUND_VOID)),
]


@pytest.mark.parametrize(("kind", "table"), TABLES, ids=lambda v: getattr(v, "__name__", ""))
def test_table_is_total(kind: type[StrEnum], table: dict[StrEnum, frozenset[StrEnum]]) -> None:
    assert set(table) == set(kind)
    for state, following in table.items():
        assert following <= set(kind)
        assert state not in following, f"{state} → {state} is no change"


@pytest.mark.parametrize(("kind", "parts"), SORTED, ids=lambda v: getattr(v, "__name__", ""))
def test_sorting_is_total(kind: type[StrEnum], parts: tuple[frozenset[StrEnum], ...]) -> None:
    assert frozenset().union(*parts) == set(kind)
    for one, other in combinations(parts, 2):
        assert not one & other


def test_the_tables_are_the_architectures() -> None:
    def words(text: str) -> frozenset[str]:
        return frozenset(text.split())

    assert ATTEMPT_NEXT[AttemptState.needs_action] == words("pending authorized succeeded declined expired canceled")
    assert ATTEMPT_NEXT[AttemptState.authorized] == words("succeeded canceled expired")
    assert ATTEMPT_NEXT[AttemptState.unknown] == set(AttemptState) - {AttemptState.sent, AttemptState.unknown}
    assert PAYMENT_NEXT[PaymentStatus.failed] >= words("processing succeeded")
    assert PAYMENT_NEXT[PaymentStatus.canceled] >= words("processing succeeded")
    assert REFUND_NEXT[RefundState.succeeded] == words("failed")
    assert REFUND_NEXT[RefundState.sent] >= words("pending succeeded declined not_sent unknown")


@pytest.mark.parametrize("closed", sorted(ATTEMPT_CLOSED))
def test_a_late_success_is_legal(closed: AttemptState) -> None:
    assert ATTEMPT_NEXT[closed] == {AttemptState.authorized, AttemptState.succeeded}


def test_money_that_came_stays() -> None:
    assert PAYMENT_NEXT[PaymentStatus.succeeded] == frozenset()
    assert ATTEMPT_NEXT[AttemptState.succeeded] == frozenset()


def test_nothing_returns_to_sent() -> None:
    for _, table in TABLES[1:]:
        assert all("sent" not in following for following in table.values())
    assert "unknown" not in frozenset().union(*(ATTEMPT_NEXT[s] for s in AttemptState if s != AttemptState.sent))


def test_every_enum_is_a_plain_word() -> None:
    kinds = [kind for kind in vars(states).values() if isinstance(kind, type) and issubclass(kind, StrEnum)]
    assert len(kinds) >= 7
    for kind in kinds:
        for member in kind:
            assert member.name == member.value
