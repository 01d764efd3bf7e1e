"""What operators meet: readiness, clusters, faults of databases in one sentence, log lines, open files, changed types.

Sources: the review of operations, D4, D8, D9, D11 and D15; https://github.com/openclaw/openclaw/pull/111411 and https://github.com/MagicStack/asyncpg/issues/458.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import structlog

from polytill.app import Polytill
from polytill.doctor import _settings as examined
from polytill.domain.database_urls import wrong_with_owner, wrong_with_place, wrong_with_server
from polytill.domain.errors import DatabaseUnavailable, DiskFull, NotNow
from polytill.domain.places import places
from polytill.flows.admin import catalog, readiness
from polytill.storage import files
from polytill.storage.postgres_connect import connect, with_database
from polytill.storage.sqlite import _translated, file_fault
from tests import calls
from tests.cli.process import one_sentence, polytill
from tests.installation import Installation, fresh_settings, running
from tests.storage.making import run

MALFORMED = [
    "postgresql:/postgres:hunter2@127.0.0.1/x",
    "postgresql://u:hunter2@127.0.0.1:port/x",
    "postgresql://u:hunter2@127.0.0.1:99999/x",
    "postgresql://u:hunter2@/x",
    "postgresql://u:hunter2@127.0.0.1/",
    "postgresql://u:hunter2@127.0.0.1 /x",
    "postgresql://u:hunter2@[::1/x",
    "postgresql://u:hunter2@h\u00f6st/x",
    "postgresql://u:hun#ter2@127.0.0.1/x",
    "postgresql://u:hun/ter2@127.0.0.1/x",
    "mysql://u:hunter2@127.0.0.1/x",
    "sqlite://hunter2",
    "sqlite:///",
    "hunter2",
]


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_address_is_one_sentence_without_it(url: str) -> None:
    said = wrong_with_owner(url)
    assert said is not None
    assert "hunter2" not in said
    if "/" in url and not url.endswith(("1/", "sqlite:///")):
        assert wrong_with_place(url) is not None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@127.0.0.1/x",
        "postgres://u@h:5432",
        "postgresql://u:p%2F%40@a:1,b:2/x?target_session_attrs=any",
        "postgresql://u@[::1]:5432/x",
        "postgresql://u:p@h/x?pgbouncer=true",
        "postgresql:///x?host=/var/run",
    ],
)
def test_addresses_that_can_be_tried(url: str) -> None:
    assert wrong_with_server(url) is None


def _faults(server: str) -> dict[str, str]:
    host = server.partition("://")[2].rpartition("@")[2]
    return {
        "unreachable": "postgresql://u:hunter2@127.0.0.1:1/owner",
        "malformed": "postgresql:/u:hunter2@127.0.0.1/owner",
        "port": "postgresql://u:hunter2@127.0.0.1:x/owner",
        "no role": f"postgresql://nobody_{secrets.token_hex(3)}:hunter2@{host}/owner_{secrets.token_hex(3)}",
    }


COMMANDS = [
    ("migrate",),
    ("doctor",),
    ("serve", "--bind", "127.0.0.1:0"),
    ("worker",),
    ("practices", "list"),
    ("practices", "create", "A", "NGN"),
    ("keys", "create", "--owner"),
    ("rotate",),
    ("sweep",),
]


@pytest.mark.postgres
@pytest.mark.parametrize("fault", ["unreachable", "malformed", "port", "no role"])
def test_every_command_says_one_sentence(tmp_path: Path, postgres_url: str, fault: str) -> None:
    url = _faults(postgres_url)[fault]
    assert polytill(tmp_path, "keys", "ring").returncode == 0
    for arguments in COMMANDS[:: 2 if fault == "no role" else 1]:
        found = polytill(tmp_path, *arguments, POLYTILL_OWNER_DATABASE_URL=url)
        assert found.returncode == 1, (arguments, found.stderr)
        assert "Traceback" not in found.stderr + found.stdout, arguments
        assert "hunter2" not in found.stderr + found.stdout, arguments
        if arguments != ("doctor",):
            one_sentence(found)


@pytest.mark.postgres
async def test_a_cluster_is_checked_changed_closed_and_removed(tmp_path: Path, postgres_url: str) -> None:
    async with running(tmp_path, postgres_url, codes=["paystack"]) as house:
        key, path = house.owner_key, "/api/owner/clusters"
        host = postgres_url.rpartition("@")[2]
        role = f"poor_{secrets.token_hex(4)}"
        connection = await connect(with_database(postgres_url, "postgres"))
        await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'hunter2' NOCREATEDB")
        for url in (f"postgresql://{role}:hunter2@{host}", "postgresql://u:hunter2@127.0.0.1:1"):
            refused = await house.call("POST", path, key, {"name": "bad", "url": url})
            assert (refused.status, refused.body["errors"][0]["pointer"]) == (422, "/url")
            assert "hunter2" not in str(refused.body)
        assert [one["name"] for one in (await house.call("GET", path, key)).body] == ["default"]
        await connection.execute(f"ALTER ROLE {role} SUPERUSER")
        good = f"postgresql://{role}:hunter2@{host}"
        assert (await house.call("POST", path, key, {"name": "second", "url": good})).status == 201
        made = await house.call(
            "POST", "/api/owner/practices", key, {"name": "A", "defaultCurrency": "NGN", "cluster": "second"}
        )
        assert made.status == 201, made.body
        practice_id, practice_key = made.body["practice"]["id"], made.body["key"]
        # The password of the server changes: the new address is used at once, without a restart.
        changed = await house.call("PATCH", f"{path}/second", key, {"url": postgres_url, "state": "closed"})
        assert (changed.status, changed.body["state"]) == (200, "closed")
        await connection.execute(f"ALTER ROLE {role} NOLOGIN")
        listed = await house.call("GET", f"/api/practices/{practice_id}/payments", practice_key)
        assert listed.status == 200, listed.body
        closed = await house.call(
            "POST", "/api/owner/practices", key, {"name": "B", "defaultCurrency": "NGN", "cluster": "second"}
        )
        assert (closed.status, closed.body["errors"][0]["pointer"]) == (422, "/cluster")
        assert (await house.call("DELETE", f"{path}/second", key)).body["code"] == "cluster_in_use"
        assert (await house.call("DELETE", f"{path}/default", key)).status == 409
        assert (await house.call("POST", path, key, {"name": "third", "url": postgres_url})).status == 201
        assert (await house.call("DELETE", f"{path}/third", key)).status == 204
        assert (await house.call("DELETE", f"{path}/third", key)).status == 404
        await connection.close()


async def test_ready_while_known_practices_can_be_served(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    practice_id, key = await installation.practice("Clinic", "NGN")
    found = await installation.call("GET", "/readyz")
    assert (found.status, found.body) == (
        200,
        {"status": "degraded", "degraded": [readiness.NO_WORKER], "practices": None},
    )
    assert (await installation.call("GET", f"/api/practices/{practice_id}/payments", key)).status == 200
    context = installation.till.context
    while context.announced_until_s < 0 or [one.id for one in context.opening.directory.known()] != [practice_id]:  # noqa: ASYNC110
        await asyncio.sleep(0.05)

    async def down(*_: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(context.owner.engine, "fetch", down)
    monkeypatch.setattr(context.owner.engine, "commit", down)
    found = await installation.call("GET", "/readyz")
    assert (found.status, found.body) == (
        200,
        {"status": "degraded", "degraded": [readiness.OWNER_AWAY], "practices": 1},
    )
    assert (await installation.call("GET", f"/api/practices/{practice_id}/payments", key)).status == 200
    # Also what this process never opened; and where its leases have ended, that is what is said.
    context.opening._open.clear()
    assert (await installation.call("GET", "/readyz")).body["practices"] == 1
    context.announced_until_s = float("-inf")
    found = await installation.call("GET", "/readyz")
    assert (found.status, found.body) == (
        200,
        {"status": "degraded", "degraded": [readiness.OWNER_AWAY, readiness.LEASES_ENDED], "practices": 0},
    )
    context.opening.directory._entries.clear()
    assert (await installation.call("GET", "/readyz")).status == 503


@pytest.mark.parametrize(("url", "is_named"), [("https://pay.example/till", True), ("https://pay.example/", False)])
def test_pages_below_a_path_are_named(tmp_path: Path, url: str, is_named: bool) -> None:
    """D12: a public address with a path was accepted, and every page lost its styles and forms."""
    settings = fresh_settings(tmp_path, None).model_copy(update={"public_url": url})
    assert any("/till" in one.sentence for one in examined(settings)) is is_named


async def test_another_ring_is_not_ready(installation: Installation) -> None:
    await run(installation.till.context.owner, "UPDATE key_ring_keys SET check_value = 'other'")
    found = await installation.call("GET", "/readyz")
    assert (found.status, found.body["code"]) == (503, "key_ring_differs")


async def test_a_full_disk_is_a_503(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    practice_id, key = await installation.practice("Clinic", "NGN")
    practice = await installation.till.context.practice(practice_id)

    async def full(*_: object) -> None:
        raise DiskFull

    monkeypatch.setattr(practice.db.engine, "fetch", full)
    found = await installation.call("GET", f"/api/practices/{practice_id}/payments", key)
    assert (found.status, found.body["code"], found.headers["Retry-After"]) == (503, "disk_full", "30")


def test_what_sqlite_and_the_disk_say(tmp_path: Path) -> None:
    small = sqlite3.connect(tmp_path / "small.db")
    small.execute("PRAGMA max_page_count = 2")
    small.execute("CREATE TABLE t (x)")
    with pytest.raises(sqlite3.Error) as found:
        small.execute("CREATE TABLE u (x)")
    assert isinstance(_translated(found.value), DiskFull)
    with pytest.raises(sqlite3.Error) as found:
        sqlite3.connect(f"file:{tmp_path}/none/x.db?mode=rw", uri=True)
    assert isinstance(_translated(found.value), NotNow)
    assert isinstance(file_fault(OSError(28, "No space left on device")), DiskFull)
    assert isinstance(file_fault(OSError(24, "Too many open files")), DatabaseUnavailable)


async def test_log_lines_carry_the_request_id_and_our_frames(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    practice_id, key = await installation.practice("Clinic", "NGN")
    practice = await installation.till.context.practice(practice_id)

    async def broken(*_: object) -> None:
        raise RuntimeError("a secret is here")

    lines: list[Any] = []

    def keep(_: Any, __: str, event: Any) -> Any:
        lines.append(dict(event))
        raise structlog.DropEvent

    monkeypatch.setattr(practice.db.engine, "fetch", broken)
    before = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
    try:
        found = await installation.call("GET", f"/api/practices/{practice_id}/payments", key)
    finally:
        structlog.configure(**before)
    assert found.status == 500
    [line] = [one for one in lines if one["event"] == "unexpected_error"]
    assert line["requestId"] == found.body["requestId"] == found.headers["X-Request-ID"]
    assert line["places"][0].startswith("storage/")
    assert "secret" not in str(line)


def test_places_put_our_frames_first() -> None:
    with pytest.raises(AttributeError) as found:
        wrong_with_server(None)  # type: ignore[arg-type]
    assert places(found.value)[0].startswith("domain/database_urls.py:")


def test_open_files_follow_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "memory_bytes", lambda: 64 * 1024**3)
    for limit, most in ((256, 28), (1024, 113), (131_072, 14_563)):
        monkeypatch.setattr(files, "limit", lambda limit=limit: limit)
        assert files.sqlite_files() == most
        assert files.sqlite_files() * files.HANDLES + files.connections() < limit


@pytest.mark.parametrize("engine_url", [None], ids=["sqlite"])
async def test_no_more_files_are_held_open_than_the_process_may_open(
    till: Polytill, monkeypatch: pytest.MonkeyPatch, engine_url: str | None
) -> None:
    """Three handles of each SQLite file, for 200 practices, whatever the limit was: no connection was accepted."""
    made = [(await calls.create_practice(till, f"Clinic {number}", "NGN"))[0].id for number in range(6)]
    monkeypatch.setattr(files, "limit", lambda: 40)
    held = []
    for practice_id in made:
        db = await till.context.opening.practice(practice_id)
        await db.fetch("SELECT 1 AS one")
        held.append(db)
    assert till.context.opening.opened() == made[-files.sqlite_files() :]
    assert files.sqlite_files() == 4
    open_now = [db.engine._connection is not None for db in held]
    assert open_now == [False, False, True, True, True, True]


@pytest.mark.postgres
async def test_a_changed_column_type_under_a_running_service(tmp_path: Path, postgres_url: str) -> None:
    async with running(tmp_path, postgres_url, codes=["paystack"]) as house:
        practice_id, key = await house.practice("Clinic", "NGN")
        await house.configure(practice_id, key, "paystack", ["NGN"])
        path = f"/api/practices/{practice_id}/payment-providers/paystack"
        assert (await house.call("PATCH", path, key, {"priority": 2})).status == 200
        context = house.till.context
        practice = await context.practice(practice_id)
        for kind in ("varchar(200)", "text"):
            await practice.db.fetch(f"ALTER TABLE practice_payment_providers ALTER provider_name TYPE {kind}")
            await run(context.owner, f"ALTER TABLE payment_providers ALTER name TYPE {kind}")
            await run(context.owner, f"ALTER TABLE practices ALTER name TYPE {kind}")
            changed = await house.call("PATCH", path, key, {"priority": 3})
            assert changed.status == 200, changed.body
            await catalog.change(context, "paystack", {"priority": 5}, None, "test")
            assert (await house.practice(f"Clinic {secrets.token_hex(2)}", "NGN"))[0] > practice_id
