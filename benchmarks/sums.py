"""The time of an overview: the ledger's sums of a month, with many payments in one practice, on both engines."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from benchmarks.bulk import AT_ONCE, Rows, one_payment, settled_down
from benchmarks.ground import Ground
from benchmarks.load import WrongAnswer
from benchmarks.measuring import Size, stage, start
from benchmarks.processes import Program
from benchmarks.results import Aim, Result
from polytill.app import Polytill
from polytill.domain.ledger import LedgerAccount, LedgerFact
from polytill.domain.localities import starts_of, zone_of
from polytill.domain.states import AttemptState, Environment, PaymentStatus
from polytill.storage import attempts, ledger, overview
from polytill.storage import payments as payment_rows
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.ledger import Entry
from polytill.storage.payments import Change, Payment
from polytill.web.console.overview import read_month

FIRST = date(2026, 9, 1)
ZONE = zone_of("Africa/Lagos")
AMOUNT, FEE = 1_000, 15
SPREADS = {"all in one month": 30, "over six months": 180}
ENGINES = ("sqlite", "postgresql")
VISITS = 9
MOST_MS = 100
WHOLE = "the whole overview"

Timed = dict[str, list[float]]  # ms of each visit, by function


def sums(size: Size) -> Result:
    """A month's overview with 100,000 payments; the goal is 100 ms."""
    times: dict[tuple[str, str], Timed] = {}
    filled: dict[str, float] = {}
    for engine in ENGINES:
        for spread, days in SPREADS.items():
            with stage(engine, replace(size, practices=1)) as (ground, folder, stack):
                program = start("product", folder, stack)
                times[engine, spread], filled[f"{engine}, {spread}"] = asyncio.run(
                    _measured(ground, program, size.search_payments, days)
                )
    rows = [
        [f"{spread}: {name}", *(text for engine in ENGINES for text in _shown(times[engine, spread][name]))]
        for spread in SPREADS
        for name in times[ENGINES[0], spread]
    ]
    slowest = max(statistics.median(timed[WHOLE]) for timed in times.values())
    figures: dict[str, Any] = {"payments": size.search_payments, "filled_s": filled}
    for (engine, spread), timed in times.items():
        figures[f"{engine}, {spread}"] = {name: round(statistics.median(took), 1) for name, took in timed.items()}
    notes = [
        f"Medians of {VISITS} visits. Filling the databases took "
        + ", ".join(f"{seconds:.0f} s ({place})" for place, seconds in filled.items())
        + "."
    ]
    return Result(
        "sums",
        f"overview of a month with {size.search_payments:,} payments",
        ["payments: function", "SQLite ms", "worst", "PostgreSQL ms", "worst"],
        rows,
        figures,
        [Aim("ms of the slowest overview", slowest, MOST_MS)],
        notes,
    )


def _shown(took: list[float]) -> tuple[str, str]:
    return f"{statistics.median(took):.1f}", f"{max(took):.1f}"


async def _measured(ground: Ground, program: Program, payments: int, days: int) -> tuple[Timed, float]:
    """The times of each function, and the seconds to fill the database."""
    async with Polytill.open(ground.opened_settings()) as till:
        began = time.perf_counter()
        db, model, attempt = await one_payment(till, program, ground)
        booked = await fill(ground, db, model, attempt, payments, days)
        await settled_down(db)
        filled = time.perf_counter() - began
        starts = starts_of([FIRST + timedelta(days=day) for day in range(30)], ZONE)
        sandbox = Environment.sandbox

        async def whole() -> None:
            month = await read_month(db, sandbox, "NGN", FIRST, ZONE)
            await overview.currencies(db, sandbox)
            if month.total.net != month.total.payments * (AMOUNT - FEE) or not 0 < month.total.payments <= booked:
                raise WrongAnswer(f"The overview counts {month.total.payments} payments of {booked} that were booked.")

        functions: dict[str, Callable[[], Awaitable[Any]]] = {
            "what was booked": lambda: overview.booked(db, sandbox, "NGN", starts),
            "payments created": lambda: overview.created(db, sandbox, "NGN", starts),
            "currencies": lambda: overview.currencies(db, sandbox),
            WHOLE: whole,
        }
        return {name: await _times(function) for name, function in functions.items()}, filled


async def _times(function: Callable[[], Awaitable[Any]]) -> list[float]:
    took = []
    for visit in range(VISITS + 1):
        began = time.perf_counter()
        await function()
        if visit:  # the first one reads the pages from disk
            took.append((time.perf_counter() - began) * 1000)
    return took


async def fill(ground: Ground, db: PracticeDb, model: Payment, attempt: Attempt, payments: int, days: int) -> int:
    """Payments of three providers that end with the month; 85 in 100 have an amount and a fee. Returns the number of
    those."""
    chance, booked = random.Random(1), 0
    end = datetime.combine(FIRST, datetime.min.time(), UTC) + timedelta(days=30)
    for first in range(0, payments, AT_ONCE):
        rows = Rows()
        for number in range(first, min(first + AT_ONCE, payments)):
            at = end - timedelta(seconds=days * 86_400 * (payments - number) // payments)
            booked += _payment(rows, model, attempt, chance, number, at)
        await rows.write(ground, db)
    return booked


def _payment(rows: Rows, model: Payment, attempt: Attempt, chance: random.Random, number: int, at: datetime) -> bool:
    """One payment as the product leaves it: created, attempted, and paid or not. Returns whether it was paid."""
    provider, is_paid = chance.choice(["stripe", "paystack", "mpesa"]), chance.random() < 0.85
    status = (
        PaymentStatus.processing if is_paid else chance.choice([PaymentStatus.failed, PaymentStatus.requires_action])
    )
    payment = replace(
        model,
        id=f"01bench{number:019d}",
        number=f"{10_000_000 + number}",
        status=status,
        amount=AMOUNT,
        currency="NGN",
        payment_method=chance.choice(["card", "mobile_money", None]),
        provider_code=provider,
        idempotency_key=f"bulk-{number}",
        created_at=at,
        updated_at=at,
    )
    payment_rows.insert(rows, payment)
    state = AttemptState.succeeded if is_paid else AttemptState.declined
    attempts.insert(
        rows,
        replace(
            attempt,
            id=f"01benca{number:019d}",
            payment_id=payment.id,
            provider_code=provider,
            amount=AMOUNT,
            currency="NGN",
            state=state,
            next_lookup_at=None,
            provider_transaction_id=f"tx{number}",
            created_at=at,
            updated_at=at,
        ),
    )
    if is_paid:
        change = Change(
            PaymentStatus.succeeded,
            add_authorized=AMOUNT,
            add_captured=AMOUNT,
            provider_transaction_id=f"tx{number}",
            provider_fee=FEE,
            provider_fee_currency="NGN",
        )
        payment_rows.change(rows, payment, change, at)
        account = f"provider:{provider}"
        for entry in (
            Entry(LedgerFact.payment, account, LedgerAccount.payments, AMOUNT, "NGN"),
            Entry(LedgerFact.fee, LedgerAccount.fees, account, FEE, "NGN"),
        ):
            ledger.book(rows, f"{payment.id}-{entry.fact}", payment, entry, at)
    return is_paid
