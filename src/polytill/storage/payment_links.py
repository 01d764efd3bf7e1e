"""Payment links: an amount that staff request, and the payments that payers start with the link."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from polytill.domain.states import Environment, LinkState
from polytill.storage.columns import Reader, Table
from polytill.storage.databases import PracticeDb, Writes


@dataclass(frozen=True, slots=True)
class PaymentLink:
    """One link. ``amount`` is in minor units of ``currency``; the counts are of the payments made with it."""

    id: str
    practice_id: int
    environment: Environment
    amount: int
    currency: str
    description: str
    reference: str | None
    single_use: bool
    state: LinkState
    expires_at: datetime
    created_by: str
    created_at: datetime
    updated_at: datetime
    started: int = 0
    succeeded: int = 0
    captured: int = 0
    canceled: int = 0

    def status(self, now: datetime) -> str:
        """open, paid (single use only), closed or expired. A single-use link is closed, too, after its payment was
        canceled: the link at the provider may still be payable, so there is no other payment."""
        if self.single_use and self.succeeded:
            return "paid"
        if self.state is LinkState.closed:
            return "closed"
        if self.expires_at <= now:
            return "expired"
        return "closed" if self.single_use and self.canceled else "open"


_LINKS = Table("payment_links", PaymentLink, but="started succeeded captured canceled")
_WITH_COUNTS = Reader(
    PaymentLink,
    f"SELECT {_LINKS.of('l')}, COUNT(p.id) AS started,"  # noqa: S608
    " COALESCE(SUM(CASE WHEN p.status = 'succeeded' THEN 1 ELSE 0 END), 0) AS succeeded,"
    " COALESCE(SUM(CASE WHEN p.status = 'canceled' THEN 1 ELSE 0 END), 0) AS canceled,"
    " CAST(COALESCE(SUM(p.amount_captured), 0) AS BIGINT) AS captured FROM payment_links l"
    " LEFT JOIN payment_link_payments lp ON lp.link_id = l.id LEFT JOIN payments p ON p.id = lp.payment_id",
)


def insert(unit: Writes, link: PaymentLink) -> None:
    """Insert a link."""
    _LINKS.insert(unit, link)


def close(unit: Writes, link_id: str, now: datetime) -> None:
    """Close a link: no further payment can start with it. ``Stale`` if it is closed already."""
    unit.add(
        "UPDATE payment_links SET state = 'closed', updated_at = $2 WHERE id = $1 AND state = 'open'",
        link_id,
        now,
        expect=1,
    )


def use(unit: Writes, link: PaymentLink, payment_id: str, now: datetime) -> None:
    """Start a payment with a link that is open at this time and unchanged since it was read. ``Stale`` otherwise,
    because the counts that were read hold only for an unchanged link."""
    later = max(now, link.updated_at + timedelta(microseconds=1))  # so that no two uses leave the same time
    unit.add(
        "UPDATE payment_links SET updated_at = $3"
        " WHERE id = $1 AND state = 'open' AND expires_at > $2 AND updated_at = $4",
        link.id,
        now,
        later,
        link.updated_at,
        expect=1,
    )
    unit.add(
        "INSERT INTO payment_link_payments (payment_id, link_id, created_at) VALUES ($1, $2, $3)",
        payment_id,
        link.id,
        now,
    )


async def by_id(db: PracticeDb, link_id: str) -> PaymentLink | None:
    """One link."""
    return await _WITH_COUNTS.one(db, "WHERE l.id = $1 GROUP BY l.id", link_id)


async def listed(db: PracticeDb, before: str | None, limit: int) -> list[PaymentLink]:
    """Links, newest first: ids are ordered by time."""
    page = "WHERE (CAST($1 AS TEXT) IS NULL OR l.id < $1) GROUP BY l.id ORDER BY l.id DESC LIMIT $2"
    return await _WITH_COUNTS.all(db, page, before or None, limit)


async def payments_of(db: PracticeDb, link_id: str) -> list[str]:
    """The ids of all payments of a link, newest first."""
    return await db.column(
        "SELECT payment_id FROM payment_link_payments WHERE link_id = $1 ORDER BY created_at DESC", link_id
    )


async def started_since(db: PracticeDb, link_id: str, since: datetime) -> int:
    """How many payments started with a link since a given time."""
    count = "SELECT COUNT(*) FROM payment_link_payments WHERE link_id = $1 AND created_at > $2"
    return int(await db.value(count, link_id, since))
