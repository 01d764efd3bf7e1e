"""A process says in the owner database that it lives and which keys it holds, and looks whether its key ring is right."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field

from polytill.domain.errors import KeyRingDiffers, NotNow
from polytill.flows import key_ring
from polytill.flows.desk import Desk, log
from polytill.storage import nodes
from polytill.storage.nodes import Node
from polytill.storage.units import Unit

ANNOUNCED_S = 5.0  # how often
LIVE_S = 30.0  # how long an announcement holds
KEPT_S = 24 * 3600.0


@dataclass(slots=True)
class Presence:
    """One process."""

    desk: Desk
    kind: str
    runs_worker: bool
    id: str = field(init=False)
    _announced_at_s: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self.id = self.desk.world.random_bytes(8).hex()

    @property
    def name(self) -> str:
        """How a person finds the process."""
        return f"{self.kind} on {platform.node()}, process {os.getpid()}"

    async def beat(self) -> None:
        """Read the key ring again if it has changed, announce, and compare with what is recorded; every few seconds."""
        desk = self.desk
        changed = desk.ring.refresh()
        if changed:
            log.info("key_ring_read", keys=desk.ring.ids)
        elapsed_s = desk.world.elapsed_s()
        if not changed and elapsed_s - self._announced_at_s < ANNOUNCED_S:
            return
        self._announced_at_s = elapsed_s
        unit = Unit()
        node = Node(self.id, self.name, self.runs_worker, desk.ring.checks())
        nodes.announce(unit, node, desk.shared_after(0), desk.shared_after(LIVE_S))
        await desk.owner.commit(unit)
        await self._compare()

    async def _compare(self) -> None:
        before = self.desk.health.key_ring
        try:
            await key_ring.check(self.desk.owner, self.desk.ring)
            now = self.desk.ring.problem
        except KeyRingDiffers as error:
            now = error.detail
        if now is not None and now != before:
            log.error("key_ring_differs", reason=now)
        self.desk.health.key_ring = now

    async def leave(self) -> None:
        """The process ends; where that cannot be said, its row lapses."""
        unit = Unit()
        nodes.leave(unit, self.id)
        nodes.forget_lapsed(unit, self.desk.shared_after(-KEPT_S))
        try:
            await self.desk.owner.commit(unit)
        except NotNow:
            unit.take()
