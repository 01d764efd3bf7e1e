"""The job that moves practices to another cluster: copy, switch, check.

A practice is used while it is copied. Its requests are refused with 503 while it is switched: the old database is closed by
renaming it, what has changed is copied, and the directory is changed. From the first moment of this, no process can write
to the old database, also one that knows nothing of the move; and nobody knows of the new one before the last. Killed in
between, the practice answers 503 until another process goes on.

Leases and claims are by practice, in the owner database, and are not moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, NotFound, NotNow, PolytillError, Stale, invalid
from polytill.domain.ids import new_id
from polytill.domain.jobs import JobKind
from polytill.flows.admin import placement
from polytill.flows.context import Context, log
from polytill.flows.jobs import control
from polytill.flows.jobs.control import Order
from polytill.flows.jobs.step import Kind, State, StepFailed
from polytill.storage import audit, cluster_rows, migrating, moving, practice_moves, practices
from polytill.storage.jobs import Job
from polytill.storage.moving import Guard, Home
from polytill.storage.practice_moves import PracticeMove
from polytill.storage.practices import Place, PracticeEntry
from polytill.storage.units import Unit

OWNER_TRIES, OWNER_PAUSE_S = 60, 0.5  # how often the switch is written while the owner database is away


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which practices are moved, and where to. ``to`` None: back to where each was before its last move."""

    practice_ids: Collection[int]
    to: str | None


async def begin(context: Context, wanted: Wanted, actor: str, foreground: str | None = None) -> Job:
    """Start a job that moves practices.

    ``NotFound`` if a practice does not exist; ``Invalid`` or ``Conflict`` with one sentence if one cannot be moved there.
    """
    if not wanted.practice_ids:
        raise invalid("/practiceIds", "Name at least one practice.", reason="shape_missing")
    for practice_id in sorted(set(wanted.practice_ids)):
        entry = await _entry(context, practice_id)
        if (
            why := await _why_not(context, entry, await _target(context, practice_id, wanted.to), wanted.to)
        ) is not None:
            raise Conflict(f"Practice {practice_id} cannot be moved. {why}", code="not_movable")
    job = await control.start(
        context, Order(JobKind.move, tuple(wanted.practice_ids), {"to": wanted.to}), actor, foreground
    )
    assert job is not None
    return job


async def _entry(context: Context, practice_id: int) -> PracticeEntry:
    context.opening.forget(practice_id)
    return await context.opening.entry(practice_id)


async def _target(context: Context, practice_id: int, to: str | None) -> str:
    """The cluster by its name. ``Conflict`` if a practice shall go back, and was not moved or its move is confirmed."""
    if to is not None:
        return to
    last = await practice_moves.last(context.owner, practice_id)
    if last is None:
        raise Conflict(
            f"Practice {practice_id} was not moved, or its move is confirmed. Name a cluster instead.", code="no_move"
        )
    return last.from_cluster


async def _why_not(context: Context, entry: PracticeEntry, name: str, to: str | None) -> str | None:
    """A sentence if a practice cannot be moved to a cluster now; else None."""
    if name == entry.cluster:
        return f"It is on the cluster {name!r} already."
    if to is not None and await practice_moves.last(context.owner, entry.id) is not None:
        return f"Its last move is not confirmed. Run `polytill practices move --confirm {entry.id}` or `--back`."
    rows = {row.name: row for row in await cluster_rows.listed(context.owner)}
    if name not in rows:
        return f"There is no cluster named {name!r}."
    if to is not None:
        refusal = placement.why_not(rows[name], (await cluster_rows.counts(context.owner)).get(name, 0))
        if refusal is not None:
            return refusal.sentence
    if entry.schema_version != migrating.head("practice"):
        return f"Its database is at schema {entry.schema_version}. Run `polytill migrate --practice {entry.id}` first."
    old, new = await context.opening.cluster(entry.cluster), await context.opening.cluster(name)
    if (why := moving.why_not(old, new)) is not None:
        return why
    await new.check()
    await context.opening.read_mark(entry.id)
    if (await context.practice(entry.id)).db.anchor.behind is not None:
        return f"Its database is behind. Run `polytill practices adopt {entry.id}` first."
    return None


# ── Steps ──


async def copy_database(context: Context, practice_id: int, state: State) -> State:
    """Copy the database while it is used, and compare rows and checksums of each table. A repetition copies again."""
    entry = await _entry(context, practice_id)
    name = await _target(context, practice_id, state["to"])
    if (why := await _why_not(context, entry, name, state["to"])) is not None:
        raise StepFailed(why)
    old = Home(await context.opening.cluster(entry.cluster), entry.database_name)
    async with moving.guarded(old.cluster, practice_id):
        await _drop_unfinished(context, entry)
        # A name of its own for each copy: one that is begun again never touches one that is in use.
        database = f"{practices.DATABASE_PREFIX}{context.world.random_bytes(8).hex()}"
        new = Home(await context.opening.cluster(name), database)
        kept = f"{entry.database_name}{practice_moves.KEPT}"
        unit = Unit()
        practice_moves.begin(
            unit, PracticeMove(database, practice_id, name, entry.cluster, kept, context.shared_after(0))
        )
        await context.owner.commit(unit)
        try:
            since = await moving.copy(old, new)
        except Exception:
            with suppress(PolytillError):
                await moving.drop(new)
            raise
    before = [entry.cluster, entry.database_name, entry.epoch]
    after = [name, database, new_id(context.world)]
    return {**state, "before": before, "after": after, "kept": kept, "since": since}


async def _drop_unfinished(context: Context, entry: PracticeEntry) -> None:
    """Drop the copies of earlier tries."""
    for one in await practice_moves.of_practice(context.owner, entry.id):
        if one.moved_at is None and one.to_database != entry.database_name:
            await moving.drop(Home(await context.opening.cluster(one.to_cluster), one.to_database))
            unit = Unit()
            practice_moves.forget(unit, one.to_database)
            await context.owner.commit(unit)


async def switch_database(context: Context, practice_id: int, state: State) -> State:
    """Close the old database, copy the rest, and let the directory lead to the new one. If the copy differs, the old one is
    opened again."""
    before, after = Place(*state["before"]), Place(*state["after"])
    old = Home(await context.opening.cluster(before.cluster), before.database)
    kept = Home(old.cluster, state["kept"])
    new = Home(await context.opening.cluster(after.cluster), after.database)
    async with moving.guarded(old.cluster, practice_id) as guard:
        if await _is_at(context, practice_id, after):
            return state
        since, is_open = state["since"], await guard.exists(before.database)
        moving.must_be_one(is_open, await guard.exists(kept.database))
        if is_open:
            since = await moving.refresh(old, new, since)
            await context.owner.fetch("SELECT 1")  # while it is away, the practice would stay closed
        began_s = context.world.elapsed_s()
        if is_open:
            await guard.close(before.database, kept.database)
        reopen = partial(_reopen, guard, kept.database, before.database)
        try:
            await moving.finish(kept, new, since, (before.epoch, after.epoch))
        except BaseException:
            await asyncio.shield(reopen())
            raise
        refused_ms = round((context.world.elapsed_s() - began_s) * 1000)
        if not await _write_switch(context, practice_id, state, refused_ms):
            await reopen()
            raise StepFailed("The practice was restored or moved by somebody else meanwhile. Nothing was changed.")
    log.info("practice_moved", practice=practice_id, cluster=after.cluster, refused_ms=refused_ms)
    return {**state, "refusedMs": refused_ms}


async def _reopen(guard: Guard, kept: str, database: str) -> None:
    await guard.reopen(kept, database)


async def _is_at(context: Context, practice_id: int, place: Place) -> bool:
    entry = await practices.by_id(context.owner, practice_id)
    return entry is not None and (entry.cluster, entry.database_name) == place[:2]


async def _write_switch(context: Context, practice_id: int, state: State, refused_ms: int) -> bool:
    """Let the directory lead to the new database. False if it does not lead to the old one any more.

    Tried again while the owner database is away: nobody knows whether the last try was written. ``NotNow`` after a while;
    the old database stays closed then, because the new one may be in use.
    """
    before, after = Place(*state["before"]), Place(*state["after"])
    for _ in range(OWNER_TRIES):
        try:
            if await _is_at(context, practice_id, after):
                break
            unit, now = Unit(), context.world.now()
            practices.move(unit, practice_id, before, after, now)
            practice_moves.switched(unit, after.database, context.shared_after(0), refused_ms)
            about = {"from": before.cluster, "to": after.cluster, "refusedMs": refused_ms}
            audit.append(unit, now, state["actor"], AuditAction.practice_moved, f"practice:{practice_id}", about)
            await context.owner.commit(unit)
            break
        except Stale:
            if not await _is_at(context, practice_id, after):
                return False
        except NotNow:
            with suppress(TimeoutError):  # nothing signals that it is back
                await asyncio.wait_for(asyncio.get_running_loop().create_future(), OWNER_PAUSE_S)
    else:
        raise NotNow("The owner database is away, so the practice could not be switched.")
    context.forget(practice_id)
    return True


async def check_moved(context: Context, practice_id: int, state: State) -> State:
    """Open the database at its new place, and drop the one that a move back has superseded."""
    context.forget(practice_id)
    await context.opening.must_be_current(practice_id)
    await migrating.current((await context.practice(practice_id)).db)
    if state["to"] is None:
        for one in await practice_moves.of_practice(context.owner, practice_id):
            if one.moved_at is not None and one.to_database != state["after"][1]:
                await _drop_old(context, one)
    return state


KIND = Kind(steps=(copy_database, switch_database, check_moved))


# ── Old databases ──


async def confirm(context: Context, practice_id: int, actor: str) -> PracticeMove:
    """Drop the old database of a moved practice. The practice must be current at its new place.

    ``Conflict`` if none is kept.
    """
    await _entry(context, practice_id)
    last = await practice_moves.last(context.owner, practice_id)
    if last is None:
        raise Conflict(f"No old database of practice {practice_id} is kept.", code="no_move")
    await context.opening.must_be_current(practice_id)
    await migrating.current((await context.practice(practice_id)).db)
    await _drop_old(context, last)
    unit = Unit()
    about = {"cluster": last.from_cluster}
    audit.append(
        unit, context.world.now(), actor, AuditAction.practice_old_copy_dropped, f"practice:{practice_id}", about
    )
    await context.owner.commit(unit)
    return last


async def _drop_old(context: Context, move: PracticeMove) -> None:
    with suppress(NotFound):  # its cluster was removed
        cluster = await context.opening.cluster(move.from_cluster)
        for name in move.old_names:  # the log of an SQLite file that was open as it was closed has the name of before
            await moving.drop(Home(cluster, name))
    unit = Unit()
    practice_moves.forget(unit, move.to_database)
    await context.owner.commit(unit)
