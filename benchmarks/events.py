"""Events per second to a host that takes a second for each, and the delay of another practice while one hangs there."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from tests.installation import fresh_settings, opened

from benchmarks import ground as grounds
from benchmarks.measuring import Size
from benchmarks.results import Aim, Result
from polytill.app import Polytill
from polytill.background import beside
from polytill.domain.states import Environment
from polytill.flows.admin.event_destination import set_destination
from polytill.flows.worker import event_delivery
from polytill.storage import event_deliveries, events
from polytill.storage.events import Event

ANSWER_S = 1.0
HANGING, QUIET = 1, 2  # practices
LAGS = 20


@dataclass
class Host:
    """The host's endpoint: a second for each event, and no answer for one practice while it hangs."""

    hangs: bool = False
    came_at_s: dict[str, float] = field(default_factory=dict)

    async def take(self, request: web.Request) -> web.Response:
        """One event."""
        event = msgspec.json.decode(await request.read())
        self.came_at_s[event["id"]] = time.monotonic()
        await asyncio.sleep(3600 if self.hangs and event["practiceId"] == HANGING else ANSWER_S)
        return web.Response(status=204)


@asynccontextmanager
async def _host() -> AsyncIterator[tuple[Host, str]]:
    host, app = Host(), web.Application()
    app.router.add_post("/", host.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield host, f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def _happen(till: Polytill, practice_id: int, count: int, mark: str) -> list[str]:
    made = [f"{mark}-{practice_id}-{number}" for number in range(count)]
    async with till.context.owner.transaction() as tx:
        await events.open_feed(tx, till.context.owner, till.context.feed_seen, till.context.world.now())
        for name in made:
            event = Event(
                name, practice_id, Environment.sandbox, "payment.succeeded", name, {}, till.context.world.now()
            )
            position = await events.feed(tx, event)
            assert position is not None
            event_deliveries.plan(tx, replace(event, position=position), till.context.shared_after(-1))
    return made


async def _measure(settings: Any, count: int) -> dict[str, float]:
    """One worker: the events of one practice, then single events of another practice beside one that hangs."""
    async with opened(settings, []) as till, _host() as (host, url):
        await set_destination(till.context, url, "bench")
        await _happen(till, QUIET, count, "rate")
        began_s = time.monotonic()
        await event_delivery.deliver(till.context)
        took_s = time.monotonic() - began_s
        host.hangs = True
        await _happen(till, HANGING, 10 * count, "hanging")
        worker, lags = event_delivery.EventSender(till.context), []
        async with beside(_work(worker, till)):
            await asyncio.sleep(1.0)
            for number in range(LAGS):
                [name] = await _happen(till, QUIET, 1, f"lag{number}")
                at_s = time.monotonic()
                while name not in host.came_at_s:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                lags.append(host.came_at_s[name] - at_s)
                await asyncio.sleep(0.3)
        await worker.leave()
    return {"per_second": count / took_s, "lag_s": statistics.median(lags), "lag_most_s": max(lags)}


async def _work(worker: event_delivery.EventSender, till: Polytill) -> None:
    while True:
        await event_delivery.turn(worker, till.context)
        await asyncio.sleep(till.context.settings.sweep_interval_s / 2)


def deliveries(size: Size) -> Result:
    """Measure both engines, with one worker each."""
    rows, figures, aims = [], {}, []
    for engine in ("postgresql", "sqlite"):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="polytill-bench-")))
            url = stack.enter_context(grounds.postgres(size.practices)) if engine == "postgresql" else None
            found = asyncio.run(_measure(fresh_settings(folder, url), 3 * size.payments))
        figures[engine] = found
        rows.append([engine, f"{found['per_second']:.0f}", f"{found['lag_s']:.2f}", f"{found['lag_most_s']:.2f}"])
        aims.append(Aim(f"{engine}: seconds for 100 events, answered in one second each", 100 / found["per_second"], 1))
        aims.append(Aim(f"{engine}: longest lag of another practice's event, seconds", found["lag_most_s"], 5))
    return Result(
        "events",
        "one worker, a host that answers in one second; then one practice's events hang there",
        ["engine", "events/s", "lag of another practice, s", "longest, s"],
        rows,
        figures,
        aims,
    )
