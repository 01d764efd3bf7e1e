"""The job that deletes a practice: check, export, destroy the data key, drop the databases, keep a tombstone.

Nothing is changed before the key is destroyed, which is one transaction. From then on the practice is deleted for every
process: its API keys end, its webhooks get 410, and no backup of it opens any more. What is left to do is only to drop
databases, whose secrets nobody can open; a cluster that is away then delays that and nothing else.

The data key is in the owner database alone, wrapped by the key ring. The local snapshots of the nodes have a copy, which
each node replaces when it reads the directory again, and backups of the owner database have one until they are deleted
(``docs/life-of-a-practice.md``).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from polytill.domain.audit_actions import AuditAction
from polytill.domain.clock import wire_time
from polytill.domain.errors import Conflict, NotFound, NotNow, OperatorError, PolytillError, Stale, invalid
from polytill.domain.event_types import EventType
from polytill.domain.jobs import JobKind
from polytill.domain.states import PracticeState
from polytill.domain.text import is_blank
from polytill.flows import owner_snapshot
from polytill.flows.context import Context, log
from polytill.flows.events import forward
from polytill.flows.installation import must_be_adopted
from polytill.flows.jobs import control
from polytill.flows.jobs.control import Order
from polytill.flows.jobs.step import Kind, State, StepFailed
from polytill.flows.lifecycle.closing import tell
from polytill.flows.lifecycle.export import export, new_name
from polytill.storage import (
    api_keys,
    audit,
    cluster_rows,
    event_deliveries,
    practice_life,
    practice_moves,
    practice_remains,
    practices,
)
from polytill.storage.jobs import Job
from polytill.storage.practices import PracticeEntry
from polytill.storage.units import Unit

MOST_FORWARDED = 10_000  # times that events are forwarded before the database is dropped
MOST_REASON = 1000  # characters


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which practice is deleted, and what may be lost with it.

    Args:
        practice_id: The practice.
        confirm: Its name, as a second check.
        is_now: Also before its run-out has ended. Then ``reason`` must say why.
        reason: Why; for the audit log.
        accept_unresolved: Also with payments, refunds, disputes or review cases that are not resolved.
        export_to: The directory for a last export; None: no export is written.
    """

    practice_id: int
    confirm: str
    is_now: bool = False
    reason: str = ""
    accept_unresolved: bool = False
    export_to: Path | None = None


async def begin(context: Context, wanted: Wanted, actor: str, foreground: str | None = None) -> Job:
    """Start the job that deletes a practice, or one that drops what an earlier one has left.

    ``NotFound`` if there is no such practice, ``PracticeDeleted`` if it is deleted already, ``Invalid`` for a wrong
    confirmation or a missing reason, ``Conflict`` if it is not closed, its run-out goes on, or money is unresolved.
    """
    must_be_adopted(context)
    context.forget(wanted.practice_id)
    entry = await context.opening.any_entry(wanted.practice_id)
    if not entry.cluster:
        await context.opening.entry(entry.id)  # raises
    if wanted.confirm != entry.name:
        raise invalid("/confirm", "This is not the practice's name.", reason="confirm_name")
    if wanted.is_now and is_blank(wanted.reason):
        detail = "Say why the practice is deleted before its run-out ends."
        raise invalid("/reason", detail, reason="delete_reason")
    if len(wanted.reason) > MOST_REASON:
        raise invalid("/reason", f"The reason has more than {MOST_REASON} characters.", reason="reason_too_long")
    if entry.state is not PracticeState.deleted:
        await _check(context, entry, wanted.is_now, wanted.accept_unresolved)
    arguments: State = {
        "isNow": wanted.is_now,
        "reason": wanted.reason.strip(),
        "acceptUnresolved": wanted.accept_unresolved,
        "exportTo": None if wanted.export_to is None else str(wanted.export_to.expanduser().absolute()),
    }
    job = await control.start(context, Order(JobKind.delete, (entry.id,), arguments), actor, foreground)
    assert job is not None
    return job


async def _entry(context: Context, practice_id: int) -> PracticeEntry:
    context.forget(practice_id)
    return await context.opening.entry(practice_id)


async def _check(context: Context, entry: PracticeEntry, is_now: bool, accept_unresolved: bool) -> None:
    """``Conflict`` if a practice may not be deleted."""
    if entry.state is not PracticeState.closed:
        raise Conflict(
            f"Practice {entry.id} is {entry.state.value}. Only a closed practice can be deleted.",
            code="practice_not_closed",
        )
    if not is_now and not entry.is_over(context.world.now()):
        until = f"{entry.runs_out_at:%Y-%m-%d %H:%M} UTC"
        raise Conflict(f"The run-out of practice {entry.id} goes on until {until}.", code="run_out_not_over", day=until)
    if accept_unresolved:
        return
    found = await practice_remains.unresolved((await context.practice(entry.id)).db)
    if found.any:
        raise Conflict(f"Practice {entry.id} has unresolved money ({found}).", code="money_unresolved", what=str(found))


# ── Steps ──


async def check_deletion(context: Context, practice_id: int, state: State) -> State:
    """Check once more that the practice may be deleted, and forward its last events to the host.

    A retry may begin here again, because old records of steps are removed. If the key is destroyed by then, nothing is
    left to check or to export.
    """
    context.forget(practice_id)
    entry = await context.opening.any_entry(practice_id)
    if entry.state is PracticeState.deleted:
        return {**state, "exportTo": None, "exportName": None}
    await _check(context, entry, state["isNow"], state["acceptUnresolved"])
    try:
        practice = await context.practice(practice_id)
        for _ in range(MOST_FORWARDED):
            if not await forward(practice):
                break
    except (NotNow, OperatorError):
        if not state["acceptUnresolved"]:
            raise
    return {**state, "exportName": new_name(context, practice_id)}


async def write_export(context: Context, practice_id: int, state: State) -> State:
    """Write the last export, if one is wanted. Done before, it is not written again."""
    if state["exportTo"] is None:
        return state
    place = Path(state["exportTo"])
    if not (place / state["exportName"]).exists():
        await export(context, practice_id, place, state["actor"], state["exportName"])
    return state


async def destroy_key(context: Context, practice_id: int, state: State) -> State:
    """Destroy the data key, end all access, and let everybody know that the practice is deleted. Done before, nothing is
    changed."""
    entry = await practices.by_id(context.owner, practice_id)
    if entry is None:
        raise NotFound(f"There is no practice {practice_id}.")
    if entry.state is not PracticeState.deleted:
        # Nothing may be lost that was unresolved since the first step, for example after it was opened again.
        await _check(context, await _entry(context, practice_id), state["isNow"], state["acceptUnresolved"])
        await _write_tombstone(context, entry, state)
        log.warning("practice_deleted", practice=practice_id)
    await practice_life.scrub(context.owner)
    owner_snapshot.path_of(context).unlink(missing_ok=True)  # a process that serves writes it again, without the key
    context.forget(practice_id)
    with suppress(PolytillError):  # drops the key from this process's memory
        await context.practice(practice_id)
    return state


async def _write_tombstone(context: Context, entry: PracticeEntry, state: State) -> None:
    now: datetime = context.world.now()
    await practice_life.prepare_to_scrub(context.owner)
    to = await event_deliveries.destination(context.owner, context.shared_after(0))
    keys = [key for key in await api_keys.listed(context.owner, entry.id) if key.revoked_at is None]
    detail = {name: state[name] for name in ("isNow", "reason", "acceptUnresolved", "exportName")}
    detail |= {"database": entry.database_name, "cluster": entry.cluster, "externalId": entry.external_id}
    if state["exportTo"] is None:
        del detail["exportName"]
    try:
        async with context.owner.transaction() as tx:
            practice_life.destroy_key(tx, entry, state["actor"], now)
            for key in keys:  # by these lines every process notices that a key has ended
                about = {"id": key.id}
                audit.append(tx, now, state["actor"], AuditAction.key_revoked, f"practice:{entry.id}", about)
            audit.append(tx, now, state["actor"], AuditAction.practice_deleted, f"practice:{entry.id}", detail)
            await tell(context, tx, to, entry, EventType.practice_deleted, {"deletedAt": wire_time(now)})
    except Stale:
        raise StepFailed(
            "The practice was reopened or deleted by somebody else meanwhile. Nothing was changed."
        ) from None
    for key in keys:
        context.opening.directory.key_revoked(key.id)


async def drop_databases(context: Context, practice_id: int, state: State) -> State:
    """Drop the practice's database, the old ones that moves and restores have kept, and unfinished copies."""
    entry = await context.opening.any_entry(practice_id)
    if entry.state is not PracticeState.deleted:
        raise StepFailed("The practice is not deleted in the directory. Nothing was dropped.")
    names = await _names(context, entry)
    dropped = list(state.get("dropped", ()))
    for row in await cluster_rows.listed(context.owner):
        with suppress(NotFound):  # it was removed meanwhile
            cluster = await context.opening.cluster(row.name)
            dropped += await practice_remains.drop_all(cluster, practice_id, names)
    return {**state, "dropped": sorted({*dropped})}


async def _names(context: Context, entry: PracticeEntry) -> set[str]:
    """The names that databases of a practice have, or had before a move."""
    found = {entry.database_name}
    for move in await practice_moves.of_practice(context.owner, entry.id):
        found |= {move.to_database, move.kept}
    found |= {
        str(one["detail"]["kept"])
        for one in await audit.listed(context.owner, f"practice:{entry.id}", limit=10_000)
        if one["action"] == AuditAction.practice_restored and (one["detail"] or {}).get("kept")
    }
    return {name for name in found if name.startswith(practices.DATABASE_PREFIX)}


async def finish_deletion(context: Context, practice_id: int, state: State) -> State:
    """Leave of the directory's row only what says that the practice was deleted."""
    unit = Unit()
    practice_life.forget_database(unit, practice_id, context.world.now())
    await context.owner.commit(unit)
    context.forget(practice_id)
    return state


KIND = Kind(steps=(check_deletion, write_export, destroy_key, drop_databases, finish_deletion))
