"""Announces this process and its keys in the owner database, and checks that its key ring matches the recorded one."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from datetime import datetime

from polytill.domain.errors import KeyRingDiffers, NotNow, PolytillError
from polytill.flows import installation, key_ring
from polytill.flows.connection_shares import Sharing
from polytill.flows.context import Context, log
from polytill.storage import connection_shares, leases, nodes
from polytill.storage.nodes import Node
from polytill.storage.units import Unit

ANNOUNCED_S = 5.0  # interval between announcements
LIVE_S = 30.0  # how long an announcement proves that the process is alive
LEASE_S = 900.0  # how long an announcement counts as a lease on every practice
MOST_OWED = (
    200  # leases that a process still writes when it ends; if it owes more, its row lapses and all practices are swept
)
EVERYONE_PAST_S = 60.0  # nobody relies on the leases that make every practice due for one sweep
KEPT_S = 24 * 3600.0
WORKER_ASKED_S = 60.0  # interval between checks that a worker runs
WORKER_SAID_S = 600.0  # interval between warnings that none runs
NO_WORKER = (
    "No worker runs: lost answers are not looked up, unpaid payments do not expire, and events are not delivered. Run"
    " `polytill worker`, or `polytill.Worker(till).run()` beside an app that is mounted in another."
)


@dataclass(slots=True)
class Presence:
    """One process among the nodes."""

    context: Context
    kind: str
    runs_worker: bool
    id: str = field(init=False)
    sharing: Sharing = field(init=False)
    _announced_at_s: float = field(default=float("-inf"), init=False)
    _live_until: datetime | None = field(default=None, init=False)
    _left: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.id = self.context.world.random_bytes(8).hex()
        self.sharing = Sharing(self.context, self.id)

    @property
    def name(self) -> str:
        """A name by which a person can find the process."""
        return f"{self.kind} on {platform.node()}, process {os.getpid()}"

    async def beat(self) -> bool:
        """Read the key ring again if it has changed, announce, and compare with the recorded ring, every few seconds.
        Returns whether it announced now."""
        context = self.context
        if self._left:
            return False
        changed = context.ring.refresh()
        if changed:
            log.info("key_ring_read", keys=context.ring.ids)
        elapsed_s = context.world.elapsed_s()
        if not changed and elapsed_s - self._announced_at_s < ANNOUNCED_S:
            return False
        self._announced_at_s = elapsed_s
        await installation.check(context)
        await self._find_older()
        unit = Unit()
        node = Node(self.id, self.name, self.runs_worker and context.installation.copied is None, context.ring.checks())
        jumps, until_s = context.server_clock.jumps, elapsed_s + LEASE_S
        live_until = context.shared_after(LIVE_S)
        nodes.announce(unit, node, context.shared_after(0), live_until)
        await context.owner.commit(unit)
        self._live_until = live_until
        context.node_id = self.id
        if jumps == context.server_clock.jumps:  # else the shared time jumped during the write
            context.announced_until_s = until_s
        await self._compare()
        await self.sharing.agree()
        await warn_without_worker(context)
        return True

    async def _find_older(self) -> None:
        """Write again what this process relies on if the owner database lacks its last announcement: an older copy was
        restored, or the process was cut off for so long that its row was deleted."""
        if self._live_until is None:
            return
        found, context = await nodes.live_until(self.context.owner, self.id), self.context
        if found is not None and found >= self._live_until:
            return
        log.warning("announcement_lost", node=self.id)
        for practice_id in context.leased_until_s:
            context.leased_until_s[practice_id] = float("-inf")  # each is written again before it is relied on
        context.recorded.clear()
        context.installation.ids_checked = False
        unit = Unit()
        leases.hold_all(unit, context.shared_after(-EVERYONE_PAST_S))
        await context.owner.commit(unit)

    async def _compare(self) -> None:
        before = self.context.health.key_ring
        try:
            await key_ring.check(self.context.owner, self.context.ring)
            now = self.context.ring.problem
        except KeyRingDiffers as error:
            now = error.detail
        if now is not None and now != before:
            log.error("key_ring_differs", reason=now)
        self.context.health.key_ring = now

    async def leave(self) -> bool:
        """Delete the announcement when the process ends. If the database is unavailable, the row lapses. Returns whether it
        was deleted."""
        self._left = True
        self.context.announced_until_s = float("-inf")
        if len(self.context.owed_leases) > MOST_OWED:
            return False
        unit = Unit()
        for practice_id in self.context.owed_leases:
            leases.hold(unit, practice_id, self.context.shared_after(0), self.context.shared_after(0))
        connection_shares.leave(unit, self.id)
        nodes.leave(unit, self.id, self.context.shared_after(-KEPT_S))
        try:
            await self.context.owner.commit(unit)
        except NotNow:
            unit.take()
            return False
        return True


async def warn_without_worker(context: Context) -> None:
    """Log that no worker runs, at once and then every ten minutes, until one does.

    Called wherever a process is used, so that a mounted app or a library also warns if its host starts no worker. A
    process with its own lifespan gives workers that start beside it the time to announce themselves.
    """
    health, elapsed_s = context.health, context.world.elapsed_s()
    if elapsed_s - health.worker_asked_at_s < WORKER_ASKED_S:
        return
    health.worker_asked_at_s = elapsed_s
    try:
        live = await nodes.live(context.owner, context.shared_after(0))
    except PolytillError:
        return  # unknown; every flow that needs that database reports that it is unavailable.
    if any(node.runs_worker for node in live):
        health.without_worker_since_s = None
        health.worker_said_at_s = float("-inf")
        return
    if health.without_worker_since_s is None:
        health.without_worker_since_s = elapsed_s
    patience_s = LIVE_S if health.lifespan_runs else 0.0
    if elapsed_s - health.without_worker_since_s < patience_s or elapsed_s - health.worker_said_at_s < WORKER_SAID_S:
        return
    health.worker_said_at_s = elapsed_s
    log.warning("no_worker_runs", reason=NO_WORKER)
