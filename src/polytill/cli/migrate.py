"""`polytill migrate`: the owner database, and every practice's database as a job."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from polytill.app import Polytill
from polytill.cli.jobs import (
    ACTOR,
    AsJson,
    AtOnce,
    Detach,
    job_json,
    part_json,
    print_json,
    print_outcome,
    progress_bar,
    run_until_stopped,
)
from polytill.cli.opened import console, fail
from polytill.domain.jobs import JobState
from polytill.flows.jobs import migrate as migrating_job
from polytill.flows.jobs.migrate import Wanted
from polytill.flows.jobs.runner import AT_ONCE
from polytill.job_run import Show
from polytill.migration import Outcome, Prepared, migrate_practices, outcome_of, prepare
from polytill.owner_setup import migrate_owner
from polytill.settings import Settings

Ids = Annotated[list[int] | None, typer.Option(help="Only this practice; may be repeated")]


def migrate(
    practice: Ids = None,
    canary: Annotated[
        list[str] | None,
        typer.Option(
            help="A number of practices that come first, such as 5, or one of them, such as practice:17; may be repeated."
            " The others start only if all of these succeed"
        ),
    ] = None,
    everyone: Annotated[
        bool, typer.Option("--all", help="Look into every database, also of practices known as migrated")
    ] = False,
    at_once: AtOnce = AT_ONCE,
    detach: Detach = False,
    as_json: AsJson = False,
) -> None:
    """Migrate the owner database and every practice's database to the current schema.

    Creates the owner database and its key ring if they do not exist. An existing owner database needs its own key ring:
    copy the file from another node. May be repeated, and may run on several nodes at once. Ctrl-C pauses the job; the
    same command continues it.
    """
    settings = Settings()
    wanted = _wanted(practice or [], everyone, canary or [])
    has_ring = settings.keyring.exists()

    async def run(show: Show) -> tuple[list[str], Prepared, Outcome]:
        applied = await migrate_owner(settings)
        if not as_json and not has_ring and settings.keyring.exists():
            said = f"Created the key ring {settings.keyring}. Keep a copy: no secret can be opened without it."
            console.print(said, soft_wrap=True)
        async with Polytill.open(settings) as till:
            prepared = await prepare(till.context)
            if not as_json:
                _say(till, applied, prepared)
            if detach:
                job = await migrating_job.begin(till.context, wanted, ACTOR)
                return applied, prepared, await outcome_of(till.context, job)
            return applied, prepared, await migrate_practices(till.context, wanted, show, at_once)

    with progress_bar(not (as_json or detach)) as show:
        applied, prepared, found = run_until_stopped(run(show))
    if as_json:
        print_json(_json(applied, prepared, found))
    else:
        if found.job is not None:
            print_outcome(found.job, found.counts, list(found.failed))
        console.print(f"Practices: {found.practices}, at the current version: {found.practices - found.behind}")
    if found.job is None or detach:
        return
    if found.job.state is JobState.paused:
        fail(f"The migration is paused. Continue it with `polytill jobs resume {found.job.id}`.")
    if found.job.state is not JobState.succeeded:
        fail("Some practices could not be migrated. All others are done. Fix them, then run `polytill migrate` again.")


def _wanted(chosen: list[int], everyone: bool, canary: list[str]) -> Wanted:
    count, named = 0, list[int]()
    for given in canary:
        word, _, number = given.rpartition(":")
        if word not in ("", "practice") or not number.isdecimal() or len(number) > 10 or not int(number):
            fail("--canary is a number of practices, such as 5, or a practice, such as practice:17.")
        if word:
            named.append(int(number))
        else:
            count = int(number)
    return Wanted(tuple(chosen), everyone, count, tuple(named))


def _say(till: Polytill, applied: list[str], prepared: Prepared) -> None:
    console.print(f"Owner database: {', '.join(applied) or 'nothing to do'}")
    if prepared.providers:
        console.print(f"Catalog: added {', '.join(prepared.providers)}")
    for one in till.context.registry.plug_ins():
        if one.refused:
            console.print(f"Plug-in {one.code}: {one.refused}", style="yellow")
    if prepared.removed:
        console.print(f"Removed incomplete practices: {prepared.removed}.")


def _json(applied: list[str], prepared: Prepared, found: Outcome) -> dict[str, Any]:
    return {
        "ownerRevisions": applied,
        "providersAdded": prepared.providers,
        "practices": found.practices,
        "behind": found.behind,
        "job": None if found.job is None else job_json(found.job, found.counts),
        "failures": [part_json(part) for part in found.failed],
    }
