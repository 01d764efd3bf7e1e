"""Tables whose rows are values of a dataclass: a new column is one line in the schema and one field.

Columns do not come from the schema itself, so that a service that migrates nothing never loads SQLAlchemy. The SQL of a
condition, of an order and of everything that is more than the columns of one row is written where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from functools import cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from polytill.domain.errors import UnreadableRow
from polytill.storage.databases import Reads, Tx, Writes
from polytill.storage.units import json_text, json_value, moment

Row = TypeVar("Row")

_JSON = (dict, list, tuple, Any)


def places(count: int, first: int = 1) -> str:
    """SQL: a number of parameters: ``$1, $2, $3``."""
    return ", ".join(f"${number}" for number in range(first, first + count))


class Condition:
    """A growing SQL condition with its arguments."""

    def __init__(self, *args: Any) -> None:
        self.args: list[Any] = list(args)
        self.parts: list[str] = []

    def add(self, value: Any) -> str:
        """Add an argument; returns its parameter."""
        self.args.append(value)
        return f"${len(self.args)}"

    def compare(self, expression: str, value: Any) -> None:
        """Require a comparison, such as ``state =``, unless there is nothing to compare with (None)."""
        if value is not None:
            self.parts.append(f"{expression} {self.add(value)}")

    def __str__(self) -> str:
        return " AND ".join(self.parts) or "TRUE"


class Reader(Generic[Row]):
    """Reads the rows of a query as values of a dataclass. Each field is the column of its name, and its type says how
    that is read: a member of a closed type from text; a dict, list, tuple or ``Any`` from JSON.

    Args:
        row: The dataclass.
        select: SQL, ``SELECT … FROM …`` without conditions.
        but: The fields that are no columns.
        own: By field, how to read a column that its type does not tell.
    """

    def __init__(self, row: type[Row], select: str = "", but: str = "", **own: Callable[[Any], Any]) -> None:
        self._row, self._select = row, select
        self._hints = get_type_hints(row)
        self._names = [name for name in self._hints if name not in but.split()]
        conversions = {name: own.get(name) or _conversion(self._hints[name]) for name in self._names}
        self._conversions = [(name, convert) for name, convert in conversions.items() if convert is not None]

    def read(self, row: Any, prefix: str = "", **more: Any) -> Row:
        """A row as a value, from its columns with this prefix, and ``more`` fields that are no columns.
        ``UnreadableRow`` if it cannot be read."""
        values = {name: row[prefix + name] for name in self._names}
        try:
            for name, convert in self._conversions:
                values[name] = convert(values[name])
            return self._row(**values, **more)
        except Exception as error:  # an unknown state, another shape of JSON: a newer version may write anything
            about = dict(row)
            raise UnreadableRow(about.get("practice_id", 0), about.get("id", "")) from error

    async def one(self, db: Reads, rest: str, *args: Any) -> Row | None:
        """The first row of the query that ends with ``rest``. None if there is none."""
        row = await db.one(f"{self._select} {rest}", *args)
        return None if row is None else self.read(row)

    async def all(self, db: Reads, rest: str, *args: Any) -> list[Row]:
        """The rows of the query that ends with ``rest``."""
        return [self.read(row) for row in await db.fetch(f"{self._select} {rest}", *args)]


class Table(Reader[Row]):
    """A table, and the dataclass of its rows, whose fields are written as they are read.

    Args:
        name: The name of the table.
        row: As for ``Reader``, and ``but``.
    """

    def __init__(self, name: str, row: type[Row], but: str = "") -> None:
        super().__init__(row, but=but)
        self._name = name
        self.columns = ", ".join(self._names)
        self._select = f"SELECT {self.columns} FROM {name}"  # noqa: S608
        self._json = frozenset(field for field in self._names if _kind(self._hints[field]) in _JSON)

    def of(self, alias: str, prefix: str = "") -> str:
        """SQL: the columns of an alias of the table: ``p.id, p.state``; with a prefix: ``p.id AS p_id``."""
        return ", ".join(f"{alias}.{name}" + f" AS {prefix}{name}" * bool(prefix) for name in _names(self.columns))

    def values(self, row: Row, columns: str) -> list[Any]:
        """The fields of a row as a statement takes them, in the order of ``columns``: two or more."""
        take, json_at = _taken(columns, self._json)
        values = list(take(row))
        for at in json_at:
            values[at] = json_text(values[at])
        return values

    def insert(self, unit: Writes, row: Row, columns: str = "", end: str = "", **more: Any) -> None:
        """Insert a row: all columns or these, and ``more`` that are no fields. ``end`` follows the values."""
        columns = columns or self.columns
        text = insert_into(self._name, ", ".join((columns, *more)))
        unit.add(text + end, *self.values(row, columns), *more.values())

    async def create(self, tx: Tx, row: Row, columns: str, **more: Any) -> int:
        """Insert a row, as ``insert`` does, and return the id that the database gives it."""
        text = insert_into(self._name, ", ".join((columns, *more))) + " RETURNING id"
        return int(await tx.value(text, *self.values(row, columns), *more.values()))

    def update(self, unit: Writes, row: Row, columns: str, where: str, *args: Any, **more: Any) -> None:
        """Set these columns, and ``more`` that are no fields, where a condition holds, whose parameters are ``args``.
        ``Stale`` unless it holds for one row."""
        text = _update(self._name, ", ".join((columns, *more)), where, len(args) + 1)
        unit.add(text, *args, *self.values(row, columns), *more.values(), expect=1)


@cache
def _names(columns: str) -> list[str]:
    return columns.split(", ")


@cache
def _taken(columns: str, json: frozenset[str]) -> tuple[attrgetter[tuple[Any, ...]], list[int]]:
    # A payment writes some hundred fields: this takes them without a step of Python for each.
    names = _names(columns)
    return attrgetter(*names), [at for at, name in enumerate(names) if name in json]


@cache
def insert_into(table: str, columns: str) -> str:
    """SQL: insert a row, with a parameter for each column."""
    return f"INSERT INTO {table} ({columns}) VALUES ({places(columns.count(',') + 1)})"  # noqa: S608


@cache
def _update(table: str, columns: str, where: str, first: int) -> str:
    assigned = ", ".join(f"{column} = ${number}" for number, column in enumerate(_names(columns), first))
    return f"UPDATE {table} SET {assigned} WHERE {where}"  # noqa: S608


def _kind(hint: Any) -> Any:
    """The class of a field, without None and without its parameters."""
    if isinstance(hint, UnionType):
        [hint] = (one for one in get_args(hint) if one is not NoneType)
    return get_origin(hint) or hint


def _conversion(hint: Any) -> Callable[[Any], Any] | None:
    """How a column becomes a field of this type. None: it is as the engines return it."""
    kind = _kind(hint)
    if kind is datetime:
        return moment
    if kind is bool:
        return bool
    if kind in _JSON:
        return json_value if kind is Any or isinstance(hint, UnionType) else lambda text: kind(json_value(text) or ())
    return (lambda text: None if text is None else kind(text)) if issubclass(kind, StrEnum) else None
