"""Coming from a host application's JSON field: import its practices."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from polytill.cli.backfill import legacy_backfill
from polytill.cli.opened import console, fail, opened
from polytill.domain.errors import Invalid
from polytill.domain.legacy_findings import ImportAction, LegacyFinding, Severity
from polytill.domain.secret import Secret
from polytill.flows.context import Context
from polytill.flows.legacy.bring import Result, bring_all, planned_only
from polytill.flows.legacy.files import FileSource
from polytill.flows.legacy.hooks import cipher_of
from polytill.flows.legacy.key_file import KeyFile
from polytill.flows.legacy.mapping_file import SCHEMA, Setup, read_mapping
from polytill.flows.legacy.plan import Plan, handlers_of
from polytill.storage.host_field import HostSource, SqliteSource, database_source

legacy_app = typer.Typer(no_args_is_help=True, help="Coming from a host application: its practices and its payments.")
legacy_app.command("backfill")(legacy_backfill)

MOST_REASONS = 20
MOST_SHOWN = 1000  # practices in the table; beyond it, only those that are held up or failed
_FILES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
_SQLITE = b"SQLite format 3\x00"


@legacy_app.command("mapping-schema")
def legacy_mapping_schema() -> None:
    """Print the JSON Schema of the mapping file."""
    print(json.dumps(SCHEMA, indent=2))


@legacy_app.command("import")
def legacy_import(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A JSON, CSV or SQLite file; env:NAME for a database whose address is in the variable NAME; - for an"
            " address on standard input",
        ),
    ],
    mapping: Annotated[Path | None, typer.Option(help="JSON file that says what is unusual")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan; write nothing")] = False,
    check_keys: Annotated[bool, typer.Option("--check-keys", help="Test new keys at their providers")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each practice")] = False,
    keys_file: Annotated[Path, typer.Option(help="File for the first keys of new practices, mode 0600")] = Path(
        "polytill-import-keys.jsonl"
    ),
    cluster: Annotated[
        str | None, typer.Option(help="The cluster for new practices; default: the open one with most room")
    ] = None,
) -> None:
    """Import practices with their provider keys from a host application's database or file.

    Practices are matched by their external id only. A practice that is held up holds up no other. May be repeated: what
    is here already stays as it is. Exits with 1 if a practice was held up or failed.
    """
    content = _content(mapping)

    async def work(context: Context) -> Counter[ImportAction]:
        setup = await _setup(context, content)
        output = _Output(as_json, dry_run)
        with KeyFile(keys_file) as keys, _progress() as progress:
            for source in [_source(one, setup) for one in sources]:
                cipher = cipher_of(setup, context.settings.decrypt_hooks)
                plan = Plan(context, source, setup, cipher, check_keys)
                await plan.begin()
                task = progress.add_task("Planning" if dry_run else "Importing", total=plan.total)
                results: AsyncIterator[Result] = (
                    planned_only(plan) if dry_run else bring_all(context, plan, keys, "cli", cluster)
                )
                async for result in results:
                    output.add(result)
                    progress.advance(task)
        output.end(keys)
        return output.counts

    counts = opened(work)
    if counts[ImportAction.held_up] or counts[ImportAction.failed]:
        raise SystemExit(1)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _content(path: Path | None) -> bytes:
    if path is None:
        return b"{}"
    try:
        return path.read_bytes()
    except OSError as error:
        fail(f"The mapping cannot be read: {error.strerror}.")


async def _setup(context: Context, content: bytes) -> Setup:
    try:
        return read_mapping(content, await handlers_of(context))
    except Invalid as wrong:
        fail("; ".join(f"{one.pointer or 'the mapping'}: {one.detail.rstrip('.')}" for one in wrong.errors) + ".")


def _source(given: str, setup: Setup) -> HostSource:
    """The source that an argument names. It is repeated in no message: it may be an address in the wrong place."""
    if given == "-":
        address = sys.stdin.readline().strip()
        if not address:
            fail("Standard input has no address. Write one line: postgresql://user:password@host:port/database.")
        return database_source(Secret(address), setup.table)
    if given.startswith("env:"):
        address = os.environ.get(given.removeprefix("env:"), "").strip()
        if not address:
            fail("The environment variable of the source is not set, or empty.")
        return database_source(Secret(address), setup.table)
    path = Path(given)
    try:
        with path.open("rb") as file:
            head = file.read(len(_SQLITE))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file"
        fail(
            f"A source cannot be read: {reason}. Give a JSON, CSV or SQLite file, env:NAME for a database, or - for an"
            " address on standard input."
        )
    if head == _SQLITE:
        return SqliteSource(path, setup.table)
    if path.suffix.casefold() not in _FILES:
        fail(f"The name of a source file must end with {', '.join(_FILES)}, or it must be a SQLite file.")
    return FileSource(path, setup.table)


class _Output:
    """Prints results as JSON lines at once, or as a table in the end."""

    def __init__(self, as_json: bool, dry_run: bool) -> None:
        self._as_json = as_json
        self._dry_run = dry_run
        self._shown: list[Result] = []
        self.counts: Counter[ImportAction] = Counter()
        self._notes: Counter[str] = Counter()
        self._tests: Counter[str] = Counter()  # what tests of keys found, which is the same for many practices

    def add(self, result: Result) -> None:
        """Take one result."""
        self.counts[result.action] += 1
        for one in result.planned.findings:
            self._notes[f"{one.severity}: {one.type}"] += 1
            if one.type in (LegacyFinding.key_not_checked, LegacyFinding.key_limited):
                self._tests[f"{one.type}: {one.detail}"] += 1
        if self._as_json:
            print(json.dumps(_json(result)), flush=True)
            return
        if result.action is not ImportAction.nothing:
            self._shown.append(result)
        if len(self._shown) > MOST_SHOWN:
            bad = (ImportAction.held_up, ImportAction.failed)
            self._shown = [one for one in self._shown if one.action in bad][: 10 * MOST_SHOWN]

    def end(self, keys: KeyFile) -> None:
        """Print the summary."""
        counts = {action.value: self.counts[action] for action in ImportAction}
        if self._as_json:
            summary: dict[str, Any] = {"dryRun": self._dry_run, **counts, "findings": dict(self._notes)}
            summary["keysFile"] = str(keys.path) if keys.count else None
            print(json.dumps({"summary": summary}), flush=True)
            return
        if self._shown:
            console.print(_table(self._shown))
        if self._notes:
            console.print("Findings: " + ", ".join(f"{name} {count}" for name, count in sorted(self._notes.items())))
        for said, count in self._tests.most_common(MOST_REASONS):
            console.print(f"{count} keys: {said}", soft_wrap=True, markup=False)
        names = (
            {"create": "to create", "add": "to complete"}
            if self._dry_run
            else {"create": "created", "add": "completed"}
        )
        names |= {"nothing": "unchanged", "held_up": "held up", "failed": "failed"}
        console.print("Practices: " + ", ".join(f"{counts[one]} {name}" for one, name in names.items()) + ".")
        if self._dry_run:
            console.print("Nothing was written.")
        if keys.count:
            said = f"First keys of {keys.count} practices: {keys.path}. Hand them over, then delete the file."
            console.print(said, soft_wrap=True)


def _table(results: list[Result]) -> Table:
    table = Table()
    for title in ("external id", "practice", "action", "providers", "findings"):
        table.add_column(title, overflow="fold")  # a pointer that is cut off leads nowhere
    for one in results:
        planned = one.planned
        providers = [
            f"+ {new.wish.provider_code} ({new.wish.environment}{', and keys for the other' if new.other else ''})"
            for new in planned.new
        ] + [f"= {code}" for code in planned.unchanged]
        severe = [found for found in planned.findings if found.severity is not Severity.note]
        # Wrong ones first; of notes only the types, because most practices of a host have the same.
        severe.sort(key=lambda found: list(Severity).index(found.severity))
        said = [f"{found.severity} {found.type} {found.pointer}: {found.detail}" for found in severe]
        if notes := dict.fromkeys(found.type.value for found in planned.findings if found not in severe):
            said.append(f"notes: {', '.join(notes)}")
        if one.error:
            said.insert(0, one.error)
        if one.not_default:
            said.append(f"not the default, because there is one: {', '.join(one.not_default)}")
        table.add_row(
            planned.external_id or planned.place, planned.name, one.action, "\n".join(providers), "\n".join(said)
        )
    return table


def _json(result: Result) -> dict[str, Any]:
    planned = result.planned
    return {
        "place": planned.place,
        "externalId": planned.external_id,
        "practiceId": result.practice_id,
        "name": planned.name,
        "action": result.action,
        "providers": [
            {
                "code": one.wish.provider_code,
                "environment": one.wish.environment,
                "isEnabled": one.wish.is_enabled,
                "isDefault": one.wish.is_default,
                "supportedCurrencies": one.wish.supported_currencies,
                "priority": one.wish.priority,
                "hasKeysForOtherEnvironment": one.other is not None,
            }
            for one in planned.new
        ],
        "unchanged": planned.unchanged,
        "added": result.added,
        "notDefault": result.not_default,
        "error": result.error,
        "findings": [
            {"type": one.type, "severity": one.severity, "pointer": one.pointer, "detail": one.detail}
            for one in planned.findings
        ],
    }
