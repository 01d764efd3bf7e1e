"""How long a practice's requests are refused while it is moved to another cluster, with many payments, on both engines."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.bulk import one_payment, settled_down
from benchmarks.ground import Ground
from benchmarks.load import WrongAnswer, payments
from benchmarks.measuring import Size, stage, start
from benchmarks.processes import Program
from benchmarks.results import Aim, Result
from benchmarks.sums import fill
from benchmarks.wire import Line
from polytill.app import Polytill
from polytill.domain.jobs import JobState
from polytill.domain.secret import Secret
from polytill.flows.admin import clusters
from polytill.flows.admin.clusters import Limits
from polytill.flows.jobs import move
from polytill.flows.jobs.move import Wanted
from polytill.job_run import run_here
from polytill.storage import jobs, practice_moves
from polytill.storage.jobs import Job
from polytill.storage.opening import is_postgres

ENGINES = ("sqlite", "postgresql")
CALLERS, EVERY_S = 4, 0.02
DAYS = 180
MOST_MS = 2_000


@dataclass
class Seen:
    """What the callers saw: when a request that was refused was sent, and when the first one after that was answered."""

    created: int = 0
    refused: int = 0
    first_s: float | None = None
    last_s: float | None = None
    statuses: set[int] = field(default_factory=set)

    def note(self, status: int, sent_s: float, answered_s: float) -> None:
        """Count one answer."""
        if status == 201:
            self.created += 1
            if self.refused and self.last_s is None:
                self.last_s = answered_s
            return
        self.statuses.add(status)
        self.refused += 1
        self.first_s, self.last_s = sent_s if self.first_s is None else self.first_s, None

    @property
    def refused_ms(self) -> float:
        """From the first refused request until one is answered again, in milliseconds."""
        return 0.0 if self.first_s is None or self.last_s is None else (self.last_s - self.first_s) * 1000


@dataclass
class Moved:
    """One move: as its callers saw it, as the job recorded it, and how long the whole job took."""

    seen: Seen
    recorded_ms: int
    job_s: float


def moving(size: Size) -> Result:
    """A move under load; the goal is less than 2 s of refused requests."""
    found: dict[str, Moved] = {}
    for engine in ENGINES:
        with stage(engine, replace(size, practices=1)) as (ground, folder, stack):
            program = start("product", folder, stack)
            found[engine] = asyncio.run(_measured(ground, folder, program, size.moved_payments))
    rows = [
        [
            engine,
            f"{one.seen.refused_ms:.0f}",
            str(one.recorded_ms),
            f"{one.job_s:.1f}",
            str(one.seen.created),
            str(one.seen.refused),
        ]
        for engine, one in found.items()
    ]
    figures: dict[str, Any] = {"payments": size.moved_payments}
    for engine, one in found.items():
        about = {"refused_ms": round(one.seen.refused_ms), "closed_ms": one.recorded_ms, "job_s": round(one.job_s, 1)}
        figures[engine] = {**about, "created_meanwhile": one.seen.created, "refused": one.seen.refused}
    return Result(
        "move",
        f"a practice with {size.moved_payments:,} payments moves to another cluster under load",
        ["engine", "refused ms", "closed ms", "whole job s", "payments created", "refused"],
        rows,
        figures,
        [Aim(f"ms of refused requests on {engine}", one.seen.refused_ms, MOST_MS) for engine, one in found.items()],
        [
            f"{CALLERS} callers each create a payment every {EVERY_S * 1000:.0f} ms. Both clusters are on this machine.",
            "Refused: from the first refused request until one is answered. Closed: as the job recorded it.",
        ],
    )


async def _measured(ground: Ground, folder: Path, program: Program, payments_before: int) -> Moved:
    async with Polytill.open(ground.opened_settings()) as till:
        db, model, attempt = await one_payment(till, program, ground)
        await fill(ground, db, model, attempt, payments_before - 1, DAYS)
        await settled_down(db)
        place = till.context.settings.practice_databases.get_secret_value()
        second = place if is_postgres(place) else str(folder / "second")
        if second != place:
            await asyncio.to_thread(Path(second).mkdir)
        await clusters.add(till.context, "second", Secret(second), Limits(), "benchmark")
        [practice] = ground.practices
        seen, stops = Seen(), asyncio.Event()
        callers = [asyncio.create_task(_call(program.port, ground, seen, stops)) for _ in range(CALLERS)]
        began_s = time.perf_counter()

        async def begin(node: str | None) -> Job:
            return await move.begin(till.context, Wanted([practice.id], "second"), "benchmark", node)

        job = await run_here(till.context, begin, "benchmark")
        took_s = time.perf_counter() - began_s
        await asyncio.sleep(2)
        stops.set()
        await asyncio.gather(*callers)
        if job is None or job.state is not JobState.succeeded:
            parts = [] if job is None else await jobs.parts(till.context.owner, job.id)
            raise WrongAnswer(f"The practice was not moved: {[part.detail for part in parts]}")
        if seen.statuses - {503}:
            raise WrongAnswer(f"Other answers than 503: {seen.statuses}")
        moved = await practice_moves.last(till.context.owner, practice.id)
        there = await (await till.context.opening.practice(practice.id)).value("SELECT count(*) FROM payments")
        # A refused one may have been written before its connection ended.
        if (
            moved is None
            or not payments_before + seen.created <= there <= payments_before + seen.created + seen.refused
        ):
            raise WrongAnswer(f"{there} payments are there after {payments_before} and {seen.created} more.")
        return Moved(seen, moved.refused_ms or 0, took_s)


async def _call(port: int, ground: Ground, seen: Seen, stops: asyncio.Event) -> None:
    """Create payments, one after the other."""
    line = await Line.to(port)
    while not stops.is_set():
        [request] = payments("move", ground.practices, 1)
        sent_s = time.perf_counter()
        status, _ = await line.ask(request)
        seen.note(status, sent_s, time.perf_counter())
        with suppress(TimeoutError):
            await asyncio.wait_for(stops.wait(), EVERY_S)
    line.close()
