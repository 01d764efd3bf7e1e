"""What goes on while the owner database is unavailable, and what must not happen then.

Sources: the review of operations, D4 (`/readyz`, practices that a process had not served), D12 (a mounted app without a
worker says nothing), and the closing note of the sessions before (a second key ring; leases renewed one after the other).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from fastapi import FastAPI
from structlog.testing import capture_logs

from polytill.domain.clock import World
from polytill.domain.errors import DatabaseUnavailable
from polytill.flows import lease, presence
from polytill.web.app import make_app
from tests import calls
from tests.cli.process import one_sentence, polytill
from tests.installation import fresh_settings, opened


class Elapsed:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at_s = 1_790_000_000.0

    def __call__(self) -> float:
        return self.at_s


# ── No second key ring ──


def test_no_key_ring_is_made_while_the_owner_database_is_away(tmp_path: Path) -> None:
    """SQLite: the file of the owner database is moved away, as by a volume that is not mounted."""
    assert polytill(tmp_path, "migrate").returncode == 0
    assert polytill(tmp_path, "practices", "create", "Clinic", "NGN").returncode == 0
    owner, ring = tmp_path / "var" / "owner.db", tmp_path / "var" / "keyring"
    owner.rename(tmp_path / "owner.away")
    ring.rename(tmp_path / "ring.away")
    for arguments in (("keys", "ring"), ("migrate",)):
        assert "holds databases of practices" in one_sentence(polytill(tmp_path, *arguments))
        assert not ring.exists()
    (tmp_path / "owner.away").rename(owner)
    for arguments in (("keys", "ring"), ("migrate",)):
        assert "opy the file" in one_sentence(polytill(tmp_path, *arguments))
        assert not ring.exists()


def test_no_key_ring_is_made_while_the_owner_databases_server_is_away(tmp_path: Path) -> None:
    away = {"POLYTILL_OWNER_DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/owner"}
    for arguments in (("keys", "ring"), ("migrate",)):
        said = one_sentence(polytill(tmp_path, *arguments, **away))
        assert "hunter2" not in said
        assert not (tmp_path / "var" / "keyring").exists()
    assert "may have one already" in one_sentence(polytill(tmp_path, "keys", "ring", **away))


@pytest.mark.postgres
def test_a_key_ring_is_made_where_the_server_answers_that_there_is_no_owner_database(
    tmp_path: Path, postgres_url: str
) -> None:
    server = {"POLYTILL_OWNER_DATABASE_URL": f"{postgres_url}/owner_that_is_not_there"}
    assert polytill(tmp_path, "keys", "ring", **server).returncode == 0
    assert (tmp_path / "var" / "keyring").exists()


# ── Leases ──


async def test_renewing_leases_stops_at_the_first_that_cannot_be_written(
    tmp_path: Path, engine_url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each one waited for the same database: with hundreds of practices one round took minutes."""
    clock = Elapsed()
    async with opened(fresh_settings(tmp_path, engine_url), ["paystack"], world=World(clock, elapsed_s=clock)) as till:
        context = till.context
        made = [(await calls.create_practice(till, f"Clinic {number}", "NGN"))[0].id for number in range(3)]
        for practice_id in reversed(made):
            await context.opening.practice(practice_id)
            await lease.ensure(context, practice_id)
            clock.at_s += 1
        clock.at_s += lease.LEASE_S - lease.RENEW_BEFORE_S
        real, tried = context.owner.engine.commit, 0

        async def down(_: Any) -> list[int]:
            nonlocal tried
            tried += 1
            raise DatabaseUnavailable

        monkeypatch.setattr(context.owner.engine, "commit", down)
        with capture_logs() as logs:
            assert await lease.renew(context) == 0
        assert tried == 1
        # The one that ends first comes first.
        [line] = [one for one in logs if one["event"] == "lease_not_renewed"]
        assert (line["practice"], line["waiting"]) == (made[-1], 3)
        monkeypatch.setattr(context.owner.engine, "commit", real)
        assert await lease.renew(context) == 3


# ── Nobody runs the worker ──


def _said(logs: list[Any]) -> int:
    return sum(one["event"] == "no_worker_runs" and one["log_level"] == "warning" for one in logs)


async def test_a_mounted_app_says_that_no_worker_runs(tmp_path: Path, engine_url: str | None) -> None:
    clock = Elapsed()
    async with opened(fresh_settings(tmp_path, engine_url), ["paystack"], world=World(clock, elapsed_s=clock)) as till:
        host = FastAPI()
        host.mount("/till", make_app(till))
        server = uvicorn.Server(uvicorn.Config(host, port=0, log_level="critical", lifespan="on"))
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]

        async def visited(times: int = 1) -> int:
            with capture_logs() as logs:
                async with aiohttp.ClientSession() as http:
                    for _ in range(times):
                        async with http.get(f"http://127.0.0.1:{port}/till/healthz") as found:
                            assert found.status == 200
                await asyncio.sleep(0.05)
            return _said(logs)

        try:
            assert await visited(3) == 1
            clock.at_s += presence.WORKER_SAID_S - 1
            assert await visited(3) == 0
            clock.at_s += presence.WORKER_ASKED_S
            assert await visited(3) == 1
            # A worker starts, in whatever process.
            await presence.Presence(till.context, "worker", True).beat()
            clock.at_s += presence.WORKER_ASKED_S
            await presence.Presence(till.context, "worker", True).beat()
            assert await visited(3) == 0
            assert till.context.health.without_worker_since_s is None
        finally:
            server.should_exit = True
            await serving


async def test_a_library_says_that_no_worker_runs_when_it_takes_a_payment(
    tmp_path: Path, engine_url: str | None
) -> None:
    async with opened(fresh_settings(tmp_path, engine_url), ["paystack"]) as till:
        practice_id = (await calls.create_practice(till, "Clinic", "NGN"))[0].id
        with capture_logs() as logs:
            await lease.ensure(till.context, practice_id)
            await lease.ensure(till.context, practice_id)
        assert _said(logs) == 1


async def test_serve_gives_workers_that_start_beside_it_time_to_announce_themselves(
    tmp_path: Path, engine_url: str | None
) -> None:
    clock = Elapsed()
    async with opened(fresh_settings(tmp_path, engine_url), ["paystack"], world=World(clock, elapsed_s=clock)) as till:
        till.context.health.lifespan_runs = True
        here = presence.Presence(till.context, "serve", False)
        found = []
        for _ in range(3):
            with capture_logs() as logs:
                await here.beat()
            found.append(_said(logs))
            clock.at_s += presence.WORKER_ASKED_S
        assert found == [0, 1, 0]
