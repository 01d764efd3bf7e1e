"""New seeds in every run, all known bad seeds, and the same seed twice."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from simulation.ground import Ground
from simulation.history import run_history
from simulation.loop import VirtualLoop

KNOWN_BAD = Path(__file__).with_name("known_bad_seeds.txt")
FRESH = int(os.environ.get("POLYTILL_WORLD_HISTORIES", "150"))
SLICES = 3
TOLD = """
import sys
from simulation.campaign import replay
lines, problems = replay(int(sys.argv[1]))
sys.stdout.write("\\n".join([*lines, *problems]))
"""


def wrong(seed: int, problems: list[str]) -> str:
    """The message of a failure: how to replay it."""
    return f"python -m simulation --seed {seed} --histories 1\n" + "\n".join(problems)


@pytest.mark.parametrize("part", range(SLICES))
def test_fresh_seeds(laid: Ground, part: int) -> None:
    first = secrets.randbelow(10**9)
    for seed in range(first, first + FRESH // SLICES):
        problems = run_history(laid, seed).problems
        assert not problems, wrong(seed, problems)


def _known_bad() -> list[int]:
    lines = (line.partition("#")[0].strip() for line in KNOWN_BAD.read_text().splitlines())
    return [int(line) for line in lines if line]


@pytest.mark.parametrize("seed", _known_bad())
def test_known_bad_seed(laid: Ground, seed: int) -> None:
    problems = run_history(laid, seed).problems
    assert not problems, wrong(seed, problems)


def test_timers_of_the_same_time_run_in_the_order_in_which_they_were_set() -> None:
    # asyncio's heap leaves the order of equal timers open, and it depended on timers that had run long before.
    loop, ran = VirtualLoop(), []
    for number in range(200):
        loop.call_at(1.0 + number % 7, ran.append, (number % 7, number))
        loop.call_at(0.5, lambda: None).cancel()
    loop.call_at(9.0, loop.stop)
    loop.run_forever()
    loop.close()
    assert ran == sorted(ran)
    assert len(ran) == 200


@pytest.mark.parametrize("seed", [3, 44, 1234, 30000004, 30000018])
def test_the_same_seed_gives_the_same_history(laid: Ground, seed: int) -> None:
    first = run_history(laid, seed, telling=True)
    for other in range(5):  # what runs in between has no effect
        run_history(laid, 900 + other)
    again = run_history(laid, seed, telling=True)
    untold = run_history(laid, seed)
    assert "\n".join(first.lines) == "\n".join(again.lines)
    assert first.lines
    assert first.tally == again.tally == untold.tally
    assert first.problems == again.problems == untold.problems


@pytest.mark.parametrize("seed", [77, 30000018])
def test_another_process_tells_the_same_history(laid: Ground, seed: int) -> None:
    here = run_history(laid, seed, telling=True)
    said = [
        subprocess.run(
            [sys.executable, "-c", TOLD, str(seed)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hashing},
        ).stdout
        for hashing in ("1",)
    ]
    assert said[0] == "\n".join([*here.lines, *here.problems])
