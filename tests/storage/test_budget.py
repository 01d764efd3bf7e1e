"""The connections to one PostgreSQL server: a limit that holds, fair waiting, and no leak."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from polytill.domain.errors import NotNow
from polytill.storage import connection_budget
from polytill.storage.clusters import create_postgres_database, drop_postgres_database
from polytill.storage.connection_budget import MOST_OVERTAKEN, SHORT_FOR, Budget
from polytill.storage.postgres import PostgresEngine
from polytill.storage.postgres_connect import with_database

pytestmark = pytest.mark.postgres


@pytest.fixture
async def databases(postgres_url: str) -> AsyncIterator[list[str]]:
    names = [f"budget_{secrets.token_hex(5)}" for _ in range(3)]
    for name in names:
        await create_postgres_database(postgres_url, name)
    yield names
    for name in names:
        await drop_postgres_database(postgres_url, name)


@pytest.fixture
async def budget(postgres_url: str) -> AsyncIterator[Budget]:
    made = Budget(postgres_url, ceiling=2, wait_s=30.0)
    yield made
    await made.close()
    assert made.total == 0, "a connection was lost count of"
    assert not made._waiting


class Watched:
    """Counts open connections."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.open: list[Any] = []
        self.most = 0
        real = connection_budget.connect

        async def connect(url: str) -> Any:
            connection = await real(url)
            self.open.append(connection)
            self.most = max(self.most, sum(not c.is_closed() for c in self.open))
            return connection

        patch.setattr(connection_budget, "connect", connect)


async def turns(number: int = 5) -> None:
    """Run every task that is ready."""
    for _ in range(number):
        await asyncio.sleep(0)


async def test_the_ceiling_is_never_exceeded(
    budget: Budget, databases: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    most = 0

    async def one(number: int) -> int:
        nonlocal most
        async with budget.lend(databases[number % 3]) as connection:
            most = max(most, budget.total)
            return int(await connection.fetchval("SELECT $1::int", number))

    assert await asyncio.gather(*(one(number) for number in range(60))) == list(range(60))
    assert most == 2
    assert watched.most <= 2


async def test_a_warm_connection_is_used_again(budget: Budget, databases: list[str]) -> None:
    async with budget.lend(databases[0]) as first:
        pass
    async with budget.lend(databases[0]) as again:
        assert again is first
    assert budget.counts.opened == 1


async def test_the_least_recently_used_idle_one_makes_room(budget: Budget, databases: list[str]) -> None:
    kept = {}
    for name in (databases[0], databases[1], databases[0]):
        async with budget.lend(name) as connection:
            kept[name] = connection
    async with budget.lend(databases[2]):
        assert kept[databases[1]].is_closed()
        assert not kept[databases[0]].is_closed()
        assert budget.total == 2


async def test_one_in_use_is_never_closed(budget: Budget, databases: list[str]) -> None:
    async with budget.lend(databases[0]) as busy, budget.lend(databases[1]):
        waiting = asyncio.create_task(use(budget, databases[2]))
        await turns()
        assert not waiting.done()
        assert await busy.fetchval("SELECT 1") == 1
    await waiting


async def use(budget: Budget, name: str, order: list[str] | None = None) -> Any:
    async with budget.lend(name) as connection:
        if order is not None:
            order.append(name)
        return connection


async def test_those_who_wait_for_the_same_practice_come_first(budget: Budget, databases: list[str]) -> None:
    order: list[str] = []
    done = asyncio.Event()

    async def hold() -> Any:
        async with budget.lend(databases[0]) as connection:
            await done.wait()
            return connection

    async with budget.lend(databases[1]):
        holding = asyncio.create_task(hold())
        while budget.counts.opened < 2:  # noqa: ASYNC110 (opening a connection tells nobody)
            await asyncio.sleep(0)
        waiting = [asyncio.create_task(use(budget, name, order)) for name in (databases[2], databases[0], databases[0])]
        await turns()
        assert len(budget._waiting) == 3
        done.set()
        held = await holding
        assert await waiting[1] is held
        assert await waiting[2] is held
        assert await waiting[0] is not held
    assert order == [databases[0], databases[0], databases[2]]
    assert budget.counts.opened == 3


async def test_a_connection_in_use_is_waited_for_a_moment(
    budget: Budget, databases: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    budget.resize(10)
    monkeypatch.setattr(connection_budget, "PATIENCE_S", 30.0)
    async with budget.lend(databases[0]) as held:
        second = asyncio.create_task(use(budget, databases[0]))
        await turns()
        async with budget.lend(databases[0]) as third:
            assert third is not held, "one caller waits for a connection, no more"
            assert not second.done()
        assert await second is third
    assert (budget.counts.opened, budget.counts.waits, budget.total) == (2, 0, 2)


async def test_a_connection_that_does_not_come_back_is_not_waited_for(
    budget: Budget, databases: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    budget.resize(10)
    monkeypatch.setattr(connection_budget, "PATIENCE_S", 0.0)
    async with budget.lend(databases[0]) as held:
        assert await use(budget, databases[0]) is not held
    assert not budget._patient
    assert not budget._lent


async def test_who_waits_for_one_connection_takes_no_slot_from_others(
    budget: Budget, databases: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_budget, "PATIENCE_S", 30.0)
    async with budget.lend(databases[0]) as held:
        async with budget.lend(databases[1]):
            patient = asyncio.create_task(use(budget, databases[0]))
            await turns()
        await use(budget, databases[1])
        assert budget.counts.opened == 2, "the returned connection was kept"
        assert not patient.done()
    assert await patient is held


async def test_a_busy_practice_overtakes_another_one_only_a_few_times(postgres_url: str, databases: list[str]) -> None:
    budget = Budget(postgres_url, ceiling=1, wait_s=30.0)
    order: list[str] = []
    async with budget.lend(databases[0]):
        first = asyncio.create_task(use(budget, databases[1], order))
        await turns()
        busy = [asyncio.create_task(use(budget, databases[0], order)) for _ in range(3 * MOST_OVERTAKEN)]
        await turns()
    await asyncio.gather(first, *busy)
    assert order.index(databases[1]) == MOST_OVERTAKEN
    assert (budget.counts.waits, budget.counts.refused) == (3 * MOST_OVERTAKEN, 0), "one of all waits as for its own"
    assert budget.counts.evicted == 2  # for the one, and back
    await budget.close()


async def test_a_share_is_kept_to_at_once(budget: Budget, databases: list[str]) -> None:
    budget.resize(10)
    async with budget.lend(databases[0]), budget.lend(databases[1]):
        await use(budget, databases[2])
        assert budget.total == 3
        budget.take_share(2)
        assert (budget.total, budget.limit) == (2, 2)
        waiting = asyncio.create_task(use(budget, databases[2]))
        await turns()
        assert not waiting.done()
        budget.take_share(3)
        await waiting
    assert budget.total == 3
    budget.take_share(100)
    assert budget.limit == 10, "a share does not raise the process's own limit"


async def test_what_a_budget_wants(budget: Budget, databases: list[str]) -> None:
    budget.resize(40)
    assert budget.wants() == 2
    async with AsyncExitStack() as held:
        for _ in range(12):
            await held.enter_async_context(budget.lend(databases[0]))
        assert budget.wants() == 15
    budget.resize(2)
    await use(budget, databases[1])
    budget.resize(40)
    assert budget.counts.evicted == 1
    assert [budget.wants() for _ in range(SHORT_FOR)] == [40] * SHORT_FOR, "it was short of connections"
    assert budget.wants() == 4, "it is no longer"


async def test_not_now_when_none_comes_free(postgres_url: str, databases: list[str]) -> None:
    budget = Budget(postgres_url, ceiling=1, wait_s=0.02)
    async with budget.lend(databases[0]):
        with pytest.raises(NotNow, match="in use"):
            await use(budget, databases[1])
        assert not budget._waiting
    assert await use(budget, databases[1])
    await budget.close()
    assert budget.total == 0


async def test_cancelled_while_waiting(budget: Budget, databases: list[str]) -> None:
    async with budget.lend(databases[0]), budget.lend(databases[1]):
        waiting = asyncio.create_task(use(budget, databases[2]))
        await turns()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert not budget._waiting
        assert budget.total == 2


@pytest.mark.parametrize("gone", [asyncio.CancelledError, TimeoutError])
@pytest.mark.parametrize("same", [True, False])
async def test_gone_just_as_the_place_came(
    budget: Budget, databases: list[str], monkeypatch: pytest.MonkeyPatch, gone: type[BaseException], same: bool
) -> None:
    # The connection (or the free place) has been handed over to a caller that has been canceled.
    async def too_late(place: Any, _: float) -> Any:
        await place
        raise gone

    monkeypatch.setattr(connection_budget.asyncio, "wait_for", too_late)
    async with budget.lend(databases[1]):
        async with budget.lend(databases[0]):
            waiting = asyncio.create_task(use(budget, databases[0] if same else databases[2]))
            await turns()
        await asyncio.gather(waiting, return_exceptions=True)
        assert budget.total == (2 if same else 1)
    assert await use(budget, databases[0])


async def test_cancelled_in_the_middle_of_a_query(budget: Budget, databases: list[str]) -> None:
    engine = PostgresEngine(budget, databases[0])
    asleep = asyncio.create_task(engine.fetch("SELECT pg_sleep(600)"))
    async with budget.lend(databases[0]) as other:
        query = "SELECT COUNT(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()"
        while await other.fetchval(query) == 0:  # noqa: ASYNC110 (only the server knows)
            await asyncio.sleep(0)
    asleep.cancel()
    await asyncio.gather(asleep, return_exceptions=True)
    assert budget.total == 1, "the connection with the query under way is not lent again"
    assert [row[0] for row in await engine.fetch("SELECT 1")] == [1]


async def test_a_broken_connection_is_dropped(budget: Budget, databases: list[str]) -> None:
    engine = PostgresEngine(budget, databases[0])
    async with budget.lend(databases[0]) as victim:
        pid = victim.get_server_pid()
    async with budget.lend(databases[1]) as killer:
        await killer.fetchval("SELECT pg_terminate_backend($1)", pid)
        alive = "SELECT COUNT(*) FROM pg_stat_activity WHERE pid = $1"
        while await killer.fetchval(alive, pid):  # noqa: ASYNC110 (only the server knows)
            await asyncio.sleep(0)
    answers = []
    for _ in range(2):  # it may be noticed only in use; then the first caller gets an error and tries again
        try:
            answers.append((await engine.fetch("SELECT 2"))[0][0])
        except NotNow:
            continue
    assert answers[-1:] == [2]
    assert victim.is_closed()
    assert budget.total == 2


async def test_a_value_that_does_not_fit_is_no_outage(budget: Budget, databases: list[str]) -> None:
    engine = PostgresEngine(budget, databases[0])
    for wrong in (2**63, "word"):
        with pytest.raises(Exception, match="invalid input for query argument") as caught:
            await engine.fetch("SELECT $1::bigint", wrong)
        assert not isinstance(caught.value, NotNow)
    assert budget.counts.opened == 1


async def test_a_server_that_cannot_be_reached_is_not_now(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = Budget("postgresql://nobody@127.0.0.1:1", ceiling=1)
    for _ in range(3):
        with pytest.raises(NotNow, match="cannot be reached"):
            await PostgresEngine(budget, "x").fetch("SELECT 1")
    assert budget.total == 0


async def test_an_error_of_ours_does_not_cost_the_connection(budget: Budget, databases: list[str]) -> None:
    engine = PostgresEngine(budget, databases[0])
    with pytest.raises(Exception, match="nothing_here"):
        await engine.fetch("SELECT * FROM nothing_here")
    assert (budget.total, budget.counts.opened) == (1, 1)
    await engine.fetch("SELECT 1")
    assert budget.counts.opened == 1


# ── A server whose connections are all taken ──


@pytest.fixture
async def narrow(postgres_url: str, databases: list[str]) -> AsyncIterator[str]:
    """The address of the server for a user who may open three connections."""
    role = f"narrow_{secrets.token_hex(5)}"
    server = await connection_budget.connect(with_database(postgres_url, "postgres"))
    await server.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 3")
    yield postgres_url.replace("//polytill@", f"//{role}@")
    await server.execute(f"DROP ROLE {role}")
    await server.close()


@pytest.fixture
async def wide(narrow: str) -> AsyncIterator[Budget]:
    """A process whose limit is higher than the server's."""
    made = Budget(narrow, ceiling=10, wait_s=10.0)
    yield made
    await made.close()
    assert made.total == 0, "a connection was lost count of"


async def test_a_full_server_is_given_an_idle_connection_back(wide: Budget, databases: list[str]) -> None:
    first = await use(wide, databases[0])
    for name in (databases[1], databases[2], "postgres"):
        await use(wide, name)
    assert first.is_closed()
    assert wide.limit <= 3
    for name in (*databases, "postgres"):  # from then on the process does not exceed the server's limit again
        assert (await PostgresEngine(wide, name).fetch("SELECT 1 AS one"))[0]["one"] == 1
        assert wide.total <= 3


async def test_whoever_meets_a_full_server_gets_the_next_that_comes_back(wide: Budget, databases: list[str]) -> None:
    async with wide.lend(databases[0]), wide.lend(databases[1]):
        async with wide.lend(databases[2]) as third:
            waiting = asyncio.create_task(use(wide, "postgres"))
            while not wide._was_full():  # noqa: ASYNC110 (nobody is told)
                await asyncio.sleep(0.01)
            assert not waiting.done()
        await waiting
        assert third.is_closed()


async def test_a_server_that_stays_full_is_not_now(narrow: str, wide: Budget, databases: list[str]) -> None:
    other = Budget(narrow, ceiling=10, wait_s=0.2)
    async with wide.lend(databases[0]), wide.lend(databases[1]), wide.lend(databases[2]):
        with pytest.raises(NotNow, match="accepts no more connections"):
            await use(other, databases[0])
        assert other.total == 0


async def test_what_nobody_uses_is_another_process_s_to_have(
    narrow: str, wide: Budget, databases: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Budget(narrow, ceiling=10, wait_s=10.0)
    for name in databases:
        await use(wide, name)
    wide.close_idle()
    assert wide.total == 3, "they were in use just now"
    waiting = asyncio.create_task(use(other, databases[0]))
    while not other._was_full():  # noqa: ASYNC110 (nobody is told)
        await asyncio.sleep(0.01)
    monkeypatch.setattr(connection_budget, "IDLE_S", 0.0)
    wide.close_idle()
    assert wide.total == 0
    await waiting
    await other.close()


async def test_the_ceiling_is_the_old_one_again_after_a_while(wide: Budget, databases: list[str]) -> None:
    for name in (*databases, "postgres"):
        await use(wide, name)
    assert wide.limit <= 3
    wide._full_until_s = asyncio.get_running_loop().time()  # as if that time had passed
    assert wide.limit == 10


async def test_what_the_server_has_not_noticed_yet_costs_no_further_connection(
    wide: Budget, databases: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has not noticed a closed connection yet, so it still counts."""
    for name in (*databases, "postgres"):
        await use(wide, name)
    before, real, slow = wide.limit, connection_budget.connect, [True]

    async def connect(url: str) -> Any:
        if slow and slow.pop():
            raise connection_budget.ServerFull
        return await real(url)

    monkeypatch.setattr(connection_budget, "connect", connect)
    monkeypatch.setattr(wide, "_give_back", lambda: pytest.fail("one more was returned"))
    monkeypatch.setattr(connection_budget, "PAUSE_S", 0.5)
    await use(wide, next(name for name in (*databases, "postgres") if name not in wide._idle))
    assert wide.limit == before
