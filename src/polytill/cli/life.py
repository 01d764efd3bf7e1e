"""The end of a practice's life: `polytill practices close`, `reopen` and `delete`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polytill.cli.jobs import ACTOR, AsJson, Run, run_job
from polytill.cli.opened import PracticeId, console, opened
from polytill.domain.states import PracticeState
from polytill.flows.context import Context
from polytill.flows.jobs import delete
from polytill.flows.lifecycle import closing
from polytill.storage.jobs import Job
from polytill.storage.practices import PracticeEntry


def state_of(entry: PracticeEntry) -> str:
    """A practice's state for a list, with its dates."""
    if entry.state is PracticeState.closed:
        return f"closed, runs out {entry.runs_out_at:%Y-%m-%d}"
    if entry.state is PracticeState.deleted:
        return f"deleted {entry.deleted_at:%Y-%m-%d} by {entry.deleted_by}"
    return entry.state.value


def practices_close(
    practice: PracticeId,
    run_out: Annotated[
        int | None,
        typer.Option(help="Days for which refunds, webhooks and lookups go on; default: POLYTILL_RUN_OUT_DAYS"),
    ] = None,
) -> None:
    """Close a practice: no new payments, payment links or credentials. Refunds, webhooks and lookups go on for a time."""
    entry = opened(lambda context: closing.close(context, practice, run_out, ACTOR))
    console.print(
        f"Practice {entry.id} ({entry.name}) is closed. Refunds, webhooks and lookups go on until"
        f" {entry.runs_out_at:%Y-%m-%d %H:%M} UTC; until then `polytill practices reopen {entry.id}` opens it again.",
        soft_wrap=True,
    )


def practices_reopen(practice: PracticeId) -> None:
    """Reopen a closed practice, until its run-out ends."""
    entry = opened(lambda context: closing.reopen(context, practice, ACTOR))
    console.print(f"Practice {entry.id} ({entry.name}) is active.")


def practices_delete(
    practice: PracticeId,
    confirm: Annotated[str, typer.Option(help="The practice's name")],
    now: Annotated[
        str | None, typer.Option(metavar="REASON", help="Also before its run-out has ended; why, for the audit log")
    ] = None,
    accept_unresolved: Annotated[
        bool, typer.Option("--accept-unresolved", help="Even if payments, refunds or review cases are not resolved")
    ] = False,
    export_to: Annotated[
        Path | None, typer.Option(help="Write a last export into a new directory in this directory")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Delete a closed practice for ever, as a job: its data key is destroyed, and its databases are dropped.

    No backup of it opens afterwards.
    """
    wanted = delete.Wanted(practice, confirm, now is not None, now or "", accept_unresolved, export_to)

    async def begin(context: Context, node: str | None) -> Job:
        return await delete.begin(context, wanted, ACTOR, node)

    run_job(begin, Run(detach=False, as_json=as_json))
