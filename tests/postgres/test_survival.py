"""A small slice of the campaign with real processes (``python -m benchmarks.survival``): kills and one failover."""

from __future__ import annotations

import argparse

import pytest
from benchmarks.survival import run


@pytest.mark.postgres
async def test_nothing_acknowledged_is_lost_when_processes_die() -> None:
    score = await run(argparse.Namespace(kills=3, failover=True, owner_outage=0.0, provider_outage=0.0, seed=7))
    assert score["unproven"] == {}, score
    assert score["provider"] == score["ledger"] > 0, score
    assert score["paidTwice"] == 0, score
    assert len(score["recovery"]) >= 2, score
