"""Tables in documents can be read: no cell is longer than 200 characters."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAX_CELL = 200


def long_cells(name: str, text: str) -> list[str]:
    """The cells that are too long, each with its place."""
    return [
        f"{name}:{number}: a cell of {len(cell.strip())} characters"
        for number, line in enumerate(text.splitlines(), 1)
        if line.startswith("|")
        for cell in re.split(r"(?<!\\)\|", line)
        if len(cell.strip()) > MAX_CELL
    ]


def test_no_cell_is_too_long() -> None:
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert {"README.md", "api.md", "schemas.md"} <= {file.name for file in files}
    assert [one for file in files for one in long_cells(str(file.relative_to(ROOT)), file.read_text("utf-8"))] == []


def test_a_long_cell_is_found() -> None:
    assert long_cells("a.md", f"| a | b |\n| --- | --- |\n| {'x' * 201} | y |") == ["a.md:3: a cell of 201 characters"]
