"""Some histories on PostgreSQL, whose schedule is real, and a planted bug that is found there, too."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from simulation.campaign import Campaign, carry_on
from simulation.ground import Ground
from simulation.history import run_history
from simulation.on_postgres import ground_on
from simulation.planted import BUGS
from simulation.planting import planted

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def laid(postgres_url: str) -> Iterator[Ground]:
    """What every history on the server starts from."""
    with ground_on(postgres_url) as made:
        yield made


def test_fresh_seeds(laid: Ground) -> None:
    first = secrets.randbelow(10**9)
    for seed in range(first, first + 8):
        problems = run_history(laid, seed).problems
        assert not problems, f"--server URL --seed {seed} --histories 1\n" + "\n".join(problems)


@pytest.mark.parametrize("name", ["idempotency_key_ignored", "attempt_written_after_the_call"])
def test_a_planted_bug_is_found(laid: Ground, name: str) -> None:
    assert name in BUGS
    with planted(name):
        assert any(run_history(laid, seed).problems for seed in range(20))


def test_nodes_die_around_writes_of_the_server(postgres_url: str) -> None:
    campaign = Campaign(20, 6)
    assert carry_on(campaign, 1, None, lambda line: None, postgres_url)
    assert any(point.startswith(("before_write +payments", "after_write +payments")) for point in campaign.tally.passed)
    assert sum(campaign.tally.crashed.values())
    assert campaign.failed == {}
