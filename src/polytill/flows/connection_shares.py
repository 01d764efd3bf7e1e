"""The processes agree on their shares of each PostgreSQL server's connections, in the owner database.

A server accepts a number of connections, and each process could open as many as its own limit. Every process therefore
records what it has and what it could use, and all calculate the same division from that: each gets what it wants, those
who want more than the rest allows get equal parts, and what nobody wants is divided as well, so that a sudden need finds
room. A process that has to give some up closes them first; one that is due more takes them only when they are free. So
the sum of all shares stays within the server's part for polytill. While the owner database is away, the shares stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from polytill.domain.errors import PolytillError
from polytill.flows.context import Context
from polytill.storage import connection_shares as shares
from polytill.storage.connection_budget import FEWEST, Budget
from polytill.storage.connection_shares import Share

# Of the connections that a server accepts, if no setting says how many: the rest is for processes that start, commands,
# and other programs.
PART_PERCENT = 80


def division(total: int, wanted: Mapping[str, int], most: Mapping[str, int]) -> dict[str, int]:
    """Divide a number of connections: everybody's part, ``FEWEST`` at least and never more than ``most``.

    Args:
        total: Connections to divide.
        wanted: What each could use, by its name.
        most: What each may have at most, by its name.
    """
    first = _filled(total, {name: min(one, most[name]) for name, one in wanted.items()})
    rest = _filled(total - sum(first.values()), {name: most[name] - part for name, part in first.items()})
    return {name: max(FEWEST, part + rest[name]) for name, part in first.items()}


def _filled(total: int, wanted: Mapping[str, int]) -> dict[str, int]:
    """Give everybody what they want, the smallest wish first; what is not enough for all is divided equally."""
    left, parts = max(0, total), {}
    in_order = sorted(wanted, key=lambda name: (wanted[name], name))
    for at, name in enumerate(in_order):
        parts[name] = min(wanted[name], left // (len(in_order) - at))
        left -= parts[name]
    return parts


@dataclass(frozen=True, slots=True)
class _Part:
    """This process's part of one server: ``share`` as it is recorded, and how many connections it may open."""

    share: Share
    limit: int


class Sharing:
    """One process's side of the agreement."""

    def __init__(self, context: Context, node_id: str) -> None:
        self._context, self._node_id = context, node_id
        self._rooms: dict[str, int] = {}  # by server

    async def agree(self) -> None:
        """Agree with the other processes on the shares of this one, and keep to them."""
        context, servers = self._context, self._context.opening.budgets()
        totals = await self._totals(servers)
        if not totals:
            return
        ours = {server: self._ours(server, servers[server]) for server in totals}
        found = await shares.live(context.owner, totals, context.shared_after(0))
        parts = _parts(totals, found, ours)
        if not {part.share for part in parts.values()} <= set(found):
            async with context.owner.transaction() as tx:
                await shares.lock(tx, context.owner)
                parts = _parts(totals, await shares.live(tx, totals, context.shared_after(0)), ours)
                for part in parts.values():
                    shares.write(tx, part.share)
        for server, part in parts.items():
            _keep_to(part.limit, servers[server])

    async def _totals(self, servers: Mapping[str, list[Budget]]) -> dict[str, int]:
        """How many connections all processes together may have, by server. One whose limit is not known is left out."""
        if (total := self._context.settings.server_connections) is not None:
            return dict.fromkeys(servers, total)
        for server, budgets in servers.items():
            if server not in self._rooms and not budgets[0].is_pooled:  # the limit of a pooler is not the server's
                with suppress(PolytillError):  # whoever needs the server reports it
                    self._rooms[server] = await budgets[0].room()
        return {server: self._rooms[server] * PART_PERCENT // 100 for server in servers if server in self._rooms}

    def _ours(self, server: str, budgets: list[Budget]) -> Share:
        wanted = sum(budget.wants() for budget in budgets)
        most = sum(budget.ceiling for budget in budgets)
        return Share(server, self._node_id, sum(budget.total for budget in budgets), wanted, most)


def _parts(totals: Mapping[str, int], found: list[Share], ours: Mapping[str, Share]) -> dict[str, _Part]:
    """This process's parts, given the shares that are recorded."""
    parts = {}
    for server, total in totals.items():
        mine = ours[server]
        others = [share for share in found if share.server == server and share.node_id != mine.node_id]
        everybody = {share.node_id: share for share in (*others, mine)}
        wanted = {node_id: share.wanted for node_id, share in everybody.items()}
        due = division(total, wanted, {node_id: share.most for node_id, share in everybody.items()})[mine.node_id]
        free = total - sum(share.connections for share in others)
        limit = max(FEWEST, min(due, free))
        parts[server] = _Part(replace(mine, connections=max(limit, mine.connections)), limit)
    return parts


def _keep_to(limit: int, budgets: list[Budget]) -> None:
    """Divide this process's part of a server among its own budgets there."""
    by_number = {str(number): budget for number, budget in enumerate(budgets)}
    wanted = {number: budget.total + FEWEST for number, budget in by_number.items()}
    for number, part in division(limit, wanted, {number: one.ceiling for number, one in by_number.items()}).items():
        by_number[number].take_share(part)
