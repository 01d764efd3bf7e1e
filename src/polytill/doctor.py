"""``polytill doctor``: what is missing or unsafe in an installation, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from polytill.app import Polytill
from polytill.domain.behind import BehindReason
from polytill.domain.copies import CopyReason
from polytill.domain.database_urls import shown_place
from polytill.domain.errors import PolytillError
from polytill.domain.rollout import FieldState
from polytill.domain.sealing import KeyRing
from polytill.domain.states import PracticeState, ProviderStatus
from polytill.flows.admin import clusters, placement
from polytill.flows.admin.clusters import ClusterStatus
from polytill.flows.admin.event_destination import FAILING, read_backlog
from polytill.flows.adoption.unknown import unknown_practices
from polytill.flows.context import Context
from polytill.flows.handlers import handler_or_reason
from polytill.flows.rollout import readers as rollout_readers
from polytill.flows.worker.claims import CLAIM_S
from polytill.providers.http import may_receive_keys
from polytill.settings import Settings
from polytill.storage import (
    files,
    installations,
    leases,
    migrating,
    nodes,
    practice_backups,
    practice_moves,
    practice_rollouts,
    practices,
)
from polytill.storage.opening import OWNER_CONNECTIONS, is_postgres

# A running worker sweeps every due practice within seconds.
LATE_S = 120.0
# A field that could not be written this often has waited for ten minutes.
FIELD_TRIES = 5
MOST_NAMED = 5
# An old address that takes webhooks takes each within minutes.
RELAYS_LATE = timedelta(hours=1)
# Backups are scheduled daily, and a job of many practices takes its time.
BACKUPS_LATE = timedelta(hours=36)
# What is known of a practice's database that is behind.
BEHIND = {
    BehindReason.epoch: "has a database from before it was last adopted",
    BehindReason.birthplace: "has a database that was restored or copied",
    BehindReason.mark: "has a database that lacks events or payments which polytill has already recorded",
}
# How a copy of an installation was noticed, and what follows.
COPIED = {
    CopyReason.name: "POLYTILL_INSTALLATION is {setting!r}, and the owner database is of the installation {name!r}.",
    CopyReason.place: "The owner database is in another place than where it was created or adopted.",
}
INERT = (
    "So this is a copy: no production payment is taken, no provider is called with production keys, and no worker runs. Run"
    " `polytill installation adopt` to use it in place of the original, or `polytill neutralize` to try things with it."
)
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence; ``bad`` if something does not work or is not safe."""

    bad: bool
    sentence: str


async def examine(settings: Settings) -> list[Finding]:
    """Run every check. Nothing is changed."""
    findings = list(_settings(settings))
    try:
        KeyRing.read(settings.keyring)
        async with Polytill.open(settings) as till:
            for check in (
                _installation,
                _catalog,
                _plug_ins,
                _practices,
                _clock,
                _work,
                _events,
                _backups,
                _moves,
                _relays,
                _rollout,
                _nodes,
                _files,
            ):
                findings += [finding async for finding in check(till.context)]
    except PolytillError as error:
        findings.append(Finding(True, error.detail))
    return findings


def _settings(settings: Settings) -> Iterator[Finding]:
    public = urlsplit(settings.public_url)
    if public.hostname in LOOPBACK:
        yield Finding(False, "POLYTILL_PUBLIC_URL is a local address, so no provider can send webhooks to it.")
    elif public.scheme != "https":
        yield Finding(True, "POLYTILL_PUBLIC_URL is not https, so payments would not be encrypted.")
    if public.path.strip("/"):
        said = f"POLYTILL_PUBLIC_URL has the path {public.path}. Staff pages do not work under a path; all else does."
        yield Finding(False, said)
    for origin in sorted(settings.allowed_provider_origins):
        bad = urlsplit(origin).hostname not in LOOPBACK
        yield Finding(bad, f"Keys may be sent to {origin}, which is not a host of a provider.")
    owner_on_server = is_postgres(settings.owner_database_url.get_secret_value())
    if owner_on_server != is_postgres(settings.practice_databases.get_secret_value()):
        yield Finding(False, "The owner database and the practices' databases are on different engines.")


async def _installation(context: Context) -> AsyncIterator[Finding]:
    state, found = context.installation, await installations.read(context.owner)
    if state.copied is not None:
        yield Finding(
            True, f"{COPIED[state.copied].format(name=found.name, setting=context.settings.installation)} {INERT}"
        )
    if state.older_since is not None:
        said = "The owner database was restored from an older copy. Run `polytill installation adopt`."
        yield Finding(True, said)
    if state.is_sandbox_only:
        yield Finding(False, "This installation was neutralized: it has only the sandbox.")
    for one in await unknown_practices(context):
        said = f"is not in the directory. Its database is {one.database_name} on the cluster {one.cluster}."
        yield Finding(True, f"Practice {one.practice_id} ({one.name}) {said}")


async def _catalog(context: Context) -> AsyncIterator[Finding]:
    catalog = await context.catalog()
    if not catalog:
        yield Finding(True, "The catalog is empty. Run `polytill catalog add stripe paystack flutterwave`.")
    for entry in catalog.values():
        if entry.status is ProviderStatus.inactive:
            continue
        handler, missing = handler_or_reason(context, entry)
        if handler is None:
            yield Finding(True, f"{entry.name} is {entry.status}, but: {missing}")
            continue
        for environment in ("sandbox", "production"):
            url = entry.base_url(environment) or handler.catalog.api_base_url
            if not may_receive_keys(url, handler.hosts, context.settings.allowed_provider_origins):
                yield Finding(True, f"{entry.name}'s {environment} address must not receive keys: {url}")


async def _plug_ins(context: Context) -> AsyncIterator[Finding]:
    """For each installed plug-in: that it is loaded, or why it was rejected."""
    for one in context.registry.plug_ins():
        said = f"was rejected: {one.refused}" if one.refused else f"is loaded from {one.path}."
        yield Finding(bool(one.refused), f"The plug-in {one.code} ({one.distribution or one.path}) {said}")


async def _practices(context: Context) -> AsyncIterator[Finding]:
    """Find clusters on which no practice can be created, and practices that cannot be opened. If a cluster does not
    work, its practices are one finding."""
    found = await clusters.survey(context)
    for sentence in _clusters(found):
        yield Finding(True, sentence)
    for finding in _connections(context, found):
        yield finding
    broken = {one.row.name for one in found if one.problem is not None}
    closed: Counter[str] = Counter()
    head = migrating.head("practice")
    for entry in await practices.listed(context.owner):
        if entry.state is PracticeState.deleted and not entry.cluster:
            continue
        if closed[entry.cluster]:
            closed[entry.cluster] += 1
            continue
        if entry.state is PracticeState.deleted:
            said = f"was deleted, and its database {entry.database_name} is not dropped yet."
            said += f" Run `polytill practices delete {entry.id} --confirm NAME` again."
        elif entry.state is PracticeState.provisioning:
            said = f"was not created completely. Its database is {entry.database_name}."
            said += f" Run `polytill practices discard {entry.id}`."
        elif entry.schema_version != head:
            said = f"is at schema {entry.schema_version}. Run `polytill migrate`."
        else:
            try:
                db = await context.opening.practice(entry.id)
                if db.anchor.behind is None:
                    continue
                said = (
                    f"{BEHIND[db.anchor.behind]}, so it takes no payments. Run `polytill practices adopt {entry.id}`."
                )
            except PolytillError as error:
                said = f"cannot be opened: {error.detail}"
                closed[entry.cluster] += entry.cluster in broken
        yield Finding(True, f"Practice {entry.id} {said}")
    for name, number in closed.items():
        if number > 1:
            others = "1 other practice" if number == 2 else f"{number - 1} other practices"
            yield Finding(
                True, f"{others} on the cluster {name} could not be checked, since the cluster does not work."
            )


def _clusters(found: Iterable[ClusterStatus]) -> Iterator[str]:
    """What is wrong with each cluster, and that none has room."""
    for one in found:
        name = one.row.name
        if one.problem is not None:
            yield f"No practice can be created on the cluster {name}: {one.problem}"
        for sentence in one.unavailable_sentences():
            yield f"Cluster {name}: {sentence}"
    if not placement.in_order((one.row for one in found), {one.row.name: one.practices for one in found}):
        yield "No cluster has room for a new practice. Open one, raise its capacity, or add another."


async def _clock(context: Context) -> AsyncIterator[Finding]:
    await context.server_clock.ask(context.owner, context.world)
    ahead_s = context.server_clock.ahead_s(context.world)
    if ahead_s is not None and context.server_clock.surely_ahead_s(context.world):
        which = "ahead of" if ahead_s > 0 else "behind"
        sentence = (
            f"This machine's clock is {abs(ahead_s):.1f} seconds {which} the owner database server's. Correct the wrong"
            " one (NTP), and run `polytill doctor` on every machine that runs polytill."
        )
        yield Finding(abs(ahead_s) > CLAIM_S, sentence)


async def _work(context: Context) -> AsyncIterator[Finding]:
    waiting = await leases.overdue(context.owner, context.shared_after(-LATE_S), context.shared_after(0))
    if waiting:
        who = "1 practice has" if waiting == 1 else f"{waiting} practices have"
        yield Finding(True, f"{who} waited for more than two minutes. Check that a worker runs (`polytill worker`).")


async def _events(context: Context) -> AsyncIterator[Finding]:
    backlog = await read_backlog(context)
    if backlog.abandoned:
        what = "1 event was" if backlog.abandoned == 1 else f"{backlog.abandoned} events were"
        sentence = (
            f"{what} not delivered to the host: all tries failed. Deliver them again"
            ' (POST /api/owner/event-deliveries/replay) or resolve them on the page "Needs attention".'
        )
        yield Finding(True, sentence)
    since = backlog.retrying_since
    if since is not None and context.world.now() - since > FAILING:
        hours = int((context.world.now() - since).total_seconds() // 3600)
        what = "1 event waits" if backlog.retrying == 1 else f"{backlog.retrying} events wait"
        sentence = f"The event destination has not accepted an event for more than {hours} h: {what} for another try."
        yield Finding(True, sentence)


async def _backups(context: Context) -> AsyncIterator[Finding]:
    """Find practices whose last good backup is missing or old, if backups are made."""
    if not context.settings.backups:
        return
    found = await practice_backups.overview(context.owner)
    missing = found.practices - found.with_backup
    if missing:
        what = "1 practice has" if missing == 1 else f"{missing} practices have"
        yield Finding(
            bool(context.settings.backup_schedule), f"{what} no good backup. Run `polytill practices backup`."
        )
    if found.oldest_at is not None and context.settings.backup_schedule:
        age = context.world.now() - found.oldest_at
        if age > BACKUPS_LATE:
            hours = int(age.total_seconds() // 3600)
            yield Finding(True, f"The last good backup of a practice is {hours} h old. See `polytill jobs list`.")


async def _moves(context: Context) -> AsyncIterator[Finding]:
    """Note old databases that are kept after moves."""
    kept = await practice_moves.unconfirmed(context.owner, limit=MOST_NAMED + 1)
    if kept:
        named = _named(str(one.practice_id) for one in kept)
        yield Finding(
            False, f"Old databases are kept of practice {named}. Run `polytill practices move --confirm` to drop them."
        )


async def _relays(context: Context) -> AsyncIterator[Finding]:
    found = await leases.relays(context.owner)
    if found.number and found.oldest_at is not None:
        hours = int((context.world.now() - found.oldest_at).total_seconds() // 3600)
        what = "1 webhook waits" if found.number == 1 else f"{found.number} webhooks wait"
        sentence = f"{what} to be forwarded to an old address, the oldest for {hours} h. Is the old code up?"
        yield Finding(found.oldest_at < context.world.now() - RELAYS_LATE, sentence)


async def _rollout(context: Context) -> AsyncIterator[Finding]:
    """Find fields and configurations that are not equal, and name who still reads the field."""
    for state, said in (
        (FieldState.conflict, "Somebody changed the field while polytill decides. Run `polytill rollout resolve`"),
        (
            FieldState.blocked,
            "The field and polytill's configurations cannot be made equal. Run `polytill rollout status`",
        ),
    ):
        found = await practice_rollouts.listed(context.owner, field_state=state, limit=MOST_NAMED + 1)
        if found:
            yield Finding(True, f"{said}: practice {_named(str(one.practice_id) for one in found)}.")
    late = [
        one
        for one in await practice_rollouts.listed(context.owner, field_state=FieldState.pending)
        if one.tries >= FIELD_TRIES
    ]
    if late:
        said = (
            f"Our changes could not be written into the field of practice {_named(str(o.practice_id) for o in late)}."
        )
        yield Finding(True, f"{said} Check that the host application's database can be reached.")
    readers = await rollout_readers.readers(context)
    recent = readers.since(context.world.now() - timedelta(days=context.settings.field_quiet_days))
    if recent:
        yield Finding(False, f"The old field is still read by {_named(one.caller for one in recent)}.")


def _named(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:MOST_NAMED]) + (" and others" if len(found) > MOST_NAMED else "")


def _connections(context: Context, found: Iterable[ClusterStatus]) -> Iterator[Finding]:
    """Find servers that one process alone could fill. The number of processes is not known here."""
    owners = context.settings.owner_database_url.get_secret_value()
    of_server: dict[str, list[ClusterStatus]] = {}
    for one in found:
        if one.server_connections is not None and one.place is not None:
            of_server.setdefault(one.place, []).append(one)
    for place, here in of_server.items():
        ours = sum(one.row.connection_limit or context.settings.database_connections for one in here)
        ours += OWNER_CONNECTIONS * (is_postgres(owners) and shown_place(owners) == place)
        room = min(one.server_connections or 0 for one in here)
        if ours > room:
            which = f"the cluster{'s' * (len(here) > 1)} {_named(one.row.name for one in here)}"
            sentence = (
                f"The server of {which} accepts {room} connections, and each polytill process opens up to {ours}."
                " Lower POLYTILL_DATABASE_CONNECTIONS or the cluster's connections, or raise the server's max_connections."
            )
            yield Finding(False, sentence)


async def _nodes(context: Context) -> AsyncIterator[Finding]:
    live = await nodes.live(context.owner, context.shared_after(0))
    if live and not any(node.runs_worker for node in live):
        yield Finding(True, "No worker runs. Start `polytill worker`.")


async def _files(context: Context) -> AsyncIterator[Finding]:
    place = context.settings.practice_databases.get_secret_value()
    if files.is_full(place):
        yield Finding(True, "The disk of the practices' SQLite files is full. Free some space.")
    limit = files.raise_limit()
    if is_postgres(place):
        if context.settings.database_connections + OWNER_CONNECTIONS > limit // 2:
            said = f"{limit} files may be open (ulimit -n), and connections may need more than half: raise the limit."
            yield Finding(False, said)
        return
    count, at_once = len(await practices.listed(context.owner)), files.sqlite_files()
    if at_once < min(count, files.ENOUGH_FILES):
        sentence = (
            f"{at_once} of {count} practices can be open at once, because {limit} files may be open (ulimit -n)."
            " Raise the limit."
        )
        yield Finding(False, sentence)
