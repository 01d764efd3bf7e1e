"""The pure parts of the rollout: steps, percentages, and why the old code and polytill chose differently."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.rollout import (
    BACK,
    BUCKETS,
    FORWARD,
    ROLLOUT_NEXT,
    DifferenceReason,
    RolloutPhase,
    WhoDecides,
    bucket_of,
    is_within,
    who_decides,
)
from polytill.domain.routing import Strategy, WhyExcluded, WhyLater
from polytill.domain.states import CaptureMode, Environment
from polytill.flows.rollout import steps
from polytill.flows.rollout.batches import batch_of
from polytill.flows.rollout.differences import REASONS, disagreement
from polytill.flows.routing.eligibility import Candidate, Wanted
from polytill.providers.contract import CustomerFields
from polytill.storage.catalog import CurrencySupport
from polytill.storage.practice_rollouts import Rollout
from tests.routing.making import decided

PHASES = (None, *RolloutPhase)

# ── Steps ──


def test_every_phase_leads_forward_to_closed_and_nothing_leads_out() -> None:
    phase, way = None, []
    while (phase := FORWARD.get(phase)) is not None:
        way.append(phase)
    assert way == [RolloutPhase.legacy, RolloutPhase.shadow, RolloutPhase.live, RolloutPhase.closed]
    assert ROLLOUT_NEXT[RolloutPhase.closed] == frozenset()
    assert all(BACK[after] is before for before, after in pairwise(way[:-1]))
    for here in PHASES:
        assert ROLLOUT_NEXT[here] == {one for one in (FORWARD.get(here), BACK.get(here)) if one is not None}


@given(st.sampled_from(PHASES), st.sampled_from([*RolloutPhase]))
def test_a_step_that_is_refused_says_why(phase: RolloutPhase | None, to: RolloutPhase) -> None:
    said = steps.why_not(phase, to)
    assert (said is None) == (to in ROLLOUT_NEXT[phase])
    if said is not None:
        assert said.endswith(".")


def test_whoever_decides_next_must_know_the_same() -> None:
    for phase in PHASES:
        for to in ROLLOUT_NEXT[phase]:
            changes_hands = who_decides(phase) is not who_decides(to)
            assert not changes_hands or steps.needs_equal(phase, to), (phase, to)
    assert steps.needs_equal(RolloutPhase.live, RolloutPhase.closed)
    assert who_decides(None) is WhoDecides.legacy


def test_the_reason_names_what_differs_and_is_bounded() -> None:
    assert steps.why_not_equal(RolloutPhase.live, []) is None
    said = steps.why_not_equal(RolloutPhase.live, [f"provider {n}" for n in range(9)])
    assert said is not None
    assert "provider 4" in said
    assert "provider 5" not in said
    assert "4 more" in said


# ── Percentages ──


@given(st.integers(1, 2**31 - 1), st.one_of(st.none(), st.text(max_size=20)), st.integers(0, 100), st.integers(0, 100))
def test_a_larger_percentage_includes_a_smaller_one(practice: int, external: str | None, a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert 0 <= bucket_of(practice, external) < BUCKETS
    assert not is_within(practice, external, 0)
    assert is_within(practice, external, 100)
    assert is_within(practice, external, high) or not is_within(practice, external, low)


def test_a_percentage_takes_about_its_share() -> None:
    taken = sum(is_within(n, f"practice-{n}", 25) for n in range(4_000))
    assert 900 < taken < 1_100
    assert bucket_of(1, "a") == bucket_of(2, "a")  # the host's own id counts, in every installation


# ── Many practices ──


def test_a_move_in_parts_tries_every_practice_once() -> None:
    """Also if every one of them is refused, and so remains in its phase."""
    live = RolloutPhase.live
    chosen = [a_rollout(number, live if number % 5 == 0 else RolloutPhase.shadow) for number in range(1, 25)]
    tried, unchanged, after = [], [], 0
    while True:
        batch = batch_of([*reversed(chosen)], live, after, 7)
        tried += [one.practice_id for one in batch.now]
        unchanged += [one.practice_id for one in batch.unchanged]
        assert batch.left == 20 - len(tried)
        if batch.next_after is None:
            break
        after = batch.next_after
    assert tried == [number for number in range(1, 25) if number % 5]
    assert unchanged == [5, 10, 15, 20]


# ── Differences ──


def a_rollout(practice_id: int, phase: RolloutPhase) -> Rollout:
    values: dict[str, object] = {one.name: None for one in fields(Rollout)}
    return Rollout(**(values | {"practice_id": practice_id, "phase": phase}))  # type: ignore[arg-type]


def candidate(code: str, **more: object) -> Candidate:
    values: dict[str, object] = {
        "code": code,
        "name": code.title(),
        "config_id": len(code),
        "environment": Environment.production,
        "is_enabled": True,
        "catalog_status": "active",
        "handler_missing": None,
        "practice_currencies": frozenset({"NGN"}),
        "support": CurrencySupport("NGN", False, None, None, 1_000, 1_000_000, True),
        "methods": frozenset({"card"}),
        "captures_manually": False,
        "is_default": False,
        "priority": 0,
        "catalog_priority": 0,
    }
    return Candidate(**(values | more))  # type: ignore[arg-type]


WANTED = Wanted("NGN", 5_000, "card", CaptureMode.automatic, None, Environment.production)
OURS = candidate("ours", is_default=True)
CASES = [
    ("ours", [OURS], None),
    (None, [], None),
    (None, [OURS], DifferenceReason.legacy_chose_nothing),
    ("theirs", [], DifferenceReason.we_chose_nothing),
    ("theirs", [OURS], DifferenceReason.not_configured),
    ("theirs", [OURS, candidate("theirs")], DifferenceReason.other_default),
    ("theirs", [candidate("ours", priority=1), candidate("theirs")], DifferenceReason.other_order),
    ("theirs", [OURS, candidate("theirs", is_enabled=False)], DifferenceReason.not_enabled),
    ("theirs", [candidate("theirs", is_enabled=False)], DifferenceReason.not_enabled),
    ("theirs", [OURS, candidate("theirs", practice_currencies=frozenset({"KES"}))], DifferenceReason.currency_missing),
    ("theirs", [OURS, candidate("theirs", support=None)], DifferenceReason.currency_missing),
    ("theirs", [OURS, candidate("theirs", methods=frozenset({"ussd"}))], DifferenceReason.method),
    ("theirs", [OURS, candidate("theirs", environment=Environment.sandbox)], DifferenceReason.environment),
    ("theirs", [OURS, candidate("theirs", catalog_status="inactive")], DifferenceReason.provider_unavailable),
    (
        "theirs",
        [OURS, candidate("theirs", handler_missing="It is not installed.")],
        DifferenceReason.provider_unavailable,
    ),
    ("theirs", [OURS, candidate("theirs", amount_step=300)], DifferenceReason.limits),
]


@pytest.mark.parametrize(
    ("theirs", "candidates", "reason"), CASES, ids=[f"{number}-{reason}" for number, (*_, reason) in enumerate(CASES)]
)
def test_a_difference_has_its_reason(
    theirs: str | None, candidates: list[Candidate], reason: DifferenceReason | None
) -> None:
    found = disagreement(theirs, decided(candidates, WANTED))
    assert (found.reason if found else None) is reason
    if found is not None:
        assert found.detail
        lagging = disagreement(theirs, decided(candidates, WANTED), in_sync=False)
        assert lagging is not None
        assert lagging.reason is DifferenceReason.not_in_sync


@pytest.mark.parametrize("amount", [10, 2_000_000])
def test_an_amount_outside_of_the_limits(amount: int) -> None:
    ours = candidate("ours", support=CurrencySupport("NGN", False, None, None, None, None, True))
    wanted = Wanted("NGN", amount, "card", CaptureMode.automatic, None, Environment.production)
    found = disagreement("theirs", decided([ours, candidate("theirs")], wanted))
    assert found is not None
    assert found.reason is DifferenceReason.limits


@given(
    st.sampled_from(["ours", "theirs", "third", None]),
    st.lists(st.sampled_from(["ours", "theirs", "third"]), unique=True),
    st.sets(st.sampled_from(["ours", "theirs", "third"])),
    st.booleans(),
)
def test_a_difference_is_found_exactly_if_the_choices_differ(
    theirs: str | None, codes: list[str], disabled: set[str], in_sync: bool
) -> None:
    found = decided([candidate(code, is_enabled=code not in disabled) for code in codes], WANTED)
    ours = found.ranked[0].code if found.ranked else None
    assert (disagreement(theirs, found, in_sync) is None) == (ours == theirs)


def test_reasons_name_only_what_excludes() -> None:
    assert REASONS.keys() <= set(WhyExcluded)


def test_another_order_by_a_policy_or_by_health_has_its_own_reason() -> None:
    found = decided([OURS, candidate("theirs")], WANTED)
    first, later = found.ranked
    by_policy = disagreement("theirs", replace(found, strategy=Strategy.weighted))
    failing = disagreement("theirs", replace(found, ranked=(first, later._replace(why=WhyLater.failing))))
    assert by_policy is not None
    assert failing is not None
    assert (by_policy.reason, failing.reason) == (DifferenceReason.other_strategy, DifferenceReason.provider_failing)


def test_what_the_old_code_does_not_report_is_another_requirement() -> None:
    wanted = replace(WANTED, customer_fields=frozenset())
    needs = CustomerFields(("email",))
    found = decided([OURS, candidate("theirs", customer_fields=lambda *_: needs)], wanted)
    missing = disagreement("theirs", found)
    assert missing is not None
    assert missing.reason is DifferenceReason.other_requirement
