"""How a fault is planted: a subclass of a sound handler with one change."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from types import UnionType
from typing import Any

from polytill.providers.http import Http
from polytill.testing.conformance.wire import Asked

Class = type[Any]
Fault = Callable[..., Any]
Sound = Callable[..., Any]
Decorator = Callable[[Fault], Fault]
FAULTS: dict[str, tuple[str, Callable[[Class], Class]]] = {}


def _planting(code: str, break_by: Callable[[Class, Fault], Class]) -> Decorator:
    """A decorator that adds a function to the list. ``break_by`` makes the handler with the fault of the function."""

    def register(fault: Fault) -> Fault:
        FAULTS[fault.__name__] = (code, wraps(fault)(lambda base: break_by(base, fault)))
        return fault

    return register


def over(base: Class, **members: Any) -> Class:
    """The handler with other members."""
    return type(base.__name__, (base,), members)


def plant(code: str) -> Decorator:
    """Plant a fault into the handler with this code: a function from the sound class to the broken one."""
    return _planting(code, lambda base, fault: fault(base))


def instead_of(code: str, method: str) -> Decorator:
    """Plant a fault in place of a method: a function that gets the sound method before the arguments of the method."""

    def break_by(base: Class, fault: Fault) -> Class:
        def changed(self: Any, *args: Any, **named: Any) -> Any:
            return fault(getattr(base, method), self, *args, **named)

        async def changed_async(self: Any, *args: Any, **named: Any) -> Any:
            return await changed(self, *args, **named)

        return over(base, **{method: changed_async if iscoroutinefunction(fault) else changed})

    return _planting(code, break_by)


def misread(code: str, verb: str, kind: type | UnionType = object) -> Decorator:
    """Plant a fault in what a verb returns: a function from an outcome of this kind to another outcome."""

    def break_by(base: Class, fault: Fault) -> Class:
        async def changed(self: Any, *args: Any) -> Any:
            outcome = await getattr(base, verb)(self, *args)
            return fault(outcome) if isinstance(outcome, kind) else outcome

        return over(base, **{verb: changed})

    return _planting(code, break_by)


def misheard(code: str) -> Decorator:
    """Plant a fault in what a webhook says: a function from its result to another result."""

    def break_by(base: Class, fault: Fault) -> Class:
        return over(base, process_webhook=lambda self, body: fault(base.process_webhook(self, body)))

    return _planting(code, break_by)


def missent(code: str) -> Decorator:
    """Plant a fault in every request: a function from a request to what is sent instead."""

    def break_by(base: Class, fault: Fault) -> Class:
        class Changed(Http):
            async def send(self, method: str, url: str, headers: Any, body: bytes | None = None) -> Any:
                asked = fault(Asked(method, url, headers, body or b""))
                return await super().send(asked.method, asked.url, asked.headers, asked.body)

        def initialize(self: Any, config: Any) -> None:
            base.initialize(self, config)
            self.http = Changed(self.http.transport)

        return over(base, initialize=initialize)

    return _planting(code, break_by)
