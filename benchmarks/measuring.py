"""The benchmarks: each starts the processes that it needs, measures them from outside, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import ground as grounds
from benchmarks.ground import Ground
from benchmarks.load import CONCURRENCY, Load, WrongAnswer, deliveries, drive, payments
from benchmarks.processes import Program, running
from benchmarks.results import Aim, Result


@dataclass(frozen=True)
class Size:
    """How much to measure."""

    practices: int
    warm_up: int
    payments: int
    payments_usual: int  # fewer for the slowest program: the figure is the cost of each
    rounds: int
    memory_payments: int
    search_payments: int
    moved_payments: int

    def of(self, program: str) -> int:
        """The number of payments in a round of this program."""
        return self.payments_usual if program == "usual" else self.payments


FULL = Size(
    practices=100,
    warm_up=300,
    payments=600,
    payments_usual=200,
    rounds=7,
    memory_payments=10_000,
    search_payments=100_000,
    moved_payments=10_000,
)
QUICK = Size(
    practices=8,
    warm_up=48,
    payments=96,
    payments_usual=48,
    rounds=2,
    memory_payments=400,
    search_payments=400,
    moved_payments=400,
)

NEEDED_BY_USUAL = ("httpx", "greenlet")


@contextmanager
def stage(
    engine: str, size: Size, sweeping: bool = False, provider_ms: tuple[str, ...] = ()
) -> Iterator[tuple[Ground, Path, ExitStack]]:
    """A folder, a stand-in provider, the databases, the practices. The stack ends everything that is started later."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="polytill-bench-")))
        url = stack.enter_context(grounds.postgres(size.practices)) if engine == "postgresql" else None
        provider = stack.enter_context(running("stand_in", folder, *provider_ms))
        ground = asyncio.run(grounds.prepare(folder, url, provider.port, size.practices, sweeping))
        ground.write(folder / "ground.json")
        yield ground, folder, stack


def start(name: str, folder: Path, stack: ExitStack) -> Program:
    return stack.enter_context(running(name, folder, str(folder / "ground.json")))


@dataclass
class Rounds:
    """One program's figures, round by round."""

    cpu_ms: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    median_latency_ms: list[float] = field(default_factory=list)

    def add(self, cpu_s: float, load: Load) -> None:
        """Add one round."""
        self.cpu_ms.append(cpu_s * 1000 / load.requests)
        self.per_second.append(load.per_second)
        self.median_latency_ms.append(load.latency_ms(0.5))

    def figures(self) -> dict[str, float]:
        """Medians over the rounds."""
        return {
            "cpu_ms": round(statistics.median(self.cpu_ms), 4),
            "cpu_ms_least": round(min(self.cpu_ms), 4),
            "per_second": round(statistics.median(self.per_second), 1),
            "latency_ms": round(statistics.median(self.median_latency_ms), 2),
        }


async def _round(program: Program, ground: Ground, requests: int, into: Rounds | None, keep: bool = False) -> Load:
    before = program.cpu_s()
    load = await drive(program.port, payments(program.name, ground.practices, requests), 201, keep)
    if into is not None:
        into.add(program.cpu_s() - before, load)
    return load


# ── payment ──


def payment(size: Size) -> Result:
    """One payment's whole CPU cost on PostgreSQL: the floor, the libraries alone, the product, the usual program."""
    missing = [name for name in NEEDED_BY_USUAL if importlib.util.find_spec(name) is None]
    names = ["floor", "libraries", "product"] + ([] if missing else ["usual"])
    found = {name: Rounds() for name in names}
    with stage("postgresql", size) as (ground, folder, stack):
        programs = [start(name, folder, stack) for name in names]

        async def measure() -> None:
            for program in programs:
                await _round(program, ground, size.warm_up, None)
            for number in range(size.rounds):
                turn = number % len(programs)
                for program in programs[turn:] + programs[:turn]:
                    await _round(program, ground, size.of(program.name), found[program.name])

        asyncio.run(measure())
        written = asyncio.run(grounds.rows_by_program(ground))
        columns = asyncio.run(grounds.columns_by_program(ground))
    expected = {name: size.warm_up + size.rounds * size.of(name) for name in names}
    notes = _equal_rows({name: written.get(name, {}) for name in names}, columns, expected)
    if missing:
        notes.append(f"The usual program was left out, because {' and '.join(missing)} is not installed.")
    result = _compared(found, written)
    result.notes += notes
    result.figures["rows"] = {name: written.get(name, {}) for name in names}
    return result


def _compared(found: dict[str, Rounds], written: dict[str, dict[str, int]]) -> Result:
    """The table, and the product's ratio to the others: the median of the rounds' own ratios."""
    product, aims, rows = found["product"], [], []
    ratios: dict[str, float] = {}
    for name, rounds in found.items():
        ratio = statistics.median(p / o for p, o in zip(product.cpu_ms, rounds.cpu_ms, strict=True))
        ratios[name] = ratio
        figures, counts = rounds.figures(), written.get(name, {})
        each = sum(counts.get(table, 0) for table in ("payments", "attempts", "audit", "ledger"))
        rows.append(
            [
                name,
                f"{figures['cpu_ms']:.3f}",
                f"{figures['cpu_ms_least']:.3f}",
                f"{ratio:.2f}",
                f"{figures['per_second']:.0f}",
                f"{figures['latency_ms']:.1f}",
                f"{each / max(1, counts.get('payments', 0)):.0f}",
            ]
        )
    aims.append(Aim("CPU of the product / the floor", ratios["floor"], 2.0))
    if "usual" in ratios:
        aims.append(Aim("CPU of the product / the usual program", ratios["usual"], 0.2))
    columns = [
        "program",
        "CPU ms per payment",
        "best round",
        "product / this",
        "payments/s",
        "median latency ms",
        "rows each",
    ]
    printed: dict[str, Any] = {name: rounds.figures() for name, rounds in found.items()}
    printed["product_over"] = {name: round(ratio, 3) for name, ratio in ratios.items() if name != "product"}
    title = f"one payment on PostgreSQL, {CONCURRENCY} at a time"
    return Result("payment", title, columns, rows, printed, aims)


def _equal_rows(written: dict[str, dict[str, int]], columns: dict[str, str], expected: dict[str, int]) -> list[str]:
    """Check that every program wrote the same rows for each payment. Returns a sentence for the reader."""
    each: dict[tuple[float, ...], str] = {}
    for name, counts in written.items():
        if counts.get("payments") != expected[name] or counts.get("requires_action") != expected[name]:
            raise WrongAnswer(f"{name} left {counts} in the databases; {expected[name]} payments were asked of it.")
        each[tuple(counts[table] / expected[name] for table in ("attempts", "audit", "ledger"))] = name
    if len(each) != 1:
        raise WrongAnswer(f"The programs did not write the same rows: {written}.")
    filled = {name: set(columns[name].split()) for name in written if name in columns}
    for name, names in filled.items():
        if names != filled["product"]:
            raise WrongAnswer(
                f"{name} did not fill the same columns as the product: {', '.join(sorted(names ^ filled['product']))}."
            )
    attempts, audit, ledger = next(iter(each))
    return [
        "Counted in the databases afterwards, for every program and payment: one payment row, "
        f"{attempts:.0f} attempt, {audit:.0f} audit lines, {ledger:.0f} ledger lines; the same columns filled."
    ]


# ── the product alone ──


def _alone(
    engine: str, size: Size, work: Callable[[Program, Ground], Coroutine[Any, Any, Any]], sweeping: bool = False
) -> Any:
    with stage(engine, size, sweeping) as (ground, folder, stack):
        return asyncio.run(work(start("product", folder, stack), ground))


def sqlite(size: Size) -> Result:
    """The product on SQLite files, every commit synced to disk."""
    rounds = Rounds()

    async def work(program: Program, ground: Ground) -> None:
        await _round(program, ground, size.warm_up, None)
        for _ in range(size.rounds):
            await _round(program, ground, size.payments, rounds)

    _alone("sqlite", size, work)
    f = rounds.figures()
    row = ["product on SQLite", f"{f['cpu_ms']:.3f}", f"{f['per_second']:.0f}", f"{f['latency_ms']:.1f}"]
    columns = ["program", "CPU ms per payment", "payments/s", "median latency ms"]
    return Result("sqlite", "one payment on SQLite files, synchronous=FULL", columns, [row], f)


async def _idle(program: Program) -> float:
    """CPU of an idle program that looks for overdue payments in all practices that it has opened."""
    await asyncio.sleep(1)
    before = program.cpu_s()
    await asyncio.sleep(6)
    return (program.cpu_s() - before) * 1000 / 6


def memory(size: Size) -> Result:
    """Resident memory of the service after many payments over all practices, on both engines."""
    figures: dict[str, Any] = {}
    rows, aims = [], []
    for engine in ("postgresql", "sqlite"):

        async def work(program: Program, ground: Ground) -> dict[str, float]:
            at_start = program.memory_mb()
            await _round(program, ground, size.warm_up, None)
            idle_ms = await _idle(program)
            await _round(program, ground, size.memory_payments - size.warm_up, None)
            return {
                "start_mb": round(at_start, 1),
                "after_mb": round(program.memory_mb(), 1),
                "most_mb": round(program.memory_mb("VmHWM"), 1),
                "idle_ms_per_s": round(idle_ms, 1),
            }

        found = figures[engine] = _alone(engine, size, work, sweeping=True)
        rows.append([engine, *(f"{found[name]:.0f}" for name in ("start_mb", "after_mb", "most_mb", "idle_ms_per_s"))])
        aims.append(Aim(f"MB resident on {engine}", found["after_mb"], 120))
    figures |= {"payments": size.memory_payments, "practices": size.practices}
    columns = ["engine", "MB at the start", "MB afterwards", "MB at most", "idle: CPU ms per s"]
    title = f"resident memory after {size.memory_payments} payments over {size.practices} practices"
    return Result("memory", title, columns, rows, figures, aims)


def webhook(size: Size) -> Result:
    """One signed webhook of a success until it is applied: verified, stored, settled, booked in the ledger."""
    rounds = Rounds()

    async def work(program: Program, ground: Ground) -> dict[str, int]:
        for number in range(size.rounds + 1):
            taken = await _round(program, ground, size.payments, None, keep=True)
            told = [msgspec.json.decode(body) for body in taken.bodies]
            before = program.cpu_s()
            load = await drive(program.port, deliveries(ground.practices, told), 200, keep=True)
            if number > 0:  # the first round warms up
                rounds.add(program.cpu_s() - before, load)
            for body in load.bodies:
                if msgspec.json.decode(body)["received"] is not True:
                    raise WrongAnswer(f"A delivery was not taken: {body.decode()}")
        return (await grounds.rows_by_program(ground))["product"]

    written = _alone("postgresql", size, work)
    expected = (size.rounds + 1) * size.payments
    if written.get("succeeded") != expected or written["ledger"] != 4 * expected:
        raise WrongAnswer(f"Not every delivery was applied: {written}.")
    f = rounds.figures()
    row = ["product", f"{f['cpu_ms']:.3f}", f"{f['per_second']:.0f}", f"{f['latency_ms']:.1f}"]
    columns = ["program", "CPU ms per delivery", "deliveries/s", "median latency ms"]
    note = f"All {expected} deliveries applied: each payment succeeded, with four ledger lines (amount and fee)."
    return Result("webhook", "one signed delivery until applied, on PostgreSQL", columns, [row], f, notes=[note])


PAYMENTS: dict[str, Callable[[Size], Result]] = {
    "payment": payment,
    "webhook": webhook,
    "sqlite": sqlite,
    "memory": memory,
}
