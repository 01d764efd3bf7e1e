"""The time of staff searches in 100,000 payments, on both engines, and the size of the search rows."""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from benchmarks.bulk import AT_ONCE, Rows, one_payment, settled_down
from benchmarks.ground import Ground, Practice
from benchmarks.load import WrongAnswer
from benchmarks.measuring import Size, stage, start
from benchmarks.processes import Program
from benchmarks.results import Aim, Result
from polytill.app import Polytill
from polytill.domain.identifiers import IdentifierKind
from polytill.flows.worker.search_blocks import close_blocks
from polytill.storage import attempts, payment_identifiers, payment_search
from polytill.storage import payments as payment_rows
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment

FIRST = "Amara Chidi Ngọzi Wanjiku Kamau Otieno Mary John Fatima Musa Élodie Pierre Grace Peter".split()  # noqa: SIM905
LAST = "Okafor Mwangi Njoroge Odhiambo Adébáyò Smith Nguyễn Balogun Eze Mensah Owusu Ọlábísí".split()  # noqa: SIM905
MOST_MS = 100
ENGINES = ("sqlite", "postgresql")


def search(size: Size) -> Result:
    """Each kind of staff search, over the API of a running service; the goal is 100 ms each."""
    found: dict[str, dict[str, list[float]]] = {}
    figures: dict[str, Any] = {"payments": size.search_payments}
    for engine in ENGINES:
        with stage(engine, replace(size, practices=1), sweeping=False) as (ground, folder, stack):
            program = start("product", folder, stack)
            asked = asyncio.run(_fill(ground, program, size.search_payments))
            found[engine] = {name: _timed(program, ground.practices[0], text, size) for name, text in asked.items()}
        figures[engine] = {name: round(statistics.median(took), 1) for name, took in found[engine].items()}
    rows = [
        [name, *(f"{value:.0f}" for took in (one, found["postgresql"][name]) for value in (_middle(took), max(took)))]
        for name, one in found["sqlite"].items()
    ]
    slowest = max(_middle(took) for timed in found.values() for took in timed.values())
    columns = ["search for", "SQLite ms", "worst", "PostgreSQL ms", "worst"]
    title = f"{size.search_payments} payments in one practice"
    note = "Medians of visits to GET …/payments?search=, one at a time, over loopback; pages of 50."
    return Result("search", title, columns, rows, figures, [Aim("ms of the slowest search", slowest, MOST_MS)], [note])


def _middle(took: list[float]) -> float:
    return statistics.median(took)


async def _fill(ground: Ground, program: Program, many: int) -> dict[str, str]:
    """One payment through the service, and copies with other names, numbers and references. Returns what to search for."""
    async with Polytill.open(ground.opened_settings()) as till:
        db, model, attempt = await one_payment(till, program, ground)
        for at in range(0, many, AT_ONCE):
            await _insert(ground, db, model, attempt, range(at, min(at + AT_ONCE, many)))
        while await close_blocks(db):  # as workers do
            pass
        await settled_down(db)
    middle = many // 2
    like = _like(model, attempt, middle)
    return {
        "words in any order": "okafor ngozi",
        "a name nobody has": "nobody at all",
        "a word of most": "example",
        "part of a reference": f"44-{middle:06d}"[1:],
        "a phone number": f"0712 {middle:06d}",
        "a phone number in threes": f"0712 {middle // 1000:03d} {middle % 1000:03d}",
        "a phone number in pairs": f"07 12 {middle // 10_000:02d} {middle // 100 % 100:02d} {middle % 100:02d}",
        "an amount": f"{1 + middle % 5_000:,}.56",
        "last four digits of a phone": f"{middle:06d}"[-4:],
        "last four digits of a card": f"{middle % 10_000:04d}",
        "a payment's number": like[0].number or "",
        "an attempt's id": like[1].id,
        "a receipt number": f"RCP{middle:08d}",
        "a word and a receipt": f"{FIRST[middle % len(FIRST)]} RCP{middle:08d}",
    }


def _like(model: Payment, attempt: Attempt, number: int) -> tuple[Payment, Attempt]:
    first, last = FIRST[number % len(FIRST)], LAST[number // 3 % len(LAST)]
    made = model.created_at - timedelta(seconds=40 * number + 1)
    payment = replace(
        model,
        id=f"{model.id[:8]}{number:018d}",
        number=f"{10_000_000 + number}",
        amount=(1 + number % 5_000) * 100 + 56,
        customer_name=f"{first} {last}",
        customer_email=f"{first}.{last}{number % 977}@example.org",
        customer_phone=f"+254712{number:06d}",
        reference=f"INV-2044-{number:06d}",
        description="Consultation and dressing",
        idempotency_key=f"like-{number}",
        created_at=made,
        updated_at=made,
    )
    return payment, replace(
        attempt,
        id=f"{attempt.id[:7]}a{number:018d}",
        payment_id=payment.id,
        next_lookup_at=None,
        created_at=made,
        provider_transaction_id=f"tx{number:010d}",
    )


async def _insert(ground: Ground, db: PracticeDb, model: Payment, attempt: Attempt, numbers: range) -> None:
    rows = Rows()
    for number in numbers:
        payment, own = _like(model, attempt, number)
        payment_rows.insert(rows, payment)
        attempts.insert(rows, own)
        payment_search.insert(rows, payment_search.row_of(payment))
        called: dict[IdentifierKind, tuple[str, ...]] = {
            IdentifierKind.transaction: (f"tx{number:010d}",),
            IdentifierKind.receipt: (f"RCP{number:08d}",),
            IdentifierKind.card_last4: (f"{number % 10_000:04d}",),
        }
        payment_identifiers.insert(rows, own, called, payment.created_at)
    await rows.write(ground, db)


def _timed(program: Program, practice: Practice, text: str, size: Size) -> list[float]:
    line = http.client.HTTPConnection("127.0.0.1", program.port, timeout=60)
    path = f"/api/practices/{practice.id}/payments?environment=sandbox&search={quote(text)}"
    took = []
    for number in range(max(5, size.rounds * 3) + 1):
        began = time.perf_counter()
        line.request("GET", path, headers={"Authorization": f"Bearer {practice.key}"})
        answer = line.getresponse()
        body = json.loads(answer.read())
        if number:  # the first one opens the database
            took.append((time.perf_counter() - began) * 1000)
        if answer.status != 200 or (not body["data"] and "nobody" not in text):
            raise WrongAnswer(
                f"A search for {text!r} answered {answer.status} with {len(body.get('data', ()))} payments."
            )
    line.close()
    return took
