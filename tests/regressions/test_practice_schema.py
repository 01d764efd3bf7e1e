"""A practice whose database is at another schema, gone or another practice's is a 503, and recovers without a restart.

Sources: the review of operations, D7 (served on the wrong schema), D7b (an older version meets a newer owner database), D14
(audit lines for nothing) and D16 (a database swapped under a running process).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from polytill.app import Polytill
from polytill.domain.errors import OperatorError, WrongPractice
from polytill.domain.ids import address
from polytill.flows.admin.practices import migrate_practice
from polytill.flows.payments.create import CLIENT_TOKEN
from polytill.storage import migrating, practices
from polytill.storage.clusters import drop_postgres_database
from polytill.storage.opening import is_postgres
from polytill.storage.postgres_connect import connect, with_database
from tests import calls
from tests.fleets import a_newer_schema
from tests.installation import Answered, Installation, fresh_settings, opened
from tests.storage.making import plain, run


@dataclass
class Clinic:
    """A practice with a provider."""

    id: int
    key: str
    hook: str
    link: str

    async def calls(self, house: Installation) -> list[Answered]:
        """One call of each kind: a read, a payment, a webhook, a customer's page."""
        path = f"/api/practices/{self.id}"
        body = {"amount": 500, "currency": "NGN", "customer": {"email": "ada@example.com"}}
        return [
            await house.call("GET", f"{path}/payments", self.key),
            await house.call("POST", f"{path}/payments", self.key, body, idempotency="once"),
            await house.call("POST", self.hook, raw=b"{}"),
            await house.call("GET", self.link, headers={"Accept": "text/html"}),
        ]


async def clinic(house: Installation) -> Clinic:
    practice_id, key = await house.practice("Clinic", "NGN")
    configured = await house.configure(practice_id, key, "paystack", ["NGN"], isDefault=True)
    hook = configured["webhookUrl"].removeprefix(house.url)
    nobodys = address(CLIENT_TOKEN, practice_id, b"0" * 26, house.till.context.ring.derived("addresses")[0])
    return Clinic(practice_id, key, hook, f"/pay/{nobodys}")


def all_are(found: list[Answered], code: str) -> None:
    for one in found:
        assert one.status == 503, one.body
        assert int(one.headers["Retry-After"]) > 0
        if not isinstance(one.body, str):
            assert one.body["code"] == code


async def test_behind_and_then_migrated(installation: Installation) -> None:
    made = await clinic(installation)
    practice_id = made.id
    assert (await made.calls(installation))[0].status == 200
    installation.till.context.opening._open.clear()  # a process of the newer version has opened nothing yet
    with a_newer_schema():
        all_are(await made.calls(installation), "practice_not_migrated")
        await migrate_practice(installation.till.context, practice_id, "test")
        assert (await made.calls(installation))[0].status == 200
    # This version meets a newer practice; additive steps leave the oldest reader as it is.
    installation.till.context.opening.forget(practice_id)
    assert (await made.calls(installation))[0].status == 200
    await run(
        installation.till.context.owner, "UPDATE schema_readers SET oldest = 'practice_9999' WHERE tree = 'practice'"
    )
    installation.till.context.opening._open.clear()
    all_are(await made.calls(installation), "practice_not_migrated")


async def _gone(till: Polytill, name: str, back: bool = False) -> None:
    """Rename a practice's database away, or back."""
    location = till.context.settings.practice_databases.get_secret_value()
    before, after = (f"{name}_away", name) if back else (name, f"{name}_away")
    if not is_postgres(location):
        for suffix in ("", "-wal", "-shm"):
            file = Path(location) / f"{before}.db{suffix}"
            if file.exists():
                file.rename(Path(location) / f"{after}.db{suffix}")
        return
    connection = await connect(with_database(location, "postgres"))
    await connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{before}'")
    await connection.execute(f'ALTER DATABASE "{before}" RENAME TO "{after}"')
    await connection.close()


async def test_its_database_is_gone_and_comes_back(installation: Installation) -> None:
    made = await clinic(installation)
    entry = await installation.till.context.opening.entry(made.id)
    assert (await made.calls(installation))[0].status == 200
    await _gone(installation.till, entry.database_name)
    installation.till.context.forget(made.id)  # what was read less than a second ago
    found = await made.calls(installation)
    if is_postgres(installation.till.context.settings.practice_databases.get_secret_value()):
        found = await made.calls(installation)  # the first ones meet connections that were cut
    all_are(found, "practice_unavailable")
    await _gone(installation.till, entry.database_name, back=True)
    assert (await made.calls(installation))[0].status == 200


async def test_swapped_under_a_running_process(till: Polytill) -> None:
    mine, _ = await calls.create_practice(till, "Mine", "NGN")
    other, _ = await calls.create_practice(till, "Other", "GHS")
    practice = await till.context.practice(mine.id)
    await practice.db.fetch("SELECT 1 AS one")
    await _gone(till, mine.database_name)
    other_db = await till.context.opening.practice(other.id)
    await other_db.engine.close()
    location = till.context.settings.practice_databases.get_secret_value()
    if is_postgres(location):
        connection = await connect(with_database(location, "postgres"))
        await connection.execute(f'ALTER DATABASE "{other.database_name}" RENAME TO "{mine.database_name}"')
        await connection.close()
    else:
        folder = Path(location)
        (folder / f"{other.database_name}.db").rename(folder / f"{mine.database_name}.db")
    for _ in range(2):
        with pytest.raises(WrongPractice):
            await (await till.context.opening.practice(mine.id)).fetch("SELECT 1 AS one")
    with pytest.raises(WrongPractice):
        async with practice.db.transaction() as tx:
            await tx.fetch("SELECT 1 AS one")
    if is_postgres(location):
        await drop_postgres_database(location, f"{mine.database_name}_away")


async def _owner_at(till: Polytill, revision: str) -> None:
    await run(till.context.owner, f"UPDATE alembic_version SET version_num = '{revision}'")


async def test_an_older_version_meets_a_newer_owner_database(tmp_path: Path, engine_url: str | None) -> None:
    settings = fresh_settings(tmp_path, engine_url)
    async with opened(settings, ["paystack"]) as till:
        await _owner_at(till, "owner_9999")
        async with Polytill.open(settings):  # declared compatible: an additive step
            pass
        await run(till.context.owner, "UPDATE schema_readers SET oldest = 'owner_9999' WHERE tree = 'owner'")
        with pytest.raises(OperatorError) as found:
            async with Polytill.open(settings):
                pass
        assert "newer than this version" in found.value.detail
        await _owner_at(till, "owner_0000")
        with pytest.raises(OperatorError) as found:
            async with Polytill.open(settings):
                pass
        assert "polytill migrate" in found.value.detail
        await _owner_at(till, migrating.head("owner"))


async def test_no_audit_line_for_nothing(till: Polytill) -> None:
    entry, _ = await calls.create_practice(till, "Clinic", "NGN")
    before: list[Any] = await plain(till.context.owner, "SELECT COUNT(*) FROM audit_log")
    assert await migrate_practice(till.context, entry.id, "test") == []
    assert await plain(till.context.owner, "SELECT COUNT(*) FROM audit_log") == before
    assert (await practices.listed(till.context.owner))[0].schema_version == migrating.head("practice")
