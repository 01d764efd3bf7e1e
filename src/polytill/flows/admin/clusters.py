"""Clusters, which hold practice databases: checked before they are saved, changed, closed and removed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import EllipsisType

from polytill.domain.audit_actions import AuditAction
from polytill.domain.database_urls import is_postgres, shown_place, wrong_with_cluster
from polytill.domain.errors import Conflict, Duplicate, NotFound, NotNow, OperatorError, PolytillError, invalid
from polytill.domain.sealing import Place
from polytill.domain.secret import Secret
from polytill.domain.states import ClusterState
from polytill.flows import key_ring
from polytill.flows.admin.practices import ONBOARDING_S, began_after
from polytill.flows.context import Context
from polytill.storage import audit, cluster_rows, practice_moves, practices
from polytill.storage.cluster_rows import ClusterRow
from polytill.storage.clusters import Cluster, at_address
from polytill.storage.databases import Tx
from polytill.storage.opening import DEFAULT
from polytill.storage.units import Unit

_NO_SUCH = "There is no cluster named {name!r}."
SAMPLE = 25  # practices whose identity is read at a new address; that all databases are there is always checked
MOST_NAMED = 5
PROBE_S = 8.0  # a server that takes longer to answer counts as unreachable


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterChanges:
    """What to change of a cluster. None leaves a value as it is; for ``capacity`` and ``connection_limit`` ``...`` does,
    and None removes the limit."""

    url: Secret | None = None
    state: ClusterState | None = None
    capacity: int | EllipsisType | None = ...
    connection_limit: int | EllipsisType | None = ...
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a new cluster: as in ``ClusterRow``."""

    state: ClusterState = ClusterState.open
    capacity: int | None = None
    connection_limit: int | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """A cluster as people see it, without its address.

    ``engine`` and ``place``: ``postgresql`` and the hosts of its server, or ``sqlite`` and its directory; None if the
    address cannot be opened. ``problem``: why no practice can be created there now. ``unavailable_hosts``: of several
    hosts those that could not become the primary, each with the reason. ``server_connections``: how many the server
    accepts from everybody; None for a directory.
    """

    row: ClusterRow
    practices: int
    engine: str | None
    place: str | None
    problem: str | None
    unavailable_hosts: dict[str, str] = field(default_factory=dict)
    server_connections: int | None = None

    @property
    def room(self) -> int | None:
        """For how many more practices it has room; None without a capacity."""
        return None if self.row.capacity is None else max(0, self.row.capacity - self.practices)

    def unavailable_sentences(self) -> list[str]:
        """A sentence for each unavailable host."""
        return [no_primary(host, why) for host, why in self.unavailable_hosts.items()]


def no_primary(host: str, why: str) -> str:
    """The sentence for a host that could not become the primary."""
    return f"The host {host} could not become the primary: {why}"


async def survey(context: Context) -> list[ClusterStatus]:
    """All clusters, the default one first, each tried now: within a few seconds, even if a server does not answer."""
    rows, counts = await cluster_rows.listed(context.owner), await cluster_rows.counts(context.owner)
    return list(await asyncio.gather(*(_probed(context, row, counts.get(row.name, 0)) for row in rows)))


async def status_of(context: Context, name: str) -> ClusterStatus:
    """One cluster, tried now. ``NotFound`` if there is none of this name."""
    row = await _row(context, name)
    return await _probed(context, row, (await cluster_rows.counts(context.owner)).get(name, 0))


async def _probed(context: Context, row: ClusterRow, count: int) -> ClusterStatus:
    try:
        cluster = await context.opening.cluster(row.name)
    except PolytillError as error:
        return ClusterStatus(row, count, None, None, error.detail)
    engine = "postgresql" if is_postgres(cluster.location) else "sqlite"
    found = ClusterStatus(row, count, engine, shown_place(cluster.location), None)
    try:
        async with asyncio.timeout(PROBE_S):
            await cluster.check()
            hosts, accepted = await cluster.unavailable_hosts(), await cluster.room()
            return replace(found, unavailable_hosts=hosts, server_connections=accepted)
    except TimeoutError:
        return replace(found, problem=f"It did not answer within {PROBE_S:.0f} seconds.")
    except PolytillError as error:
        return replace(found, problem=error.detail)


async def add(context: Context, name: str, url: Secret, limits: Limits, actor: str) -> None:
    """Register a cluster that works, with all its hosts. Its address may contain a password, so it is stored sealed."""
    if name == DEFAULT:
        raise Conflict(f"A cluster named {name!r} already exists.", code="duplicate_name")
    await _check(context, url, (), every_host=True)
    await key_ring.may_seal(context)
    now = context.world.now()
    sealed = context.opening.seal_owners(url, _place(name))
    unit = Unit()
    row = ClusterRow(name, sealed, limits.state, limits.capacity, limits.connection_limit, limits.priority, now)
    cluster_rows.add(unit, row)
    about = {"place": shown_place(url.reveal()), "state": row.state, "capacity": row.capacity}
    audit.append(unit, now, actor, AuditAction.cluster_added, name, about)
    try:
        await context.owner.commit(unit)
    except Duplicate:
        raise Conflict(f"A cluster named {name!r} already exists.", code="duplicate_name") from None
    context.opening.forget_clusters()


async def change(context: Context, name: str, changes: ClusterChanges, actor: str) -> None:
    """Replace the address (a changed password), open or close the cluster to new practices, or change its limits.

    A new address is checked first, and must have the databases of the cluster's practices. All processes use it within two
    seconds. ``NotFound``, ``Invalid``, or ``Conflict`` if a practice was created on the cluster meanwhile.
    """
    await _row(context, name)
    homes: list[tuple[int, str]] = []
    sealed: str | None = None
    if changes.url is not None:
        _not_the_default(name)
        homes = await practices.homes(context.owner, name)
        await _check(context, changes.url, homes, every_host=False)
        await key_ring.may_seal(context)
        sealed = context.opening.seal_owners(changes.url, _place(name))
    now = context.world.now()
    async with context.owner.transaction() as tx:
        held = await cluster_rows.hold(tx, name)
        if held is None:
            raise NotFound(_NO_SUCH.format(name=name))
        about = _differences(held[0], changes)
        values = dict(about)
        if changes.url is not None:
            await _same_practices(context, tx, name, homes)
            about["place"], values["sealed_url"] = shown_place(changes.url.reveal()), sealed
        if values:  # else nothing is written: an audit entry would empty every node's caches
            cluster_rows.change(tx, name, values, now)
            audit.append(tx, now, actor, AuditAction.cluster_changed, name, about)
    context.opening.forget_clusters()


def _differences(row: ClusterRow, changes: ClusterChanges) -> dict[str, object]:
    """The new values of state and limits, by column: only those that differ."""
    wanted = {
        "state": row.state if changes.state is None else changes.state,
        "capacity": row.capacity if isinstance(changes.capacity, EllipsisType) else changes.capacity,
        "connection_limit": row.connection_limit
        if isinstance(changes.connection_limit, EllipsisType)
        else changes.connection_limit,
        "priority": row.priority if changes.priority is None else changes.priority,
    }
    return {column: value for column, value in wanted.items() if value != getattr(row, column)}


async def _same_practices(context: Context, tx: Tx, name: str, checked: Sequence[tuple[int, str]]) -> None:
    """``Conflict`` if a practice was created, or is being created, whose database was not looked for at the new
    address. The caller holds the cluster, so that no other one begins."""
    after = context.world.after(-ONBOARDING_S)
    begun = {entry.id for entry in await practices.half_made(tx) if entry.cluster == name and began_after(entry, after)}
    others = sorted(
        {practice_id for practice_id, _ in await practices.homes(tx, name)} - {one for one, _ in checked} | begun
    )
    if others:
        are = "was or is being created" if len(others) == 1 else "were or are being created"
        raise Conflict(
            f"The address was not saved: {_named(others)} {are} on the cluster. Try again in a minute.",
            code="practice_in_creation",
        )


async def remove(context: Context, name: str, actor: str) -> None:
    """Delete a cluster without practices; ``Conflict`` if it has practices."""
    _not_the_default(name)
    async with context.owner.transaction() as tx:
        held = await cluster_rows.hold(tx, name)
        kept = await practice_moves.on_cluster(tx, name)
        if held is not None and held[1] == 0 and kept == 0:
            cluster_rows.remove(tx, name)
            audit.append(tx, context.world.now(), actor, AuditAction.cluster_removed, name)
    if held is None:
        raise NotFound(_NO_SUCH.format(name=name))
    if held[1]:
        what = "1 practice is" if held[1] == 1 else f"{held[1]} practices are"
        said = f"{what} on the cluster {name!r}, so it cannot be removed."
        left = [entry.id for entry in await practices.half_made(context.owner) if entry.cluster == name]
        if left:
            said += f" Not created completely: {_named(left)}. Run `polytill practices discard ID`."
        raise Conflict(said, code="cluster_in_use")
    if kept:
        said = f"Old databases of moved practices are kept on the cluster {name!r}. Run `polytill practices move --confirm`."
        raise Conflict(said, code="cluster_in_use")
    context.opening.forget_clusters()


def _named(practice_ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, practice_ids[:MOST_NAMED])) + (" and others" if len(practice_ids) > MOST_NAMED else "")
    return f"practice{'s' * (len(practice_ids) > 1)} {shown}"


async def _check(context: Context, url: Secret, homes: Sequence[tuple[int, str]], every_host: bool) -> None:
    """``Invalid`` with one sentence, without the password, unless practices can be created at this address now, and
    the databases of ``homes`` are there. ``every_host``: the standbys must answer, too."""
    if (wrong := wrong_with_cluster(url.reveal())) is not None:
        raise invalid("/url", wrong, reason="cluster_address")
    try:
        async with at_address(url.reveal()) as cluster:
            await cluster.try_out(f"polytill_check_{context.world.random_bytes(6).hex()}")
            unavailable = await cluster.unavailable_hosts() if every_host else {}
            for host, why in unavailable.items():
                raise OperatorError(no_primary(host, why))
            await _has(cluster, homes)
    except (NotNow, OperatorError) as error:
        raise invalid("/url", f"The address was not saved. {error.detail}", reason="cluster_unusable") from error


async def _has(cluster: Cluster, homes: Sequence[tuple[int, str]]) -> None:
    """``Invalid`` unless the databases of these practices are on a cluster, and belong to them."""
    missing = set(await cluster.missing(name for _, name in homes))
    where = shown_place(cluster.location)
    if missing:
        ids = [practice_id for practice_id, name in homes if name in missing]
        said = (
            f"The address was not saved. Databases of this cluster are not at {where}: those of {_named(ids)}"
            f" ({len(ids)} of {len(homes)})."
        )
        raise invalid("/url", said, reason="cluster_elsewhere")
    sample = homes[:: max(1, -(-len(homes) // SAMPLE))]
    try:
        await cluster.check_identities(sample)
    except OperatorError as error:
        said = f"The address was not saved. The databases at {where} do not belong to this cluster's practices."
        raise invalid("/url", said, reason="cluster_elsewhere") from error


async def _row(context: Context, name: str) -> ClusterRow:
    for row in await cluster_rows.listed(context.owner):
        if row.name == name:
            return row
    raise NotFound(_NO_SUCH.format(name=name))


def _not_the_default(name: str) -> None:
    if name == DEFAULT:
        raise Conflict(
            "The address of the default cluster is a setting, POLYTILL_PRACTICE_DATABASES. Change it there.",
            code="default_cluster",
        )


def _place(name: str) -> Place:
    return Place("clusters", name, "sealed_url")
