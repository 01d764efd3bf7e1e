"""Files with a host application's practices: JSON (a list, or one object in each line) and CSV. Read in pieces."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from polytill.domain.errors import TooLarge
from polytill.flows.legacy.lossless import MAX_LENGTH, Document, Kind, Node, TooDeep, parse
from polytill.storage.host_columns import HostError, chosen
from polytill.storage.host_field import HostRow, HostSource, Table

_CHUNK = 1 << 20
_LONGEST_ROW = 32_000_000  # characters
_STRUCTURE = re.compile(r'["{}\[\]]')
_STRING_END = re.compile(r'["\\]')
_SPACE = " \t\r\n"
UNREADABLE = "unreadable"  # in ``HostRow.values``: why a row cannot be read


class FileSource(HostSource):
    """A JSON or CSV file, by the end of its name."""

    def __init__(self, path: Path, table: Table) -> None:
        self._path = path
        self._table = table
        self._is_csv = path.suffix.casefold() in (".csv", ".tsv")

    def _all(self) -> Iterator[HostRow]:
        try:
            with self._path.open("r", encoding="utf-8-sig", newline="") as file:
                yield from _csv_rows(file, self._table) if self._is_csv else _json_rows(file, self._table)
        except UnicodeDecodeError:
            raise HostError(f"{self._path.name} is not UTF-8.") from None
        except OSError as error:
            raise HostError(f"The file cannot be read: {error.strerror}.") from None

    async def ids(self) -> list[Any]:
        return [row.values.get("externalId") for row in self._all()]

    async def rows(self, wanted: Sequence[Any]) -> AsyncIterator[HostRow]:
        names = set(wanted)
        for row in self._all():
            if row.values.get("externalId") in names:
                yield row


# ── CSV ──


def _csv_rows(file: io.TextIOBase, table: Table) -> Iterator[HostRow]:
    before = csv.field_size_limit(_LONGEST_ROW)
    try:
        first = file.readline(1 << 16)
        if not first.strip():
            raise HostError("The CSV file is empty.")
        file.seek(0)
        delimiter = max(",;\t|", key=first.count)
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        header = [name.removeprefix("\ufeff").strip() for name in next(lines)]
        columns = chosen(header, table.columns, "The CSV file")
        at = {value: header.index(column) for value, column in columns.items()}
        for line in lines:
            if not line:
                continue
            place = f"line {lines.line_num}"
            if len(line) != len(header):
                own = line[at["externalId"]] if len(line) > at["externalId"] else None
                why = f"it has {len(line)} columns, and the header has {len(header)}"
                yield HostRow(place, {"externalId": own, UNREADABLE: why})
                continue
            yield HostRow(place, {value: line[number] or None for value, number in at.items()})
    except csv.Error:
        raise HostError("The CSV file is malformed: check its quotation marks.") from None
    finally:
        csv.field_size_limit(before)


# ── JSON ──


def _json_rows(file: io.TextIOBase, table: Table) -> Iterator[HostRow]:
    for number, text in enumerate(_elements(file)):
        yield _json_row(f"/{number}", text, table)


def _json_row(place: str, text: str, table: Table) -> HostRow:
    if len(text) > MAX_LENGTH:
        return HostRow(place, {UNREADABLE: f"it has more than {MAX_LENGTH} characters"})
    try:
        root = parse(text).root
    except TooDeep:
        return HostRow(place, {UNREADABLE: "it is nested too deep"})
    except ValueError:
        raise HostError(f"The file is not JSON (in the item {place}).") from None
    if root.kind is not Kind.object:
        return HostRow(place, {UNREADABLE: "it is no object"})
    members = {slot.name or "": slot.node for slot in root.slots}
    try:
        columns = chosen(list(members), table.columns, f"The item {place}")
    except HostError:
        return HostRow(place, {UNREADABLE: _missing(members, table)})
    values = {value: _value(value, members[column]) for value, column in columns.items()}
    return HostRow(place, values)


def _missing(members: dict[str, Node], table: Table) -> str:
    wanted = [table.columns.get(name, name) for name in ("externalId", "paymentProviders")]
    return f"it has no {' or no '.join(wanted)} (it has {len(members)} members)"


def _value(name: str, node: Node) -> Any:
    if name == "paymentProviders":
        return Document(node).text()  # the field's own text, also if it is a text with JSON in it
    return node.text if node.kind is Kind.number else node.value


def _elements(file: io.TextIOBase) -> Iterator[str]:
    """The texts of the items of a JSON list, or of the values of a file with one in each line."""
    buffer = _Buffer(file)
    is_list = buffer.peek() == "["
    if not is_list and buffer.peek() != "{":
        raise HostError("The file must contain a JSON list of practices, or one JSON object in each line.")
    if is_list:
        buffer.take(1)
        if buffer.peek() == "]":
            return
    while buffer.peek():
        yield buffer.value()
        following = buffer.peek()
        if not is_list:
            continue
        if following == "]":
            buffer.take(1)
            if buffer.peek():
                raise HostError("The file is not JSON: there is more text after the list.")
            return
        if following != ",":
            raise HostError("The file is not JSON: a comma or a bracket is missing, or it is cut off.")
        buffer.take(1)
    if is_list:
        raise HostError("The file is not JSON: it is cut off.")


class _Buffer:
    """The part of a file that is in memory."""

    def __init__(self, file: io.TextIOBase) -> None:
        self._file = file
        self._text = ""
        self._at = 0

    def _more(self) -> bool:
        chunk = self._file.read(_CHUNK)
        self._text = self._text[self._at :] + chunk
        self._at = 0
        if len(self._text) > _LONGEST_ROW + _CHUNK:
            raise TooLarge(f"An item of the file has more than {_LONGEST_ROW} characters.")
        return bool(chunk)

    def peek(self) -> str:
        """The next character that is no white space; empty at the end of the file."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, count: int) -> None:
        """Skip characters."""
        self._at += count

    def value(self) -> str:
        """The text of the next value."""
        if self.peek() not in ("{", "[", '"'):
            return self._scalar()
        depth, position, in_string = 0, 0, False
        while True:
            pattern = _STRING_END if in_string else _STRUCTURE
            found = pattern.search(self._text, self._at + position)
            if found is None or (found[0] == "\\" and found.end() >= len(self._text)):
                position = (found.start() if found else len(self._text)) - self._at
                if not self._more():
                    raise HostError("The file is not JSON: it is cut off.")
                continue
            position = found.end() - self._at
            if found[0] == "\\":
                position += 1
            elif found[0] == '"':
                in_string = not in_string
            else:
                depth += 1 if found[0] in "{[" else -1
            if depth <= 0 and not in_string:
                text = self._text[self._at : self._at + position]
                self._at += position
                return text

    def _scalar(self) -> str:
        end = self._at
        while True:
            while end < len(self._text) and self._text[end] not in ",]}" + _SPACE:
                end += 1
            if end < len(self._text):
                break
            kept = end - self._at
            if not self._more():
                break
            end = kept
        text = self._text[self._at : end]
        if not text:
            raise HostError("The file is not JSON: a value is missing.")
        self._at = end
        return text
