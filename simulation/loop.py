"""An event loop with virtual time: if nothing is ready, it jumps to the next timer. No sockets, no threads."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
import time
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, TypeVarTuple

_Ts = TypeVarTuple("_Ts")


class NothingToDo(RuntimeError):
    """All tasks wait and no timer is left: outside a simulation this process would hang forever."""


class _Jump:
    """A replacement for a selector: waiting advances the time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        """Let ``timeout`` seconds of virtual time pass."""
        if timeout is None:
            raise NothingToDo
        if timeout > 0:
            self._loop.now += timeout
        return []


class _Timer(asyncio.TimerHandle):
    """A timer that comes after earlier ones of the same time. asyncio leaves their order open."""

    number: int

    def __lt__(self, other: Any) -> bool:
        return (self.when(), self.number) < (other.when(), other.number)


class VirtualLoop(BaseEventLoop):
    """Virtual time, in seconds from zero."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._numbers = itertools.count()
        self._selector = _Jump(self)
        self._clock_resolution = 1e-6
        self.set_exception_handler(lambda loop, context: None)

    def time(self) -> float:
        """The virtual time."""
        return self.now

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> _Timer:
        """As in asyncio, with an order among timers of the same time."""
        timer = _Timer(when, callback, args, self, context)
        timer.number = next(self._numbers)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no sockets, so there are no events."""

    def _write_to_self(self) -> None:
        """No other thread makes calls."""


class _Wait:
    """Waits in real time while a database works, and jumps if all tasks wait only for time."""

    def __init__(self, loop: RealLoop, selector: selectors.BaseSelector) -> None:
        self._loop, self._selector = loop, selector

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)

    def select(self, timeout: float | None) -> list[Any]:
        """Let up to ``timeout`` seconds pass: in real time while a database works, else at once."""
        loop = self._loop
        if loop.at_work:
            started = time.monotonic()
            ready = self._selector.select(timeout)
            loop.now += time.monotonic() - started
            return ready
        ready = self._selector.select(0)
        if not ready and timeout is None:
            raise NothingToDo
        if not ready and timeout:
            loop.now += timeout
        return ready


class RealLoop(asyncio.SelectorEventLoop):
    """A loop for a database behind a socket: the server decides the order of answers; between its answers the time
    jumps."""

    def __init__(self) -> None:
        selector = selectors.DefaultSelector()
        super().__init__(selector)
        self.now = 0.0
        self.at_work = 0
        self._selector = _Wait(self, selector)
        self.set_exception_handler(lambda loop, context: None)

    def time(self) -> float:
        """The virtual time."""
        return self.now

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Mark the time in which a database works."""
        self.at_work += 1
        try:
            yield
        finally:
            self.at_work -= 1


WorldLoop = VirtualLoop | RealLoop


def run(loop: WorldLoop, main: Any) -> Any:
    """Run ``main`` to its end on ``loop``, then cancel the remaining tasks."""
    try:
        return loop.run_until_complete(main)
    finally:
        for _ in range(3):
            left = [task for task in asyncio.all_tasks(loop) if not task.done()]
            if not left:
                break
            # In the order of their creation, so that the end is as repeatable as the rest.
            for task in sorted(left, key=lambda task: int(task.get_name().rpartition("-")[2])):
                task.cancel()
            loop.run_until_complete(_settle())


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
