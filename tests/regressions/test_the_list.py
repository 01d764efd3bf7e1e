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
# The findings of each list that this issue closes; a number that is missing in between is a finding of another kind.
FINDINGS = {
    "reports": {str(n) for n in (1, 3, 4, 7, 8, 9, 10, 12, 14, 15, 16, 18, 19, 20, 21, 23, 24, 25, 27, 31, 32, 33)},
    "handlers": {f"D{n}" for n in (1, 2, 4, 5, 6, 7, 8, 10, 11, 12)},
    "operations": {f"D{n}" for n in range(1, 17)} | {"D7b"},
    "pages": {f"D{n}" for n in range(1, 31)},
    "plug-ins": {f"F{n}" for n in range(1, 29)},
}
_FINDING = re.compile(rf"\b({'|'.join(FINDINGS)}), (\w+(?:(?:, | and )[DF]\d+b?)*)")


@cache
def _lines() -> list[str]:
    return (ROOT / "docs" / "regressions.md").read_text("utf-8").splitlines()


@cache
def _rows() -> list[tuple[int, list[str]]]:
    """Each fault with its source and its tests, and its line."""
    found = []
    for number, line in enumerate(_lines(), 1):
        if line.startswith("- "):
            source, tests, *_ = [*_lines()[number : number + 2], "", ""]
            parts = [source.partition("  - source: ")[2], tests.partition("  - tests: ")[2]]
            found.append((number, [line.removeprefix("- "), *parts]))
    return found


@cache
def _without_tests() -> list[tuple[int, list[str]]]:
    """The rows of the table of findings that have no test, each with its line."""
    first = _lines().index("## Findings without a test")
    rows = [(number, line) for number, line in enumerate(_lines(), 1) if number > first and line.startswith("| ")]
    return [(number, [cell.strip() for cell in line.strip("|").split(" | ")]) for number, line in rows[1:]]


def _findings(text: str) -> set[tuple[str, str]]:
    """The findings that a source names: ``pages, D14, D15 and D23`` are three."""
    return {
        (review, number)
        for review, numbers in _FINDING.findall(text)
        for number in re.split(", | and ", numbers)
        if number in FINDINGS[review]
    }


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


def test_each_finding_of_the_closed_lists_has_a_row() -> None:
    """Either a fault with its tests, or a line that names the issue for it."""
    assert {review: len(found) for review, found in FINDINGS.items()} == {
        "reports": 22,
        "handlers": 10,
        "operations": 17,
        "pages": 30,
        "plug-ins": 28,
    }
    tested = {one for _, row in _rows() for one in _findings(row[1])}
    left = {one for _, row in _without_tests() for one in _findings(row[0])}
    expected = {(review, number) for review, numbers in FINDINGS.items() for number in numbers}
    assert expected - tested - left == set()
    for number, row in _without_tests():
        assert len(row) == 3, f"line {number} is not: finding, what it is, the issue for it"
        assert _findings(row[0]), f"line {number} names no finding"
        assert all(row), f"line {number} has an empty cell"
