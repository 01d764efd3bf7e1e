"""The tools that every flow needs besides a practice's database: clock, settings, catalog, handlers and HTTP."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from polytill.domain.clock import World
from polytill.domain.copies import CopyReason
from polytill.domain.currencies import CURRENCIES
from polytill.domain.errors import NotNow
from polytill.domain.identifiers import Numbers
from polytill.domain.localities import Locality
from polytill.domain.rollout import RolloutPhase
from polytill.domain.sealing import KeyRing
from polytill.domain.states import Environment, IntegrationType, ProviderStatus
from polytill.flows.active_policies import ActivePolicy, active_policies
from polytill.flows.listing_progress import Progress
from polytill.flows.provider_health import ProvidersHealth
from polytill.flows.provider_pool import ProviderPool
from polytill.flows.schedule import CLOCKS_APART_S
from polytill.flows.server_clock import ServerClock
from polytill.flows.slow_providers import SlowProviderLimiter
from polytill.providers.contract import Handler
from polytill.providers.http import Http, Transport
from polytill.providers.registry import Registry
from polytill.settings import Settings
from polytill.storage import catalog, practice_snapshots
from polytill.storage.catalog import ProviderEntry
from polytill.storage.databases import OwnerDb, PracticeDb
from polytill.storage.event_deliveries import Backlog
from polytill.storage.events import FeedSeen
from polytill.storage.opening import Opening
from polytill.storage.owner_snapshots import AnnouncementFile
from polytill.storage.practice_backups import BackupOverview
from polytill.storage.provider_configs import Configuration
from polytill.storage.webhook_relays import Waiting

SNAPSHOT_TTL_S = 1.0
# Maximum age of a snapshot if the write itself checks that nothing has changed.
CHECKED_TTL_S = 60.0
PAYER_WINDOW_S, PAYER_QUESTIONS = 10.0, 5
MAX_REMEMBERED = 10_000
MOST_OPEN = 100_000

log = structlog.get_logger("polytill")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A practice's configurations at one time. Never changed, only replaced."""

    configurations: dict[str, Configuration]
    revision: int
    defaults: Mapping[tuple[Environment, str], int]
    currency: str
    place: Locality  # the practice's country and time zone
    read_at_s: float
    rollout: RolloutPhase | None = None  # None: the practice is not in a rollout
    policies: dict[Environment, ActivePolicy] = field(default_factory=dict)  # none: the default order
    # ``flows/payments/candidates.py``: the candidates by currency, valid until snapshot or catalog is read again.
    routed: dict[str, Any] = field(default_factory=dict)

    @property
    def live(self) -> dict[str, Configuration]:
        """The configurations that are not removed, by provider."""
        return {code: one for code, one in self.configurations.items() if one.removed_at is None}


_CODES = {currency.numeric: currency.code for currency in CURRENCIES.values()}


@dataclass(slots=True)
class Health:
    """This process's own state, for ``/readyz``, metrics and the log."""

    key_ring: str | None = None  # why the key ring differs from the installation's
    disk_full_until_s: float = float("-inf")
    lifespan_runs: bool = False
    # By ``elapsed_s``: when this process last checked for a worker, since when none runs, and when it last logged that.
    worker_asked_at_s: float = float("-inf")
    without_worker_since_s: float | None = None
    worker_said_at_s: float = float("-inf")


@dataclass(slots=True)
class SnapshotState:
    """This process's local copy of the owner database (``flows/owner_snapshot.py``).

    Args:
        written_at_s: By ``elapsed_s``, when it was last written.
        is_reported: Whether the log says that it cannot be written.
        announcement: The file of the announcement that counts here: this process's own, or one that it took over.
        announced_as: The node that has written it, if it is its own.
    """

    written_at_s: float = float("-inf")
    is_reported: bool = False
    announcement: AnnouncementFile | None = None
    announced_as: str | None = None


@dataclass(slots=True)
class InstallationState:
    """What this process knows of the installation (``flows/installation.py``).

    Args:
        copied: Why it is a copy that nobody has adopted; None if it is not.
        older_since: Since when the owner database is known to be an older copy; None if it is not.
        ids_checked: Whether the clusters were searched for practices that the owner database does not know.
        is_sandbox_only: Whether it was neutralized.
    """

    copied: CopyReason | None = None
    older_since: datetime | None = None
    ids_checked: bool = False
    is_sandbox_only: bool = False

    @property
    def is_silent(self) -> bool:
        """Whether nothing is sent to anybody else from here."""
        return self.copied is not None or self.is_sandbox_only


@dataclass(slots=True)
class Relays:
    """What this process forwards to old addresses: ``flows/webhooks/forward.py``."""

    transport: Transport | None = None  # None: nothing is forwarded by this process
    tasks: dict[int, asyncio.Task[int]] = field(default_factory=dict)  # by practice
    again: set[int] = field(default_factory=set)  # practices with a relay since their task last looked
    results: Counter[str] = field(default_factory=Counter)  # tries by result
    waiting: dict[int, Waiting] = field(default_factory=dict)  # by practice, as this process read it last
    everywhere: Waiting = field(default_factory=Waiting)  # in all practices, as their workers saw it last

    def note(self, practice_id: int, waiting: Waiting) -> None:
        """Remember what waits in a practice."""
        self.waiting.pop(practice_id, None)
        if waiting.number:
            self.waiting[practice_id] = waiting


@dataclass(slots=True)
class Context:
    """One process's tools. Snapshots are at most one second old; a change in this process replaces them at once."""

    settings: Settings
    world: World
    ring: KeyRing
    owner: OwnerDb
    opening: Opening
    registry: Registry
    http: Http
    _catalog: dict[str, ProviderEntry] | None = None
    _catalog_generation: int = 0
    _snapshots: dict[int, Snapshot] = field(default_factory=dict)
    _forgotten: int = 0  # counts changes made here: a read that overlaps one is not stored
    _used_at_s: dict[tuple[int, int], float] = field(default_factory=dict)
    _payer_asked_at_s: dict[str, list[float]] = field(default_factory=dict)
    _open_from_s: dict[tuple[str, datetime], float] = field(default_factory=dict)
    _aged: dict[str, tuple[float, float]] = field(
        default_factory=dict
    )  # age in seconds, and the ``elapsed_s`` at which it was measured
    leased_until_s: dict[int, float] = field(default_factory=dict)
    lease_used_s: dict[int, float] = field(default_factory=dict)  # when a payment or webhook last relied on a lease
    # By ``elapsed_s``: until when this process's announcement among the nodes counts as a lease on every practice. Then
    # the practices that rely on it and get their own lease as soon as the owner database is back.
    announced_until_s: float = float("-inf")
    node_id: str | None = None  # of this process among the nodes, once it is announced
    owed_leases: set[int] = field(default_factory=set)
    # When a provider rejected replaced keys, by practice, configuration, version.
    refused_at_s: dict[tuple[int, int, int], float] = field(default_factory=dict)
    # How far this process has reconciled past entries that it could not read, by practice, configuration, environment.
    reconciled: dict[tuple[int, int, Environment], Progress] = field(default_factory=dict)
    numbers: Numbers = field(default_factory=Numbers)
    health: Health = field(default_factory=Health)
    installation: InstallationState = field(default_factory=InstallationState)
    snapshot: SnapshotState = field(default_factory=SnapshotState)
    slow_providers: SlowProviderLimiter = field(default_factory=SlowProviderLimiter)
    pool: ProviderPool = field(default_factory=ProviderPool)
    provider_health: ProvidersHealth = field(default_factory=ProvidersHealth)
    unread_entries: int = 0  # entries in providers' listings that this process could not read
    server_clock: ServerClock = field(default_factory=ServerClock)
    # The transport for event deliveries, with its own time limit, so that host and providers never wait for each other.
    host_transport: Transport | None = None
    relays: Relays = field(default_factory=Relays)
    event_backlog: Backlog = field(default_factory=Backlog)  # as last read by this process
    backups: BackupOverview = field(default_factory=BackupOverview)  # as last read by this process
    feed_seen: FeedSeen = field(default_factory=lambda: FeedSeen(""))
    recorded: dict[int, set[str]] = field(default_factory=dict)  # by practice, the newest payments in the records
    # Called after a configuration was saved over the API. The demo uses it to register hook addresses at its simulator.
    on_configured: Any = None
    # The host application's table with the old field (``flows.rollout.host.HostField``); None if none is configured.
    host_field: Any = None
    rollout_overview: Any = None  # ``flows.rollout.overview.Overview`` as last read by this process

    def shared_after(self, seconds: float) -> datetime:
        """The time that many seconds from now by the clock that all processes share: for claims and leases."""
        return self.server_clock.shared_now(self.world) + timedelta(seconds=seconds)

    def surely_past(self, seconds: float) -> datetime:
        """A time that is at least that many seconds ago by our own clock and by the one that all processes share."""
        return min(self.world.now(), self.shared_after(0)) - timedelta(seconds=seconds)

    def open_for_s(self, subject: str, since: datetime) -> float:
        """How long the outcome of a call has been open, at least. Another node may have written ``since``, and either
        clock may have jumped, so the result is never longer than this process has known of the call."""
        elapsed_s = self.world.elapsed_s()
        from_s = self._open_from_s.setdefault((subject, since), elapsed_s)
        if len(self._open_from_s) > MOST_OPEN:  # the oldest are settled, or their time starts again
            del self._open_from_s[next(iter(self._open_from_s))]
        return min((self.world.now() - since).total_seconds(), elapsed_s - from_s)

    def horizon_s(self, handler: type[Handler]) -> float:
        """How long a call may still be running at the provider. A verb may make several requests, each as long as our
        own time limit, and only the last of them moves money."""
        return max(handler.settle_horizon_s, 4 * self.settings.provider_timeout_s)

    def age_s(self, subject: str, created_at: datetime) -> float:
        """How old a call is, so that no idempotency key is used after its time. The result is at least the age when
        this process first read the call plus the time since then, by a clock that never jumps. Infinite if the call was
        created in the future by our clock: one of the two clocks is wrong by an unknown amount."""
        elapsed_s, by_clock_s = self.world.elapsed_s(), (self.world.now() - created_at).total_seconds()
        first_s, from_s = self._aged.setdefault(subject, (by_clock_s, elapsed_s))
        if len(self._aged) > MOST_OPEN:
            del self._aged[next(iter(self._aged))]
        if by_clock_s < -CLOCKS_APART_S:
            return math.inf
        return max(by_clock_s, first_s + elapsed_s - from_s)

    async def practice(self, practice_id: int) -> Practice:
        """A practice by its id. ``NotFound`` if there is none, ``PracticeUnavailable`` if its database is away."""
        return Practice(self, await self.opening.practice(practice_id))

    async def catalog(self) -> dict[str, ProviderEntry]:
        """The catalog by code. While the owner database is unreachable, the copy read last; entries that have changed
        since then take no new payments."""
        watch = self.opening.watch
        generation = await watch.generation()
        if self._catalog is None or not watch.is_kind_current("provider", self._catalog_generation):
            forgotten = self._forgotten
            if self._catalog is not None and watch.away:
                return self._catalog_as_known(self._catalog)
            try:
                read = await catalog.all_entries(self.owner)
            except NotNow:
                if self._catalog is None:
                    raise
                return self._catalog_as_known(self._catalog)
            if forgotten != self._forgotten:
                return read
            self._catalog, self._catalog_generation = read, generation
            # A plug-in may have been installed since this process started.
            self.registry.look_again(
                code for code, entry in read.items() if entry.integration_type is IntegrationType.plugin
            )
        return self._catalog

    def _catalog_as_known(self, known: dict[str, ProviderEntry]) -> dict[str, ProviderEntry]:
        changed = [
            code for code in known if self.opening.watch.changed_since("provider", code, self._catalog_generation)
        ]
        return (
            {**known, **{code: replace(known[code], status=ProviderStatus.inactive) for code in changed}}
            if changed
            else known
        )

    def fill_catalog(self, entries: Iterable[ProviderEntry]) -> None:
        """Use a catalog that was read earlier, until the owner database can be reached."""
        self._catalog, self._catalog_generation = {entry.code: entry for entry in entries}, 0

    def forget_catalog(self) -> None:
        """Read the catalog again on next use."""
        self._forgotten += 1
        self._catalog = None

    async def configured(self, db: PracticeDb, ttl_s: float = SNAPSHOT_TTL_S) -> Snapshot:
        """A practice's configurations, from a snapshot that is at most ``ttl_s`` old."""
        now = self.world.time_s()
        snapshot = self._snapshots.get(db.practice_id)
        if snapshot is None or not 0 <= now - snapshot.read_at_s < ttl_s:
            forgotten = self._forgotten
            rows = await practice_snapshots.read(db)
            # Publishing a policy changes the revision, so that a policy is read only then.
            if snapshot is not None and snapshot.revision == rows.revision and rows.revision:
                policies = snapshot.policies
            else:
                policies = await active_policies(db) if rows.policies else {}
            snapshot = Snapshot(
                rows.configurations,
                rows.revision,
                rows.defaults,
                _CODES[rows.currency_id],
                rows.place,
                now,
                rows.phase,
                policies,
            )
            if forgotten == self._forgotten:
                self._snapshots[db.practice_id] = snapshot
        return snapshot

    def drop_old_snapshots(self) -> None:
        """Free the memory of snapshots that no flow may use any more."""
        now = self.world.time_s()
        for practice_id, snapshot in list(self._snapshots.items()):
            if not 0 <= now - snapshot.read_at_s < CHECKED_TTL_S:
                del self._snapshots[practice_id]

    def forget(self, practice_id: int) -> None:
        """Read a practice's configurations and directory row again on next use."""
        self._forgotten += 1
        self._snapshots.pop(practice_id, None)
        self.opening.forget(practice_id)

    def use_is_news(self, practice_id: int, config_id: int) -> bool:
        """Whether ``lastUsedAt`` must be written: once a minute per configuration, to save the payment path a write."""
        now = self.world.time_s()
        if now - self._used_at_s.get((practice_id, config_id), float("-inf")) < 60:
            return False
        self._used_at_s[(practice_id, config_id)] = now
        return True

    def payer_may_ask(self, payment_id: str) -> bool:
        """Whether a payer's page view may trigger one more lookup. Anybody with the address can call as often as they
        like, but five lookups in ten seconds are enough for everybody."""
        now = self.world.time_s()
        asked = [at for at in self._payer_asked_at_s.get(payment_id, ()) if 0 <= now - at < PAYER_WINDOW_S]
        if len(asked) >= PAYER_QUESTIONS:
            return False
        if len(self._payer_asked_at_s) >= MAX_REMEMBERED:
            self._payer_asked_at_s.clear()
        self._payer_asked_at_s[payment_id] = [*asked, now]
        return True


@dataclass(frozen=True, slots=True)
class Practice:
    """One practice, as flows work on it: its own database, and what the process shares among all practices."""

    context: Context
    db: PracticeDb

    @property
    def id(self) -> int:
        """The practice's id."""
        return self.db.practice_id

    def now(self) -> datetime:
        """The time by this process's clock."""
        return self.context.world.now()
