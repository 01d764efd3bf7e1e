"""Going on without the owner database, also after a restart: a sealed local copy of directory, catalog and keys.

Payments begin only while an announcement of this process, or of one that died here, counts as a lease. Everything else goes
on until the copy is too old: nobody can revoke a key in it.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from polytill.domain.copies import CopyReason
from polytill.domain.errors import KeyRingDiffers, SealBroken
from polytill.domain.sealing import Place
from polytill.domain.secret import Secret
from polytill.flows.context import Context, log
from polytill.flows.presence import LEASE_S, Presence
from polytill.storage import cluster_rows, installations, key_ring_keys, owner_snapshots
from polytill.storage.owner_snapshots import OwnerSnapshot

REFRESHED_S = 300.0
CLOCKS_APART = timedelta(minutes=5)
SUFFIX = ".snapshot"


def path_of(context: Context) -> Path:
    """Where this installation's snapshot is: beside the key ring, without which it does not open."""
    ring = context.settings.keyring
    return ring.with_name(ring.name + SUFFIX)


def _bound(context: Context) -> str:
    return owner_snapshots.bound_to(path_of(context), context.settings.owner_database_url.get_secret_value())


def _place(context: Context) -> Place:
    return Place("owner_announcement", _bound(context), "until")


async def keep(context: Context, has_changed: bool) -> bool:
    """Write the snapshot if the directory was read again, or if the last one is a few minutes old. Returns whether it was
    written. A folder that cannot be written is logged once."""
    state, elapsed_s = context.snapshot, context.world.elapsed_s()
    if not has_changed and elapsed_s - state.written_at_s < REFRESHED_S:
        return False
    directory = context.opening.directory
    snapshot = OwnerSnapshot(
        owner_snapshots.version_now(),
        context.world.now(),
        await installations.read(context.owner),
        await key_ring_keys.recorded(context.owner),
        directory.entries(),
        directory.keys(),
        await cluster_rows.listed(context.owner),
        list((await context.catalog()).values()),
    )
    path = path_of(context)
    given = snapshot, context.opening.owners_keys()[0], _bound(context), context.world
    state.written_at_s = elapsed_s
    try:
        await asyncio.to_thread(owner_snapshots.write, path, *given)
    except OSError as error:
        if not state.is_reported:
            log.warning("snapshot_not_written", path=str(path), reason=error.strerror)
        state.is_reported = True
        return False
    state.is_reported = False
    return True


async def use(context: Context) -> bool:
    """Use the snapshot, because the owner database cannot be reached as this process starts. Returns whether there is one
    that counts; the log says why not.

    ``KeyRingDiffers`` if the key ring is not the one that the snapshot knows.
    """
    path = path_of(context)
    found = await asyncio.to_thread(owner_snapshots.read, path, context.opening.owners_keys(), _bound(context))
    if found is None:
        return False
    why = found if isinstance(found, str) else _why_not(context, found)
    if isinstance(found, str) or why is not None:
        log.warning("snapshot_ignored", path=str(path), reason=why)
        return False
    if (differs := context.ring.differs_from(found.key_ring)) is not None:
        raise KeyRingDiffers(differs)
    name, state = context.settings.installation, context.installation
    if name and found.installation.name and name != found.installation.name:
        state.copied = CopyReason.name
    state.older_since, state.is_sandbox_only = found.installation.older_since, found.installation.is_sandbox_only
    context.opening.fill(found.practices, found.keys, found.clusters)
    context.fill_catalog(found.catalog)
    remaining_s = await asyncio.to_thread(_announced_s, context)
    if remaining_s > 0:
        context.announced_until_s = context.world.elapsed_s() + remaining_s
    log.warning(
        "snapshot_used",
        practices=len(found.practices),
        written=found.written_at.isoformat(),
        payments_s=int(remaining_s),
    )
    return True


def _why_not(context: Context, found: OwnerSnapshot) -> str | None:
    age = context.world.now() - found.written_at
    if age > timedelta(seconds=context.settings.snapshot_max_age_s):
        return "too old"
    return "from the future" if age < -CLOCKS_APART else None


# ── The announcement ──


def announce(context: Context, node_id: str) -> None:
    """Write until when this process's announcement counts, for the one that takes its place if it dies."""
    state = context.snapshot
    if context.announced_until_s == float("-inf"):
        return
    try:
        if state.announced_as != node_id:
            if state.announcement is not None:  # it was taken over
                state.announcement.remove()
            owner_snapshots.forget_dead(path_of(context))
            state.announcement = owner_snapshots.AnnouncementFile.of_node(path_of(context), node_id)
            state.announced_as = node_id
        assert state.announcement is not None
        # Both clocks count from before the announcement was written.
        until_s = context.world.time_s() + context.announced_until_s - context.world.elapsed_s()
        text = context.opening.seal_owners(Secret(str(int(until_s))), _place(context))
        state.announcement.write(text)
    except OSError:
        return  # without it, a process that starts in an outage begins no payments


async def leave(context: Context, here: Presence) -> None:
    """End this process's announcement. While the owner database does not know that it ended, the next process may go on
    with it."""
    state = context.snapshot
    if state.announcement is not None and not context.opening.watch.away:
        state.announcement.remove()
        state.announcement = None
    is_known = await here.leave()
    if state.announcement is not None:
        (state.announcement.remove if is_known else state.announcement.release)()
        state.announcement = None


def _announced_s(context: Context) -> float:
    """For how long the announcement of a process that died here still counts."""
    remaining_s, place = 0.0, _place(context)

    def is_valid(sealed: str) -> bool:
        nonlocal remaining_s
        try:
            left_s = int(context.opening.open_owners(sealed, place).reveal()) - context.world.time_s()
        except (SealBroken, ValueError):
            return False
        remaining_s = left_s if 0 < left_s <= LEASE_S else 0.0
        return remaining_s > 0

    try:
        context.snapshot.announcement = owner_snapshots.take_over(path_of(context), is_valid)
    except OSError:
        return 0.0
    return remaining_s
