"""Backups of practices: make them, list them, check them, and restore one."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer
from rich.progress import Progress
from rich.table import Table

from polytill.cli.opened import PracticeId, console, fail, opened
from polytill.domain.errors import PolytillError
from polytill.flows import backups
from polytill.flows.backups import Backup
from polytill.flows.context import Context
from polytill.storage import practices
from polytill.storage.backup_stores import BackupStore, backup_store

Result = TypeVar("Result")
Place = Annotated[str, typer.Option("--in", help="A directory or s3://bucket/prefix; default: POLYTILL_BACKUPS")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON")]
Name = Annotated[
    str, typer.Argument(help="The backup's name, as `practices backups` lists it; `latest` for the newest")
]


def _with_store(place: str, work: Callable[[Context, BackupStore], Awaitable[Result]]) -> Result:
    async def run(context: Context) -> Result:
        chosen = place or context.settings.backups
        if not chosen:
            fail("Say where backups are kept: --in, or POLYTILL_BACKUPS.")
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
    place: Place = "",
    as_json: AsJson = False,
) -> None:
    """Back up practices' databases while they are used. Each backup is encrypted under its practice's data key."""
    if everyone == bool(which):
        fail("Give either the practices' ids or --all.")

    async def work(context: Context, store: BackupStore) -> tuple[list[Backup], dict[int, str]]:
        chosen = which or [entry.id for entry in await practices.listed(context.owner)]
        made, failed = [], {}
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            for practice_id in progress.track(chosen, description="Backing up"):
                try:
                    made.append(await backups.back_up(context, practice_id, store))
                except PolytillError as error:
                    failed[practice_id] = error.detail
        return made, failed

    made, failed = _with_store(place, work)
    if as_json:
        print(json.dumps({"made": [_shown(one) for one in made], "failed": failed}))
    else:
        for one in made:
            console.print(f"Practice {one.practice_id}: {one.name}, {one.rows} rows, {one.size} bytes")
        for practice_id, why in failed.items():
            console.print(f"Practice {practice_id} was not backed up: {why}", soft_wrap=True)
    if failed:
        raise SystemExit(1)


def _shown(one: Backup) -> dict[str, Any]:
    return {
        "practiceId": one.practice_id,
        "name": one.name,
        "madeAt": one.made_at.isoformat(),
        "rows": one.rows,
        "bytes": one.size,
    }


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
