"""How soon a lost answer is known once the provider answers again: computed over many outages, never timed."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from polytill.domain.states import AttemptState
from polytill.flows.schedule import after_sent, next_lookup
from polytill.flows.worker.claims import QUIET_FACTOR
from polytill.settings import Settings

START = datetime(2026, 1, 1, tzinfo=UTC)


def known_after_s(outage_s: float, chance: random.Random, first: datetime) -> float:
    """Seconds from the provider's return until a worker has asked it, the visits falling as late as they may."""
    interval_s = float(Settings.model_fields["sweep_interval_s"].default)
    back, due, lookups = START + timedelta(seconds=outage_s), first, 0
    while True:
        asked = due + timedelta(seconds=chance.uniform(0, interval_s * (QUIET_FACTOR + 0.5)))
        if asked >= back:
            return (asked - back).total_seconds()
        lookups += 1
        following = next_lookup(AttemptState.unknown, lookups, asked)
        assert following is not None, "unknown is pursued for ever"
        due = following


@pytest.mark.parametrize(("longest_s", "name"), [(60, "a minute"), (3600, "an hour"), (20 * 3600, "most of a day")])
def test_a_lost_answer_is_known_within_a_minute_of_the_providers_return(longest_s: float, name: str) -> None:
    chance = random.Random(longest_s)
    first = next_lookup(AttemptState.unknown, 0, START)
    assert first is not None
    waits = sorted(known_after_s(chance.uniform(0, longest_s), chance, first) for _ in range(400))
    assert waits[int(len(waits) * 0.95)] <= 60, name


def test_a_process_that_died_in_a_call_is_noticed_within_a_minute() -> None:
    timeout_s = float(Settings.model_fields["provider_timeout_s"].default)
    chance = random.Random(1)
    waits = sorted(known_after_s(0, chance, after_sent(START, timeout_s)) for _ in range(400))
    assert waits[int(len(waits) * 0.95)] <= 60


def test_it_thins_out_and_never_ends() -> None:
    pauses = [(next_lookup(AttemptState.unknown, n, START) or START) - START for n in (0, 3, 20, 2879, 2880, 100_000)]
    assert [pause.total_seconds() for pause in pauses] == [2, 16, 30, 30, 600, 600]
