"""Sums and counts for people to look at: days of a practice's payments, what waits for a person, who uses what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.states import Environment
from polytill.storage.databases import OwnerDb, PracticeDb
from polytill.storage.units import moment


@dataclass(frozen=True, slots=True)
class DaySum:
    """Payments made on one day, of one status at one provider: how many, and their money in minor units."""

    day: str
    status: str
    provider_code: str | None
    payments: int
    captured: int
    fees: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in one practice, without any money: counts by kind, and calls of late by provider and state."""

    parked: int
    unknown: int
    cases: int
    calls: dict[tuple[str, str], int]

    @property
    def total(self) -> int:
        """All of it."""
        return self.parked + self.unknown + self.cases


def _day(db: PracticeDb, column: str) -> str:
    if db.engine.dialect == "sqlite":
        return f"substr({column}, 1, 10)"
    return f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD')"


async def days(
    db: PracticeDb, environment: Environment, currency: str, since: datetime, until: datetime
) -> list[DaySum]:
    """Payments by the day they were made. Fees are those in the payment's own currency."""
    rows = await db.fetch(
        f"SELECT {_day(db, 'created_at')} AS day, status, provider_code, count(*) AS payments,"  # noqa: S608
        " CAST(sum(amount_captured) AS BIGINT) AS captured, CAST(sum(CASE WHEN provider_fee_currency = currency"
        " THEN provider_fee ELSE 0 END) AS BIGINT) AS fees FROM payments WHERE environment = $1 AND currency = $2"
        " AND created_at >= $3 AND created_at < $4 GROUP BY 1, status, provider_code ORDER BY 1",
        environment.value, currency, since, until,
    )  # fmt: skip
    return [
        DaySum(r["day"], r["status"], r["provider_code"], r["payments"], r["captured"] or 0, r["fees"] or 0)
        for r in rows
    ]


async def refunds_by_day(
    db: PracticeDb, environment: Environment, currency: str, since: datetime, until: datetime
) -> dict[str, tuple[int, int]]:
    """Money given back by the day it was: how often, and how much in minor units."""
    rows = await db.fetch(
        f"SELECT {_day(db, 'created_at')} AS day, count(*) AS refunds,"  # noqa: S608
        " CAST(sum(booked + booked_excess) AS BIGINT) AS amount FROM refunds WHERE environment = $1 AND currency = $2"
        " AND created_at >= $3 AND created_at < $4 AND booked + booked_excess > 0 GROUP BY 1",
        environment.value, currency, since, until,
    )  # fmt: skip
    return {row["day"]: (row["refunds"], row["amount"] or 0) for row in rows}


async def currencies(db: PracticeDb, environment: Environment) -> list[str]:
    """The currencies in which there are payments."""
    rows = await db.fetch(
        "SELECT currency FROM payments WHERE environment = $1 GROUP BY currency ORDER BY count(*) DESC, currency",
        environment.value,
    )
    return [row["currency"] for row in rows]


async def last_delivery(db: PracticeDb, config_id: int, environment: Environment) -> datetime | None:
    """When a configuration's provider last delivered something that was verified."""
    row = await db.one(
        "SELECT received_at FROM webhook_events WHERE config_id = $1 AND environment = $2"
        " ORDER BY received_at DESC LIMIT 1",
        config_id, environment.value,
    )  # fmt: skip
    return moment(row["received_at"]) if row else None


async def waiting(db: PracticeDb, since: datetime) -> Waiting:
    """What waits for a person in one practice, and how calls to providers went since a moment."""
    row: Any = await db.one(
        "SELECT (SELECT count(*) FROM webhook_events WHERE state = 'parked') AS parked,"
        " (SELECT count(*) FROM payment_attempts WHERE state = 'unknown')"
        " + (SELECT count(*) FROM refunds WHERE state = 'unknown') AS unknown,"
        " (SELECT count(*) FROM operator_cases WHERE state = 'open') AS cases"
    )
    calls = await db.fetch(
        "SELECT provider_code, state, count(*) AS calls FROM payment_attempts WHERE created_at >= $1"
        " GROUP BY provider_code, state",
        since,
    )
    return Waiting(
        row["parked"], row["unknown"], row["cases"], {(r["provider_code"], r["state"]): r["calls"] for r in calls}
    )


async def unknown_attempts(db: PracticeDb, limit: int = 100) -> list[dict[str, Any]]:
    """Calls whose outcome is not known: no amounts, no payers."""
    rows = await db.fetch(
        "SELECT id, payment_id, provider_code, environment, reason, lookups, next_lookup_at, created_at"
        " FROM payment_attempts WHERE state = 'unknown' ORDER BY created_at LIMIT $1",
        limit,
    )
    return [{**dict(row), "created_at": moment(row["created_at"])} for row in rows]


async def volumes(owner: OwnerDb, since: datetime) -> dict[int, int]:
    """How many payments succeeded in each practice since a moment, from the feed of events."""
    rows = await owner.fetch(
        "SELECT practice_id, count(*) AS payments FROM event_feed WHERE type = 'payment.succeeded'"
        " AND created_at >= $1 GROUP BY practice_id",
        since,
    )
    return {row["practice_id"]: row["payments"] for row in rows}
