"""A primary and its standby in one address: for the owner database, the default cluster and a registered one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from polytill.app import Polytill
from polytill.doctor import examine
from polytill.domain.errors import DatabaseUnavailable, NotNow
from polytill.domain.secret import Secret
from polytill.flows.admin import clusters
from polytill.storage import postgres_connect
from polytill.storage.postgres_connect import connect
from polytill.worker import jobs
from tests import calls
from tests.installation import fresh_settings, opened
from tests.postgres.server import USER, PostgresServer, postgres_server
from tests.storage.making import plain

pytestmark = pytest.mark.postgres


@dataclass
class Pair:
    """A primary and its standby. The address names the standby first."""

    primary: PostgresServer
    standby: PostgresServer

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.standby.port},127.0.0.1:{self.primary.port}"


@pytest.fixture
def pair() -> Iterator[Pair]:
    with postgres_server() as primary, postgres_server(primary=primary) as standby:
        yield Pair(primary, standby)


@pytest.fixture
def silent() -> Iterator[str]:
    """A host that accepts connections and never answers, as one that is switched off behind a router."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


async def until_it_works(till: Polytill, practice_id: int) -> None:
    for _ in range(100):
        with contextlib.suppress(NotNow):
            found = await plain(await till.context.opening.practice(practice_id), "SELECT practice_id FROM identity")
            assert found == [(practice_id,)]
            return
        await asyncio.sleep(0.1)
    pytest.fail("The practice was not served after the standby became the primary.")


async def test_a_standby_becomes_the_primary_of_everything(tmp_path: Path, pair: Pair) -> None:
    async with opened(fresh_settings(tmp_path, pair.url), ["paystack"]) as till:
        await clusters.add(till.context, "second", Secret(pair.url), clusters.Limits(), "test")
        ids = [
            (await calls.create_practice(till, "P", "NGN", cluster=name))[0].id
            for name in ("default", "default", "second", "second")
        ]
        async with jobs(till):  # DBOS opens connections of its own
            pass
        assert not [one.sentence for one in await examine(till.context.settings) if "host" in one.sentence]
        await asyncio.to_thread(pair.primary.kill)
        await asyncio.to_thread(pair.standby.promote)
        for practice_id in ids:
            await until_it_works(till, practice_id)
        entry, _ = await calls.create_practice(till, "Q", "NGN", cluster="second")
        await until_it_works(till, entry.id)
        async with jobs(till):
            pass
        said = [one.sentence for one in await examine(till.context.settings) if one.bad and "host" in one.sentence]
        assert len(said) == 2, said  # of both clusters
        assert all(f"127.0.0.1:{pair.primary.port} could not become the primary" in one for one in said)


async def test_a_standby_alone_is_rejected(tmp_path: Path, pair: Pair) -> None:
    async with opened(fresh_settings(tmp_path)) as till:
        alone = f"postgresql://{USER}@127.0.0.1:{pair.standby.port}"
        with pytest.raises(Exception, match="standby"):
            await clusters.add(till.context, "second", Secret(alone), clusters.Limits(), "test")
        await asyncio.to_thread(pair.primary.kill)
        with pytest.raises(DatabaseUnavailable, match="none of its hosts can be written"):
            await connect(f"{pair.url}/postgres")


async def test_a_host_that_never_answers_delays_one_connection(
    pair: Pair, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql://{USER}@{silent},127.0.0.1:{pair.primary.port}/postgres"
    monkeypatch.setattr(postgres_connect, "HOST_S", 1.5)
    times = []
    for _ in range(3):
        began = time.monotonic()
        await (await connect(url)).close()
        times.append(time.monotonic() - began)
    assert times[0] >= 1.5
    assert max(times[1:]) < 1.5, times  # the host that answered is asked first
