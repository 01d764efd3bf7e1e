"""Nodes that can crash: a service over the files of a history. Every write and every call is a crash point.

A crashed node's tasks never reach the database or the network again. Its uncommitted changes are rolled back when its
connections close. Only seeded delays around its work decide which task runs next.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from polytill.domain.clock import World
from polytill.domain.errors import NotNow
from polytill.flows.context import Context
from polytill.providers.http import Http
from polytill.providers.registry import Registry
from polytill.storage.anchors import Anchor
from polytill.storage.clusters import Cluster
from polytill.storage.databases import Engine, OwnerDb
from polytill.storage.opening import Opening
from polytill.storage.units import Step
from simulation.deaths import Cut, NodeDied
from simulation.ground import EPOCH_S
from simulation.keeping import KeptDatabase, LivingEngine
from simulation.wires import Wire

if TYPE_CHECKING:
    from simulation.history import History

BUSY_S = 10.0
_TOUCHES = re.compile(r"^\s*(INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)")
_SIGNS = {"INSERT INTO": "+", "UPDATE": "~", "DELETE FROM": "-"}
_labels: dict[tuple[str, ...], str] = {}


def label_of(work: Callable[[], Any]) -> str | None:
    """What a piece of work writes; None if it only reads."""
    if not isinstance(work, partial):
        return None
    name = work.func.__name__
    if name in ("_commit_now", "_run_now"):
        return label_of_steps(work.args[0])
    if name == "_fetch_now" and work.args[0] == "COMMIT":
        return "end of a transaction"
    return None


def label_of_steps(steps: list[Step]) -> str:
    """What a unit of work writes."""
    texts = tuple(step.sql for step in steps)
    label = _labels.get(texts)
    if label is None:
        found = (_TOUCHES.match(text) for text in texts)
        label = " ".join(dict.fromkeys(_SIGNS[m[1]] + m[2] for m in found if m)) or "other"
        _labels[texts] = label
    return label


class _Cluster(Cluster):
    def __init__(self, kept: Mapping[str, KeptDatabase], life: Life) -> None:
        super().__init__("nowhere", 2, partial(life.hop, ""))
        self._kept, self._life = kept, life

    def engine(self, database_name: str, anchor: Anchor | None = None) -> Engine:
        return self._kept[database_name].engine(self._life, "")


class Life:
    """One process from its start to its crash."""

    def __init__(self, history: History, name: str, skew: list[float]) -> None:
        self.history = history
        self.name = name
        self.alive = True
        self.loop = history.loop
        self.died: asyncio.Future[None] = self.loop.create_future()
        self.engines: list[LivingEngine] = []
        self.tasks: dict[asyncio.Task[Any], None] = {}  # in the order of their start
        self.swept = False
        ground, kept = history.ground, history.kept
        world = World(lambda: EPOCH_S + self.loop.now + skew[0], history.bytes, lambda: self.loop.now)
        owner = OwnerDb(kept["owner"].engine(self, "owner: "))
        opening = Opening(owner, ground.ring, "nowhere", 2, world, partial(self.hop, ""))
        opening._clusters["default"] = _Cluster(kept, self)
        http = Http(Wire(history, self))
        self.context = Context(ground.settings, world, ground.ring, owner, opening, Registry(), http)

    def check(self) -> None:
        """Raise ``NodeDied`` if the node has crashed."""
        if not self.alive:
            raise NodeDied

    async def hop(self, prefix: str, work: Callable[[], Any]) -> Any:
        """Run database work here and now, between seeded pauses, with a crash point before and after a write."""
        history = self.history
        label = label_of(work)
        if history.jitter.random() < (0.12 if label is None else 0.4):
            await asyncio.sleep(history.jitter.random() * 0.02)
        self.check()
        if label is None:
            return await self._unlocked(work)
        self.point("before_write", prefix + label)
        result = await self._unlocked(work)
        self.point("after_write", prefix + label)
        if history.jitter.random() < 0.3:
            await asyncio.sleep(history.jitter.random() * 0.02)
            self.check()
        return result

    async def _unlocked(self, work: Callable[[], Any]) -> Any:
        until = self.loop.now + BUSY_S
        while True:
            try:
                return work()
            except NotNow:
                if self.loop.now >= until:
                    raise
            await asyncio.sleep(0.003 + self.history.jitter.random() * 0.01)
            self.check()

    def point(self, when: str, what: str) -> None:
        """A crash point: continue or crash."""
        history = self.history
        history.tally.passed[f"{when} {what}"] += 1
        if history.dies_at(f"{when} {what}"):
            history.tally.crashed[f"{when} {what}"] += 1
            history.tally.counts[f"crash.{when}"] += 1
            history.tell(f"CRASH {self.name} {when} {what}")
            self.die()
            raise NodeDied

    def die(self) -> None:
        """Crash at once."""
        self.alive = False
        for engine in self.engines:
            engine.end()
        if not self.died.done():
            self.died.set_result(None)
        # The task that crashes is one of them: its exception ends it, and the others end at their next step.
        for task in list(self.tasks):
            if task is not asyncio.current_task():
                task.cancel()

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task of this node."""
        task = self.loop.create_task(work)
        self.tasks[task] = None
        task.add_done_callback(lambda ended: self.tasks.pop(ended, None))
        return task

    async def serve(self, act: Callable[[Context], Coroutine[Any, Any, Any]], patience_s: float) -> Any:
        """Send this node a request, as a client would. ``Cut`` if it crashes or takes longer than the limit."""
        if not self.alive:
            raise Cut("nobody there")
        task = self.start(act(self.context))
        await asyncio.wait((task, self.died), timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            if self.alive:
                self.history.tally.counts["fault.client_gone"] += 1
                raise Cut("no answer in time")
            raise Cut("connection lost")
        with suppress(NodeDied, asyncio.CancelledError):
            return task.result()
        raise Cut("connection lost")


class Node:
    """A place where processes run one after another. ``skew`` is the error of its clock in seconds."""

    def __init__(self, history: History, name: str) -> None:
        self.history = history
        self.name = name
        self.skew = [0.0]
        self.life: Life | None = None
        self._lives = 0

    def up(self) -> Life | None:
        """The running process, if there is one."""
        return self.life if self.life is not None and self.life.alive else None

    def boot(self) -> Life:
        """Start a new process with its background sweeps."""
        self._lives += 1
        self.life = life = Life(self.history, f"{self.name}.{self._lives}", self.skew)
        life.start(self._sweeps(life))
        if self._lives > 1:
            self.history.tally.counts["fault.restart"] += 1
            self.history.tell(f"START {life.name}")
        life.died.add_done_callback(lambda _: self.history.loop.call_later(self._pause(), self._again, life))
        return life

    def _pause(self) -> float:
        return 0.2 + self.history.jitter.random() * 8

    def _again(self, dead: Life) -> None:
        if self.life is dead and not self.history.over:
            self.boot()

    async def _sweeps(self, life: Life) -> None:
        # Often at first, then less often: long waits in a history must not cost a sweep per second.
        pause = 2.0 + self.history.jitter.random() * 10
        while self.history.active:
            await asyncio.sleep(pause)
            pause = min(pause * 1.6, 900.0)
            await self.history.sweep(life)
