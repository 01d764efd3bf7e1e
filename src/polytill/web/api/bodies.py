"""Strict reading of JSON bodies, so that nothing about money is guessed.

A repeated name, ``NaN``, a number beyond 64 bits, a lone surrogate or excessive nesting is unreadable, whatever the
address does with it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from polytill.domain.errors import CallerError, Unreadable

MAX_DEPTH = 32
_INTEGERS = range(-(2**63), 2**63)
_MOST_DIGITS = 20  # with a sign; a longer number is not even converted
_surrogate = re.compile("[\\ud800-\\udfff]").search


class BodyRefused(HTTPException):
    """A rejected body, as the one exception type that the framework passes through while it reads a body."""

    def __init__(self, error: CallerError) -> None:
        super().__init__(error.status, error.detail)
        self.error = error


class _Repeated(ValueError):
    """A name occurs twice in one object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Repeated
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _integer(text: str) -> int:
    number = int(text) if len(text) <= _MOST_DIGITS else None
    if number is None or number not in _INTEGERS:
        raise Unreadable("The request body contains a number that is too large.")
    return number


def _fraction(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Unreadable("The request body contains a number that is too large.")
    return number


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Unreadable("The request body is nested too deeply.")
    if isinstance(value, str):
        if _surrogate(value):
            raise Unreadable("The request body contains a lone surrogate.")
    elif isinstance(value, dict):
        for name, item in value.items():
            _check(name, depth)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)


_decode = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_integer, parse_float=_fraction
).decode


def read_json(body: bytes) -> Any:
    """The JSON document in ``body``. Raises ``Unreadable`` with a message that never quotes the body."""
    try:
        document = _decode(body.decode("utf-8"))
    except _Repeated:
        raise Unreadable("The request body contains a field more than once.") from None
    except (ValueError, RecursionError):
        raise Unreadable from None
    # Only an escape can be a lone surrogate.
    if b"\\u" in body or body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        _check(document, 0)
    return document


class StrictRequest(Request):
    """A request whose JSON body ``read_json`` reads, once."""

    async def json(self) -> Any:
        """See ``read_json``."""
        if not hasattr(self, "_strict"):
            body = await self.body()
            try:
                self._strict = read_json(body)
            except Unreadable as error:
                raise BodyRefused(error) from None
        return self._strict


class StrictRoute(APIRoute):
    """A route whose JSON body ``read_json`` reads."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See ``APIRoute``."""
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            if not isinstance(request, StrictRequest):
                request = StrictRequest(request.scope, request.receive)
            return await handle(request)

        return strictly


def strict_router(tag: str, prefix: str = "") -> APIRouter:
    """A router of the API's operations under one tag of the OpenAPI document."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=StrictRoute)
