"""Checks that a handler's results have the types that the contract declares.

Python does not check the types of a plug-in's results. A float amount or a date as text would fail later, when the
result is written, and the result would be lost.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import StrEnum
from functools import cache
from types import NoneType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from polytill.domain.currencies import CURRENCIES
from polytill.domain.money import MAX_MINOR, Money
from polytill.domain.secret import Secret
from polytill.domain.states import DisputeKind, DisputeReason, DisputeState
from polytill.providers.facts import DisputeFact, RefundFact, WebhookResult
from polytill.providers.http import MAX_ANSWER_BYTES, MAX_DEPTH

# Text fields whose values are a closed list.
CLOSED: Mapping[tuple[type, str], frozenset[str]] = {
    (RefundFact, "state"): frozenset({"pending", "requires_action", "succeeded", "failed", "unknown"}),
    (DisputeFact, "state"): frozenset(DisputeState),
    (DisputeFact, "kind"): frozenset(DisputeKind),
    (DisputeFact, "reason"): frozenset(DisputeReason),
    (WebhookResult, "action"): frozenset({"apply", "ignore", "notify"}),
}
LONGEST_TEXT = 20_000  # for instructions and links; the longest texts of the built-in handlers are a tenth of it

_NOT_KEPT = re.compile("[\0\ud800-\udfff]")

T = TypeVar("T")


def wrong_in(value: Any, kind: Any, at: str = "") -> str | None:
    """The part of ``value`` that does not match ``kind``, such as ``amount is float``; None if all of it matches.

    The sentence contains only names of fields and types, because a value may be a secret.
    """
    return _check_of(kind)(value, at)


# Gives the sentence about a value at a place; None if the value matches.
Check = Callable[[Any, str], str | None]


@cache
def _check_of(kind: Any) -> Check:
    """The check of one type. Types are read once, since every answer of every provider is checked."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any or isinstance(kind, TypeVar):
        return lambda value, at: None
    if origin in (Union, types.UnionType):
        return _union(args)
    if origin is Literal:
        return lambda value, at: None if value in args else f"{at} is no {' or '.join(map(str, args))}"
    if origin in (tuple, frozenset):
        return _items(origin, args[0])
    if origin is dict or kind is dict:
        return lambda value, at: None if isinstance(value, dict) and is_json(value) else f"{at} is no JSON object"
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(*args)
    return _plain(origin or kind)


def without_response(outcome: T) -> T:
    """The same outcome, without its ``response`` if that is not JSON or is too large. Its facts about money still
    count."""
    if getattr(outcome, "response", None) is None or is_json(outcome.response):  # type: ignore[attr-defined]
        return outcome
    return dataclasses.replace(outcome, response=None)  # type: ignore[type-var]


def is_json(value: Any) -> bool:
    """Whether it can be stored: JSON of limited depth, and no larger than the largest answer."""
    left, waiting = MAX_ANSWER_BYTES, [(value, 0)]
    while waiting:
        one, depth = waiting.pop()
        if depth > MAX_DEPTH:
            return False
        if isinstance(one, str):
            left -= len(one)
            if not _is_text(one):
                return False
        elif isinstance(one, dict):
            for key, item in one.items():
                if not isinstance(key, str):
                    return False
                waiting += (key, depth), (item, depth + 1)
        elif isinstance(one, list | tuple):
            waiting += [(item, depth + 1) for item in one]
        elif isinstance(one, float | Decimal):
            if one != one or one in (float("inf"), float("-inf")):
                return False
        elif one is not None and not isinstance(one, int):
            return False
        left -= 2
        if left < 0 or len(waiting) > left:
            return False
    return True


def _union(kinds: tuple[Any, ...]) -> Check:
    others = [(kind, _check_of(kind)) for kind in kinds if kind is not NoneType]
    takes_none = NoneType in kinds

    def check(value: Any, at: str) -> str | None:
        if value is None and takes_none:
            return None
        found = []
        for kind, check_one in others:
            wrong = check_one(value, at)
            if wrong is None:
                return None
            found.append((kind, wrong))
        # Report the fault of the type that the value claims to be, if there is one.
        return next((w for kind, w in found if isinstance(kind, type) and isinstance(value, kind)), _not(value, at))

    return check


def _items(kind: type[Any], item_kind: Any) -> Check:
    check_item = _check_of(item_kind)

    def check(value: Any, at: str) -> str | None:
        if not isinstance(value, kind):
            return _not(value, at)
        return next((wrong for item in value if (wrong := check_item(item, at))), None)

    return check


def _mapping(key_kind: Any, item_kind: Any) -> Check:
    check_key, check_item = _check_of(key_kind), _check_of(item_kind)

    def check(value: Any, at: str) -> str | None:
        if not isinstance(value, Mapping):
            return _not(value, at)
        pairs = ((check_key(key, at), check_item(item, at)) for key, item in value.items())
        return next((wrong for pair in pairs for wrong in pair if wrong), None)

    return check


def _plain(kind: type[Any]) -> Check:
    if kind is float:
        numbers = (int, float, Decimal)
        return lambda value, at: None if isinstance(value, numbers) and not isinstance(value, bool) else _not(value, at)
    fields = _fields(kind) if dataclasses.is_dataclass(kind) and kind is not Money else ()

    def check(value: Any, at: str) -> str | None:
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            return _not(value, at)
        if isinstance(value, str) and not isinstance(value, StrEnum):
            return None if _is_text(value) and len(value) <= LONGEST_TEXT else f"{at} is no text that can be kept"
        if isinstance(value, Money):
            return _wrong_in_money(value, at)
        if isinstance(value, Secret):
            return None if isinstance(value.reveal(), str) else _not(value.reveal(), at)
        for name, allowed, check_field in fields:
            inner, place = getattr(value, name), f"{at}.{name}" if at else name
            if allowed is not None and inner is not None and not (isinstance(inner, str) and inner in allowed):
                return f"{place} is none of {', '.join(sorted(allowed))}"
            if wrong := check_field(inner, place):
                return wrong
        return None

    return check


def _fields(kind: type[Any]) -> list[tuple[str, frozenset[str] | None, Check]]:
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    return [(name, CLOSED.get((kind, name)), _check_of(hints[name])) for name in names]


def _wrong_in_money(value: Money, at: str) -> str | None:
    if isinstance(value.minor, bool) or not isinstance(value.minor, int) or abs(value.minor) > MAX_MINOR:
        return f"{at} is no whole number of minor units"
    return None if value.currency in CURRENCIES else f"{at} has no ISO 4217 currency"


def _is_text(text: str) -> bool:
    # No database stores half a surrogate, and PostgreSQL no NUL.
    return "\0" not in text if text.isascii() else _NOT_KEPT.search(text) is None


def _not(value: Any, at: str) -> str:
    return f"{at or 'the answer'} is {type(value).__name__}"
