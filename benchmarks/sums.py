"""How long an overview takes: what the ledger booked in a month, with many payments in one practice, on both engines."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from benchmarks.ground import Ground
from benchmarks.measuring import Size, stage
from benchmarks.results import Aim, Result
from polytill.app import Polytill
from polytill.domain.localities import zone_of
from polytill.domain.states import Environment
from polytill.storage import overview
from polytill.storage.databases import PracticeDb
from polytill.web.console_overview import read_month

FIRST = date(2026, 9, 1)
SPREADS = {"all in one month": 30, "over six months": 180}
AT_ONCE = 2_000
VISITS = 9

_PAYMENT = (
    "INSERT INTO payments (id, practice_id, environment, status, amount, currency, payment_method, capture_mode,"
    " amount_authorized, amount_captured, provider_code, idempotency_key, request_hash, created_by, created_at,"
    " updated_at, customer_email, description) VALUES ($1, $2, 'sandbox', $3, 1000, 'NGN', $4, 'automatic', 1000, 1000,"
    " $5, $1, 'h', 'bench', $6, $6, 'ada@example.com', 'Consultation')"
)
_ENTRY = (
    "INSERT INTO ledger_lines (entry_id, practice_id, environment, currency, account, amount, fact, payment_id,"
    " created_at, provider_code, method) VALUES ($1, $2, 'sandbox', 'NGN', $3, $4, $5, $6, $7, $8, $9),"
    " ($1, $2, 'sandbox', 'NGN', $10, $11, $5, $6, $7, '', $9)"
)


def sums(size: Size) -> Result:
    """A month's overview with 100,000 payments; the goal is 100 ms."""
    payments = 10 * size.memory_payments
    times: dict[tuple[str, str], list[float]] = {}
    for engine in ("sqlite", "postgresql"):
        for spread, days in SPREADS.items():
            with stage(engine, replace(size, practices=1)) as (ground, _, _):
                times[engine, spread] = asyncio.run(_measured(ground, payments, days))
    medians = {place: statistics.median(took) for place, took in times.items()}
    rows = [
        [spread, *(f"{n:.0f}" for e in ("sqlite", "postgresql") for n in (medians[e, spread], max(times[e, spread])))]
        for spread in SPREADS
    ]
    return Result(
        "sums", f"overview with {payments:,} payments", ["payments", "SQLite ms", "worst", "PostgreSQL ms", "worst"],
        rows, {"payments": payments, **{f"{e}, {s}": round(ms, 1) for (e, s), ms in medians.items()}},
        [Aim("ms of the slowest overview", max(medians.values()), 100)],
        [f"Medians of {VISITS}: the two queries of a month with its days, providers and methods."],
    )  # fmt: skip


async def _measured(ground: Ground, payments: int, days: int) -> list[float]:
    async with Polytill.open(ground.opened_settings()) as till:
        db = await till.desk.opening.practice(ground.practices[0].id)
        await _fill(db, payments, days)
        if db.engine.dialect != "sqlite":
            await db.fetch("VACUUM ANALYZE payments")
            await db.fetch("VACUUM ANALYZE ledger_lines")
        took = []
        for _ in range(VISITS):
            began = time.perf_counter()
            month = await read_month(db, Environment.sandbox, "NGN", FIRST, zone_of("Africa/Lagos"))
            await overview.currencies(db, Environment.sandbox)
            took.append((time.perf_counter() - began) * 1000)
            assert month.total.net == month.total.payments * 985
        return took


async def _fill(db: PracticeDb, payments: int, days: int) -> None:
    """Payments of three providers that end with the month, 85 in 100 of them with an amount and a fee."""
    chance = random.Random(1)
    end = datetime.combine(FIRST, datetime.min.time(), UTC) + timedelta(days=30)
    for first in range(0, payments, AT_ONCE):
        async with db.transaction() as tx:
            for number in range(first, min(first + AT_ONCE, payments)):
                _payment(
                    tx, db, chance, number, end - timedelta(seconds=days * 86_400 * (payments - number) // payments)
                )


def _payment(tx: Any, db: PracticeDb, chance: random.Random, number: int, at: datetime) -> None:
    name, provider = f"01bench{number:019d}", chance.choice(["stripe", "paystack", "mpesa"])
    method, is_paid = chance.choice(["card", "mobile_money", None]), chance.random() < 0.85
    status = "succeeded" if is_paid else chance.choice(["failed", "requires_action"])
    tx.add(_PAYMENT, name, db.practice_id, status, method, provider, at)
    for fact, account, amount in (("payment", "payments", -1000), ("fee", "fees", 15)) if is_paid else ():
        tx.add(
            _ENTRY, f"{name}-{fact}", db.practice_id, account, amount, fact, name, at, provider, method or "",
            f"provider:{provider}", -amount,
        )  # fmt: skip
