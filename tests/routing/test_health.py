"""A provider's circuit breaker as a table of events, and what holds for every history of calls."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.money import Money
from polytill.domain.routing import HealthState, Verdict
from polytill.flows.routing import health as rules
from polytill.flows.routing.health import (
    ProviderHealth,
    Witness,
    availability,
    begin_probe,
    concerns,
    observe,
    seen_by,
    state_at,
    technical,
    verdict,
)
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Outcome, Pending, Reason, Succeeded, Unknown
from tests.routing.making import NOON

SECOND = timedelta(seconds=1)


def after(calls: str, health: ProviderHealth | None = None, since: datetime = NOON) -> ProviderHealth:
    """The health after calls, one a second: "x" a technical failure, "." any other result."""
    found = health or ProviderHealth()
    for number, call in enumerate(calls):
        found = observe(found, call == "x", since + number * SECOND)
    return found


@pytest.mark.parametrize(
    ("calls", "opens"),
    [
        ("", False),
        ("xxxx", False),
        ("xxxxx", True),
        ("xxxx.xxxx", False),
        (".x" * 9, False),
        (".x" * 10, True),  # half of the last 20
        (".." * 50 + "x" * 4, False),
        (".." * 50 + "x" * 5, True),
        (("..x" * 50), False),
    ],
)
def test_when_it_opens(calls: str, opens: bool) -> None:
    found = after(calls)
    assert (found.state is HealthState.open) == opens
    assert verdict(found, NOON + len(calls) * SECOND) == (Verdict.failing if opens else Verdict.healthy)


def who(letters: str, health: ProviderHealth | None = None) -> ProviderHealth:
    """The health after failed calls, two letters each: the process and the practice. A "." before them: it worked."""
    found = health or ProviderHealth()
    for number, one in enumerate(letters.split()):
        found = observe(found, "." not in one, NOON + number * SECOND, witness=Witness(one[-2], one[-1]))
    return found


@pytest.mark.parametrize(
    ("calls", "skips"),
    [
        ("1a " * 5, "1a"),
        ("1a 1b " * 3, "1a 1b"),  # one process, such as one whose network is broken
        ("1a 2a " * 3, "1a 2a"),  # one practice, such as one that provokes errors
        ("1a 2b " * 3, "1a 1b 2a 2b"),
        ("2b .2b " + "1a " * 5, "1a"),  # what opened it was seen by one
        ("2b .2b " * 5 + "1a .1a " * 5, "1a 1b 2a 2b"),  # half of the last 20
        ("1a " * 5 + "2b " * 4, "1a"),
        ("1a " * 5 + "2b " * 4 + ".2b 2b", "1a"),
        ("1a " * 5 + "2b " * 5, "1a 1b 2a 2b"),
        ("1a " * 5 + "1b " * 5, "1a 1b"),
        ("1a " * 5 + "1b " * 5 + "2a " * 5, "1a 1b 2a 2b"),
    ],
)
def test_failures_that_one_process_or_one_practice_saw_say_nothing_to_the_others(calls: str, skips: str) -> None:
    found = who(calls)
    assert found.state is HealthState.open
    assert [one for one in ("1a", "1b", "2a", "2b") if concerns(found, Witness(*one))] == skips.split()


def test_who_saw_it_is_kept_while_it_fails_and_forgotten_with_its_calls() -> None:
    opened = who("1a " * 5)
    assert opened.until is not None
    probed = begin_probe(opened, "probe", opened.until)
    assert probed is not None
    again = observe(probed, True, opened.until, "probe", Witness("1", "a"))
    assert (again.only_process, again.only_practice, again.opened) == ("1", "a", 2)
    later = NOON + rules.REMEMBERED + 9 * SECOND
    assert observe(who("1a " * 4), True, later, witness=Witness("2", "b")).failed_by == (Witness("2", "b"),)
    assert len(who("1a .1a " * 9 + "2b").failed_by) == 10


@pytest.mark.parametrize("calls", ["", "1a " * 4, "1a " * 5, ".2b " * 3 + "1a .2b 1a", "1a 1b " * 3, "1a 2a " * 2])
def test_failures_of_one_lower_the_availability_for_nobody_else(calls: str) -> None:
    found, at = who(calls), NOON + 10 * SECOND
    for other in ("2b", "3c"):
        if Witness(*other) not in found.failed_by:
            seen = seen_by(found, Witness(*other))
            assert (verdict(seen, at), availability(seen, at)) == (Verdict.healthy, 1_000_000)
    for one in found.failed_by:
        assert seen_by(found, one) == found


def test_failures_of_two_practices_in_two_processes_lower_it_for_everybody() -> None:
    found = who("1a 2b")
    assert seen_by(found, Witness("3", "c")) == found


def test_what_others_saw_is_forgotten_like_any_call() -> None:
    found, at = who("1a " * 5 + "2b " * 4), NOON + 9 * SECOND
    for _ in range(8):
        at += rules.REMEMBERED + SECOND
        found = replace(found, until=at)  # it is probed and fails again and again
        found = observe(found, True, at, witness=Witness("2", "b"))
    assert not concerns(found, Witness("2", "b")), "one failure in ten minutes"


def test_a_verdict_that_nobody_can_end_is_forgotten() -> None:
    opened = who("1a " * 5)  # and then the process ends
    assert opened.until is not None
    soon, late = opened.until + rules.REMEMBERED, opened.until + rules.REMEMBERED + SECOND
    assert observe(opened, False, soon, witness=Witness("2", "b")).state is HealthState.open
    assert observe(opened, False, late, witness=Witness("2", "b")) == ProviderHealth(recent="0", seen_at=late)
    found = opened
    for number in range(5):
        found = observe(found, True, late + number * SECOND, witness=Witness("2", "b"))
    assert found.state is HealthState.open
    assert not concerns(found, Witness("3", "c")), "the failures of one process and one practice"


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Succeeded(Money(1, "NGN")), False),
        (NeedsAction(None), False),
        (Pending(), False),
        *((Declined(reason, True), False) for reason in (Reason.declined, Reason.provider_unavailable)),
        *((NotSent(reason), True) for reason in (Reason.unreachable, Reason.provider_unavailable)),
        *((Unknown(reason), True) for reason in (Reason.timeout, Reason.unreadable, Reason.provider_unavailable)),
        # The practice's own account, its own request or its own limit says nothing about the provider.
        *((NotSent(reason), None) for reason in (Reason.config, Reason.validation, Reason.rate_limited)),
        (Unknown(Reason.config), None),
    ],
)
def test_what_is_a_technical_failure(outcome: Outcome, expected: bool | None) -> None:
    assert technical(outcome) is expected


def test_it_comes_back_by_itself_with_one_probe_at_a_time() -> None:
    opened = after("xxxxx")
    opened_at = opened.seen_at
    assert opened_at is not None
    assert begin_probe(opened, "a", opened_at + 29 * SECOND) is None
    due = opened_at + rules.FIRST_PAUSE
    assert state_at(opened, due) is HealthState.half_open
    assert verdict(opened, due) is Verdict.probe
    probed = begin_probe(opened, "a", due)
    assert probed is not None
    assert verdict(probed, due) is Verdict.failing
    assert begin_probe(probed, "b", due) is None
    # Late results of calls that began before it opened change nothing.
    assert observe(probed, False, due, "other") == probed
    once = observe(probed, False, due + SECOND, "a")
    assert (once.state, verdict(once, due + SECOND)) == (HealthState.half_open, Verdict.probe)
    again = begin_probe(once, "b", due + SECOND)
    assert again is not None
    closed = observe(again, False, due + 2 * SECOND, "b")
    assert closed == ProviderHealth(recent="1111100", seen_at=due + 2 * SECOND, opened=1, failed_by=(rules.NOBODY,) * 5)
    assert verdict(closed, due + 2 * SECOND) is Verdict.healthy


def closed_again(calls: str) -> tuple[ProviderHealth, datetime]:
    """A provider that opened after these calls, and closed after two probes that worked."""
    found = after(calls)
    assert found.until is not None
    at = found.until
    for attempt in ("a", "b"):
        probed = begin_probe(found, attempt, at)
        assert probed is not None
        found = observe(probed, False, at, attempt)
    assert found.state is HealthState.closed
    return found, at


def test_one_that_fails_again_soon_pauses_longer_and_one_that_works_starts_anew() -> None:
    found, at = closed_again("x." * 10)
    again = observe(observe(found, True, at), True, at)
    assert (again.state, again.until) == (HealthState.open, at + 2 * rules.FIRST_PAUSE)
    well = after("." * 20, found, at)
    assert well == ProviderHealth(recent="0" * 20, seen_at=at + 19 * SECOND)
    late = observe(found, True, at + rules.REMEMBERED + SECOND)
    assert (late.state, late.recent, late.opened) == (HealthState.closed, "1", 0)


def test_the_pause_doubles_and_a_lost_probe_gives_way() -> None:
    found, at, pauses = after("xxxxx"), NOON + 4 * SECOND, []
    for number in range(7):
        assert found.until is not None
        pauses.append(int((found.until - at).total_seconds()))
        at = found.until
        probed = begin_probe(found, f"a{number}", at)
        assert probed is not None
        found = observe(probed, True, at, f"a{number}")
        assert found.opened_at == NOON + 4 * SECOND
    assert pauses == [30, 60, 120, 240, 480, 600, 600]
    assert found.until is not None
    lost = begin_probe(found, "lost", found.until)
    assert lost is not None
    later = found.until + rules.PROBE_TIMEOUT
    assert verdict(lost, later - SECOND) is Verdict.failing
    taken = begin_probe(lost, "next", later)
    assert taken is not None
    assert observe(taken, False, later, "lost") == taken


def test_old_calls_are_forgotten() -> None:
    found = after("xxxx")
    late = NOON + rules.REMEMBERED + 4 * SECOND
    assert availability(found, NOON + 4 * SECOND) == 500_000
    assert availability(found, late) == 1_000_000
    assert observe(found, True, late).state is HealthState.closed


events = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from(["worked", "failed", "probe", "worked a", "failed a", "failed b"]))
)


@given(events)
def test_every_history_leads_back(history: list[tuple[int, str]]) -> None:
    found, at = ProviderHealth(), NOON
    for seconds, event in history:
        at += seconds * SECOND
        result, _, attempt = event.partition(" ")
        if result == "probe":
            probed = begin_probe(found, "a", at)
            assert (probed is None) == (verdict(found, at) is not Verdict.probe)
            found = probed or found
        else:
            found = observe(found, result == "failed", at, attempt or None)
        assert 0 < availability(found, at) <= 1_000_000
        assert len(found.recent) <= rules.WINDOW
        assert (state_at(found, at) is HealthState.closed) == (verdict(found, at) is Verdict.healthy)
    # Whatever happened, it is healthy again after the longest pause and two probes that work.
    at += rules.LONGEST_PAUSE + rules.PROBE_TIMEOUT
    for probe in ("p1", "p2"):
        probed = begin_probe(found, probe, at)
        if probed is not None:
            found = observe(probed, False, at, probe)
    assert verdict(found, at) is Verdict.healthy
