"""Exports of practices: write one, and verify one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from polytill.cli.opened import PracticeId, console, fail, opened
from polytill.flows.lifecycle.export import export
from polytill.flows.lifecycle.export_check import check_export

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON")]


def practices_export(
    practice: PracticeId,
    to: Annotated[Path, typer.Option("--to", help="The export becomes a new directory in this directory")],
    as_json: AsJson = False,
) -> None:
    """Export a practice's complete data as JSON lines and CSV, with a manifest. It has personal data, and no keys."""
    made = opened(lambda context: export(context, practice, to, "cli"))
    if as_json:
        found = {
            "folder": str(made.folder),
            "records": made.records,
            "bytes": made.size,
            "manifest": made.manifest_hash,
        }
        print(json.dumps(found))
        return
    _counts(made.records)
    console.print(f"Practice {practice} is exported to {made.folder} ({made.size} bytes).", soft_wrap=True)
    console.print(f"SHA-256 of its manifest: {made.manifest_hash}", soft_wrap=True)


def practices_check_export(
    folder: Annotated[Path, typer.Argument(help="The directory of one export")], as_json: AsJson = False
) -> None:
    """Verify an export by its manifest: nothing is missing, and nothing was changed. Opens no database."""
    found = check_export(folder)
    if as_json:
        told = {
            "records": found.records, "bytes": found.size, "manifest": found.manifest_hash, "problems": found.problems,
        }  # fmt: skip
        print(json.dumps(told))
        raise SystemExit(1 if found.problems else 0)
    if found.problems:
        fail(f"The export is not whole. {' '.join(found.problems)}")
    _counts(found.records)
    console.print("The export is whole: every file is as the manifest says.")
    console.print(f"SHA-256 of its manifest: {found.manifest_hash}", soft_wrap=True)


def _counts(records: dict[str, int]) -> None:
    table = Table("kind", "records")
    for kind, count in records.items():
        table.add_row(kind, str(count))
    console.print(table)
