"""`polytill practices move`: to another cluster, back, and the end of the old databases."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from polytill.cli.jobs import ACTOR, Detach, Run, print_json, run_job
from polytill.cli.opened import console, fail, opened
from polytill.domain.clock import wire_time
from polytill.flows.context import Context
from polytill.flows.jobs import move
from polytill.storage import jobs, practice_moves, practices
from polytill.storage.jobs import Job
from polytill.storage.practice_moves import PracticeMove


def practices_move(
    which: Annotated[list[int], typer.Argument(help="The practices' ids")],
    to: Annotated[str, typer.Option(help="The cluster to which they are moved")] = "",
    back: Annotated[
        bool, typer.Option("--back", help="Move them back, with everything since; before --confirm")
    ] = False,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Drop the old databases of practices that were moved")
    ] = False,
    detach: Detach = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Move practices to another cluster, as a job. They stay in use; each is refused for a moment while it is switched.

    The old database is kept until you confirm. Moving back copies as well, so that nothing since the move is lost.
    """
    if sum((bool(to), back, confirm)) != 1:
        fail("Give one of --to CLUSTER, --back and --confirm.")
    if confirm:
        _confirm(which, as_json)
        return

    async def begin(context: Context, node: str | None) -> Job:
        return await move.begin(context, move.Wanted(which, to or None), ACTOR, node)

    async def moved(context: Context, job: Job) -> list[dict[str, Any]]:
        chosen = {part.practice_id for part in await jobs.parts(context.owner, job.id, limit=practices.MOST_ID)}
        found = await practice_moves.unconfirmed(context.owner, limit=practices.MOST_ID)
        return [_shown(one) for one in found if one.practice_id in chosen]

    run_job(begin, Run(detach, as_json, details=("moves", moved), sentence=_sentence))


def _shown(one: PracticeMove) -> dict[str, Any]:
    return {
        "practice": one.practice_id,
        "from": one.from_cluster,
        "to": one.to_cluster,
        "movedAt": wire_time(one.moved_at),
        "refusedMs": one.refused_ms,
        "kept": one.kept,
    }


def _sentence(one: dict[str, Any]) -> str:
    return (
        f"Practice {one['practice']} is on {one['to']}; its requests were refused for {one['refusedMs']} ms. The old database"
        f" is kept on {one['from']} until `polytill practices move --confirm {one['practice']}`."
    )


def _confirm(which: list[int], as_json: bool) -> None:
    async def work(context: Context) -> list[PracticeMove]:
        return [await move.confirm(context, practice_id, ACTOR) for practice_id in which]

    found = opened(work)
    if as_json:
        print_json([_shown(one) for one in found])
        return
    for one in found:
        console.print(f"Practice {one.practice_id}: the old database on {one.from_cluster} is dropped.")
