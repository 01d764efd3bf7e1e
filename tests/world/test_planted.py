"""The simulation can fail: some of the planted bugs, each found within a bounded number of histories."""

from __future__ import annotations

import pytest

from polytill.testing.world.ground import Ground
from polytill.testing.world.history import run_history
from polytill.testing.world.planted import BUGS
from polytill.testing.world.planting import planted

SOME = (
    "attempt_written_after_the_call",
    "crash_loses_the_attempt",
    "failover_while_a_link_lives",
    "idempotency_key_ignored",
)


def test_there_are_enough() -> None:
    assert len(BUGS) >= 15


@pytest.mark.parametrize("name", SOME)
def test_a_planted_bug_is_found(laid: Ground, name: str) -> None:
    with planted(name):
        assert any(run_history(laid, seed).problems for seed in range(60))


def test_a_bug_leaves_nothing_behind(laid: Ground) -> None:
    before = run_history(laid, 8, telling=True)
    with planted("out_of_order_regress"):
        run_history(laid, 8)
    assert run_history(laid, 8, telling=True).lines == before.lines
