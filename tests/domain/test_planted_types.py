"""A new member of a closed type that nothing else knows is noticed, and each failure names the place that forgot it.

The members are planted in a copy of the sources, where the tests of ``test_totality.py`` run. The figures:
``./run test tests/domain/test_planted_types.py -s``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.reading import ROOT

# What is planted: the type, the file, and the line before it.
PLANTED = {
    "an unknown kind of review case": ("CaseKind", "src/polytill/domain/review_cases.py", '    notice = "notice"\n'),
    "an unknown type of event": (
        "EventType",
        "src/polytill/domain/event_types.py",
        '    webhook_parked = "webhook.parked"\n',
    ),
    "an unknown state of a dispute": ("DisputeState", "src/polytill/domain/states.py", '    lost = "lost"\n'),
    "an unknown origin of a refund": ("RefundOrigin", "src/polytill/domain/states.py", '    provider = "provider"\n'),
    "an unknown source of an outcome": ("Source", "src/polytill/domain/sources.py", '    customer = "customer"\n'),
}

# In two parts, so that this file does not count as a test of it.
NEW = "new_" + "member"
COPIED = ("src", "simulation", "tests", "docs", "pyproject.toml")
LEAST = 4


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the totality tests say in a copy with every planted member."""
    copy = tmp_path_factory.mktemp("planted")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "screens"))
        else:
            shutil.copy(ROOT / name, copy / name)
    for _, file, before in PLANTED.values():
        plant(copy / file, before, f'    {NEW} = "{NEW}"\n')
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "tests/house/test_totality.py",
            "-q",
            "-p",
            "no:xdist",
            "-p",
            "no:cacheprovider",
        ],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": f"{copy / 'src'}{os.pathsep}{copy}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    return sorted({line.removeprefix("E").strip() for line in ran.stdout.splitlines() if re.match(r"E +\S.*\.$", line)})


def plant(file: Path, before: str, line: str) -> None:
    """Add a line to a file."""
    text = file.read_text("utf-8")
    assert text.count(before) == 1, f"{file.name} has no single line {before!r}"
    file.write_text(text.replace(before, before + line), "utf-8")


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_member_is_noticed(what: str, complaints: list[str]) -> None:
    type_ = PLANTED[what][0]
    places = [match[1] for text in complaints if (match := re.match(rf"(.*) has no {type_} '{NEW}'", text))]
    # The three languages of one text are one place.
    count = len({re.sub(r"texts/\w+\.toml", "texts", place) for place in places})
    print(f"\n{what}: {count} places notice it", *places, sep="\n  ")
    assert count >= LEAST
