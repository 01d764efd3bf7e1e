"""How long the work at hand has waited for providers: that time is theirs, and no sign of our overload."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class ProviderWaits:
    """The time that one request has waited for providers so far, also in its tasks. In seconds."""

    __slots__ = ("total_s",)

    def __init__(self) -> None:
        self.total_s = 0.0


_current: ContextVar[ProviderWaits | None] = ContextVar("provider_waits", default=None)


def measured() -> ProviderWaits:
    """Measure from now on, in this task and in those that it starts."""
    waits = ProviderWaits()
    _current.set(waits)
    return waits


@contextmanager
def provider_wait() -> Iterator[None]:
    """The block waits for a provider."""
    waits = _current.get()
    if waits is None:
        yield
        return
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    try:
        yield
    finally:
        waits.total_s += loop.time() - began_s
