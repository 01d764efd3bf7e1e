"""An opened installation: what a host application calls. ``docs/embedding.md`` shows it in use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

from polytill import requests, to_results
from polytill.background import watch_clock
from polytill.domain.clock import World
from polytill.domain.errors import NotNow, OperatorError, TooLarge, invalid
from polytill.domain.jobs import JobKind, JobState
from polytill.domain.money import Money
from polytill.domain.sealing import KeyRing
from polytill.domain.secret import Secret
from polytill.domain.states import Environment, EventState, PaymentStatus
from polytill.flows import installation, key_ring, owner_snapshot
from polytill.flows.admin import practices, provider_configs
from polytill.flows.admin.credentials import Keys
from polytill.flows.context import Context, log
from polytill.flows.jobs import migrate
from polytill.flows.payments import capture_cancel
from polytill.flows.payments.available import available
from polytill.flows.payments.create import create_payment
from polytill.flows.payments.pages import default_environment, page_of, read_cursor
from polytill.flows.payments.reading import PaymentDetails, details_of, find
from polytill.flows.payments.request import PaymentRequest
from polytill.flows.recovery import lookup
from polytill.flows.refunds.create import RefundRequest, create_refund
from polytill.flows.rollout import host
from polytill.flows.webhooks import forward
from polytill.flows.webhooks.receive import MAX_BODY_BYTES, response_body
from polytill.providers.http import AiohttpTransport, Http, RelayTransport, StatusTransport, Transport
from polytill.providers.registry import Registry
from polytill.requests import ConfigurationRequest
from polytill.results import (
    AvailableProvider,
    EventPage,
    NewPractice,
    Payment,
    PaymentPage,
    ProviderConfiguration,
    Refund,
    WebhookReceipt,
)
from polytill.settings import Settings
from polytill.storage import events, jobs, migrating
from polytill.storage.opening import Opening, open_owner
from polytill.storage.payment_lists import Filters
from polytill.storage.sqlite import Hop, thread_hop


class Polytill:
    """One opened installation. Its methods are what a host application calls; ``context`` is for our own packages."""

    def __init__(self, context: Context) -> None:
        self.context = context

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
        """Open an installation whose databases are migrated. ``OperatorError`` says what is missing.

        ``world``, ``transport`` and ``hop`` are for tests: the clock and randomness, the network, and threads of SQLite.
        """
        settings = settings or Settings()
        world = world or World()
        ring = KeyRing.read(settings.keyring)
        owner = await open_owner(settings.owner_database_url.get_secret_value(), settings.database_connections, hop)
        opening = Opening(
            owner, ring, settings.practice_databases.get_secret_value(), settings.database_connections, world, hop
        )
        own_transport = AiohttpTransport(settings.provider_timeout_s) if transport is None else None
        to_host = StatusTransport(settings.event_timeout_s) if transport is None else None
        relays = RelayTransport(settings.event_timeout_s, settings.allowed_relay_origins) if transport is None else None
        http = Http(transport or own_transport)  # type: ignore[arg-type]
        try:
            context = Context(settings, world, ring, owner, opening, Registry(settings.handler_modules), http)
            context.feed_seen.process = world.random_bytes(8).hex()
            context.host_transport, context.relays.transport = to_host, transport or relays
            try:
                await _check(context)
            except NotNow:
                if not await owner_snapshot.use(context):
                    raise
            if not context.installation.is_silent:  # else its process is restarted after it was adopted
                await host.connect(context)
            till = cls(context)
            till._report_plug_ins()
            await watch_clock(context)  # before this process writes its first lease
            try:
                yield till
            finally:
                await forward.leave(context)
        finally:
            for one in (own_transport, to_host, relays):
                if one is not None:
                    await one.close()
            await opening.close()
            await owner.engine.close()

    def _report_plug_ins(self) -> None:
        for one in self.context.registry.plug_ins():
            if one.refused:
                log.error("plug_in_rejected", code=one.code, distribution=one.distribution, reason=one.refused)
            else:
                log.info("plug_in_loaded", code=one.code, distribution=one.distribution)

    # ── Practices and their providers ──

    async def create_practice(
        self,
        name: str,
        currency: str,
        *,
        actor: str,
        cluster: str | None = None,
        country: str | None = None,
        time_zone: str | None = None,
        external_id: str | None = None,
    ) -> NewPractice:
        """Onboard a practice: its database, its data key and its first API key.

        Without a ``cluster`` it goes to the open one with most room. ``country`` (ISO 3166-1 alpha-2) and ``time_zone``
        (IANA) default to those of the currency. ``external_id`` is your own identifier of the practice. It is unique: a
        repeated call raises ``Conflict`` and creates no second practice.
        """
        new = practices.NewPractice(name, currency, cluster, country, time_zone, external_id)
        entry, key = await practices.create_practice(self.context, new, requests.checked_actor(actor))
        return NewPractice(to_results.practice_of(entry), Secret(key))

    async def configure(self, practice_id: int, request: ConfigurationRequest, *, actor: str) -> ProviderConfiguration:
        """Configure a provider, or replace its configuration. ``Invalid`` names each credential that cannot be right.

        The credentials are sealed, and are not tried at the provider. Register ``webhook_url`` of the result there.
        """
        given = request.credentials
        config = None if given.config is None else dict(given.config)
        wish = provider_configs.Wish(
            provider_code=request.provider_code,
            environment=request.environment,
            keys=Keys(given.public_key, given.secret_key, given.webhook_secret, config),
            is_enabled=request.is_enabled,
            is_default=request.is_default,
            supported_currencies=None if request.currencies is None else [*request.currencies],
            priority=request.priority,
        )
        actor = requests.checked_actor(actor)
        saved, _ = await provider_configs.configure(self.context, practice_id, wish, actor)
        practice = await self.context.practice(practice_id)
        return to_results.configuration_of(self.context, await self.context.configured(practice.db), saved)

    async def available(self, practice_id: int, currency: str | None = None) -> tuple[AvailableProvider, ...]:
        """The providers that support a currency (default: the practice's), with the practice's configuration."""
        found = await available(await self.context.practice(practice_id), currency)
        return tuple(to_results.available_of(one) for one in found)

    # ── Payments ──

    async def pay(self, practice_id: int, request: PaymentRequest, *, key: str, actor: str) -> Payment:
        """Create a payment. The same request under the same ``key`` returns the first payment, whichever entry point it
        came through; another request under it is a ``Conflict``.

        Once this returns, the payment is stored, whatever its status: ``processing`` if the provider's answer was lost.
        Its outcome is then looked up by a worker.
        """
        command = requests.command(key, actor)
        requests.check_payment(request)
        return await self._payment(practice_id, await create_payment(self.context, practice_id, request, command))

    async def confirm(self, practice_id: int, payment_id: str) -> Payment:
        """Look up a payment at its provider now, and settle it by the answer."""
        return await self._payment(practice_id, await lookup.confirm(self.context, practice_id, payment_id))

    async def capture(
        self, practice_id: int, payment_id: str, *, key: str, actor: str, amount: Money | None = None
    ) -> Payment:
        """Capture an authorized payment, in full or in part; the rest is released."""
        command = requests.command(key, actor)
        minor = await self._minor(practice_id, payment_id, amount)
        found = await capture_cancel.capture(self.context, practice_id, payment_id, minor, command)
        return await self._payment(practice_id, found)

    async def cancel(self, practice_id: int, payment_id: str, *, key: str, actor: str) -> Payment:
        """Cancel a payment that is not paid, or release an authorized one."""
        command = requests.command(key, actor)
        found = await capture_cancel.cancel(self.context, practice_id, payment_id, command)
        return await self._payment(practice_id, found)

    async def refund(
        self,
        practice_id: int,
        payment_id: str,
        *,
        key: str,
        actor: str,
        amount: Money | None = None,
        reason: str | None = None,
        accept_dispute_risk: bool = False,
    ) -> Refund:
        """Refund an amount, or everything that is left.

        A payment with an open chargeback is refunded only with ``accept_dispute_risk``: if the dispute is lost, the
        customer is paid twice.
        """
        command = requests.command(key, actor)
        minor = await self._minor(practice_id, payment_id, amount)
        request = RefundRequest(minor, requests.checked_reason(reason), accept_dispute_risk)
        made, is_repeat = await create_refund(self.context, practice_id, payment_id, request, command)
        return to_results.refund_of(made, is_repeat)

    async def get(self, practice_id: int, payment_id: str) -> Payment:
        """A payment as it is stored. No provider is asked."""
        practice, payment = await find(self.context, practice_id, payment_id)
        return await to_results.payment_of(practice, await details_of(practice.db, payment))

    async def list(
        self,
        practice_id: int,
        *,
        environment: Environment | None = None,
        status: PaymentStatus | None = None,
        reference: str | None = None,
        customer_email: str | None = None,
        search: str | None = None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> PaymentPage:
        """Payments of one environment, newest first, up to 200 at once. ``created_to`` is exclusive.

        Sandbox and production are never mixed. The default is production if any provider is configured for it.
        """
        if not 1 <= limit <= 200:
            raise invalid("/limit", "A page has 1 to 200 payments.")
        practice = await self.context.practice(practice_id)
        filters = Filters(
            environment=environment or await default_environment(practice),
            status=status,
            reference=reference,
            customer_email=customer_email,
            search=search,
            created_from=created_from,
            created_to=created_to,
            before=read_cursor(cursor, "/cursor"),
        )
        rows, following = await page_of(practice, filters, limit)
        return PaymentPage(await to_results.payments_of(practice, rows), following, filters.environment)

    async def _payment(self, practice_id: int, found: PaymentDetails) -> Payment:
        return await to_results.payment_of(await self.context.practice(practice_id), found)

    async def _minor(self, practice_id: int, payment_id: str, amount: Money | None) -> int | None:
        if amount is None:
            return None
        _, payment = await find(self.context, practice_id, payment_id)
        return requests.minor_of(amount, payment.currency)

    # ── Messages ──

    async def receive_webhook(
        self, token: str, headers: Mapping[str, str], body: bytes, reference: str | None = None
    ) -> WebhookReceipt:
        """Receive a provider's webhook at an address of your own: verify, store, and apply it.

        ``token`` is the last part of the configuration's ``webhook_url``, ``body`` the bytes as they came in, and
        ``reference`` the query parameter of that name. ``NotFound`` for an unknown token, ``Unauthorized`` if the
        signature is not valid, ``TooLarge`` above 1 MiB. What cannot be applied yet is stored and applied later.
        """
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge
        event = await forward.receive(self.context, token, headers, body, reference)
        if event is None:
            return WebhookReceipt(EventState.received, {})
        return WebhookReceipt(event.state, await response_body(self.context, event))

    async def events(self, after: int = 0, limit: int = 100) -> EventPage:
        """Read the feed: the events of all practices in order, after the given cursor, up to 500 at once."""
        if not 1 <= limit <= 500 or after < 0:
            raise invalid("/limit", "A page has 1 to 500 events, and no cursor is negative.")
        found = await events.read(self.context.owner, after, limit)
        following = found[-1].position if found else after
        return EventPage(tuple(to_results.event_of(one) for one in found), following)

    # ── Operation ──

    async def migrate_fleet(self, actor: str) -> bool:
        """Let the workers migrate every practice to the current schema. False if they do so already, or if every
        practice is migrated."""
        before = await jobs.unfinished(self.context.owner, JobKind.migrate)
        job = await migrate.begin(self.context, migrate.Wanted(), requests.checked_actor(actor))
        return job is not None and (before is None or before.id != job.id or before.state is not JobState.running)


async def _check(context: Context) -> None:
    """Check that this version and this key ring fit the owner database, and whether the installation is a copy."""
    if (why := await migrating.why_not_opened(context.owner)) is not None:
        raise OperatorError(why)
    await key_ring.check(context.owner, context.ring)
    await installation.check(context)
