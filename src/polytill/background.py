"""What runs beside requests in a process: leases, announcement, clock, sweeps of practices and event deliveries."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from polytill.domain.errors import NotNow, PolytillError
from polytill.domain.places import places
from polytill.flows import lease, owner_snapshot, pool_exchange, presence
from polytill.flows.admin.event_destination import BACKLOG_EVERY_S, read_backlog
from polytill.flows.context import Context, log
from polytill.flows.jobs import backup
from polytill.flows.lifecycle import closing
from polytill.flows.rollout import keeping, settling
from polytill.flows.rollout.overview import OVERVIEW_EVERY_S, read_overview
from polytill.flows.warm_up import warm_up
from polytill.flows.webhooks import forward
from polytill.flows.worker import claims, event_delivery
from polytill.storage import practice_backups

BACKUPS_EVERY_S = 60.0

COPIED_ASKED_S = 1.0
# What a process does in a copy of an installation as well.
IN_COPIES = frozenset({"idle", "clock", "directory", "presence", "leases"})


# A full collection looks at every object that is not frozen. It comes half as often as by default, because few objects
# ever form cycles.
FULL_COLLECTION_EVERY = 20


def settle_memory() -> None:
    """Take everything that is loaded by now out of garbage collection. Call this once, before a process serves.

    Otherwise each full collection looks at a million objects of modules, models and routes that stay to the end, and
    every request waits for it: 120 ms every ten seconds at 250 payments a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], FULL_COLLECTION_EVERY)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run ``work`` beside the block. At the end of the block it is canceled and awaited."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def sweep(context: Context, everyone: bool = False) -> int:
    """Sweep the practices that hold a lease, or every practice, once, and deliver events. Return the number of
    processed items: none in a copy of an installation."""
    if context.installation.copied is not None:
        return 0
    await closing.end_run_outs(context)
    done = await claims.sweep(context, everyone) + await event_delivery.deliver(context) + await forward.finish(context)
    _tell_clock(context)
    return done


async def watch_clock(context: Context) -> None:
    """Compare our clock with the clock of the owner database's server, if it is time to, and log a difference."""
    with suppress(NotNow):  # other work reports that the database is unavailable
        await claims.learn_server_time(context)
    _tell_clock(context)


async def _learn_time(context: Context) -> None:
    await claims.learn_server_time(context)
    _tell_clock(context)


def _tell_clock(context: Context) -> None:
    ahead_s = context.server_clock.to_say(context.world)
    if ahead_s is not None:
        log.warning("clock_differs", seconds=round(ahead_s, 1))


async def learn(context: Context) -> None:
    """Read everything that practices need from the owner database, if it has changed, to serve them while it is away."""
    has_changed = await context.opening.learn()
    await context.catalog()
    if not context.opening.watch.away:
        await owner_snapshot.keep(context, has_changed)


async def read_backups(context: Context) -> None:
    """Read how many practices have a good backup, for the metrics."""
    context.backups = await practice_backups.overview(context.owner)


async def release_idle(context: Context) -> None:
    """Close connections and files that were unused for a while, and free what was kept of practices for as long."""
    await context.opening.close_idle()
    context.drop_old_snapshots()


async def _announce(here: presence.Presence) -> None:
    if await here.beat():
        owner_snapshot.announce(here.context, here.id)


async def renew_for_ever(context: Context, kind: str = "serve", runs_worker: bool = False) -> None:
    """Renew the leases of this process, its announcement, its copy of the directory and its clock, and close idle
    connections, until it is canceled."""
    here = presence.Presence(context, kind, runs_worker)
    context.health.lifespan_runs = True
    async with (
        beside(_repeat(context, "idle", partial(release_idle, context))),
        beside(_repeat(context, "clock", partial(watch_clock, context))),
        beside(_repeat(context, "backlog", partial(read_backlog, context), pause_s=BACKLOG_EVERY_S)),
        beside(_repeat(context, "backups", partial(read_backups, context), pause_s=BACKUPS_EVERY_S)),
        beside(_repeat(context, "directory", partial(learn, context))),
        beside(_repeat(context, "warm_up", partial(warm_up, context), once=True)),
        beside(_repeat(context, "rollout_overview", partial(read_overview, context), pause_s=OVERVIEW_EVERY_S)),
        beside(_repeat(context, "presence", partial(_announce, here))),
        beside(
            _repeat(
                context, "providers", partial(pool_exchange.exchange, context), pause_s=pool_exchange.EXCHANGED_EVERY_S
            )
        ),
    ):
        try:
            await _repeat(context, "leases", partial(lease.renew, context))
        finally:
            await owner_snapshot.leave(context, here)


@asynccontextmanager
async def announced(context: Context, kind: str) -> AsyncIterator[str]:
    """Announce this process among the nodes beside the block, for a command that runs jobs. Yields the node's id."""
    here = presence.Presence(context, kind, runs_worker=False)
    context.health.worker_asked_at_s = float("inf")  # a command needs no worker
    await here.beat()
    async with (
        beside(_repeat(context, "clock", partial(watch_clock, context))),
        beside(_repeat(context, "presence", here.beat)),
    ):
        try:
            yield here.id
        finally:
            with suppress(PolytillError):  # the row lapses
                await here.leave()


async def adopted(context: Context) -> None:
    """Wait while this installation is a copy that nobody has adopted: its worker does nothing."""
    while context.installation.copied is not None:  # noqa: ASYNC110
        await asyncio.sleep(COPIED_ASKED_S)


async def sweep_for_ever(context: Context) -> None:
    """Run a worker until it is canceled: sweeps of practices and event deliveries."""
    await adopted(context)
    going, sending = claims.Sweeper(context), event_delivery.EventSender(context)
    log.info("worker_started", worker=going.worker)
    # Before the clock decides the first claim. While the server is away, nothing can be claimed either.
    await _repeat(context, "clock", partial(_learn_time, context), once=True)
    await _repeat(context, "everyone", partial(claims.lease_all, context), once=True)
    try:
        lapsed = _repeat(context, "lapsed", claims.Lapsed(context).look)
        deliveries = _repeat(context, "deliveries", partial(event_delivery.turn, sending, context))
        scheduled = partial(backup.start_scheduled, context)
        backups = _repeat(context, "backup_schedule", scheduled, pause_s=backup.SCHEDULED_EVERY_S)
        ended = _repeat(context, "run_outs", partial(closing.end_run_outs, context), pause_s=closing.ENDED_EVERY_S)
        async with (
            beside(lapsed),
            beside(deliveries),
            beside(backups),
            beside(ended),
            beside(_repeat(context, "rollout", partial(_rollout, context))),
        ):
            await _repeat(context, "rounds", partial(claims.turn, going, context))
    finally:
        for worker in (going, sending):
            with suppress(PolytillError):  # the claims expire
                await worker.leave()


async def _rollout(context: Context) -> None:
    """Write our changes into the fields of live practices, and end steps whose processes are gone."""
    await keeping.turn(context)
    await settling.settle_abandoned(context)


async def _repeat(
    context: Context,
    name: str,
    work: Callable[[], Coroutine[Any, Any, object]],
    once: bool = False,
    pause_s: float | None = None,
) -> None:
    """Repeat ``work`` until it is canceled, whatever fails; with ``once``, until it has succeeded once. In a copy of an
    installation only what keeps the process itself up to date is done."""
    while True:
        if name not in IN_COPIES:
            await adopted(context)
        try:
            await work()
            if once:
                return
        except NotNow:
            log.warning("worker_waits", work=name, reason="database_unavailable")
        except Exception as error:
            log.error("worker_failed", work=name, error=type(error).__name__, places=places(error))
        await asyncio.sleep(context.settings.sweep_interval_s / 2 if pause_s is None else pause_s)
