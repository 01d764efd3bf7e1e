"""Backups of practices: make them, list them, check them, and restore one."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from polytill.cli.jobs import ACTOR, Detach, Run, run_job
from polytill.cli.opened import PracticeId, console, fail, opened
from polytill.domain.clock import wire_time
from polytill.domain.jobs import PartState
from polytill.flows import backups
from polytill.flows.context import Context
from polytill.flows.jobs import backup
from polytill.settings import Settings
from polytill.storage import jobs, practice_backups, practices
from polytill.storage.backup_stores import BackupStore, backup_store
from polytill.storage.jobs import Job
from polytill.storage.practice_backups import PracticeBackup

Result = TypeVar("Result")
NO_PLACE = "Say where backups are kept: --in, or POLYTILL_BACKUPS."
Place = Annotated[str, typer.Option("--in", help="A directory or s3://bucket/prefix; default: POLYTILL_BACKUPS")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON")]
Name = Annotated[
    str, typer.Argument(help="The backup's name, as `practices backups` lists it; `latest` for the newest")
]


def _with_store(place: str, work: Callable[[Context, BackupStore], Awaitable[Result]]) -> Result:
    async def run(context: Context) -> Result:
        chosen = place or context.settings.backups
        if not chosen:
            fail(NO_PLACE)
        return await work(context, backup_store(chosen))

    return opened(run)


async def _named(store: BackupStore, practice_id: int, name: str) -> str:
    if name != "latest":
        return name
    found = await backups.names(store, practice_id)
    if not found:
        fail(f"Practice {practice_id} has no backup there.")
    return found[-1]


def practices_backup(
    which: Annotated[list[int] | None, typer.Argument(help="The practices' ids")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Back up all practices")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Restore each backup beside its practice's database, and compare all rows")
    ] = False,
    place: Place = "",
    detach: Detach = False,
    as_json: AsJson = False,
) -> None:
    """Back up practices' databases while they are used, as a job.

    Each backup is encrypted under its practice's data key, and read back after it was written. Ctrl-C pauses the job;
    `polytill jobs resume` continues it.
    """
    if everyone == bool(which):
        fail("Give either the practices' ids or --all.")
    if not (place or Settings().backups):
        fail(NO_PLACE)
    wanted = backup.Wanted(which or (), place, check)

    async def begin(context: Context, node: str | None) -> Job:
        job = await backup.begin(context, wanted, ACTOR, node)
        return job or fail("There is no practice to back up.")

    async def made(context: Context, job: Job) -> list[dict[str, Any]]:
        parts = await jobs.parts(context.owner, job.id, PartState.succeeded, limit=practices.MOST_ID)
        chosen = {part.practice_id for part in parts}
        found = await practice_backups.listed(context.owner, limit=practices.MOST_ID)
        return [_shown(one) for one in found if one.practice_id in chosen]

    run_job(begin, Run(detach, as_json, details=("backups", made), sentence=_sentence))


def _shown(one: PracticeBackup) -> dict[str, Any]:
    return {
        "practice": one.practice_id,
        "name": one.name,
        "madeAt": wire_time(one.made_at),
        "rows": one.row_count,
        "bytes": one.size,
        "isRestored": one.is_restored,
    }


def _sentence(one: dict[str, Any]) -> str:
    return f"Practice {one['practice']}: {one['name']}, {one['rows']} rows, {one['bytes']} bytes"


def practices_backups(practice: PracticeId, place: Place = "", as_json: AsJson = False) -> None:
    """List a practice's backups, the oldest first."""

    async def work(_: Context, store: BackupStore) -> list[str]:
        return await backups.names(store, practice)

    found = _with_store(place, work)
    if as_json:
        print(json.dumps([{"name": name, "madeAt": str(backups.made_at(name))} for name in found]))
        return
    table = Table("name", "made at")
    for name in found:
        table.add_row(name, f"{backups.made_at(name):%Y-%m-%d %H:%M:%S} UTC")
    console.print(table)


def practices_check_backup(practice: PracticeId, name: Name = "latest", place: Place = "") -> None:
    """Restore a backup beside the practice's database, compare it with what was backed up, and drop it again."""

    async def work(context: Context, store: BackupStore) -> tuple[str, list[str]]:
        chosen = await _named(store, practice, name)
        return chosen, await backups.check(context, practice, store, chosen)

    chosen, different = _with_store(place, work)
    if different:
        fail(f"The backup {chosen} is not what was backed up: {' '.join(different)}")
    console.print(f"The backup {chosen} is whole: it was restored, and every table has the rows that were backed up.")


def practices_restore(practice: PracticeId, name: Name, place: Place = "") -> None:
    """Put a backup in the place of a practice's database. Then run `polytill practices adopt`."""

    async def work(context: Context, store: BackupStore) -> tuple[str, str]:
        chosen = await _named(store, practice, name)
        return chosen, await backups.restore(context, practice, store, chosen, "cli")

    chosen, kept = _with_store(place, work)
    console.print(f"Practice {practice} has the database of {chosen}. The database of before is kept as {kept}.")
    console.print(f"It takes no payments until you run `polytill practices adopt {practice}`.")
