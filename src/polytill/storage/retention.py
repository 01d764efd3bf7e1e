"""Removing what is older than its retention period, a page of rows at a time.

What is not finished is never removed: what an open payment, refund, dispute or review case needs, webhooks that are not
applied, and events that are not forwarded or delivered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.personal_data import Gone, placeholder
from polytill.domain.retention import RetentionKind
from polytill.storage.columns import Table, places
from polytill.storage.databases import OwnerDb, PracticeDb, Tx, Writes
from polytill.storage.erasing import IS_THERE, NEEDED, WEBHOOK_ENDED
from polytill.storage.events import LAST_FORWARDED
from polytill.storage.units import json_text, moment

# A process may know an earlier mark than the newest one for a while, and looks for its event.
EVENTS_KEPT = 100
_EXPIRED = json_text(placeholder(Gone.expired))


@dataclass(frozen=True, slots=True)
class RetentionMark:
    """How far the removal of one kind has come.

    Args:
        kind: What is removed.
        reached: The id up to which nothing is left, where rows stay.
        removed: How many were removed, of all time.
        ran_at: When the worker last looked.
    """

    kind: RetentionKind
    reached: str
    removed: int
    ran_at: datetime


_MARKS = Table("retention_marks", RetentionMark)


async def marks(db: OwnerDb | PracticeDb) -> dict[RetentionKind, RetentionMark]:
    """How far each kind has come."""
    return {one.kind: one for one in await _MARKS.all(db, "ORDER BY kind")}


def keep_mark(unit: Writes, mark: RetentionMark) -> None:
    """Record how far a kind has come. ``mark.removed`` is added to what was removed before."""
    end = (
        " ON CONFLICT (kind) DO UPDATE SET reached = excluded.reached,"
        " removed = retention_marks.removed + excluded.removed, ran_at = excluded.ran_at"
    )
    _MARKS.insert(unit, mark, end=end)


# ── Periods of single practices ──


async def periods(owner: OwnerDb, practice_id: int) -> dict[RetentionKind, int]:
    """The periods that a practice has of its own, in days."""
    rows = await owner.fetch("SELECT kind, days FROM practice_retention WHERE practice_id = $1", practice_id)
    return {RetentionKind(row["kind"]): int(row["days"]) for row in rows}


def set_periods(unit: Writes, practice_id: int, days: Mapping[RetentionKind, int]) -> None:
    """Set periods of a practice, each in days."""
    for kind, number in days.items():
        unit.add(
            "INSERT INTO practice_retention (practice_id, kind, days) VALUES ($1, $2, $3)"
            " ON CONFLICT (practice_id, kind) DO UPDATE SET days = excluded.days",
            practice_id,
            kind,
            number,
        )


def forget_periods(unit: Writes, practice_id: int) -> None:
    """Let a practice have the periods of the settings again."""
    unit.add("DELETE FROM practice_retention WHERE practice_id = $1", practice_id)


# ── Pages ──


@dataclass(frozen=True, slots=True)
class Page:
    """One page of rows. ``last``: the id of its last row; None: there was none. ``kept``: the id of the first row that is
    old enough and still needed."""

    removed: int
    last: Any
    kept: Any


def _page(rows: list[Any], removed: int) -> Page:
    kept = next((row["id"] for row in rows if row["is_there"] and row["is_needed"]), None)
    return Page(removed, rows[-1]["id"] if rows else None, kept)


def _chosen(rows: list[Any]) -> list[Any]:
    return [row["id"] for row in rows if row["is_there"] and not row["is_needed"]]


_WEBHOOKS = (
    f"SELECT w.id, ({IS_THERE.format('w.body')}) AS is_there, (NOT w.{WEBHOOK_ENDED}) OR"  # noqa: S608
    f" EXISTS (SELECT 1 FROM payments AS p WHERE p.id = w.payment_id AND ({NEEDED})) AS is_needed"
    " FROM webhook_events AS w WHERE w.id > $1 AND w.id < $3 ORDER BY w.id LIMIT $4"
)


async def expire_webhooks(tx: Tx, after: str, before: str, now: datetime, limit: int) -> Page:
    """Remove the bodies of webhooks with ids between two."""
    rows = await tx.fetch(_WEBHOOKS, after, now, before, limit)
    if chosen := _chosen(rows):
        sql = f"UPDATE webhook_events SET body = '{_EXPIRED}' WHERE id IN ({places(len(chosen))})"  # noqa: S608
        tx.add(sql, *chosen)
    return _page(rows, len(chosen))


_RESPONSES = (
    f"SELECT p.id, ({IS_THERE.format('p.provider_response')}) OR EXISTS (SELECT 1 FROM refunds AS r"  # noqa: S608
    f" WHERE r.payment_id = p.id AND ({IS_THERE.format('r.provider_response')})) AS is_there, ({NEEDED}) AS is_needed"
    " FROM payments AS p WHERE p.id > $1 AND p.id < $3 ORDER BY p.id LIMIT $4"
)


async def expire_responses(tx: Tx, after: str, before: str, now: datetime, limit: int) -> Page:
    """Remove providers' answers about payments with ids between two, and about their refunds."""
    rows = await tx.fetch(_RESPONSES, after, now, before, limit)
    if chosen := _chosen(rows):
        for table, key in (("payments", "id"), ("refunds", "payment_id")):
            sql = f"UPDATE {table} SET provider_response = '{_EXPIRED}' WHERE {key} IN ({places(len(chosen))})"  # noqa: S608
            tx.add(f"{sql} AND provider_response IS NOT NULL", *chosen)
    return _page(rows, len(chosen))


async def _deleted(tx: Tx, table: str, rows: list[Any], before: datetime) -> Page:
    """Delete rows that are older and not needed. ``last`` is None from the first row on that is not older."""
    old = [row for row in rows if (at := moment(row["at"])) is not None and at < before]
    if chosen := [row["id"] for row in old if not row["is_needed"]]:
        tx.add(f"DELETE FROM {table} WHERE id IN ({places(len(chosen))})", *chosen)  # noqa: S608
    return Page(len(chosen), old[-1]["id"] if old and len(old) == len(rows) else None, None)


async def expire_events(tx: Tx, after: int, before: datetime, limit: int) -> Page:
    """Delete events after a position that are in the feed and older than a time, but never the newest of them."""
    rows = await tx.fetch(
        "SELECT id, created_at AS at, forwarded_at IS NULL OR id > "  # noqa: S608
        f"COALESCE({LAST_FORWARDED}, 0) - {EVENTS_KEPT} AS is_needed FROM events WHERE id > $1 ORDER BY id LIMIT $2",
        after,
        limit,
    )
    return await _deleted(tx, "events", rows, before)


async def expire_audit(tx: Tx, after: int, before: datetime, limit: int) -> Page:
    """Delete audit lines after an id that are older than a time, but none of a payment that is not finished, and none about
    provider configurations, of which pages show the last test."""
    rows = await tx.fetch(
        "SELECT a.id, a.at, a.action LIKE 'provider.%' OR EXISTS (SELECT 1 FROM payments AS p WHERE p.id = a.subject"
        " AND p.status NOT IN ('succeeded', 'failed', 'canceled')) OR EXISTS (SELECT 1 FROM disputes AS d"
        " WHERE d.payment_id = a.subject AND d.state = 'open') AS is_needed"
        " FROM audit_log AS a WHERE a.id > $1 ORDER BY a.id LIMIT $2",
        after,
        limit,
    )
    return await _deleted(tx, "audit_log", rows, before)


async def expire_feed(tx: Tx, after: int, before: datetime, limit: int) -> Page:
    """Delete events of the feed after a position that are older than a time and not waiting for their delivery. Positions
    are never used again: ``feed_state`` counts them."""
    rows = await tx.fetch(
        "SELECT f.id, f.created_at AS at, COALESCE(d.state = 'pending' OR (d.state = 'abandoned' AND d.resolved_at IS NULL),"
        " FALSE) AS is_needed FROM event_feed AS f LEFT JOIN event_deliveries AS d ON d.feed_id = f.id"
        " WHERE f.id > $1 ORDER BY f.id LIMIT $2",
        after,
        limit,
    )
    chosen = [row["id"] for row in rows if not row["is_needed"] and (moment(row["at"]) or before) < before]
    if chosen:
        tx.add(f"DELETE FROM event_deliveries WHERE feed_id IN ({places(len(chosen))})", *chosen)  # noqa: S608
    return await _deleted(tx, "event_feed", rows, before)
