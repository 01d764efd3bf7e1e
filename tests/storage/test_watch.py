"""A row of the owner database is read again after its own change, and not after those of others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from polytill.app import Polytill
from polytill.background import learn
from polytill.domain.clock import World
from polytill.domain.states import ApiKeyKind, PracticeState
from polytill.flows.admin import catalog
from polytill.flows.admin.practices import PracticeChanges, change_practice, create_key, key_hash, revoke_key
from polytill.storage import watch
from polytill.web.api.auth import KeyCache
from tests import calls
from tests.flows.scenes import Clock
from tests.installation import fresh_settings, opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def here(tmp_path: Path, engine_url: str | None, clock: Clock) -> AsyncIterator[Polytill]:
    async with opened(fresh_settings(tmp_path, engine_url), ["paystack"], world=World(clock, elapsed_s=clock)) as till:
        yield till


@pytest.fixture
async def elsewhere(here: Polytill, clock: Clock) -> AsyncIterator[Polytill]:
    """Another process of the installation."""
    async with Polytill.open(here.context.settings, world=World(clock, elapsed_s=clock)) as till:
        yield till


class Queries:
    """The queries to the owner database, except those of the watch."""

    def __init__(self, till: Polytill, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sql: list[str] = []
        fetch = till.context.owner.fetch

        async def counted(sql: str, *args: Any) -> list[Any]:
            if "audit_log" not in sql:
                self.sql.append(sql)
            return await fetch(sql, *args)

        monkeypatch.setattr(till.context.owner, "fetch", counted)

    def made(self) -> int:
        """Their number since the last call."""
        number = len(self.sql)
        self.sql.clear()
        return number


async def test_a_change_of_one_practice_makes_no_other_be_read_again(
    here: Polytill, elsewhere: Polytill, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = [(await calls.create_practice(here, name, "NGN"))[0].id for name in ("One", "Other")]
    key = key_hash(await create_key(here.context, ApiKeyKind.practice, other, "k", None, "test"))
    context, keys = elsewhere.context, KeyCache(elsewhere.context)
    await learn(context)
    queries = Queries(elsewhere, monkeypatch)
    for _ in range(3):
        await change_practice(here.context, one, PracticeChanges(state=PracticeState.suspended), "test")
        clock.at_s += watch.INTERVAL_S
        assert (await context.opening.entry(other)).name == "Other"
        assert await keys.find(key) is not None
        await context.catalog()
        assert queries.made() == 0
    assert (await context.opening.entry(one)).state is PracticeState.suspended
    assert queries.made() == 1


async def test_a_revoked_key_ends_within_a_second_also_if_only_the_directory_has_read_it(
    here: Polytill, elsewhere: Polytill, clock: Clock
) -> None:
    practice_id = (await calls.create_practice(here, "One", "NGN"))[0].id
    key = key_hash(await create_key(here.context, ApiKeyKind.practice, practice_id, "k", None, "test"))
    keys = KeyCache(elsewhere.context)
    await learn(elsewhere.context)
    found = await keys.find(key)
    assert found is not None
    await revoke_key(here.context, found.id, practice_id, "test")
    clock.at_s += watch.INTERVAL_S
    assert await keys.find(key) is None
    assert await KeyCache(elsewhere.context).find(key) is None


async def test_a_key_that_did_not_exist_is_found_within_a_second(
    here: Polytill, elsewhere: Polytill, clock: Clock
) -> None:
    practice_id = (await calls.create_practice(here, "One", "NGN"))[0].id
    keys = KeyCache(elsewhere.context)
    key = await create_key(here.context, ApiKeyKind.practice, practice_id, "k", None, "test")
    await here.context.owner.fetch("UPDATE api_keys SET revoked_at = created_at")
    await learn(elsewhere.context)
    assert await keys.find(key_hash(key)) is None
    await here.context.owner.fetch("UPDATE api_keys SET revoked_at = NULL")
    assert await keys.find(key_hash(key)) is None
    await create_key(here.context, ApiKeyKind.practice, practice_id, "k", None, "test")
    clock.at_s += watch.INTERVAL_S
    assert await keys.find(key_hash(key)) is not None


async def test_a_manual_change_is_noticed_after_a_minute_also_while_others_change(
    here: Polytill, elsewhere: Polytill, clock: Clock
) -> None:
    one, other = [(await calls.create_practice(here, name, "NGN"))[0].id for name in ("One", "Other")]
    context = elsewhere.context
    assert (await context.opening.entry(other)).name == "Other"
    await here.context.owner.fetch("UPDATE practices SET name = 'By hand' WHERE id = $1", other)
    for second in range(int(watch.RENEWED_S)):
        await change_practice(here.context, one, PracticeChanges(name=f"One {second}"), "test")
        clock.at_s += watch.INTERVAL_S
        name = (await context.opening.entry(other)).name
    assert name == "By hand"


async def test_a_change_of_the_catalog_is_read_within_a_second(
    here: Polytill, elsewhere: Polytill, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await elsewhere.context.catalog()
    queries = Queries(elsewhere, monkeypatch)
    await calls.create_practice(here, "One", "NGN")
    clock.at_s += watch.INTERVAL_S
    await elsewhere.context.catalog()
    assert queries.made() == 0
    await catalog.change(here.context, "paystack", {"name": "Paystack 2"}, None, "test")
    clock.at_s += watch.INTERVAL_S
    assert (await elsewhere.context.catalog())["paystack"].name == "Paystack 2"
    await catalog.remove_currency(here.context, "paystack", "KES", "test")
    clock.at_s += watch.INTERVAL_S
    assert "KES" not in (await elsewhere.context.catalog())["paystack"].currencies
