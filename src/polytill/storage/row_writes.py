"""The rows that a statement writes and reads, from its text and its arguments, so that no unit writes a row twice.

PostgreSQL runs the steps of a unit on one snapshot. If two steps write one row, it loses one write without an error,
and a step does not see an earlier step's writes. SQLite runs the steps one after the other. So each step must be about
other rows than the writes before it, and this must be certain from its conditions: both steps compare a column, which
neither changes, with different values. A step without this certainty counts as one that may touch every row of its
table.

Conditions are read from the SQL, because a separate declaration could differ from the SQL. The dialect is small: INSERT
with named columns, UPDATE and DELETE of one table, SELECT as a check. Any other statement is a ``ValueError``. Each
text is parsed once; afterwards a step costs a few dictionary lookups.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_WORD = re.compile(r"\w+")
_LITERAL = re.compile(r"'((?:[^']|'')*)'")
_NESTED = re.compile(r"\([^()]*\)")
_VALUE = r"\$\d+|'\d+'|-?\d+"
_TERM = re.compile(_VALUE)
_COMPARED = re.compile(rf"(?:\w+\.)?(\w+)\s*(=|<>)\s*({_VALUE})")
_COLUMN = re.compile(r"(\w+)\s*=")
_INSERT = re.compile(r"INSERT\s+INTO\s+(\w+)\s*\(([\w\s,]*)\)\s*(VALUES|SELECT)\b", re.IGNORECASE)
_UPDATE = re.compile(r"UPDATE\s+(\w+)\s+SET\s", re.IGNORECASE)
_DELETE = re.compile(r"DELETE\s+FROM\s+(\w+)\s*(?:$|WHERE\b)", re.IGNORECASE)
_UPSERT = re.compile(r"\bON\s+CONFLICT\s*\(([\w\s,]*)\)\s*DO\s+UPDATE\s+SET\b", re.IGNORECASE)
_END_OF_ROWS = re.compile(r"\b(?:FROM|WHERE|ON\s+CONFLICT|ORDER\s+BY|GROUP\s+BY|LIMIT)\b", re.IGNORECASE)
_WHERE = re.compile(r"\bWHERE\b", re.IGNORECASE)
_AND = re.compile(r"\bAND\b", re.IGNORECASE)
_NO_CONJUNCTION = re.compile(r"\b(?:OR|CASE|BETWEEN)\b", re.IGNORECASE)
_SELECT = re.compile(r"\bSELECT\b", re.IGNORECASE)
# A subquery of one table, whose condition determines the rows that it reads.
_LOOK_UP = re.compile(r"\(SELECT\s+([\w\s,]*?)\s+FROM\s+(\w+)\s+WHERE\s+([^().]*)\)", re.IGNORECASE)
_SOURCE = re.compile(r"\b(?:FROM|JOIN)\s+(\w+)", re.IGNORECASE)
_ALL_COLUMNS = re.compile(r"(?:SELECT\s+|\.)\*", re.IGNORECASE)
# No statement needs these, and each would hide the meaning of the rest of the text.
_UNREADABLE = re.compile(
    r"--|/\*|\"|\bRETURNING\b|\bUSING\b|\bON\s+CONFLICT\s+ON\b|\bFROM\s+\w+(?:\s+(?:AS\s+)?\w+)?\s*,", re.IGNORECASE
)

# The value that a column is compared with: the number of a parameter, or a literal in the text.
Term = tuple[int, None] | tuple[None, str | int]
Values = dict[str, Any]


class StepsOverlapError(RuntimeError):
    """A step may write or read a row that an earlier step writes: a mistake of the code that fills the unit."""


@dataclass(frozen=True, eq=False, slots=True)
class Read:
    """A table that subqueries of a statement read."""

    table: str
    row: dict[str, Term]  # columns with the values that every row must have to count
    words: frozenset[str] | None  # every word, including the columns that they read; None: all columns


@dataclass(frozen=True, eq=False, slots=True)
class Shape:
    """The rows of a statement, from its text. One object for each text."""

    verb: str  # INSERT, UPDATE, DELETE or SELECT
    table: str  # the table that it writes; empty if it only reads
    # Columns with the values that these rows certainly have, before the statement and after it. ``<>`` before the
    # column means a value that the column does not have.
    rows: tuple[dict[str, Term], ...]
    reads: tuple[Read, ...]
    changes: frozenset[str] = frozenset()  # columns of existing rows that may have another value afterwards
    is_new: bool = False  # it writes no row that existed before
    has_new_id: bool = False  # and the database assigns each id, so that no other step can name one

    @property
    def is_of_one_key(self) -> bool:
        """Return whether two statements with this text are about different rows if any of their values differs."""
        return len(self.rows) == 1 and not any(column.startswith("<>") for column in self.rows[0])

    def is_seen_by(self, read: Read) -> bool:
        """Return whether a later step that reads this could see that this statement has run."""
        return self.verb != "UPDATE" or read.words is None or not self.changes.isdisjoint(read.words)


def _values(row: dict[str, Term], args: tuple[Any, ...]) -> Values:
    return {column: literal if number is None else args[number - 1] for column, (number, literal) in row.items()}


class _Rows:
    """The rows of the steps with one text. Their values are worked out only when another step is compared with them,
    because most units compare few."""

    __slots__ = ("_not_yet", "_values", "shape")

    def __init__(self, shape: Shape, args: tuple[Any, ...]) -> None:
        self.shape = shape
        self._not_yet = [args]
        self._values: dict[tuple[Any, ...], Values] = {}

    def add(self, args: tuple[Any, ...]) -> None:
        """Add the rows of one more step."""
        self._not_yet.append(args)

    def values(self) -> dict[tuple[Any, ...], Values]:
        """The rows, by their values."""
        for args in self._not_yet:
            rows = (_values(row, args) for row in self.shape.rows)
            self._values.update((tuple(row.values()), row) for row in rows)
        self._not_yet = []
        return self._values


class Written:
    """The rows that the steps of one unit write."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: dict[str, dict[Shape, _Rows]] = {}

    def add(self, sql: str, args: tuple[Any, ...]) -> None:
        """Record a statement's rows. ``StepsOverlapError`` if an earlier statement may write what it writes or reads."""
        shape = shape_of(sql)
        for read in shape.reads:
            if read.table in self._tables and (before := self._seen(read, _values(read.row, args))) is not None:
                raise StepsOverlapError(
                    f"A step of a unit reads {read.table}, which an earlier step writes ({before.verb}). PostgreSQL would"
                    " read it as it was before the unit."
                )
        if not shape.table:
            return
        earlier = self._tables.get(shape.table)
        if earlier is None:
            self._tables[shape.table] = {shape: _Rows(shape, args)}
            return
        if (twice := _overlapping(earlier, shape, args)) is not None:
            raise StepsOverlapError(
                f"Two steps of one unit may write the same row of {shape.table} ({twice.verb}, then {shape.verb})."
                " PostgreSQL would lose one of them: write what both say in one step."
            )
        known = earlier.get(shape)
        if known is None:
            earlier[shape] = _Rows(shape, args)
        else:
            known.add(args)

    def _seen(self, read: Read, row: Values) -> Shape | None:
        for shape, known in self._tables[read.table].items():
            if shape.is_seen_by(read) and not all(
                _differ(row, other, shape.changes) for other in known.values().values()
            ):
                return shape
        return None


def _overlapping(earlier: dict[Shape, _Rows], shape: Shape, args: tuple[Any, ...]) -> Shape | None:
    if shape.is_new:
        return None  # no earlier step can be about it, and a taken key is ``Duplicate`` on both engines
    rows = [_values(row, args) for row in shape.rows]
    for other, known in earlier.items():
        if shape is other and shape.is_of_one_key:  # many rows by one text: no comparison of each with each
            if tuple(rows[0].values()) in known.values():
                return other
            continue
        changes = shape.changes | other.changes
        for one in rows:
            if other.has_new_id and "id" in one:
                continue
            if not all(_differ(one, row, changes) for row in known.values().values()):
                return other
    return None


def _differ(one: Values, other: Values, changes: frozenset[str]) -> bool:
    """Return whether no row can belong to both: an unchanged column has two values, or a value that the other excludes."""
    for column in one.keys() & other.keys():
        if column in changes or column.startswith("<>"):
            continue
        if one[column] != other[column] and _comparable(one[column], other[column]):
            return True
    return _excludes(one, other, changes) or _excludes(other, one, changes)


def _excludes(one: Values, other: Values, changes: frozenset[str]) -> bool:
    for column, value in one.items():
        if column.startswith("<>") and column[2:] in other.keys() - changes and other[column[2:]] == value:
            return True
    return False


def _comparable(one: Any, other: Any) -> bool:
    """Return whether the databases compare two values as Python does: to SQLite, the text 1 can be the number 1."""
    return one is None or other is None or isinstance(one, str) is isinstance(other, str)


@lru_cache(maxsize=1024)
def shape_of(sql: str) -> Shape:
    """Return what a statement writes and reads. ``ValueError`` if a unit cannot have such a statement."""
    literals: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        literals.append(match[1].replace("''", "'"))
        return f"'{len(literals) - 1}'"

    text = _LITERAL.sub(numbered, sql.strip())
    if not _UNREADABLE.search(text):
        reads = _reads(text, literals)
        if text[:6].upper() == "SELECT":
            return Shape("SELECT", "", (), reads)
        if match := _INSERT.match(text):
            return _insert(text, match, literals, reads)
        if match := _UPDATE.match(text):
            assigned, condition = _parted(_flat(text[match.end() :]), _WHERE)
            changes = _assigned(assigned)
            if not _SOURCE.search(assigned):  # parentheses and their contents were removed before
                return Shape("UPDATE", match[1], (_kept(_compared(condition, literals), changes),), reads, changes)
        if match := _DELETE.match(text):
            return Shape("DELETE", match[1], (_compared(_flat(text[match.end() :]), literals),), reads)
    raise ValueError(f"A unit cannot have this statement: {sql.strip()[:60]}")


def _reads(text: str, literals: list[str]) -> tuple[Read, ...]:
    """Return the reads of the subqueries: lookups in one table separately, all others together."""
    start = _SELECT.search(text)
    if start is None:
        return ()
    rest = text[start.start() - 1 if start.start() else 0 :]
    found = []
    for match in _LOOK_UP.finditer(rest):
        found.append(Read(match[2], _compared(match[3], literals), frozenset(_WORD.findall(match[0]))))
    rest = _LOOK_UP.sub("?", rest)
    words = None if _ALL_COLUMNS.search(rest) else frozenset(_WORD.findall(rest))
    return (*found, *(Read(table, {}, words) for table in sorted(set(_SOURCE.findall(rest)))))


def _insert(text: str, match: re.Match[str], literals: list[str], reads: tuple[Read, ...]) -> Shape:
    columns = [column.strip() for column in match[2].split(",")]
    rest = text[match.end() :]
    if match[3].upper() == "VALUES":
        rows = [_row(columns, group, literals) for group in _groups(rest)]
    else:
        rows = [_row(columns, _parted(_flat(rest), _END_OF_ROWS)[0], literals)]
    upsert = _UPSERT.search(rest)
    if upsert is None:
        return Shape("INSERT", match[1], tuple(rows), reads, is_new=True, has_new_id="id" not in columns)
    # An existing row shares only the columns of the conflict with the row that was to be inserted.
    changes = _assigned(_parted(_flat(rest[upsert.end() :]), _WHERE)[0])
    others = frozenset(columns) - {column.strip() for column in upsert[1].split(",")}
    return Shape("INSERT", match[1], tuple(_kept(row, changes | others) for row in rows), reads, changes)


def _row(columns: list[str], text: str, literals: list[str]) -> dict[str, Term]:
    terms = _terms(text, literals)
    if len(terms) != len(columns):  # "*", for example
        return {}
    return {column: term for column, term in zip(columns, terms, strict=True) if term is not None}


def _kept(row: dict[str, Term], changes: frozenset[str]) -> dict[str, Term]:
    return {column: term for column, term in row.items() if column not in changes}


def _groups(text: str) -> list[str]:
    """Return the contents of the outer parentheses of ``(…), (…)``."""
    groups, depth, start = [], 0, 0
    for at, sign in enumerate(text):
        if sign == "(":
            depth += 1
            start = at + 1 if depth == 1 else start
        elif sign == ")":
            depth -= 1
            if depth == 0:
                groups.append(text[start:at])
        elif depth == 0 and sign not in ", \n":
            break
    return groups


def _terms(text: str, literals: list[str]) -> list[Term | None]:
    """Return the expressions of a list that are parameters or plain values."""
    return [_term(part.strip(), literals) for part in _flat(text).split(",")]


def _term(text: str, literals: list[str]) -> Term | None:
    if not _TERM.fullmatch(text):
        return None
    if text[0] == "$":
        return int(text[1:]), None
    return None, literals[int(text[1:-1])] if text[0] == "'" else int(text)


def _compared(condition: str, literals: list[str]) -> dict[str, Term]:
    """Return the columns that must have one value in each row, whatever else a condition without parentheses requires."""
    if _NO_CONJUNCTION.search(condition):
        return {}
    found: dict[str, Term] = {}
    for part in _AND.split(condition):
        if (match := _COMPARED.fullmatch(part.strip())) and (term := _term(match[3], literals)) is not None:
            found[match[1] if match[2] == "=" else f"<>{match[1]}"] = term
    return found


def _assigned(text: str) -> frozenset[str]:
    """Return the columns of a SET list. ``ValueError`` if a part of it is not a plain assignment."""
    matches = [_COLUMN.match(part.strip()) for part in text.split(",")]
    if not all(matches):
        raise ValueError(f"A unit cannot have this assignment: {text.strip()[:60]}")
    return frozenset(match[1] for match in matches if match)


def _flat(text: str) -> str:
    """Return a text with a mark in place of parentheses and their contents: ``f(x)`` is not a column."""
    while (shorter := _NESTED.sub("?", text)) != text:
        text = shorter
    return text


def _parted(text: str, at: re.Pattern[str]) -> tuple[str, str]:
    before, *after = at.split(text, 1)
    return before, after[0] if after else ""
