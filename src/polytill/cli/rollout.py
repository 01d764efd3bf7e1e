"""The gradual rollout: phases, the old field, differences and readers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from polytill.cli.opened import PracticeId, console, fail, opened
from polytill.domain.clock import wire_time
from polytill.domain.rollout import DifferenceReason, FieldState, RolloutPhase
from polytill.flows.context import Context
from polytill.flows.rollout import column, conflicts, moves, overview, readers, sync
from polytill.flows.rollout.conflicts import Keep
from polytill.flows.rollout.moves import Moved, Selection
from polytill.flows.rollout.sync import Synced
from polytill.storage import practice_rollouts, practices, rollout_differences
from polytill.storage.practice_rollouts import Rollout
from polytill.storage.rollout_differences import Difference

rollout_app = typer.Typer(
    no_args_is_help=True, help="The gradual rollout from the host application's old code, practice by practice."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]
Practices = Annotated[list[int] | None, typer.Option("--practice", help="A practice's id; may be repeated")]
Externals = Annotated[
    list[str] | None, typer.Option("--external-id", help="Your own id of a practice; may be repeated")
]


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, default=_plain, indent=1))


def _plain(value: Any) -> Any:
    return wire_time(value)


_INTERNAL = (
    *("field_hash", "writing_hash", "writing_until", "compared_with", "field_due"),
    *("tries", "next_try_at", "moving_since"),
)


def _row(one: Rollout) -> dict[str, Any]:
    kept = asdict(one)
    for name in _INTERNAL:
        del kept[name]
    return kept


# ── Status ──


@rollout_app.command("status")
def rollout_status(
    practice: Practices = None,
    phase: Annotated[RolloutPhase | None, typer.Option(help="Only practices in this phase")] = None,
    field: Annotated[FieldState | None, typer.Option(help="Only practices whose field is in this state")] = None,
    as_json: AsJson = False,
) -> None:
    """Show phases, the state of each field, comparisons and readers."""

    async def read(context: Context) -> tuple[overview.Overview, list[Rollout]]:
        found = await practice_rollouts.listed(context.owner, phase, field, limit=practices.MOST_ID)
        return await overview.overview(context), [one for one in found if not practice or one.practice_id in practice]

    state, found = opened(read)
    if as_json:
        _print_json({"summary": asdict(state), "practices": [_row(one) for one in found]})
        return
    table = Table("id", "external id", "name", "phase", "since", "field", "agreements")
    for one in found:
        moving = f" → {one.moving_to}" if one.moving_to else ""
        detail = f": {one.field_detail}" if one.field_detail else ""
        table.add_row(
            *(str(one.practice_id), one.external_id or "", one.name, f"{one.phase}{moving}"),
            *(wire_time(one.moved_at) or "", f"{one.field_state}{detail}", str(one.agreements)),
        )
    if found:
        console.print(table)
    counts = ", ".join(f"{phase} {state.phases.get(phase, 0)}" for phase in RolloutPhase)
    console.print(f"Practices: {counts}, not in the rollout {state.not_in_rollout}")
    console.print(f"Comparisons: {state.agreements} agreed, {sum(state.differences.values())} differed")


# ── The field ──


@rollout_app.command("sync")
def rollout_sync(practice: Practices = None, as_json: AsJson = False) -> None:
    """Synchronize fields and provider configurations now, of all practices or of some.

    In legacy and shadow, the configurations follow the field. In live, pending changes are written into the field.
    Exits with 1 if a field and the configurations are not equal afterwards.
    """
    done = opened(lambda context: _synced(context, practice or [], not as_json))
    done.sort(key=lambda one: one.practice_id)
    bad = [one for one in done if one.result is None or one.result.state is not FieldState.in_sync]
    if as_json:
        _print_json([asdict(one) for one in done])
    else:
        for one in done:
            if one.result is not None and one.result.changed:
                console.print(f"Practice {one.practice_id}: followed the field for {', '.join(one.result.changed)}")
        for one in bad:
            said = one.error if one.result is None else "; ".join(one.result.problems) or one.result.state.value
            console.print(f"Practice {one.practice_id}: {said}", style="red", soft_wrap=True)
        console.print(f"Practices: {len(done)}, equal to their field: {len(done) - len(bad)}")
    if bad:
        raise SystemExit(1)


async def _synced(context: Context, wanted: Sequence[int], shows: bool) -> list[Synced]:
    found = await practice_rollouts.listed(context.owner, limit=practices.MOST_ID)
    chosen = [one for one in found if not wanted or one.practice_id in wanted]
    missing = set(wanted) - {one.practice_id for one in chosen}
    if missing:
        fail(f"Practice {min(missing)} is not in the rollout.")
    done = []
    with Progress(console=console, transient=True, disable=not shows) as progress:
        task = progress.add_task("Fields", total=len(chosen))
        async for one in sync.sync_all(context, chosen, "cli"):
            done.append(one)
            progress.advance(task)
    return done


@rollout_app.command("resolve")
def rollout_resolve(
    practice: PracticeId,
    keep: Annotated[Keep, typer.Option(help="The side that stays; the other one is overwritten")],
    field: Annotated[
        Path | None, typer.Option(help="The field as it is now, if polytill cannot read it; - is standard input")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Resolve a conflict: somebody changed the field while polytill decides."""
    value = ... if field is None else _field_in(field)
    found = opened(lambda context: conflicts.resolve(context, practice, keep, "cli", value))
    if as_json:
        _print_json(asdict(found))
        return
    console.print(f"Practice {practice}: the field is {found.state}.")


def _field_in(path: Path) -> str:
    try:
        return (sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()).decode("utf-8").removesuffix("\n")
    except OSError as error:
        fail(f"The file {path} cannot be read: {error.strerror}.")
    except UnicodeDecodeError:
        fail(f"The file {path} is not UTF-8 text.")


# ── Steps ──


@rollout_app.command("move")
def rollout_move(
    to: Annotated[RolloutPhase, typer.Argument(help="The phase to move to, one step from the present one")],
    practice: Practices = None,
    external_id: Externals = None,
    percent: Annotated[
        int | None, typer.Option(help="This percentage of all practices, chosen by a stable hash of their external ids")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Move practices one step: to legacy, shadow, live or closed.

    Practices are checked and moved one by one. Exits with 1 if one could not be moved.
    """
    if to is RolloutPhase.closed and not as_json:
        console.print("After this step there is no way back: the field of each practice is emptied.")
    selection = Selection(tuple(practice or ()), tuple(external_id or ()), percent)
    _report(opened(lambda context: _moved(context, selection, to, not as_json)), to, as_json)


@rollout_app.command("back")
def rollout_back(practice: Practices = None, external_id: Externals = None, as_json: AsJson = False) -> None:
    """Move practices one step back: from live to shadow, or from shadow to legacy.

    From live to legacy, call it twice. Exits with 1 if one could not be moved.
    """
    selection = Selection(tuple(practice or ()), tuple(external_id or ()))

    async def work(context: Context) -> list[Moved]:
        done: list[Moved] = []
        for one in await moves.chosen(context, selection, RolloutPhase.legacy):
            try:
                done += [m async for m in moves.move_all(context, [one], moves.back_from(one), "cli")]
            except moves.StepRefused as error:
                done.append(Moved(one, changed=False, refused=error.detail))
        return done

    _report(opened(work), None, as_json)


async def _moved(context: Context, selection: Selection, to: RolloutPhase, shows: bool) -> list[Moved]:
    chosen = await moves.chosen(context, selection, to)
    done = []
    with Progress(console=console, transient=True, disable=not shows) as progress:
        task = progress.add_task(f"To {to}", total=len(chosen))
        async for one in moves.move_all(context, chosen, to, "cli"):
            done.append(one)
            progress.advance(task)
    return done


def _report(done: list[Moved], to: RolloutPhase | None, as_json: bool) -> None:
    done.sort(key=lambda one: one.rollout.practice_id)
    refused = [one for one in done if one.refused is not None]
    if as_json:
        _print_json([{**_row(one.rollout), "changed": one.changed, "refused": one.refused} for one in done])
    else:
        for one in done:
            if to is None and one.changed:
                console.print(f"Practice {one.rollout.practice_id}: {one.rollout.phase}")
        for one in refused:
            console.print(f"Practice {one.rollout.practice_id}: {one.refused}", style="red", soft_wrap=True)
        where = f" to {to}" if to else ""
        console.print(f"Moved{where}: {sum(one.changed for one in done)} of {len(done)} practices")
    if refused:
        raise SystemExit(1)


# ── Differences and readers ──


@rollout_app.command("differences")
def rollout_differences_list(
    practice: Annotated[int | None, typer.Option(help="Only of this practice")] = None,
    reason: Annotated[DifferenceReason | None, typer.Option(help="Only with this reason")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, newest first")] = 100,
    as_json: AsJson = False,
) -> None:
    """List payments for which the old code and polytill chose differently, newest first."""

    async def read(context: Context) -> tuple[list[Difference], dict[DifferenceReason, int]]:
        found = await rollout_differences.listed(context.owner, practice, reason, limit=limit)
        return found, await rollout_differences.count_by_reason(context.owner, practice)

    found, counts = opened(read)
    if as_json:
        _print_json({"counts": counts, "differences": [asdict(one) for one in found]})
        return
    table = Table("practice", "reference", "old code", "polytill", "currency", "amount", "reason", "detail")
    for one in found:
        amount = "" if one.amount is None else str(one.amount)
        table.add_row(
            *(str(one.practice_id), one.reference, one.legacy_provider or "none", one.our_provider or "none"),
            *(one.currency, amount, one.reason, one.detail),
        )
    if found:
        console.print(table)
    console.print(", ".join(f"{name} {number}" for name, number in sorted(counts.items())) or "No differences.")


@rollout_app.command("readers")
def rollout_readers(as_json: AsJson = False) -> None:
    """List who still reads the field, as the host application counts it."""
    found = opened(readers.readers)
    if as_json:
        _print_json(asdict(found))
        return
    table = Table("caller", "reads", "first", "last")
    for one in found.callers:
        table.add_row(one.caller, str(one.reads), wire_time(one.first_at), wire_time(one.last_at))
    if found.callers:
        console.print(table)
    since = f"since {wire_time(found.reports.first_at)}" if found.reports else "never"
    console.print(f"Callers: {len(found.callers)}; the host application reports reads {since}.")


@rollout_app.command("drop-column")
def rollout_drop_column(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for a confirmation")] = False, as_json: AsJson = False
) -> None:
    """Drop the field's column from the host's table, once nobody needs it.

    Only if every practice is closed, every field is empty, and nobody has read the field for
    POLYTILL_FIELD_QUIET_DAYS.
    """

    async def work(context: Context) -> str:
        place = await column.checked(context)
        if not yes and not typer.confirm(f"Drop {place}? This cannot be undone.", err=True):
            fail("Nothing was dropped.")
        await column.drop(context, "cli")
        return place

    place = opened(work)
    if as_json:
        _print_json({"dropped": place})
        return
    console.print(f"Dropped {place}.")
