"""An event loop whose time is a number: when nothing is ready, it jumps to the next timer. No sockets, no threads."""

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
    """Everybody waits and no timer is left: in the real world this process would hang for ever."""


class _Jump:
    """Stands where a selector stands: to wait is to move the time."""

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
    """A timer that comes after the earlier ones of the same time. asyncio leaves their order open."""

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
        """No sockets, no events."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""


class _Wait:
    """Waits for real where a database is at work, and jumps where nothing but time is waited for."""

    def __init__(self, loop: RealLoop, selector: selectors.BaseSelector) -> None:
        self._loop, self._selector = loop, selector

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)

    def select(self, timeout: float | None) -> list[Any]:
        """Let up to ``timeout`` seconds pass: as they really pass while a database works, else at once."""
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
    """For a database behind a socket: who is served first is up to the server; between its answers the time jumps."""

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
        """While a database is at work."""
        self.at_work += 1
        try:
            yield
        finally:
            self.at_work -= 1


WorldLoop = VirtualLoop | RealLoop


def run(loop: WorldLoop, main: Any) -> Any:
    """Run ``main`` to its end on ``loop``, then cancel what is left of it."""
    try:
        return loop.run_until_complete(main)
    finally:
        for _ in range(3):
            left = [task for task in asyncio.all_tasks(loop) if not task.done()]
            if not left:
                break
            # In the order in which they were made, so that the end is as repeatable as the rest.
            for task in sorted(left, key=lambda task: int(task.get_name().rpartition("-")[2])):
                task.cancel()
            loop.run_until_complete(_settle())


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
