"""How many payments a second one process takes while its provider is slow, and what happens at twice that rate.

Requests come at fixed times, whether earlier ones are answered or not, as they do from many independent clinics. The
provider answers after log-normal times: median 120 ms, 99th percentile 380 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from benchmarks.ground import Ground
from benchmarks.load import payments
from benchmarks.measuring import FULL, Size, stage, start
from benchmarks.processes import Program, running
from benchmarks.results import Aim, Result
from benchmarks.wire import Line

PROVIDER_MS = ("120", "380")
RATES = (100, 150, 200, 250, 300, 350, 400)
SETTLE_S, MEASURE_S = 3.0, 10.0
OUR_SHARE_MS = 100.0
PATIENCE_S = 60.0
CLOSED = 0  # as a status: the connection was closed without a response


@dataclass
class Offered:
    """One rate's figures."""

    per_second: float
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)  # of payments that were created, from when they were due
    refused_ms: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)  # cores

    @property
    def created_per_second(self) -> float:
        """Payments created per second."""
        return self.statuses[201] / MEASURE_S

    def latency_ms(self, share: float, of: list[float] | None = None) -> float:
        """The latency that this share of the created payments, or of other latencies, did not exceed."""
        found = sorted(self.latencies_ms if of is None else of)
        return found[min(len(found) - 1, int(share * len(found)))] if found else 0.0


class Caller:
    """Sends requests at fixed times over as many keep-alive connections as are needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[Line] = []

    async def offer(self, requests: list[bytes], per_second: float, into: Offered) -> None:
        """Send the requests; those after the first seconds are counted."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        tasks = []
        for number, request in enumerate(requests):
            due_s = began_s + number / per_second
            if due_s > loop.time():
                await asyncio.sleep(due_s - loop.time())
            counted = into if due_s - began_s >= SETTLE_S else None
            tasks.append(asyncio.create_task(self._one(request, due_s, counted)))
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)

    async def _one(self, request: bytes, due_s: float, into: Offered | None) -> None:
        line, status = await self._asked(request)
        took_ms = (asyncio.get_running_loop().time() - due_s) * 1000
        self._free.append(line)
        if into is not None:
            into.statuses[status] += 1
            (into.latencies_ms if status == 201 else into.refused_ms).append(took_ms)

    async def _asked(self, request: bytes) -> tuple[Line, int]:
        """Ask once, or again over a new connection if the server has just closed the idle one."""
        while self._free:
            line = self._free.pop()
            if not line.is_closed:
                with contextlib.suppress(ConnectionError):
                    return line, (await line.ask(request))[0]
        line = await Line.to(self._port)
        try:
            return line, (await line.ask(request))[0]
        except ConnectionError:  # the server has no place for a connection more
            return line, CLOSED

    def close(self) -> None:
        """Close all connections."""
        for line in self._free:
            line.close()


async def _offered(program: Program, ground: Ground, per_second: float) -> Offered:
    found = Offered(per_second)
    requests = list(payments("capacity", ground.practices, round(per_second * (SETTLE_S + MEASURE_S))))
    caller = Caller(program.port)
    before = program.cpu_s(), time.process_time(), time.monotonic()
    try:
        await caller.offer(requests, per_second, found)
    finally:
        caller.close()
    took_s = time.monotonic() - before[2]
    found.cpu = {
        "product": (program.cpu_s() - before[0]) / took_s,
        "caller": (time.process_time() - before[1]) / took_s,
    }
    await asyncio.sleep(1.0)
    return found


def capacity(size: Size) -> Result:
    """The highest rate at which the product adds less than 100 ms to the provider's 99th percentile, and twice that."""
    rates, found = RATES if size is FULL else RATES[:2], Found()
    with stage("postgresql", size, provider_ms=PROVIDER_MS) as (ground, folder, stack):
        place = str(folder / "ground.json")
        program = start("product", folder, stack)
        taking_all = stack.enter_context(running("product", folder, place, "taking-all"))

        async def measure() -> None:
            for one in (program, taking_all):
                await _offered(one, ground, 50)  # first visits to each practice
            for rate in rates:
                found.rates.append(await _offered(program, ground, rate))
            best = found.best.per_second
            found.taking_all = await _offered(taking_all, ground, 2 * best)
            found.twice = await _offered(program, ground, 2 * best)
            found.after = await _offered(program, ground, best / 2)

        asyncio.run(measure())
    return found.result(len(ground.practices))


@dataclass
class Found:
    """The figures of a run."""

    rates: list[Offered] = field(default_factory=list)
    twice: Offered = field(default_factory=lambda: Offered(0))
    taking_all: Offered = field(default_factory=lambda: Offered(0))
    after: Offered = field(default_factory=lambda: Offered(0))

    @property
    def best(self) -> Offered:
        """The highest rate at which everything was taken and our share of the 99th percentile stayed under 100 ms."""
        within = [one for one in self.rates if _ours_ms(one) < OUR_SHARE_MS and not one.statuses.keys() - {201}]
        return max(within, key=lambda one: one.per_second, default=self.rates[0])

    def result(self, practices: int) -> Result:
        """The table, the goals and the figures."""
        named = {
            **{f"{one.per_second:.0f}": one for one in self.rates},
            "twice the capacity": self.twice,
            "the same, taking every request": self.taking_all,
            "half of it, right after": self.after,
        }
        most = max(one.created_per_second for one in self.rates)
        refused_ms = self.twice.latency_ms(0.99, self.twice.refused_ms)
        aims = [
            Aim("most payments/s / payments/s at twice the capacity", most / self.twice.created_per_second, 1.15),
            Aim("ms until a refusal at twice the capacity, 99th percentile", refused_ms, 500),
        ]
        rows = [[name, *_row(one)] for name, one in named.items()]
        columns = [
            "offered", "per s", "created/s", "not created/s", "p50 ms", "p99 ms", "ours of p99", "refusal p99", "CPU product",
            "CPU caller",
        ]  # fmt: skip
        where = f"one process, {practices} practices"
        title = f"payments at a provider of {PROVIDER_MS[0]} ms (p99 {PROVIDER_MS[1]} ms), {where}"
        figures = {"capacity": self.best.per_second, "rates": {name: _figures(one) for name, one in named.items()}}
        return Result("capacity", title, columns, rows, figures, aims)


def _ours_ms(one: Offered) -> float:
    return one.latency_ms(0.99) - float(PROVIDER_MS[1])


def _figures(one: Offered) -> dict[str, Any]:
    return {
        "offered": one.per_second, "created": round(one.created_per_second, 1),
        "refused": round((one.statuses.total() - one.statuses[201]) / MEASURE_S, 1),
        "p50_ms": round(one.latency_ms(0.5), 1), "p99_ms": round(one.latency_ms(0.99), 1),
        "refusal_p99_ms": round(one.latency_ms(0.99, one.refused_ms), 1), "cpu": one.cpu, "statuses": dict(one.statuses),
    }  # fmt: skip


def _row(one: Offered) -> list[str]:
    f = _figures(one)
    cells = (f["offered"], f["created"], f["refused"], f["p50_ms"], f["p99_ms"], _ours_ms(one), f["refusal_p99_ms"])
    return [*(f"{cell:.0f}" for cell in cells), *(f"{cores:.2f}" for cores in one.cpu.values())]
