"""JSON that keeps its text: what is not changed is written again byte for byte, white space and escapes included.

A string that contains JSON itself (JSON encoded twice) is opened as a document of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

MAX_LENGTH = 1_000_000  # characters of a field; a field in use has a few thousand
MAX_DEPTH = 32
MAX_LAYERS = 6  # of JSON within a string within JSON

_SPACE = re.compile(r"[ \t\n\r]*+")
_STRING = re.compile(r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_WORDS = {"true": True, "false": False, "null": None}
_NOTHING = ("", "null", "undefined")
_WORD = re.compile("true|false|null")


class NotJson(ValueError):
    """The text is not JSON."""


class TooDeep(ValueError):
    """The text is nested too deep."""


class Kind(Enum):
    """What a JSON value is."""

    object = "an object"
    array = "a list"
    string = "a text"
    number = "a number"
    boolean = "true or false"
    null = "null"


@dataclass(slots=True, repr=False)
class Slot:
    """A place in an object or list: its value with the text around it. ``name`` is None in a list."""

    node: Node
    lead: str = ""  # white space before the name or value
    name: str | None = None
    name_text: str = ""  # the name as it is written, with the colon and white space
    trail: str = ""  # white space after the value


@dataclass(slots=True, repr=False)
class Node:
    """A JSON value. ``value`` is that of a text or boolean; a number is kept as its digits (``text``)."""

    kind: Kind
    text: str = ""
    value: Any = None
    slots: list[Slot] = field(default_factory=list)
    blank: str = ""  # white space in an object or list without members
    inner: Document | None = None

    @property
    def is_blank(self) -> bool:
        """Whether this is null or a text that says nothing, such as ``undefined``, which JavaScript writes for it."""
        return self.kind is Kind.null or (self.kind is Kind.string and self.value.strip() in _NOTHING)


@dataclass(slots=True, repr=False)
class Document:
    """A JSON text: its value, and the white space around it."""

    root: Node
    lead: str = ""
    trail: str = ""

    def text(self) -> str:
        """The text, with all changes."""
        return self.lead + _rendered(self.root) + self.trail


def _rendered(node: Node) -> str:
    if node.kind is Kind.object or node.kind is Kind.array:
        opening, closing = "{}" if node.kind is Kind.object else "[]"
        if not node.slots:
            return opening + node.blank + closing
        inside = ",".join(slot.lead + slot.name_text + _rendered(slot.node) + slot.trail for slot in node.slots)
        return opening + inside + closing
    if node.inner is not None:
        inner = node.inner.text()
        if inner != node.value:
            return json.dumps(inner, ensure_ascii=node.text.isascii())
    return node.text


def parse(text: str) -> Document:
    """Parse a text. Raises ``NotJson`` or ``TooDeep``, without a part of the text in the message."""
    at = _SPACE.match(text, 1 if text.startswith("\ufeff") else 0).end()  # type: ignore[union-attr]
    lead = text[:at]
    root, at = _value(text, at)
    waiting: list[tuple[Node, Slot | None]] = [(root, None)] if root.kind in (Kind.object, Kind.array) else []
    while waiting:
        at = _next(text, at, waiting)
    trail = text[at:]
    if trail.strip(" \t\n\r"):
        raise NotJson("there is more text after the value")
    return Document(root, lead, trail)


def _value(text: str, at: int) -> tuple[Node, int]:
    """The value at a position, and where it ends; an object or list is opened only."""
    first = text[at : at + 1]
    if first == "{":
        return Node(Kind.object), at + 1
    if first == "[":
        return Node(Kind.array), at + 1
    if first == '"':
        found = _STRING.match(text, at)
        if found is None:
            raise NotJson("a text has no end, or contains a control character")
        return Node(Kind.string, found[0], json.loads(found[0])), found.end()
    found = _NUMBER.match(text, at) or _WORD.match(text, at)
    if found is None:
        raise NotJson("a value is missing")
    if found[0] in _WORDS:
        value = _WORDS[found[0]]
        return Node(Kind.null if value is None else Kind.boolean, found[0], value), found.end()
    return Node(Kind.number, found[0]), found.end()


def _next(text: str, at: int, waiting: list[tuple[Node, Slot | None]]) -> int:
    """Read up to the next value of the innermost open object or list, or its end. Return the position."""
    node, before = waiting[-1]
    closing = "}" if node.kind is Kind.object else "]"
    end = _SPACE.match(text, at).end()  # type: ignore[union-attr]
    space, here = text[at:end], text[end : end + 1]
    if before is not None:
        before.trail = space
        if here == closing:
            waiting.pop()
            return end + 1
        if here != ",":
            raise NotJson("a comma or a closing bracket is missing")
        at = end + 1
        end = _SPACE.match(text, at).end()  # type: ignore[union-attr]
        space = text[at:end]
    elif here == closing:
        node.blank = space
        waiting.pop()
        return end + 1
    name, name_text = None, ""
    if node.kind is Kind.object:
        found = _STRING.match(text, end)
        if found is None:
            raise NotJson("the name of a member is missing")
        name = json.loads(found[0])
        colon = _SPACE.match(text, found.end()).end()  # type: ignore[union-attr]
        if text[colon : colon + 1] != ":":
            raise NotJson("a colon is missing")
        start = _SPACE.match(text, colon + 1).end()  # type: ignore[union-attr]
        name_text, end = text[end:start], start
    value, at = _value(text, end)
    slot = Slot(value, space, name, name_text)
    node.slots.append(slot)
    waiting[-1] = (node, slot)
    if value.kind in (Kind.object, Kind.array):
        if len(waiting) >= MAX_DEPTH:
            raise TooDeep("nested too deep")
        waiting.append((value, None))
    return at


def opened(node: Node) -> Node:
    """The value itself; of a text that contains a JSON object or list, possibly in several layers, what is in it."""
    for _ in range(MAX_LAYERS):
        if node.kind is not Kind.string:
            return node
        if node.inner is None:
            if node.value.strip()[:1] not in ("{", "[", '"'):
                return node
            try:
                node.inner = parse(node.value)
            except ValueError:
                return node
            if node.inner.root.kind not in (Kind.object, Kind.array, Kind.string):
                node.inner = None
                return node
        node = node.inner.root
    return node


def made(value: Any) -> Node:
    """A new node for a plain value: objects, lists, texts, integers, booleans, None."""
    if isinstance(value, dict):
        slots = [
            Slot(made(one), " " if n else "", name, f"{json.dumps(name)}: ")
            for n, (name, one) in enumerate(value.items())
        ]
        return Node(Kind.object, slots=slots)
    if isinstance(value, (list, tuple)):
        return Node(Kind.array, slots=[Slot(made(one), " " if n else "") for n, one in enumerate(value)])
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str):
        # A lone surrogate has no bytes; its escape has.
        return Node(Kind.string, json.dumps(value) if _is_lone(value) else text, value)
    if value is None or isinstance(value, bool):
        return Node(Kind.null if value is None else Kind.boolean, text, value)
    return Node(Kind.number, text)


def _is_lone(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def insert(node: Node, name: str | None, new: Node) -> None:
    """Add a member at the end of an object, or an item at the end of a list (``name`` None), spaced like the others."""
    lead, trail = ("", "") if not node.slots else (node.slots[-1].lead, node.slots[-1].trail)
    if len(node.slots) == 1 and not lead:
        lead = " "
    if node.slots:
        node.slots[-1].trail = node.slots[-2].trail if len(node.slots) > 1 else ""
    node.slots.append(Slot(new, lead, name, "" if name is None else f"{json.dumps(name)}: ", trail))


def remove(node: Node, slot: Slot) -> None:
    """Remove a member or an item."""
    number = next(n for n, one in enumerate(node.slots) if one is slot)
    if number == len(node.slots) - 1 and number:
        node.slots[-2].trail = slot.trail
    elif number == 0 and len(node.slots) > 1:
        node.slots[1].lead = slot.lead
    del node.slots[number]


def become(node: Node, other: Node) -> None:
    """Replace a value by another one, in its place."""
    node.kind, node.text, node.value = other.kind, other.text, other.value
    node.slots, node.blank, node.inner = other.slots, other.blank, other.inner


def rename(slot: Slot, name: str) -> None:
    """Give a member another name."""
    slot.name_text = json.dumps(name) + slot.name_text[slot.name_text.rindex('"') + 1 :]
    slot.name = name


def plain(node: Node) -> Any:
    """The value as Python has it; a number as its text. Of two members of one name the last counts."""
    if node.kind is Kind.object:
        return {slot.name: plain(slot.node) for slot in node.slots}
    if node.kind is Kind.array:
        return [plain(slot.node) for slot in node.slots]
    return node.text if node.kind is Kind.number else node.value


def scalars(node: Node) -> Iterator[Node]:
    """Every value in a node that is no object or list."""
    if node.kind in (Kind.object, Kind.array):
        for slot in node.slots:
            yield from scalars(slot.node)
    else:
        yield node
