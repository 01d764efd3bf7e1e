"""How a fault is planted: a subclass of a sound handler with one change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polytill.providers.http import Http

Class = type[Any]
FAULTS: dict[str, tuple[str, Callable[[Class], Class]]] = {}


def plant(code: str) -> Callable[[Callable[[Class], Class]], Callable[[Class], Class]]:
    """Add a fault to the list, to be planted into the handler with this code."""

    def register(break_it: Callable[[Class], Class]) -> Callable[[Class], Class]:
        FAULTS[break_it.__name__] = (code, break_it)
        return break_it

    return register


def after(base: Class, verb: str, change: Callable[[Any, Any], Any]) -> Class:
    """The handler with a changed outcome of one verb: ``change(handler, outcome)``."""
    sound = getattr(base, verb)

    async def changed(self: Any, *args: Any) -> Any:
        return change(self, await sound(self, *args))

    return type(base.__name__, (base,), {verb: changed})


def over(base: Class, **members: Any) -> Class:
    """The handler with other members."""
    return type(base.__name__, (base,), members)


def sending(base: Class, change: Callable[..., tuple[Any, ...]]) -> Class:
    """The handler with every request changed before it is sent."""

    class Changed(Http):
        async def send(self, *asked: Any) -> Any:
            return await super().send(*change(*asked))

    def initialize(self: Any, config: Any) -> None:
        base.initialize(self, config)
        self.http = Changed(self.http.transport)

    return over(base, initialize=initialize)
