"""Processes divide a server's connections among themselves, and together never exceed its part."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from polytill.app import Polytill
from polytill.flows.connection_shares import FEWEST, division
from polytill.flows.presence import Presence
from polytill.storage import connection_shares
from polytill.storage.connection_budget import SHORT_FOR
from polytill.web.connection_metrics import ConnectionMetrics
from tests.installation import fresh_settings, opened

TOTAL, MOST = 24, 20


@st.composite
def wishes(draw: st.DrawFn) -> tuple[dict[str, int], dict[str, int]]:
    most = draw(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(FEWEST, 50), min_size=1))
    return {name: draw(st.integers(0, 60)) for name in most}, most


@given(total=st.integers(0, 200), wish=wishes())
def test_a_division_is_fair_and_gives_everything(total: int, wish: tuple[dict[str, int], dict[str, int]]) -> None:
    wanted, most = wish
    parts = division(total, wanted, most)
    assert sum(parts.values()) <= max(total, 0) + FEWEST * len(parts)
    for name, part in parts.items():
        assert FEWEST <= part <= most[name]
        # Whoever has more than an equal part takes nothing from anyone who wants more, but for one that is left over.
        if part > total // len(parts) + FEWEST:
            assert all(parts[other] >= min(wanted[other], most[other], part - 1) for other in parts)
    if total >= sum(most.values()):
        assert parts == most, "what nobody wants is divided as well"


def test_what_nobody_wants_is_divided_equally() -> None:
    assert division(80, {"a": 4, "b": 4}, {"a": 100, "b": 100}) == {"a": 40, "b": 40}
    assert division(80, {"a": 100, "b": 4}, {"a": 100, "b": 100}) == {"a": 76, "b": 4}
    assert division(80, {"a": 100, "b": 100, "c": 4}, {"a": 100, "b": 100, "c": 100}) == {"a": 38, "b": 38, "c": 4}


class Fleet:
    """Processes of one installation, whose budgets may open no connection beyond their limits."""

    def __init__(self, tills: list[Polytill]) -> None:
        self.tills = tills
        self.nodes = [Presence(till.context, "test", runs_worker=True) for till in tills]

    def limits(self) -> list[int]:
        return [
            sum(one.limit for budgets in till.context.opening.budgets().values() for one in budgets)
            for till in self.tills
        ]

    async def turn(self, *numbers: int) -> None:
        for number in numbers:
            await self.nodes[number].sharing.agree()

    async def need(self, number: int) -> None:
        """Let a process be short of connections."""
        [budgets] = self.tills[number].context.opening.budgets().values()
        for budget in budgets:
            budget.counts.evicted += 1


@pytest.fixture
async def fleet(tmp_path: Path, postgres_url: str) -> AsyncIterator[Fleet]:
    settings = fresh_settings(tmp_path, postgres_url, server_connections=TOTAL, database_connections=MOST)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(opened(settings))
        tills = [first, *[await stack.enter_async_context(Polytill.open(settings)) for _ in range(2)]]
        yield Fleet(tills)


@pytest.mark.postgres
async def test_the_sum_of_all_shares_stays_within_the_servers_part(fleet: Fleet) -> None:
    await fleet.nodes[0].beat()
    assert fleet.limits()[0] == TOTAL, "alone it may have everything"
    await fleet.need(0)
    await fleet.turn(0)
    await fleet.nodes[1].beat()
    assert fleet.limits()[1] == 2 * FEWEST, "nothing is free yet"
    for _ in range(3):
        await fleet.need(0)
        await fleet.need(1)
        await fleet.turn(0, 1)
        assert sum(fleet.limits()[:2]) <= TOTAL
    assert fleet.limits()[:2] == [12, 12]
    for _ in range(2 * SHORT_FOR):  # the first is short of connections no longer
        await fleet.need(1)
        await fleet.turn(0, 1)
        assert sum(fleet.limits()[:2]) <= TOTAL
    assert fleet.limits()[1] > 12


@pytest.mark.postgres
async def test_a_process_that_is_gone_leaves_its_share_to_the_others(fleet: Fleet) -> None:
    owner = fleet.tills[0].context.owner
    for number in range(3):
        await fleet.nodes[number].beat()
    for _ in range(3):
        for number in range(3):
            await fleet.need(number)
        await fleet.turn(0, 1, 2)
    assert fleet.limits() == [8, 8, 8]
    await fleet.nodes[2].leave()
    await owner.engine.fetch("UPDATE nodes SET live_until = started_at WHERE id = $1 RETURNING 1", fleet.nodes[1].id)
    await fleet.need(0)
    await fleet.turn(0)
    assert fleet.limits()[0] == TOTAL
    found = await connection_shares.live(owner, [owner.engine.budget.server], fleet.tills[0].context.shared_after(0))  # type: ignore[attr-defined]
    assert [share.node_id for share in found] == [fleet.nodes[0].id]


@pytest.mark.postgres
async def test_a_process_that_agreed_once_writes_nothing_again(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    await fleet.nodes[0].beat()
    await fleet.turn(0)
    monkeypatch.setattr(connection_shares, "write", lambda *_: pytest.fail("it wrote its share again"))
    await fleet.turn(0)


@pytest.mark.postgres
async def test_metrics_name_each_budget(fleet: Fleet) -> None:
    await fleet.nodes[0].beat()
    context = fleet.tills[0].context
    context.opening.budgets_by_name()["default"].counts.evicted += 3
    registry = CollectorRegistry()
    registry.register(ConnectionMetrics(context))
    value = registry.get_sample_value
    assert value("polytill_connections_evicted_total", {"cluster": "default"}) == 3
    assert value("polytill_connections_limit", {"cluster": "default"}) == MOST - value(
        "polytill_connections_limit", {"cluster": "owner database"}
    ) + (TOTAL - MOST)
