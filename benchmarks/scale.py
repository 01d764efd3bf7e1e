"""Payments per second with few practices and with thousands, on both engines, in the same run.

Requests go to practices at random, evenly or by Zipf's law (the practice of rank ``r`` gets ``1/r`` of what the first one
gets). Each number of practices is measured in turns with ten practices, so the ratio does not depend on what else the
machine does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.ground import Ground, Practice
from benchmarks.load import Load, drive, payments_of
from benchmarks.measuring import FULL, Size, stage
from benchmarks.processes import Program, running
from benchmarks.results import Aim, Result

FEW = 10
# A database of a server takes 8 MB, a connection 6: 2,000 of both and their files in memory do not fit into 24 GB.
COUNTS = {"postgresql": (100, 1_000), "sqlite": (1_000, 10_000)}
BUDGET = 100  # connections, when they are fewer than the practices
ROUNDS, REQUESTS = 5, 1_000
GOALS = {("postgresql", 1_000): 0.80, ("sqlite", 10_000): 0.85}


@dataclass
class Row:
    """The figures of one program under one distribution of requests."""

    practices: int
    connections: str
    spread: str
    per_second: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    over: list[float] = field(default_factory=list)  # payments/s, as a part of what the program beside it reached

    def add(self, cpu_s: float, load: Load) -> None:
        """Add one round."""
        self.per_second.append(load.per_second)
        self.p50_ms.append(load.latency_ms(0.5))
        self.p99_ms.append(load.latency_ms(0.99))
        self.cpu_ms.append(cpu_s * 1000 / load.requests)

    def cells(self) -> list[str]:
        """The cells of the table: medians over the rounds."""
        middle = [statistics.median(each) for each in (self.per_second, self.p50_ms, self.p99_ms, self.cpu_ms)]
        shown = [f"{middle[0]:.0f}", f"{middle[1]:.1f}", f"{middle[2]:.0f}", f"{middle[3]:.2f}"]
        return [f"{self.practices:,}", self.connections, self.spread, *shown, f"{self.ratio:.2f}"]

    @property
    def ratio(self) -> float:
        """The median of the rounds' own ratios; 1 for the program that the others are compared with."""
        return statistics.median(self.over) if self.over else 1.0

    def figures(self) -> dict[str, Any]:
        """The same, for a program to read."""
        names = ("per_second", "p50_ms", "p99_ms", "cpu_ms")
        found = {name: round(statistics.median(getattr(self, name)), 2) for name in names}
        return {"practices": self.practices, "connections": self.connections, "spread": self.spread, **found,
                "over": round(self.ratio, 3)}  # fmt: skip


class Spread:
    """Chooses practices at random."""

    def __init__(self, practices: list[Practice], name: str, seed: int) -> None:
        self.name = name
        self._practices = practices
        self._weights = [1 / rank for rank in range(1, len(practices) + 1)] if name == "Zipf" else None
        self._chance = random.Random(seed)

    def requests(self, program: str, number: int) -> Iterator[bytes]:
        """Requests to create this many payments."""
        return payments_of(program, self._chance.choices(self._practices, self._weights, k=number))


async def _round(program: Program, spread: Spread, row: Row, requests: int) -> None:
    before = program.cpu_s()
    load = await drive(program.port, spread.requests(program.name, requests), 201)
    row.add(program.cpu_s() - before, load)


async def _turns(pair: list[tuple[Program, Spread, Row]], rounds: int, requests: int) -> None:
    """Measure both programs in turns. The second one's ratio is to the first."""
    for number in range(rounds):
        for program, spread, row in pair if number % 2 else pair[::-1]:
            await _round(program, spread, row, requests)
        first, second = pair[0][2], pair[1][2]
        second.over.append(second.per_second[-1] / first.per_second[-1])


@dataclass
class Scene:
    """Where the programs run."""

    engine: str
    ground: Ground
    folder: Path
    stack: ExitStack
    rounds: int
    requests: int

    def program(self, practices: int, connections: int, *arguments: str) -> Program:
        """The product for the first ones of all practices, each visited once. With ``plain``, its connections come from
        the plain pool."""
        settings = {**self.ground.settings, "database_connections": connections}
        place = self.folder / f"{'-'.join(['ground', str(practices), str(connections), *arguments])}.json"
        dataclasses.replace(self.ground, settings=settings).write(place)
        program = self.stack.enter_context(running("product", self.folder, str(place), *arguments))
        first = payments_of("first", self.ground.practices[:practices])
        asyncio.run(drive(program.port, first, 201))
        return program

    def compare(self, one: Program, other: Program, counts: tuple[int, int], named: tuple[str, str]) -> list[Row]:
        """Both programs under both distributions."""
        rows = []
        for name in ("uniform", "Zipf"):
            pair = []
            for program, count, connections in zip((one, other), counts, named, strict=True):
                spread = Spread(self.ground.practices[:count], name, seed=count)
                pair.append((program, spread, Row(count, connections, name)))
            asyncio.run(_turns(pair, self.rounds, self.requests))
            rows += [row for _, _, row in pair]
        return rows


def scale(size: Size) -> Result:
    """Payments per second by the number of practices, on both engines."""
    rows: list[list[str]] = []
    aims: list[Aim] = []
    figures: dict[str, Any] = {}
    notes: list[str] = []
    for engine, all_counts in COUNTS.items():
        counts = all_counts if size is FULL else (2 * FEW,)
        began_s = time.monotonic()
        with stage(engine, dataclasses.replace(size, practices=counts[-1])) as (ground, folder, stack):
            onboarding_ms = (time.monotonic() - began_s) * 1000 / counts[-1]
            notes.append(
                f"{engine}: {counts[-1]:,} practices onboarded with two providers each: {onboarding_ms:.0f} ms each."
            )
            rounds, requests = (ROUNDS, REQUESTS) if size is FULL else (2, 48)
            scene = Scene(engine, ground, folder, stack, rounds, requests)
            found = _measured(scene, counts)
        rows += [[engine, *row.cells()] for row in found]
        figures[engine] = [row.figures() for row in found]
        aims += _aims(engine, found)
    columns = ["engine", "practices", "connections", "spread", "payments/s", "p50 ms", "p99 ms", "CPU ms", "ratio"]
    return Result("scale", "payments by the number of practices", columns, rows, figures, aims, notes)


def _measured(scene: Scene, counts: tuple[int, ...]) -> list[Row]:
    few = scene.program(FEW, FEW + 50)
    found: list[Row] = []
    for count in counts:
        with ExitStack() as stack:
            here = dataclasses.replace(scene, stack=stack)
            rows = here.compare(few, here.program(count, count + 50), (FEW, count), ("each its own",) * 2)
            found += rows if not found else [row for row in rows if row.practices == count]
    if scene.engine == "postgresql":
        budget = BUDGET if counts[-1] > BUDGET else FEW
        for count in counts[1:] or counts:
            with ExitStack() as stack:
                here = dataclasses.replace(scene, stack=stack)
                plain, ours = here.program(count, budget, "plain"), here.program(count, budget)
                found += here.compare(plain, ours, (count, count), (f"{budget}, plain pool", str(budget)))
    return found


def _aims(engine: str, found: list[Row]) -> list[Aim]:
    aims = []
    for row in found:
        if row.connections == str(BUDGET):
            aims.append(Aim(f"{row.practices} practices, {row.spread}: plain pool / ours", 1 / row.ratio, 1 / 1.5))
        elif (goal := GOALS.get((engine, row.practices))) and row.connections == "each its own":
            aims.append(Aim(f"{engine}, {row.spread}: {FEW} practices / {row.practices}", 1 / row.ratio, 1 / goal))
    return aims
