"""What a worker has to do in a practice, in one statement: most sweeps find nothing.

Each part says whether the query that reads the work may find any. It may be wrong only in one direction: a part that is
False has no work.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.storage.databases import PracticeDb
from polytill.storage.events import LAST_FORWARDED
from polytill.storage.search_blocks import ROWS
from polytill.storage.units import moment
from polytill.storage.webhook_relays import Waiting


@dataclass(frozen=True, slots=True)
class Times:
    """The times that decide what is due.

    - ``lookups``: the time of lookups, by this process's clock; ``beyond``: a later time is a wrong clock's, and due.
    - ``webhooks``: the latest receipt of a webhook that is applied again.
    - ``expiry``: the latest expiry of a payment that has certainly expired.
    - ``detachments``: the time of tries to detach saved methods, by the clock that all processes share.
    """

    lookups: datetime
    beyond: datetime
    webhooks: datetime
    expiry: datetime
    detachments: datetime


@dataclass(frozen=True, slots=True)
class Recorded:
    """How many payments after an id are recorded in the owner database, as far as this process knows."""

    after: str
    number: int


@dataclass(frozen=True, slots=True)
class DueWork:
    """Which work is due in a practice. ``open``: whether there is any left, now or later. ``last_forwarded``: the position of the
    newest event that is marked as forwarded."""

    new_payments: bool
    events: bool
    attempts: bool
    refunds: bool
    operations: bool
    webhooks: bool
    unpaid: bool
    search_rows: bool
    detachments: bool
    open: bool
    last_forwarded: int
    relays: Waiting

    @property
    def lookups(self) -> bool:
        """Whether anything is to be looked up, applied or expired."""
        return self.attempts or self.refunds or self.operations or self.webhooks or self.unpaid


_LATE = "next_lookup_at <= $1 OR next_lookup_at > $2"
_DUE = {
    "new_payments": "payments WHERE (SELECT COUNT(*) FROM (SELECT 1 FROM payments WHERE id > $7 LIMIT $8) AS made) > $9",
    "events": "events WHERE forwarded_at IS NULL",
    "attempts": f"payment_attempts WHERE {_LATE}",
    "refunds": f"refunds WHERE {_LATE}",
    "operations": f"payment_operations WHERE {_LATE}",
    "webhooks": "webhook_events WHERE state = 'received' AND received_at <= $3",
    "unpaid": (
        "payments AS p JOIN payment_attempts AS a ON a.payment_id = p.id"
        " WHERE p.status IN ('requires_action', 'processing') AND p.expires_at <= $4"
        " AND a.state = 'needs_action' AND a.next_lookup_at <= $4"
    ),
    "search_rows": "payment_search WHERE block = 0 GROUP BY environment HAVING COUNT(*) >= $6",
    "detachments": "saved_method_detachments WHERE state = 'due' AND next_try_at <= $5",
}
# Whether a lease may end: the cheapest first, because an open payment answers it for most practices in use.
_OPEN = (
    "payments WHERE status IN ('requires_action', 'processing')",
    "payment_attempts WHERE next_lookup_at IS NOT NULL",
    "refunds WHERE next_lookup_at IS NOT NULL",
    "payment_operations WHERE next_lookup_at IS NOT NULL",
    "webhook_events WHERE state = 'received'",
    "webhook_relays WHERE state = 'waiting'",
    "events WHERE forwarded_at IS NULL",
    "saved_method_detachments WHERE state = 'due'",
)
_EXISTS_OPEN = " OR ".join(f"EXISTS (SELECT 1 FROM {one})" for one in _OPEN)  # noqa: S608
_EACH_DUE = ", ".join(f"EXISTS (SELECT 1 FROM {due}) AS {name}" for name, due in _DUE.items())  # noqa: S608
_READ = (
    f"SELECT {_EACH_DUE}, {_EXISTS_OPEN} AS open, {LAST_FORWARDED} AS last_forwarded, relays.number, relays.oldest_at,"  # noqa: S608
    " relays.next_try_at"
    " FROM (SELECT COUNT(*) AS number, MIN(created_at) AS oldest_at, MIN(next_try_at) AS next_try_at"
    " FROM webhook_relays WHERE state = 'waiting') AS relays"
)


async def read(db: PracticeDb, times: Times, recorded: Recorded) -> DueWork:
    """Read what is due."""
    row: Any = await db.one(
        _READ,
        times.lookups,
        times.beyond,
        times.webhooks,
        times.expiry,
        times.detachments,
        ROWS,
        recorded.after,
        recorded.number + 1,
        recorded.number,
    )
    relays = Waiting(int(row["number"]), moment(row["oldest_at"]), moment(row["next_try_at"]))
    forwarded = int(row["last_forwarded"] or 0)
    return DueWork(**{name: bool(row[name]) for name in (*_DUE, "open")}, last_forwarded=forwarded, relays=relays)


async def anything_open(db: PracticeDb) -> bool:
    """Whether a worker has anything left to do here, now or later."""
    return await db.value(f"SELECT 1 WHERE {_EXISTS_OPEN}") is not None
