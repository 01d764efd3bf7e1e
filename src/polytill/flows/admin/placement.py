"""Where a new practice goes: to the cluster that is named, or to the open one with most room that works."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from polytill.domain.errors import Conflict, Invalid, NotFound, NotNow, OperatorError, PolytillError, invalid
from polytill.domain.states import ClusterState
from polytill.flows.context import Context, log
from polytill.storage import cluster_rows, practices
from polytill.storage.cluster_rows import ClusterRow
from polytill.storage.practices import PracticeEntry


class Refusal(NamedTuple):
    """Why a cluster does not accept a new practice: the key of a text, and a sentence."""

    reason: str
    sentence: str


def _missing(name: str) -> Refusal:
    return Refusal("no_such_cluster", f"There is no cluster named {name!r}.")


def in_order(clusters: Iterable[ClusterRow], counts: Mapping[str, int]) -> list[ClusterRow]:
    """The clusters that accept a new practice, in the order in which they are tried.

    The one with most room (capacity less practices) comes first, and one without a capacity before all others. Where the
    room is equal the higher priority decides, then the smaller number of practices.
    """

    def rank(row: ClusterRow) -> tuple[float, int, int, str]:
        return -_room(row, counts.get(row.name, 0)), -row.priority, counts.get(row.name, 0), row.name

    accepting = (row for row in clusters if why_not(row, counts.get(row.name, 0)) is None)
    return sorted(accepting, key=rank)


def _room(row: ClusterRow, count: int) -> float:
    return math.inf if row.capacity is None else row.capacity - count


def why_not(row: ClusterRow, count: int) -> Refusal | None:
    """Why a cluster with so many practices accepts no other; None if it does."""
    if row.state is ClusterState.closed:
        return Refusal("cluster_closed", f"The cluster {row.name!r} is closed to new practices.")
    if _room(row, count) <= 0:
        return Refusal("cluster_full", f"The cluster {row.name!r} is full ({count} of {row.capacity} practices).")
    return None


async def check_named(context: Context, named: str | None) -> None:
    """``Invalid`` if the named cluster does not accept a new practice."""
    if named is not None:
        rows = {row.name: row for row in await cluster_rows.listed(context.owner)}
        _accepts(named, rows.get(named), (await cluster_rows.counts(context.owner)).get(named, 0))


def _accepts(name: str, row: ClusterRow | None, count: int) -> None:
    why = _missing(name) if row is None else why_not(row, count)
    if why is not None:
        raise _refused(why)


def _refused(why: Refusal) -> Invalid:
    return invalid("/cluster", why.sentence, reason=why.reason)


async def reserve(context: Context, entry: PracticeEntry, named: str | None) -> tuple[PracticeEntry, ClusterRow]:
    """Reserve a new practice on a cluster: the ``named`` one, or else the first in order that works. Return both as
    they are now.

    ``Invalid`` if the named one does not accept it, ``Conflict`` if no cluster has room, ``Duplicate`` for an external
    id in use. A server that does not work is skipped unless it is named.
    """
    rows, counts = await cluster_rows.listed(context.owner), await cluster_rows.counts(context.owner)
    if named is not None:
        return await _reserve_on(
            context, entry, named, {row.name: row for row in rows}.get(named), counts.get(named, 0)
        )
    failures: dict[str, PolytillError] = {}
    for row in in_order(rows, counts):
        try:
            await (await context.opening.cluster(row.name)).check()
        except (NotFound, NotNow, OperatorError) as error:
            failures[row.name] = error
            continue
        reserved = await _reserved(context, replace(entry, cluster=row.name))
        if not isinstance(reserved, Refusal):
            for name, failure in failures.items():
                log.warning("cluster_skipped", cluster=name, reason=failure.code)
            return reserved
    for failure in failures.values():
        raise failure
    raise Conflict(
        "No cluster has room for a new practice. Open one, raise its capacity, or add another.", code="no_cluster_room"
    )


async def _reserve_on(
    context: Context, entry: PracticeEntry, name: str, row: ClusterRow | None, count: int
) -> tuple[PracticeEntry, ClusterRow]:
    """Reserve a new practice on the cluster that is named. Its server is checked before a row is written that would be
    left behind if the server does not work."""
    _accepts(name, row, count)
    await (await context.opening.cluster(name)).check()
    reserved = await _reserved(context, replace(entry, cluster=name))
    if isinstance(reserved, Refusal):
        raise _refused(reserved)
    return reserved


async def _reserved(context: Context, entry: PracticeEntry) -> tuple[PracticeEntry, ClusterRow] | Refusal:
    """The reservation with its cluster, or why the cluster does not accept it. The lock keeps two at once from passing
    the capacity, and a change of the address from missing this practice."""
    async with context.owner.transaction() as tx:
        held = await cluster_rows.hold(tx, entry.cluster)
        if held is None:
            return _missing(entry.cluster)
        if (why := why_not(*held)) is not None:
            return why
        return replace(entry, id=await practices.reserve(tx, entry)), held[0]
