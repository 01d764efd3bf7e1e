"""The entry point for embedding: connects storage, handlers and flows for the web, the CLI and the worker.

async with Polytill.open(Settings()) as till:
    taken = await till.pay(practice_id, PaymentRequest(...), key="order 17", actor="my app")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from polytill.domain.clock import World
from polytill.domain.errors import KeyRingDiffers, NotNow, OperatorError, PolytillError
from polytill.domain.places import places
from polytill.domain.sealing import KeyRing
from polytill.flows import key_ring, lease, presence
from polytill.flows.admin import fleet
from polytill.flows.admin import practices as admin_practices
from polytill.flows.admin.event_destination import BACKLOG_EVERY_S, read_backlog
from polytill.flows.command import Command
from polytill.flows.context import Context, log
from polytill.flows.payments import capture_cancel
from polytill.flows.payments.create import PaymentDetails, create_payment
from polytill.flows.payments.request import PaymentRequest
from polytill.flows.recovery import lookup
from polytill.flows.refunds.create import RefundRequest, create_refund
from polytill.flows.worker import claims, event_delivery
from polytill.providers.http import AiohttpTransport, Http, StatusTransport, Transport
from polytill.providers.registry import Registry
from polytill.settings import Settings
from polytill.storage import migrating
from polytill.storage.opening import Opening, create_owner, is_postgres, open_owner, sqlite_path
from polytill.storage.postgres_connect import DatabaseMissing
from polytill.storage.practices import DATABASE_PREFIX, PracticeEntry
from polytill.storage.refunds import Refund
from polytill.storage.sqlite import Hop, thread_hop


class Polytill:
    """One opened installation. Flows need its ``context``; the methods are the common operations."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._migration: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings | None = None,
        *,
        world: World | None = None,
        transport: Transport | None = None,
        hop: Hop = thread_hop,
    ) -> AsyncIterator[Polytill]:
        """Open an installation whose databases are migrated. ``OperatorError`` names what is missing."""
        settings = settings or Settings()
        world = world or World()
        ring = KeyRing.read(settings.keyring)
        owner = await open_owner(settings.owner_database_url.get_secret_value(), settings.database_connections, hop)
        opening = Opening(
            owner, ring, settings.practice_databases.get_secret_value(), settings.database_connections, world, hop
        )
        own_transport = AiohttpTransport(settings.provider_timeout_s) if transport is None else None
        to_host = StatusTransport(settings.event_timeout_s) if transport is None else None
        http = Http(transport or own_transport)  # type: ignore[arg-type]
        try:
            if (why := await migrating.why_not_opened(owner)) is not None:
                raise OperatorError(why)
            await key_ring.check(owner, ring)
            context = Context(settings, world, ring, owner, opening, Registry(settings.handler_modules), http)
            context.host_transport = to_host
            till = cls(context)
            till._report_plug_ins()
            await till.watch_clock()  # before this process writes its first lease
            try:
                yield till
            finally:
                await till._stop_migrating()
        finally:
            for one in (own_transport, to_host):
                if one is not None:
                    await one.close()
            await opening.close()
            await owner.engine.close()

    def _report_plug_ins(self) -> None:
        for one in self.context.registry.plug_ins():
            if one.refused:
                log.error("plug_in_refused", code=one.code, distribution=one.distribution, reason=one.refused)
            else:
                log.info("plug_in_loaded", code=one.code, distribution=one.distribution)

    async def create_practice(
        self,
        name: str,
        currency: str,
        *,
        cluster: str = "default",
        country: str | None = None,
        time_zone: str | None = None,
        external_id: str | None = None,
        actor: str = "embedded",
    ) -> tuple[PracticeEntry, str]:
        """Onboard a practice. Return its directory entry and first key.

        ``country`` (ISO 3166-1 alpha-2) and ``time_zone`` (IANA) default to those of the currency. ``external_id`` is
        your own identifier of the practice. It is unique: a repeated call raises ``Conflict`` and creates no second
        practice.
        """
        return await admin_practices.create_practice(
            self.context, name, currency, cluster, actor, country=country, time_zone=time_zone, external_id=external_id
        )

    async def pay(
        self, practice_id: int, request: PaymentRequest, *, key: str, actor: str = "embedded"
    ) -> PaymentDetails:
        """Create a payment. A repeat of the request with the same ``key`` returns the first payment."""
        return await create_payment(self.context, practice_id, request, Command(key, actor))

    async def confirm(self, practice_id: int, payment_id: str) -> PaymentDetails:
        """Look up a payment at its provider now, and settle by the answer."""
        return await lookup.confirm(self.context, practice_id, payment_id)

    async def refund(
        self,
        practice_id: int,
        payment_id: str,
        *,
        key: str,
        amount: int | None = None,
        reason: str | None = None,
        actor: str = "embedded",
        accept_dispute_risk: bool = False,
    ) -> Refund:
        """Refund an amount (minor units) or everything that is left. A repeated call with the same ``key`` returns the
        first refund. A payment with an open chargeback is refunded only with ``accept_dispute_risk``: if the dispute is
        lost, the customer is paid twice."""
        request = RefundRequest(amount, reason, accept_dispute_risk)
        made, _ = await create_refund(self.context, practice_id, payment_id, request, Command(key, actor))
        return made

    async def capture(
        self, practice_id: int, payment_id: str, *, key: str, amount: int | None = None, actor: str = "embedded"
    ) -> PaymentDetails:
        """Capture an authorized payment, in full or an amount in minor units."""
        return await capture_cancel.capture(self.context, practice_id, payment_id, amount, Command(key, actor))

    async def sweep(self, everyone: bool = False) -> int:
        """Sweep the practices that hold a lease, or every practice, once, and deliver events. Return the number of
        processed items."""
        done = await claims.sweep(self.context, everyone) + await event_delivery.deliver(self.context)
        self._tell_clock()
        return done

    async def migrate_fleet(self, actor: str) -> bool:
        """Start the migration of every practice to the current schema in the background. False if one is running
        already."""
        run = await fleet.begin(self.context, actor)
        if run is None:
            return False
        await self._stop_migrating()  # an earlier run of this process, whose claim has expired
        self._migration = asyncio.create_task(self._migrate(run, actor))
        await asyncio.sleep(0)  # a task that is canceled before it starts releases nothing
        return True

    async def _migrate(self, run: str, actor: str) -> None:
        try:
            await fleet.run(self.context, run, actor)
        except Exception as error:
            log.error("fleet_migration_stopped", error=type(error).__name__)

    async def _stop_migrating(self) -> None:
        if self._migration is not None:
            self._migration.cancel()
            with suppress(asyncio.CancelledError):
                await self._migration

    async def watch_clock(self) -> None:
        """Compare our clock with the clock of the owner database's server, if it is time to, and log a difference."""
        with suppress(NotNow):  # other work reports that the database is away
            await claims.learn_server_time(self.context)
        self._tell_clock()

    async def _learn_time(self) -> None:
        await claims.learn_server_time(self.context)
        self._tell_clock()

    def _tell_clock(self) -> None:
        context = self.context
        ahead_s = context.server_clock.to_say(context.world)
        if ahead_s is not None:
            log.warning("clock_differs", seconds=round(ahead_s, 1))

    async def learn(self) -> None:
        """Read everything that practices need from the owner database, if it has changed, to serve them while it is
        away."""
        await self.context.opening.learn()
        await self.context.catalog()

    async def renew_for_ever(self, kind: str = "serve", runs_worker: bool = False) -> None:
        """Renew the leases of this process, its announcement, its copy of the directory and its clock, and close idle
        connections, until it is canceled."""
        idle, clock = self._repeat("idle", self.context.opening.close_idle), self._repeat("clock", self.watch_clock)
        backlog = self._repeat("backlog", partial(read_backlog, self.context), pause_s=BACKLOG_EVERY_S)
        here = presence.Presence(self.context, kind, runs_worker)
        self.context.health.lifespan_runs = True
        known = self._repeat("directory", self.learn)
        async with (
            beside(idle),
            beside(clock),
            beside(backlog),
            beside(known),
            beside(self._repeat("presence", here.beat)),
        ):
            try:
                await self._repeat("leases", partial(lease.renew, self.context))
            finally:
                await here.leave()

    async def visit_for_ever(self) -> None:
        """Run a worker until it is canceled: sweeps of practices and event deliveries."""
        going, sending = claims.Sweeper(self.context), event_delivery.EventSender(self.context)
        log.info("worker_started", worker=going.worker)
        # Before the clock decides the first claim. While the server is away, nothing can be claimed either.
        await self._repeat("clock", self._learn_time, once=True)
        await self._repeat("everyone", partial(claims.lease_all, self.context), once=True)
        try:
            lapsed = self._repeat("lapsed", claims.Lapsed(self.context).look)
            deliveries = self._repeat("deliveries", partial(event_delivery.turn, sending, self.context))
            async with beside(lapsed), beside(deliveries):
                await self._repeat("rounds", partial(claims.turn, going, self.context))
        finally:
            for worker in (going, sending):
                with suppress(PolytillError):  # the claims expire
                    await worker.leave()

    async def _repeat(
        self,
        name: str,
        work: Callable[[], Coroutine[Any, Any, object]],
        once: bool = False,
        pause_s: float | None = None,
    ) -> None:
        """Repeat ``work`` until it is canceled, whatever fails; with ``once``, until it has succeeded once."""
        while True:
            try:
                await work()
                if once:
                    return
            except NotNow:
                log.warning("worker_waits", work=name, reason="database_unavailable")
            except Exception as error:
                log.error("worker_failed", work=name, error=type(error).__name__, places=places(error))
            await asyncio.sleep(self.context.settings.sweep_interval_s / 2 if pause_s is None else pause_s)


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


async def migrate_owner(settings: Settings) -> list[str]:
    """Create the owner database and the key ring if they do not exist, and migrate the database to the current schema.
    Return the applied revisions. ``OperatorError`` if the database has a ring and the file is not that one: nothing
    changes then."""
    url, world, path = settings.owner_database_url.get_secret_value(), World(), settings.keyring
    if path.exists():
        KeyRing.read(path)  # before a database is created for it
    await create_owner(url)
    owner = await open_owner(url, settings.database_connections)
    made = False
    try:
        if not path.exists():
            if await migrating.current(owner) is not None:
                raise OperatorError(
                    f"The key ring {path} does not exist, but this owner database already has one. Copy the file from"
                    " another node or a backup."
                )
            if (why := why_not_first(settings)) is not None:
                raise OperatorError(why)
            KeyRing.create(path, world)
            made = True
        ring = KeyRing.read(path)
        applied = await migrating.migrate(owner, "owner")
        await migrating.declare_readers(owner)
        opening = Opening(owner, ring, settings.practice_databases.get_secret_value(), 2, world)
        try:
            await key_ring.record_first(owner, opening, ring, world.now())
        except KeyRingDiffers:
            if made:  # another node was first: its ring is the ring of this installation
                path.unlink()
            raise
        finally:
            await opening.close()
        return applied
    finally:
        await owner.engine.close()


async def why_no_ring(settings: Settings) -> str | None:
    """Return one sentence if a new key ring could be this installation's second; None if it is certainly the first.

    ``NotNow`` if the server of the owner database cannot be reached, because then it is not known.
    """
    url = settings.owner_database_url.get_secret_value()
    if not is_postgres(url) and not sqlite_path(url).exists():
        # The file may be missing only for a while, and the practices beside it were sealed with a ring.
        return why_not_first(settings)
    owner = await open_owner(url, 2)
    try:
        if await migrating.current(owner) is None:
            return None
        return "The owner database already has a key ring. Copy the file from another node."
    except DatabaseMissing:
        return why_not_first(settings)
    finally:
        await owner.engine.close()


def why_not_first(settings: Settings) -> str | None:
    """Return one sentence if SQLite files of practices exist, because then there was a key ring before."""
    place = settings.practice_databases.get_secret_value()
    if is_postgres(place) or not any(Path(place).glob(f"{DATABASE_PREFIX}*.db")):
        return None
    return (
        f"The key ring {settings.keyring} does not exist, but {place} holds databases of practices that were sealed with"
        " one. Restore the file, or copy it from another node or a backup."
    )
