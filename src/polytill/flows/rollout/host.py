"""The host application's field, as the rollout reads and writes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from polytill.flows.context import Context
from polytill.flows.legacy.mapping import Mapping
from polytill.flows.legacy.model import Cipher
from polytill.flows.rollout.field import Reading


@dataclass(frozen=True, slots=True)
class HostRow:
    """One practice's row in the host's table. ``value`` is the field as the database returns it."""

    external_id: str
    value: Any


class Host(Protocol):
    """The host's table with the field. Each call may raise ``NotNow`` while its database is away."""

    @property
    def place(self) -> str:
        """The table and the column, for people."""
        ...

    async def read(self, external_id: str) -> HostRow | None:
        """One practice's row; None if the table has none."""
        ...

    async def write(self, row: HostRow, value: Any) -> bool:
        """Replace the field, only if it is still the one of ``row``. False if somebody else has changed it."""
        ...

    def pages(self) -> AsyncIterator[list[HostRow]]:
        """All rows, a page at a time."""
        ...

    async def drop_column(self) -> None:
        """Drop the column with the field."""
        ...


@dataclass(frozen=True, slots=True)
class HostField:
    """The host's table (None: its database cannot be reached from here), and how to read its fields."""

    host: Host | None = None
    mapping: Mapping | None = None
    cipher: Cipher | None = None
    blank: str | None = None  # what an emptied field holds: null, or {}


def of(context: Context) -> HostField:
    """The host's field of this installation."""
    found: HostField | None = context.host_field
    return found or HostField()


async def reading_of(context: Context) -> Reading:
    """How to read a field in this installation."""
    return Reading(of(context).mapping or Mapping(), await context.catalog())
