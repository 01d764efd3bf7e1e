"""Where the values of a ``paymentProviders`` field stand in its text, so that they can be changed there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from polytill.domain.legacy_findings import LegacyFinding
from polytill.domain.states import Environment
from polytill.flows.legacy.lossless import Document, Node, Slot
from polytill.flows.legacy.model import Found


@dataclass(slots=True, repr=False)
class Occurrence:
    """One place where a value of a set is written. ``what`` is its API name, ``value`` what it says (None: nothing).

    Also ``isDisabled``, ``isTest`` and ``isLive``, whose values are those of what they mean (``isEnabled``,
    ``environment``).
    """

    what: str
    slot: Slot
    value: Any


@dataclass(slots=True, eq=False, repr=False)
class Level:
    """An object with values of sets, by API name. ``prefix``: only its members that name this environment.

    ``keys_node`` and ``config_node``: the objects in which its keys and further settings are.
    """

    node: Node
    pointer: str
    prefix: Environment | None = None
    keys_node: Node | None = None
    config_node: Node | None = None
    found: dict[str, list[Occurrence]] = field(default_factory=dict)

    def add(self, occurrence: Occurrence) -> None:
        """Add an occurrence under the name of what it means."""
        name = {"isDisabled": "isEnabled", "isTest": "environment", "isLive": "environment"}.get(
            occurrence.what, occurrence.what
        )
        self.found.setdefault(name, []).append(occurrence)

    def value(self, name: str) -> Any:
        """What the first occurrence that says something says."""
        return next((one.value for one in self.found.get(name, ()) if one.value is not None), None)


@dataclass(slots=True, eq=False, repr=False)
class Place:
    """One set: the level that is its own, and those whose shared values it inherits, the nearest first.

    ``holder`` and ``slot``: what must be removed to remove a nested set.
    """

    level: Level
    outer: tuple[Level, ...]
    environment: Environment | None = None
    holder: Node | None = None
    slot: Slot | None = None

    @property
    def is_flat(self) -> bool:
        """Whether the keys stand in the provider's own object."""
        return self.slot is None and self.level.prefix is None


@dataclass(slots=True, eq=False, repr=False)
class Home:
    """One provider's entry in the field: an object, or only a text or boolean (``level`` is None then).

    ``holder``: the object or list that contains its ``slot``; None if the whole field is this provider.
    """

    code: str
    pointer: str
    slot: Slot | None
    holder: Node | None
    group: Environment | None = None
    level: Level | None = None
    bare: Level | None = None
    naming: Slot | None = None
    places: list[Place] = field(default_factory=list)


@dataclass(slots=True, repr=False)
class Container:
    """An object by provider code, or a list of providers; of one environment if the field nests them so."""

    node: Node
    group: Environment | None = None


@dataclass(slots=True, repr=False)
class Located:
    """A whole field, read, with the places of its values."""

    document: Document | None = None
    homes: list[Home] = field(default_factory=list)
    containers: list[Container] = field(default_factory=list)
    empty: dict[tuple[str, Environment | None], Slot] = field(default_factory=dict)
    findings: list[Found] = field(default_factory=list)
    tops: list[Level] = field(default_factory=list)

    def say(self, kind: LegacyFinding, pointer: str, detail: str) -> None:
        """Add a finding."""
        self.findings.append(Found(kind, pointer, detail))
