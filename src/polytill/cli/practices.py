"""Practices: create them, list them, change them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from polytill.cli.backups import practices_backup, practices_backups, practices_check_backup, practices_restore
from polytill.cli.erasure import practices_erase_customer
from polytill.cli.exports import practices_check_export, practices_export
from polytill.cli.key_test import practices_test_keys
from polytill.cli.life import practices_close, practices_delete, practices_reopen, state_of
from polytill.cli.moves import practices_move
from polytill.cli.opened import PracticeId, console, fail, opened
from polytill.cli.retention import practices_retention
from polytill.domain.states import PracticeState
from polytill.flows.admin.practices import NewPractice, PracticeChanges, change_practice, create_practice, discard
from polytill.flows.adoption.adopt import Adoption, adopt
from polytill.flows.context import Context
from polytill.storage import practices
from polytill.storage.practices import PracticeEntry

practices_app = typer.Typer(no_args_is_help=True, help="Practices: create them, list them, change them.")
practices_app.command("test-keys")(practices_test_keys)
practices_app.command("backup")(practices_backup)
practices_app.command("backups")(practices_backups)
practices_app.command("check-backup")(practices_check_backup)
practices_app.command("restore")(practices_restore)
practices_app.command("move")(practices_move)
practices_app.command("close")(practices_close)
practices_app.command("reopen")(practices_reopen)
practices_app.command("delete")(practices_delete)
practices_app.command("erase-customer")(practices_erase_customer)
practices_app.command("export")(practices_export)
practices_app.command("check-export")(practices_check_export)
practices_app.command("retention")(practices_retention)


@practices_app.command("create")
def practices_create(
    name: Annotated[str, typer.Argument(help="The practice's name")],
    currency: Annotated[str, typer.Argument(help="Its default currency, such as NGN")],
    cluster: Annotated[
        str | None, typer.Option(help="The cluster for its database; default: the open one with most room")
    ] = None,
    country: Annotated[str | None, typer.Option(help="ISO 3166-1 code; default: the country of the currency")] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="IANA name, such as Africa/Lagos; default: the zone of the country")
    ] = None,
    external_id: Annotated[str | None, typer.Option(help="Your own identifier of it; unique")] = None,
) -> None:
    """Create a practice with its database. Prints its first key, once."""
    new = NewPractice(name, currency.upper(), cluster, country.upper() if country else None, time_zone, external_id)
    with console.status("Creating the practice's database …"):
        entry, key = opened(lambda context: create_practice(context, new, "cli"))
    place = ", ".join(part for part in (entry.default_currency, entry.country, entry.time_zone) if part)
    console.print(f"Practice {entry.id}: {entry.name} ({place})")
    console.print(f"Key (shown once): {key}", soft_wrap=True)


@practices_app.command("list")
def practices_list(
    external_id: Annotated[str | None, typer.Option(help="Only the practice with this external id")] = None,
) -> None:
    """List practices with their external id, database, state and schema version."""

    async def read(context: Context) -> list[PracticeEntry]:
        if external_id is None:
            return await practices.listed(context.owner)
        found = await practices.by_external_id(context.owner, external_id)
        return [found] if found else []

    table = Table("id", "external id", "name", "currency", "time zone", "cluster", "database", "state", "schema")
    for e in opened(read):
        table.add_row(
            str(e.id),
            e.external_id or "",
            e.name,
            e.default_currency,
            e.time_zone,
            e.cluster,
            e.database_name,
            state_of(e) if e.behind is None else f"{e.state}, to adopt ({e.behind})",
            e.schema_version,
        )
    console.print(table)


@practices_app.command("discard")
def practices_discard(
    practice: PracticeId,
    without_database: Annotated[
        bool, typer.Option("--without-database", help="Its server is gone: a database that may be there stays")
    ] = False,
) -> None:
    """Remove what is left of a practice whose creation failed: its row, and its database if there is one."""
    entry = opened(lambda context: discard(context, practice, "cli", without_database))
    said = f"The database {entry.database_name} was not touched." if without_database else "Its database is dropped."
    console.print(f"Practice {entry.id} ({entry.name}): discarded. {said}", soft_wrap=True)


@practices_app.command("change")
def practices_change(
    practice: PracticeId,
    name: Annotated[str | None, typer.Option(help="Its name")] = None,
    currency: Annotated[str | None, typer.Option(help="Its default currency, such as NGN")] = None,
    state: Annotated[str | None, typer.Option(help="active, or suspended (no new payments)")] = None,
    external_id: Annotated[
        str | None, typer.Option(help="Your own identifier of it; an empty value removes it")
    ] = None,
) -> None:
    """Change the name, the default currency, the state or the external id of a practice."""
    if state not in (None, PracticeState.active, PracticeState.suspended):
        fail("The state must be active or suspended.")
    changes = PracticeChanges(
        name=name,
        currency=currency and currency.upper(),
        state=None if state is None else PracticeState(state),
        external_id=... if external_id is None else external_id or None,
    )
    entry = opened(lambda context: change_practice(context, practice, changes, "cli"))
    said = f"Practice {entry.id}: {entry.name} ({entry.default_currency}), {entry.state}"
    console.print(f"{said}, external id {entry.external_id or 'none'}")


@practices_app.command("adopt")
def practices_adopt(
    practice: PracticeId,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what is missing; change nothing")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON")] = False,
) -> None:
    """Bring a practice's restored database up to date, and let the practice take payments again."""
    found = opened(lambda context: adopt(context, practice, "cli", dry_run))
    if as_json:
        newest = found.newest and found.newest.isoformat()
        print(json.dumps({**asdict(found), "newest": newest}))
    else:
        _adopted(practice, found, dry_run)
    if found.undecided and not dry_run:
        raise SystemExit(1)


def _adopted(practice: int, found: Adoption, is_dry: bool) -> None:
    said = "lacks" if is_dry else "lacked"
    console.print(
        f"Practice {practice} {said} {found.payments} payments, {found.attempts} attempts and {found.refunds} refunds;"
        f" {found.looked_up} payments {'are' if is_dry else 'were'} at an earlier state.",
        soft_wrap=True,
    )
    if found.erased_again:
        console.print(f"{found.erased_again} rows had data of customers who were erased before, and are erased again.")
    for sentence in found.undecided:
        console.print(f"To decide: {sentence}", soft_wrap=True)
    for sentence in found.notes:
        console.print(f"To check: {sentence}", soft_wrap=True)
    if found.is_done:
        console.print(f"Practice {practice} is adopted and takes payments again.")
    elif not is_dry:
        console.print(f"Practice {practice} is not adopted yet.")
