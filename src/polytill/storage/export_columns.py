"""The kinds of records in an export of a practice, and their columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast, get_args

Kind = Literal["text", "integer", "flag", "moment", "json"]


class Column(NamedTuple):
    """A column of a file. ``sql``: the expression that it is read with, in which ``t`` is the table."""

    name: str
    kind: Kind
    sql: str
    about: str


@dataclass(frozen=True, slots=True)
class Part:
    """A kind of record, which is one file of JSON lines and one CSV file.

    Args:
        name: The name of the files without their endings.
        table: The table that the records are read from, or a subquery.
        order: The columns that order them.
        columns: The columns in order.
        about: What a record is, for the documentation.
    """

    name: str
    table: str
    order: str
    columns: tuple[Column, ...]
    about: str


def camel(name: str) -> str:
    """The name of a column in a file: ``created_at`` is ``createdAt``."""
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def part(name: str, order: str, about: str, columns: str, table: str = "") -> Part:
    """A part, from lines of ``column kind description``. A column with ``=`` has its SQL after it, with ``~`` for each
    space."""
    found = []
    for line in columns.strip().splitlines():
        given, kind, said = line.split(maxsplit=2)
        column, _, sql = given.partition("=")
        assert kind in get_args(Kind)
        found.append(Column(column, cast(Kind, kind), sql.replace("~", " ") or f"t.{column}", said))
    return Part(name, table or name, order, tuple(found), about)
