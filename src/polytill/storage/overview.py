"""Totals and counts for the overview: days of a practice's payments, open review cases, providers in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.ledger import OF_ONE_PAYMENT, OF_ONE_REFUND, LedgerAccount, LedgerFact
from polytill.domain.states import Environment, PaymentStatus
from polytill.storage.columns import Reader, places
from polytill.storage.databases import OwnerDb, PracticeDb
from polytill.storage.units import moment


@dataclass(frozen=True, slots=True)
class Booked:
    """What the ledger booked in one period on one account, for one reason: the number of lines, and their sum in minor
    units."""

    day: int
    account: LedgerAccount
    fact: LedgerFact
    provider_code: str
    method: str
    lines: int
    amount: int


_BOOKED = Reader(Booked, but="lines amount")


@dataclass(slots=True)
class Sums:
    """The totals of a period in minor units of one currency. ``net`` is the change of the providers' balances."""

    payments: int = 0  # that succeeded
    gross: int = 0
    duplicates: int = 0  # duplicate payments
    duplicates_received: int = 0
    duplicates_returned: int = 0  # by refunds and by lost disputes
    refunds: int = 0
    refunded: int = 0  # without refunds that failed after they had succeeded
    disputed: int = 0
    fees: int = 0
    net: int = 0

    def add(self, line: Booked) -> None:
        """Add what the ledger booked on an account that is not a provider's."""
        self.net -= line.amount
        match line.account, line.fact:
            case LedgerAccount.payments, _:
                self.payments += line.lines if line.fact in OF_ONE_PAYMENT else 0
                self.gross -= line.amount
            case LedgerAccount.duplicate_payments, LedgerFact.duplicate_payment:
                self.duplicates += line.lines
                self.duplicates_received -= line.amount
            case LedgerAccount.duplicate_payments, _:
                self.duplicates_returned += line.amount
            case LedgerAccount.refunds, _:
                self.refunds += line.lines if line.fact in OF_ONE_REFUND else 0
                self.refunded += line.amount
            case LedgerAccount.disputes, _:
                self.disputed += line.amount
            case LedgerAccount.fees, _:
                self.fees += line.amount

    @property
    def any(self) -> bool:
        """Whether anything was booked."""
        return any(getattr(self, name) for name in self.__slots__)


@dataclass(slots=True)
class Counts:
    """Payments by the day on which they were created. Finished: succeeded, failed or canceled."""

    succeeded: int = 0
    finished: int = 0
    open: int = 0

    def add(self, status: str, payments: int) -> None:
        """Count payments of one status."""
        if status in ("succeeded", "failed", "canceled"):
            self.finished += payments
            self.succeeded += payments if status == "succeeded" else 0
        else:
            self.open += payments


@dataclass(frozen=True, slots=True)
class Waiting:
    """What needs attention in one practice, without any amounts: counts by kind, and recent calls by provider and
    state."""

    parked: int
    unknown: int
    cases: int
    calls: dict[tuple[str, str], int]

    @property
    def total(self) -> int:
        """The number of all of them."""
        return self.parked + self.unknown + self.cases


def _ranges(db: PracticeDb, starts: list[datetime]) -> str:
    """SQL: one row (day, since, until) for each two consecutive times, in parameters from the third on."""
    kind = "" if db.engine.dialect == "sqlite" else "::timestamptz"
    rows = [f"({day}, ${3 + day}{kind}, ${4 + day}{kind})" for day in range(len(starts) - 1)]
    return f"days(day, since, until) AS (VALUES {', '.join(rows)})"


def _kinds(db: PracticeDb, ours: str) -> str:
    """SQL: the existing accounts, facts, providers and methods."""
    key = "account, fact, provider_code, method"
    if db.engine.dialect == "sqlite":  # reads the index once, which is fast there
        return f"kinds AS (SELECT DISTINCT {key} FROM ledger_lines WHERE {ours})"  # noqa: S608
    first = f"(SELECT {key} FROM ledger_lines WHERE {ours} ORDER BY {key} LIMIT 1)"  # noqa: S608
    following = (
        f"SELECT one.* FROM kinds CROSS JOIN LATERAL (SELECT {key} FROM ledger_lines l WHERE {ours}"  # noqa: S608
        " AND (l.account, l.fact, l.provider_code, l.method)"
        f" > (kinds.account, kinds.fact, kinds.provider_code, kinds.method) ORDER BY {key} LIMIT 1) one"
    )
    return f"kinds AS ({first} UNION ALL {following})"


async def booked(db: PracticeDb, environment: Environment, currency: str, starts: list[datetime]) -> list[Booked]:
    """What the ledger booked in each of the periods between ``starts``, by account, fact, provider and method.

    Each of them is one range of an index that holds all of it, on both engines and without their time zones.
    """
    ours = "environment = $1 AND currency = $2 AND provider_code <> ''"
    rows = await db.fetch(
        f"WITH RECURSIVE {_ranges(db, starts)}, {_kinds(db, ours)} SELECT day, account, fact, provider_code, method,"  # noqa: S608
        " (SELECT CAST(count(*) AS TEXT) || ' ' || CAST(COALESCE(sum(amount), 0) AS TEXT) FROM ledger_lines l"
        f" WHERE {ours} AND l.account = kinds.account AND l.fact = kinds.fact"
        " AND l.provider_code = kinds.provider_code AND l.method = kinds.method"
        " AND l.created_at >= since AND l.created_at < until) AS sums FROM kinds CROSS JOIN days",
        environment,
        currency,
        *starts,
    )
    found = []
    for row in rows:
        lines, amount = map(int, row["sums"].split())
        if lines:  # as a condition of the query, SQLite would sum everything twice
            found.append(_BOOKED.read(row, lines=lines, amount=amount))
    return found


async def created(
    db: PracticeDb, environment: Environment, currency: str, starts: list[datetime]
) -> dict[tuple[int, str], int]:
    """How many payments were created in each of the periods between ``starts``, by period and status."""
    states = ", ".join(f"('{status}')" for status in PaymentStatus)
    rows = await db.fetch(
        f"WITH {_ranges(db, starts)}, states(status) AS (VALUES {states}) SELECT day, status,"  # noqa: S608
        " (SELECT count(*) FROM payments p WHERE p.environment = $1 AND p.currency = $2 AND p.status = states.status"
        " AND p.created_at >= since AND p.created_at < until) AS payments FROM states CROSS JOIN days",
        environment,
        currency,
        *starts,
    )
    return {(row["day"], row["status"]): row["payments"] for row in rows if row["payments"]}


async def of_payments(db: PracticeDb, payment_ids: Sequence[str]) -> dict[str, dict[str, Sums]]:
    """What the ledger has about each of some payments, by currency: a fee may be in another currency than its payment."""
    found: dict[str, dict[str, Sums]] = {payment_id: {} for payment_id in payment_ids}
    if not payment_ids:
        return found
    rows = await db.fetch(
        "SELECT 0 AS day, payment_id, currency, account, fact, provider_code, method, count(*) AS lines,"  # noqa: S608
        f" CAST(sum(amount) AS BIGINT) AS amount FROM ledger_lines WHERE payment_id IN ({places(len(payment_ids))})"
        " AND provider_code <> '' GROUP BY payment_id, currency, account, fact, provider_code, method",
        *payment_ids,
    )
    for row in rows:
        line = _BOOKED.read(row, lines=row["lines"], amount=row["amount"])
        found[row["payment_id"]].setdefault(row["currency"], Sums()).add(line)
    return found


async def currencies(db: PracticeDb, environment: Environment) -> list[str]:
    """The currencies with payments, the most used first, then those with fees only."""
    # From one currency to the next in the index, instead of through every line.
    least = "MIN(currency) FROM ledger_lines WHERE environment = $1 AND provider_code <> ''"
    found = await db.column(
        f"WITH RECURSIVE booked(currency) AS (SELECT {least} UNION ALL SELECT (SELECT {least}"  # noqa: S608
        " AND currency > booked.currency) FROM booked WHERE currency IS NOT NULL)"
        " SELECT currency, count(*) AS payments FROM payments WHERE environment = $1 GROUP BY currency"
        " UNION ALL SELECT currency, 0 FROM booked WHERE currency IS NOT NULL ORDER BY payments DESC, currency",
        environment,
    )
    return list(dict.fromkeys(found))


async def last_webhook(db: PracticeDb, config_id: int, environment: Environment) -> datetime | None:
    """When a configuration's provider last sent a verified webhook."""
    received_at = await db.value(
        "SELECT received_at FROM webhook_events WHERE config_id = $1 AND environment = $2"
        " ORDER BY received_at DESC LIMIT 1",
        config_id,
        environment,
    )
    return moment(received_at)


async def waiting(db: PracticeDb, since: datetime) -> Waiting:
    """What needs attention in one practice, and the calls to providers since a given time."""
    calls = await db.fetch(
        "SELECT provider_code, state, count(*) AS calls FROM payment_attempts WHERE created_at >= $1"
        " GROUP BY provider_code, state",
        since,
    )
    row: Any = await db.one(
        "SELECT (SELECT count(*) FROM webhook_events WHERE state = 'parked') AS parked,"
        " (SELECT count(*) FROM payment_attempts WHERE state = 'unknown')"
        " + (SELECT count(*) FROM refunds WHERE state = 'unknown') AS unknown,"
        " (SELECT count(*) FROM operator_cases WHERE state = 'open') AS cases"
    )
    by_state = {(call["provider_code"], call["state"]): call["calls"] for call in calls}
    return Waiting(row["parked"], row["unknown"], row["cases"], by_state)


async def unknown(db: PracticeDb, limit: int = 100) -> list[dict[str, Any]]:
    """Payments and refunds with an unknown outcome, oldest first, without amounts and customers."""
    rows = await db.fetch(
        "SELECT payment_id, provider_code, environment, reason, lookups, created_at, 0 AS is_refund"
        " FROM payment_attempts WHERE state = 'unknown' UNION ALL"
        " SELECT r.payment_id, a.provider_code, r.environment, NULL, 0, r.created_at, 1 FROM refunds r"
        " JOIN payment_attempts a ON a.id = r.attempt_id WHERE r.state = 'unknown' ORDER BY 6 LIMIT $1",
        limit,
    )
    return [{**dict(row), "created_at": moment(row["created_at"]), "is_refund": bool(row["is_refund"])} for row in rows]


async def providers_of(db: PracticeDb, payment_ids: list[str]) -> dict[str, str]:
    """The provider of each of a few payments."""
    if not payment_ids:
        return {}
    ids = places(len(payment_ids))
    rows = await db.fetch(f"SELECT id, provider_code FROM payments WHERE id IN ({ids})", *payment_ids)  # noqa: S608
    return {row["id"]: row["provider_code"] for row in rows if row["provider_code"]}


async def volumes(owner: OwnerDb, since: datetime) -> dict[int, int]:
    """How many payments succeeded in each practice since a given time, from the event feed."""
    rows = await owner.fetch(
        "SELECT practice_id, count(*) AS payments FROM event_feed WHERE type = 'payment.succeeded'"
        " AND created_at >= $1 GROUP BY practice_id",
        since,
    )
    return {row["practice_id"]: row["payments"] for row in rows}
