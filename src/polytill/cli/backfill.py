"""Past payments on the command line: take them over from a host application, and report each row."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from polytill.cli.opened import console, fail, opened
from polytill.domain.past_payments import Certainty
from polytill.domain.secret import Secret
from polytill.flows.context import Context
from polytill.flows.legacy import past_files
from polytill.flows.legacy.backfill import Backfill, NumberedRow, Verdict, run
from polytill.flows.legacy.past_check import Checker
from polytill.flows.legacy.past_rows import PastMapping, RowReader, wrong_in
from polytill.storage.host_field import Table as HostTable
from polytill.storage.host_rows import SqliteRows, database_rows

SHOWN = 20
_COLUMNS = (SpinnerColumn(), TextColumn("{task.description} {task.completed}"))


def legacy_backfill(
    source: Annotated[
        str,
        typer.Argument(
            help="A file: .csv, .jsonl, .ndjson, .json with one list, or SQLite; env:NAME for a database whose address is in"
            " the variable NAME; - for an address on standard input"
        ),
    ],
    practice: Annotated[int | None, typer.Option(help="The practice's id, if all rows are of one practice")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Each row names its practice by your own identifier of it (`practice`)")
    ] = False,
    mapping: Annotated[
        Path | None, typer.Option(help="JSON: your names of fields, providers and statuses; see docs/backfill.md")
    ] = None,
    amounts: Annotated[
        str | None,
        typer.Option(help="The unit of amounts: major (150.00) or minor (15000), unless the mapping says it"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be done, and write nothing")] = False,
    check: Annotated[
        float | None,
        typer.Option(help="Look up each payment at its provider, at most this many in a second", min=0.01, max=100),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", help="When the rows were exported, such as 2026-11-30T18:00Z; else the file's own time"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each row, and the sums")] = False,
) -> None:
    """Take over payments that were made before polytill.

    Each row becomes a payment with an attempt, or is rejected with a reason. The report has its certainty: verified (the
    provider confirmed it), recorded (complete, not checked), uncertain or rejected. It can be repeated, and a repeated
    run continues one that was killed. Exits with 1 if a row was rejected.
    """
    if (practice is not None) == every:
        fail("Give either --practice ID or --all.")
    if dry_run and check is not None:
        fail("--check writes what the provider answers, so it cannot be used with --dry-run.")
    found = _mapping(mapping, amounts)
    exported_at = _moment(as_of)
    report = _Report(as_json, dry_run)

    wish = _Wish(practice, dry_run, check, exported_at)
    try:
        opened(lambda context: _take_over(context, source, found, wish, report))
    except OSError as error:
        fail(f"The source cannot be read: {error.strerror}. {_SOURCES}")
    report.end()
    if report.sums[Certainty.rejected]:
        raise SystemExit(1)


@dataclass(frozen=True, slots=True)
class _Wish:
    """The options of a run. ``check``: lookups in a second, at most."""

    practice: int | None
    is_dry: bool
    check: float | None
    as_of: datetime | None


async def _take_over(context: Context, source: str, mapping: PastMapping, wish: _Wish, report: _Report) -> None:
    reader = RowReader(mapping, context.world.now())
    checker = Checker(wish.check, asyncio.sleep) if wish.check is not None else None
    rows, written_at = _rows(source, mapping, context.world.now)
    as_of = wish.as_of or written_at
    backfill = Backfill(context, reader, "cli", wish.practice, wish.is_dry, checker, as_of)
    with Progress(*_COLUMNS, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Rows", total=None)

        async def told(verdicts: list[Verdict]) -> None:
            progress.advance(task, len(verdicts))
            report.add(verdicts)

        await run(backfill, rows, told)


_SOURCES = (
    "Give a CSV, JSON or SQLite file, env:NAME for a database whose address is in the variable NAME, or - for an address"
    " on standard input."
)
_SQLITE = b"SQLite format 3\x00"


def _moment(as_of: str | None) -> datetime | None:
    if as_of is None:
        return None
    try:
        found = datetime.fromisoformat(as_of)
    except ValueError:
        fail("--as-of is a time such as 2026-11-30T18:00Z.")
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return found if found <= datetime.now(UTC) else fail("--as-of is in the future.")


def _rows(
    source: str, mapping: PastMapping, now: Callable[[], datetime]
) -> tuple[AsyncIterator[NumberedRow], datetime | None]:
    """The rows of a source, and when its file was written. It is repeated in no message: it may be an address in the
    wrong place."""
    where = mapping.source
    table = HostTable(where.table, where.schema, where.query)
    if source == "-" or source.startswith("env:"):
        address = sys.stdin.readline() if source == "-" else os.environ.get(source.removeprefix("env:"), "")
        if not address.strip():
            fail(f"The source has no address. {_SOURCES}")
        return past_files.rows_in_database(database_rows(Secret(address.strip()), table).pages(where.key), now), None
    with Path(source).open("rb") as file:
        is_sqlite = file.read(len(_SQLITE)) == _SQLITE
    its_files = [Path(source), Path(f"{source}-wal")]  # SQLite writes to the second one first
    written_at = datetime.fromtimestamp(max(one.stat().st_mtime for one in its_files if one.exists()), UTC)
    if is_sqlite:
        return past_files.rows_in_database(SqliteRows(Path(source), table).pages(where.key), now), written_at
    return past_files.rows_in_file(Path(source), mapping), written_at


def _mapping(path: Path | None, amounts: str | None) -> PastMapping:
    found = PastMapping()
    if path is not None:
        try:
            found = msgspec.json.decode(path.read_bytes(), type=PastMapping)
        except OSError as error:
            fail(f"The mapping {path.name} cannot be read: {error.strerror}.")
        except msgspec.DecodeError as error:
            fail(f"The mapping {path.name} is not valid: {str(error).rstrip('.')}.")
    unit: Literal["major", "minor"] | None = "major" if amounts == "major" else "minor" if amounts == "minor" else None
    if amounts is not None and unit is None:
        fail("--amounts is major or minor.")
    found = msgspec.structs.replace(found, amounts=unit or found.amounts)
    if (wrong := wrong_in(found)) is not None:
        fail(wrong)
    return found


class _Report:
    """Prints each row as JSON as soon as it is written, or the sums and the first unclear rows in the end."""

    def __init__(self, as_json: bool, is_dry: bool) -> None:
        self._as_json, self._is_dry = as_json, is_dry
        self._shown: list[Verdict] = []
        self.sums: Counter[str] = Counter()

    def add(self, verdicts: list[Verdict]) -> None:
        """Take the verdicts of a batch."""
        for one in verdicts:
            self.sums["rows"] += 1
            self.sums[one.certainty] += 1
            self.sums[f"action.{one.action}"] += 1
            self.sums["unanswered"] += one.is_unanswered
            for reason in one.reasons:
                self.sums[f"reason.{reason}"] += 1
            if (one.reasons or one.is_unanswered) and len(self._shown) < SHOWN:
                self._shown.append(one)
        if self._as_json:
            _print(map(_as_json, verdicts))

    def end(self) -> None:
        """Print what is left to print."""
        if self._as_json:
            _print([{"sums": dict(sorted(self.sums.items()))}])
            return
        table = Table("rows", *Certainty, "created", "changed", "unchanged", "not answered")
        actions = (self.sums[f"action.{one}"] for one in ("created", "changed", "unchanged"))
        numbers = (self.sums["rows"], *(self.sums[one] for one in Certainty), *actions, self.sums["unanswered"])
        table.add_row(*map(str, numbers))
        console.print(table)
        for name, number in sorted(self.sums.items()):
            if name.startswith("reason."):
                console.print(f"{name.removeprefix('reason.')}: {number}")
        for one in self._shown:
            why = ", ".join(one.reasons) or "not answered"
            at = f" ({one.field})" if one.field else ""
            console.print(f"Row {one.number}: {one.certainty}: {why}{at}", soft_wrap=True)
        if len(self._shown) == SHOWN:
            console.print("Further rows are left out here; --json prints all of them.")
        if self._is_dry:
            console.print("Nothing was written.")


def _as_json(one: Verdict) -> dict[str, Any]:
    return {
        "row": one.number,
        "practice": one.practice,
        "certainty": one.certainty,
        "reasons": list(one.reasons),
        "field": one.field,
        "action": one.action,
        "paymentId": one.payment_id,
        "unanswered": one.is_unanswered,
    }


def _print(objects: Iterable[dict[str, Any]]) -> None:
    lines = b"\n".join(map(msgspec.json.encode, objects))
    if lines:
        sys.stdout.buffer.write(lines + b"\n")
        sys.stdout.buffer.flush()
