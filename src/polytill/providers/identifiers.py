"""Reads identifiers from a provider's stored answers, by the paths that its handler declares.

A path consists of names joined by dots. A list on the path means each of its items, and ``Item[Name=Receipt]`` means
the items whose ``Name`` is ``Receipt``. A prefix that the value must have follows a colon: ``latest_charge:ch_`` is the
charge's id only if the field holds an id and not an object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

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
    path, _, prefix = place.partition(":")
    for value in _reached(response, path.split(".")):
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(text, str) and 0 < len(text.strip()) <= LONGEST and text != REMOVED and text.startswith(prefix):
            yield text.strip()


def _reached(value: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _reached(item, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        name, _, wanted = path[0].partition("[")
        reached = value.get(name)
        if wanted:
            field, _, word = wanted.rstrip("]").partition("=")
            items = reached if isinstance(reached, list) else []
            reached = [item for item in items if isinstance(item, dict) and item.get(field) == word]
        yield from _reached(reached, path[1:])
