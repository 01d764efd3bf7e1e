"""Reads identifiers from a provider's stored answers, by the paths that its handler declares.

A path consists of names joined by dots. A list on the path means each of its items, and ``Item[Name=Receipt]`` means
the items whose ``Name`` is ``Receipt``. A prefix that the value must have follows a colon: ``latest_charge:ch_`` is the
charge's id only if the field holds an id and not an object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from polytill.domain.identifiers import IdentifierKind, Identifiers
from polytill.providers.wire_json import REMOVED

LONGEST = 200
_LAST4 = re.compile(r"[0-9]{4}")

IdentifierPaths = Mapping[IdentifierKind, tuple[str, ...]]


def identifiers_in(paths: IdentifierPaths, response: Any) -> Identifiers:
    """The identifiers in a stored answer, which is without its secret fields."""
    found: Identifiers = {}
    for kind, places in paths.items():
        values = dict.fromkeys(value for place in places for value in _values(response, place))
        if kind is IdentifierKind.card_last4:
            values = {value: None for value in values if _LAST4.fullmatch(value)}
        if values:
            found[kind] = tuple(values)
    return found


def _values(response: Any, place: str) -> Iterator[str]:
    path, prefix = _parsed(place)
    for value in _reached(response, path):
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(text, str) and 0 < len(text.strip()) <= LONGEST and text != REMOVED and text.startswith(prefix):
            yield text.strip()


class _Part(NamedTuple):
    """One name of a path; of a list only the items whose ``field`` is ``word``."""

    name: str
    field: str
    word: str


@cache
def _parsed(place: str) -> tuple[tuple[_Part, ...], str]:
    """The parts of a path, and the prefix that the value must have."""
    path, _, prefix = place.partition(":")
    parts = []
    for one in path.split("."):
        name, _, wanted = one.partition("[")
        field, _, word = wanted.rstrip("]").partition("=")
        parts.append(_Part(name, field, word))
    return tuple(parts), prefix


def _reached(value: Any, path: tuple[_Part, ...]) -> list[Any]:
    for at, part in enumerate(path):
        if isinstance(value, list):
            return _of_items(value, path[at:])
        if not isinstance(value, dict):
            return []
        value = value.get(part.name)
        if part.field:
            items = value if isinstance(value, list) else []
            value = [item for item in items if isinstance(item, dict) and item.get(part.field) == part.word]
    return _of_items(value, ()) if isinstance(value, list) else [value]


def _of_items(items: list[Any], path: tuple[_Part, ...]) -> list[Any]:
    return [found for item in items for found in _reached(item, path)]
