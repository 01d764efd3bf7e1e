"""The list of regressions and the tests of this folder name each other: ``docs/regressions.md``."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "regressions"
_TESTS = re.compile(r"`([\w/]+\.py)`(?:: (test_\w+(?:, test_\w+)*))?")
_OWN = {"test_the_list.py"}


@cache
def _rows() -> list[tuple[int, list[str]]]:
    """The cells of each row, with its line; without heads and rules."""
    lines = (ROOT / "docs" / "regressions.md").read_text("utf-8").splitlines()
    cells = [(number, [cell.strip() for cell in line.strip("|").split(" | ")]) for number, line in enumerate(lines, 1)
             if line.startswith("| ")]  # fmt: skip
    return [(number, row) for number, row in cells if row[0] != "fault"]


@cache
def _functions(path: Path) -> frozenset[str]:
    tree = ast.walk(ast.parse(path.read_text("utf-8")))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(one.name for one in tree if isinstance(one, kinds) and one.name.startswith("test_"))


def _named(row: list[str]) -> dict[Path, frozenset[str]]:
    """The tests that a row names; a file without functions means all of them."""
    found = {}
    for file, names in _TESTS.findall(row[2]):
        path = ROOT / file if "/" in file else FOLDER / file
        found[path] = frozenset(names.split(", ")) if names else _functions(path) if path.is_file() else frozenset()
    return found


def test_each_row_has_a_source_and_tests_that_exist() -> None:
    assert len(_rows()) > 100
    wrong = []
    for number, row in _rows():
        if len(row) != 3 or not all(row) or not _named(row):
            wrong.append(f"line {number} is not: fault, source, tests")
            continue
        for path, names in _named(row).items():
            if not path.is_file():
                wrong.append(f"line {number}: there is no {path.relative_to(ROOT)}")
            elif missing := names - _functions(path):
                wrong.append(f"line {number}: {path.name} has no {', '.join(sorted(missing))}")
    assert wrong == []


def test_each_test_is_named_by_a_row() -> None:
    named: dict[Path, set[str]] = {}
    for _, row in _rows():
        for path, names in _named(row).items():
            named.setdefault(path, set()).update(names)
    unnamed = {
        f"{path.name}: {name}"
        for path in sorted(FOLDER.glob("test_*.py"))
        if path.name not in _OWN
        for name in _functions(path) - named.get(path, set())
    }
    assert unnamed == set()
