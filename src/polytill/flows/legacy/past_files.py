"""The rows of past payments: from a CSV file, JSON lines, one JSON list, or a host's database. A row that cannot be read is
told so."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from pathlib import Path

from polytill.domain.errors import OperatorError
from polytill.flows.legacy.backfill import NumberedRow
from polytill.flows.legacy.past_rows import PastMapping
from polytill.providers.http import parse_json
from polytill.storage.host_rows import HostPage

MAX_CELL = 1_000_000


async def rows_in_database(pages: AsyncIterator[HostPage], now: Callable[[], datetime]) -> AsyncIterator[NumberedRow]:
    """The rows of a database, numbered in the order of its key."""
    number = 0
    while True:
        as_of = now()  # the rows of a page may wait long until they are taken over
        page = await anext(pages, None)
        if page is None:
            return
        for row in page:
            number += 1
            yield NumberedRow(number, row, as_of)


async def rows_in_file(path: Path, mapping: PastMapping) -> AsyncIterator[NumberedRow]:
    """The rows of a file (``rows_of``)."""
    for row in rows_of(path, mapping):
        yield row


def rows_of(path: Path, mapping: PastMapping) -> Iterator[NumberedRow]:
    """The rows of a file, by the end of its name. ``OperatorError`` if it has none, or is none that can be read."""
    match path.suffix.lower():
        case ".csv":
            return _of_csv(path, mapping.delimiter)
        case ".jsonl" | ".ndjson":
            return _of_lines(path)
        case ".json":
            return _of_list(path)
        case _:
            raise OperatorError("The source must be a file that ends with .csv, .jsonl, .ndjson or .json.")


def _of_csv(path: Path, delimiter: str) -> Iterator[NumberedRow]:
    csv.field_size_limit(MAX_CELL)
    # What is not UTF-8 makes its own field unreadable, not the file.
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
        try:
            names = reader.fieldnames
        except csv.Error:
            names = None
        if not names or len({name.strip().lower() for name in names}) < len(names):
            raise OperatorError("The first line of the CSV file must name each column once.")
        number = 0
        while True:
            number += 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error:  # broken quotes: the reader continues with the next line
                yield NumberedRow(number, None)
                continue
            is_whole = None not in row and None not in row.values()
            yield NumberedRow(number, row if is_whole else None)


def _of_lines(path: Path) -> Iterator[NumberedRow]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = parse_json(line)
            except ValueError:
                row = None
            yield NumberedRow(number, row if isinstance(row, dict) else None)


def _of_list(path: Path) -> Iterator[NumberedRow]:
    try:
        rows = parse_json(path.read_bytes())
    except ValueError:
        rows = None
    if not isinstance(rows, list):
        raise OperatorError("The JSON file must hold a list of objects.")
    for number, row in enumerate(rows, 1):
        yield NumberedRow(number, row if isinstance(row, dict) else None)
