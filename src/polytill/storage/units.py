"""Units of work: statements that are committed together or not at all, in one text for both engines.

A ``Unit`` is passed to storage functions, which add steps, and then committed: one thread hop on SQLite (the steps in
order between BEGIN IMMEDIATE and COMMIT), one statement on PostgreSQL (the steps as data-modifying CTEs). PostgreSQL
runs all steps on one snapshot, so no step may read or write a row that an earlier step writes: ``Unit.add`` rejects
such a step with ``StepsOverlapError``, on both engines (``row_writes``), and more steps than PostgreSQL can run with
``UnitTooLargeError``. Every value is therefore computed beforehand,
and ``expect=1`` (compare-and-set) makes a stale value harmless. The steps of an interactive transaction (``SqliteTx``,
``PostgresTx``) run one after the other on both engines, so they need no such check.
"""

from __future__ import annotations

import re
import weakref
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from polytill.storage.row_writes import Written


class Step(NamedTuple):
    """One statement with ``$1`` parameters. It must affect ``expect`` rows, or the whole unit is rolled back
    (``Stale``)."""

    sql: str
    args: tuple[Any, ...]
    expect: int | None


# The units that this task has filled and not committed yet. No provider is called while one of them is open.
_open_transactions: ContextVar[int] = ContextVar("open_transactions", default=0)
# Weak references: an exception may end a flow, and then nobody commits its unit any more.
_open_steps: ContextVar[tuple[weakref.ref[Steps], ...]] = ContextVar("open_steps", default=())


def work_is_open() -> bool:
    """Return whether this task has a unit with uncommitted steps, or an open transaction."""
    return _open_transactions.get() > 0 or bool(_still_open())


def _still_open() -> tuple[weakref.ref[Steps], ...]:
    return tuple(one for one in _open_steps.get() if (unit := one()) is not None and unit.steps)


def mark_open(change: int) -> None:
    """Count a transaction of this task in (+1) or out (-1)."""
    _open_transactions.set(_open_transactions.get() + change)


class Steps:
    """A queue of statements: the base of a unit and of an open transaction."""

    __slots__ = ("__weakref__", "steps")

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def add(self, sql: str, *args: Any, expect: int | None = None) -> None:
        """Add a statement. With ``expect=1`` it must affect exactly one row."""
        self._queue(Step(sql, args, expect))

    def _queue(self, step: Step) -> None:
        if not self.steps:
            _open_steps.set((*_still_open(), weakref.ref(self)))
        self.steps.append(step)

    def take(self) -> list[Step]:
        """Return the steps for an engine to run; the queue is empty afterwards."""
        steps, self.steps = self.steps, []
        return steps


# PostgreSQL cannot run a statement with more than 1,664 counts or 32,767 arguments. SQLite could, so a unit that grows
# with its input would fail only in production.
MOST_STEPS, MOST_ARGUMENTS = 1_000, 30_000


class UnitTooLargeError(RuntimeError):
    """A unit has too many steps or arguments for one statement: a mistake of the caller, which must commit in parts."""


class Counted:
    """The number of rows that a step found, once its unit is committed."""

    __slots__ = ("at", "rows")

    def __init__(self, at: int) -> None:
        self.at = at  # its place among the steps
        self.rows: int | None = None  # None: its unit was not committed


class Unit(Steps):
    """Steps that are committed together. ``storage`` functions fill it, a flow commits it.

    Attributes:
        needs_current: Whether one of them requires the database that this process knows (``anchors.hold``).
    """

    __slots__ = ("_arguments", "_written", "counted", "needs_current")

    def __init__(self) -> None:
        super().__init__()
        self.needs_current = False
        self._written = Written()
        self._arguments = 0
        self.counted: list[Counted] = []

    def add(self, sql: str, *args: Any, expect: int | None = None) -> None:
        """Add a statement. With ``expect=1`` it must affect exactly one row.

        ``StepsOverlapError`` if it may write or read a row that an earlier step writes, ``UnitTooLargeError`` if there
        are too many: mistakes of the caller.
        """
        self._arguments += len(args)
        if len(self.steps) >= MOST_STEPS or self._arguments > MOST_ARGUMENTS:
            raise UnitTooLargeError(f"A unit may have {MOST_STEPS} steps and {MOST_ARGUMENTS} arguments.")
        self._written.add(sql, args)
        self._queue(Step(sql, args, expect))

    def count(self, sql: str, *args: Any) -> Counted:
        """Add a query, and return where its number of rows will be. It sees the database as it was before the unit; a
        query of its own afterwards would cost a round trip more."""
        counted = Counted(len(self.steps))
        self.add(sql, *args)
        self.counted.append(counted)
        return counted

    def take(self) -> list[Step]:
        """Return the steps for an engine to run; the unit is empty and can be filled again afterwards."""
        self._written, self._arguments, self.counted, self.needs_current = Written(), 0, [], False
        return super().take()


_PARAMETER = re.compile(r"\$(\d+)")


@lru_cache(maxsize=512)
def as_one_statement(shape: tuple[tuple[str, int, int | None], ...]) -> str:
    """Return steps (text, number of arguments, expected rows) as one PostgreSQL statement.

    Every step becomes a CTE; the final SELECT counts their rows. If a step affects another number of rows than
    expected, the statement divides by zero and is rolled back: the shortest "all or nothing" without a function.
    """
    ctes, counts, offset = [], [], 0
    for number, (sql, arguments, expect) in enumerate(shape):
        shifted = _PARAMETER.sub(lambda match, offset=offset: f"${int(match[1]) + offset}", sql)  # type: ignore[misc]
        returning = "" if sql.startswith("SELECT") else " RETURNING 1"  # a check, or a write
        ctes.append(f"s{number} AS ({shifted}{returning})")
        count = f"(SELECT count(*) FROM s{number})"  # noqa: S608
        counts.append(count if expect is None else f"{expect}/({count} = {expect})::int")
        offset += arguments
    return f"WITH {', '.join(ctes)} SELECT {', '.join(counts)}"


# ── Values that the two engines write differently ──


def moment(value: Any) -> datetime | None:
    """Return a timestamp column as an aware datetime: SQLite stores UTC text, PostgreSQL a timestamptz."""
    if value is None or isinstance(value, datetime):
        return value
    return datetime.fromisoformat(value).replace(tzinfo=UTC)


def moment_text(value: datetime) -> str:
    """Return a time as SQLite stores it: UTC, microseconds, sortable as text, same shape as CURRENT_TIMESTAMP."""
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return value.isoformat(" ", "microseconds")[:26]


def json_text(value: Any) -> str | None:
    """Return a JSON column's value; None stays NULL."""
    return None if value is None else _encode(value).decode()


def json_value(value: Any) -> Any:
    """Return a JSON column as Python values (both engines return text)."""
    return None if value is None else _decode(value)


# With ``float`` as its hook, a number that no double holds is infinite, instead of an unreadable row.
_decode = msgspec.json.Decoder(float_hook=float).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode
