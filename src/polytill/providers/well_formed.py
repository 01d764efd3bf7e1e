"""Checks that a handler's results have the types that the contract declares.

Python does not check the types of a plug-in's results. A float amount or a date as text would fail later, when the
result is written, and the result would be lost.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from functools import cache
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
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any or isinstance(kind, TypeVar):
        return None
    if origin in (Union, types.UnionType):
        return _wrong_in_union(value, args, at)
    if origin is Literal:
        return None if value in args else f"{at} is no {' or '.join(map(str, args))}"
    if origin in (tuple, frozenset):
        return _wrong_in_items(value, origin, args[0], at)
    if origin is dict or kind is dict:
        return None if isinstance(value, dict) and is_json(value) else f"{at} is no JSON object"
    if origin is not None and issubclass(origin, Mapping):
        return _wrong_in_mapping(value, args, at)
    base = origin or kind
    if base is float:
        return None if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else _not(value, at)
    if not isinstance(value, base) or (base is int and isinstance(value, bool)):
        return _not(value, at)
    return _wrong_inside(value, base, at)


def without_response(outcome: T) -> T:
    """The same outcome, without its ``response`` if that is not JSON or is too large. Its facts about money still
    count."""
    if getattr(outcome, "response", None) is None or is_json(outcome.response):  # type: ignore[attr-defined]
        return outcome
    return dataclasses.replace(outcome, response=None)  # type: ignore[type-var]


def is_json(value: Any) -> bool:
    """Whether it can be stored: JSON of limited depth, and no larger than the largest answer."""
    left = [MAX_ANSWER_BYTES]

    def fits(one: Any, depth: int) -> bool:
        left[0] -= len(one) + 2 if isinstance(one, str) else 2
        if depth > MAX_DEPTH or left[0] < 0:
            return False
        if isinstance(one, dict):
            return all(isinstance(key, str) and fits(key, depth) and fits(item, depth + 1) for key, item in one.items())
        if isinstance(one, list | tuple):
            return all(fits(item, depth + 1) for item in one)
        if isinstance(one, str):
            return _is_text(one)
        if isinstance(one, float | Decimal):
            return one == one and one not in (float("inf"), float("-inf"))
        return one is None or isinstance(one, bool | int)

    return fits(value, 0)


def _wrong_in_union(value: Any, kinds: tuple[Any, ...], at: str) -> str | None:
    found = [wrong_in(value, kind, at) for kind in kinds if kind is not type(None) or value is None]
    if (value is None and type(None) in kinds) or None in found:
        return None
    # Report the fault of the type that the value claims to be, if there is one.
    claimed = zip(kinds, found, strict=False)
    return next((w for kind, w in claimed if isinstance(kind, type) and isinstance(value, kind)), _not(value, at))


def _wrong_in_items(value: Any, kind: type[Any], item_kind: Any, at: str) -> str | None:
    if not isinstance(value, kind):
        return _not(value, at)
    return next((wrong for item in value if (wrong := wrong_in(item, item_kind, at))), None)


def _wrong_in_mapping(value: Any, args: tuple[Any, ...], at: str) -> str | None:
    if not isinstance(value, Mapping):
        return _not(value, at)
    pairs = ((wrong_in(key, args[0], at), wrong_in(item, args[1], at)) for key, item in value.items())
    return next((wrong for pair in pairs for wrong in pair if wrong), None)


def _wrong_inside(value: Any, kind: type[Any], at: str) -> str | None:
    if isinstance(value, Money):
        if isinstance(value.minor, bool) or not isinstance(value.minor, int) or abs(value.minor) > MAX_MINOR:
            return f"{at} is no whole number of minor units"
        return None if value.currency in CURRENCIES else f"{at} has no ISO 4217 currency"
    if isinstance(value, Secret):
        return None if isinstance(value.reveal(), str) else _not(value.reveal(), at)
    if isinstance(value, str) and not isinstance(value, StrEnum):
        return None if _is_text(value) and len(value) <= LONGEST_TEXT else f"{at} is no text that can be kept"
    if dataclasses.is_dataclass(kind):
        hints = _hints(kind)
        for field in dataclasses.fields(kind):
            inner, place = getattr(value, field.name), f"{at}.{field.name}" if at else field.name
            allowed = CLOSED.get((kind, field.name))
            if allowed is not None and inner is not None and not (isinstance(inner, str) and inner in allowed):
                return f"{place} is none of {', '.join(sorted(allowed))}"
            if wrong := wrong_in(inner, hints[field.name], place):
                return wrong
    return None


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _is_text(text: str) -> bool:
    # No database stores half a surrogate, and PostgreSQL no NUL.
    return _NOT_KEPT.search(text) is None


def _not(value: Any, at: str) -> str:
    return f"{at or 'the answer'} is {type(value).__name__}"
