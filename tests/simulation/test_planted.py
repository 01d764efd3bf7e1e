"""The simulation can fail: some of the planted bugs, each found within a bounded number of histories."""

from __future__ import annotations

import inspect

import pytest
from simulation.ground import Ground
from simulation.history import run_history
from simulation.planted import BUGS
from simulation.planting import find, planted

from polytill.flows.refunds import create as create_refunds

SOME = (
    "attempt_written_after_the_call",
    "crash_loses_the_attempt",
    "failover_while_a_link_lives",
    "idempotency_key_ignored",
)


def test_there_are_enough() -> None:
    assert len(BUGS) >= 15


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_fits_what_it_is_planted_in(name: str) -> None:
    """A replacement has the signature of what it replaces; otherwise only its exception would be found."""
    for owner, key, new in BUGS[name]():
        old = owner[key] if isinstance(owner, dict) else getattr(owner, key)
        if not callable(old):
            continue
        asked = [one for one in inspect.signature(old).parameters.values() if one.default is one.empty]
        given = [one.name for one in asked if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
        named = {one.name: one.name for one in asked if one.kind is one.KEYWORD_ONLY}
        inspect.signature(new).bind(*given, **named)


def test_a_mistake_that_only_breaks_the_product_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUGS, "outgrown", lambda: [(create_refunds, "_interpreted", lambda: None)])
    with pytest.raises(ValueError, match="no longer fits"):
        find("outgrown", 0, 20)


@pytest.mark.parametrize("name", SOME)
def test_a_planted_bug_is_found(laid: Ground, name: str) -> None:
    with planted(name):
        assert any(run_history(laid, seed).problems for seed in range(60))


@pytest.mark.parametrize("name", ["canceled_order_captured", "lost_charge_given_up", "lost_prompt_given_up"])
def test_a_mistake_at_a_provider_that_joined_later_is_found(name: str) -> None:
    assert find(name, 0, 200)


def test_a_mistake_about_decisions_by_staff_is_found() -> None:
    assert find("contradiction_not_recorded", 0, 40)


def test_a_bug_leaves_nothing_behind(laid: Ground) -> None:
    before = run_history(laid, 8, telling=True)
    with planted("out_of_order_regress"):
        run_history(laid, 8)
    assert run_history(laid, 8, telling=True).lines == before.lines
