"""Every page's time on the server with many payments in one practice, and the bytes that the browser receives."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import statistics
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from benchmarks.ground import Ground
from benchmarks.load import WrongAnswer, deliveries, drive, payments
from benchmarks.measuring import Size, stage, start
from benchmarks.processes import Program
from benchmarks.results import Aim, Result
from polytill.app import Polytill
from polytill.domain.money import Money
from polytill.domain.states import Environment
from polytill.flows.admin import provider_configs, staff
from polytill.flows.context import Context
from polytill.flows.payments.payment_links import LinkWish, create_link, link_token
from polytill.flows.payments.request import PaymentRequest
from polytill.storage import cases
from polytill.storage.databases import PracticeDb
from polytill.storage.staff import StaffDb
from polytill.storage.units import Unit, moment
from polytill.web.app import PAGES
from polytill.web.console.sessions import cookie_name

EMAIL, PASSWORD = "bench@example.com", "correct-horse-battery"
DAYS = 60  # the payments are spread over this many days
PAID = 0.85  # the share of them that a webhook settles
ODD = 40  # webhooks that belong to no payment here, and as many with another amount: they need review
AT_ONCE = 500  # rows that one transaction backdates
EACH_OTHER = 4  # payments of each other practice, so that the owner's pages must read it
ASSETS = ("tokens.css", "app.css", "app.js", "htmx.min.js")
# Addresses without a page of their own: they redirect, or return a fragment or a file.
NO_PAGES = frozenset(
    """/language/{language} /practice/{practice_id} /practice/{practice_id}/payments.csv
    /practice/{practice_id}/bookings.csv /practice/{rest:path}
    /owner/{rest:path} /owner/welcome/{token} /practice/{practice_id}/welcome/{token}
    /practice/{practice_id}/providers/{code}/last-webhook""".split()  # noqa: SIM905
)
# The pages of customers, who are not signed in; the addresses of others only redirect.
PAYERS = (
    "/pay/{client_token}",
    "/pay/{client_token}/receipt",
    "/pay/link/{link_token}",
    "/pay/link/{link_token}/poster",
)
PAYERS_ASSETS = ("tokens.css", "checkout.css", "checkout.js")
# The same page with other queries: pages whose cost depends on them.
ASKED = (
    ("/practice/{practice_id}/payments", "q=nobody at all"),
    ("/practice/{practice_id}/payments", "status=succeeded"),
    ("/practice/{practice_id}/providers", "amount=5000&currency=NGN"),
)


@dataclass
class Timed:
    """One page and its repeated answers."""

    path: str
    bytes_html: int = 0  # compressed, like the next
    bytes_with_assets: int = 0
    took_ms: list[float] = field(default_factory=list)

    @property
    def median_ms(self) -> float:
        """The median."""
        return statistics.median(self.took_ms)


def pages(size: Size) -> Result:
    """Every page over both engines; the goal is 100 ms each, and 100 KB with all its files."""
    figures: dict[str, Any] = {"payments": size.memory_payments, "practices": size.practices}
    found: dict[str, list[Timed]] = {}
    for engine in ("sqlite", "postgresql"):
        with stage(engine, size) as (ground, folder, stack):
            program = start("product", folder, stack)
            cookies, values = asyncio.run(_fill(ground, program, size))
            found[engine] = _measure(program, cookies, values, size)
    table = [_row(one, other) for one, other in zip(found["sqlite"], found["postgresql"], strict=True)]
    every = [page for timed in found.values() for page in timed]
    for engine, timed in found.items():
        figures[engine] = {page.path: round(page.median_ms, 1) for page in timed}
    aims = [
        Aim("ms of the slowest page", max(page.median_ms for page in every), 100),
        Aim("KB of the largest page with its CSS and JS", max(page.bytes_with_assets for page in every) / 1000, 100),
    ]
    columns = ["page", "SQLite ms", "worst", "PostgreSQL ms", "worst", "KB of HTML", "with CSS and JS"]
    title = f"server time with {size.memory_payments} payments in the practice, {size.practices} practices"
    note = f"Medians of {_times(size)} visits, one at a time, over loopback; sizes as gzip makes them."
    return Result("pages", title, columns, table, figures, aims, [note])


def _row(one: Timed, other: Timed) -> list[str]:
    times = [f"{ms:.0f}" for page in (one, other) for ms in (page.median_ms, max(page.took_ms))]
    html, whole = max(one.bytes_html, other.bytes_html), max(one.bytes_with_assets, other.bytes_with_assets)
    return [one.path, *times, f"{html / 1000:.1f}", f"{whole / 1000:.1f}"]


def _times(size: Size) -> int:
    return max(5, size.rounds * 3)


# ── A practice after two months of work ──


async def _fill(ground: Ground, program: Program, size: Size) -> tuple[dict[str, str], dict[str, str]]:
    """Payments, webhooks, people. Returns the cookies by login, and the values of the names in addresses."""
    practice, others = ground.practices[:1], ground.practices[1:]
    taken = await drive(program.port, payments("pages", practice, size.memory_payments), 201, keep=True)
    told = [json.loads(body) for body in taken.bodies]
    paid, odd = told[: int(len(told) * PAID)], told[-ODD:]
    await drive(program.port, deliveries(practice, paid), 200)
    await drive(program.port, deliveries(practice, [{**one, "amount": one["amount"] - 1} for one in odd]), 200)
    await drive(program.port, deliveries(practice, [_of_nobody(one, n) for n, one in enumerate(odd)]), 200)
    if others:
        await drive(program.port, payments("pages", others, EACH_OTHER * len(others)), 201)
    async with Polytill.open(ground.opened_settings()) as till:
        db = await till.context.opening.practice(practice[0].id)
        await _spread(db)
        doors: dict[str, StaffDb] = {"/owner": till.context.owner, f"/practice/{db.practice_id}": db}
        cookies = {door: await _signed_in(till.context, door, people) for door, people in doors.items()}
        values = await _names(till, db, paid[-1])
    return cookies, values


def _of_nobody(payment: dict[str, Any], number: int) -> dict[str, Any]:
    return {**payment, "reference": f"x-{10**8 + number}", "attempts": [{"reference": f"nobody-knows-{number:06d}"}]}


async def _spread(db: PracticeDb) -> None:
    """Backdate the payments, as if they had been created one after another over two months."""
    every = await db.fetch("SELECT id, created_at FROM payments ORDER BY id")
    for at in range(0, len(every), AT_ONCE):
        unit = Unit()
        for place, row in enumerate(every[at : at + AT_ONCE], at):
            made = moment(row["created_at"])
            assert made is not None
            made -= timedelta(days=DAYS * (len(every) - place) / len(every))
            unit.add("UPDATE payments SET created_at = $2 WHERE id = $1", row["id"], made, expect=1)
            unit.add("UPDATE ledger_lines SET created_at = $2 WHERE payment_id = $1", row["id"], made)
            unit.add("UPDATE payment_search SET created_at = $2 WHERE payment_id = $1", row["id"], made)
        await db.commit(unit)


async def _signed_in(context: Context, door: str, db: StaffDb) -> str:
    link = await staff.invite(context, db, EMAIL, "Bench", "admin", "benchmark")
    session = await staff.choose_password(context, db, link.rpartition("/")[2], PASSWORD)
    return f"{cookie_name(door)}={session.token.reveal()}"


async def _names(till: Polytill, db: PracticeDb, paid: dict[str, Any]) -> dict[str, str]:
    """The values of the names in addresses. Creates a payment at the desk and a payment link."""
    context = till.context
    wish = provider_configs.Wish(
        "manual", environment=Environment.sandbox, is_enabled=True, supported_currencies=["NGN"]
    )
    await provider_configs.configure(context, db.practice_id, wish, "benchmark")
    cash = PaymentRequest(Money(750_000, "NGN"), provider_code="manual")
    at_desk = await till.pay(db.practice_id, cash, key="bench", actor="benchmark")
    link = await create_link(context, db.practice_id, LinkWish(500_000, "NGN", "Deposit"), "benchmark")
    opened = await cases.listed(db, limit=1)
    return {
        "practice_id": str(db.practice_id),
        "payment_id": paid["id"],
        "client_token": paid["clientToken"],
        "at_desk": at_desk.id,
        "link_token": link_token(context, link),
        "case_id": opened[0].id,
        "code": "paystack",
        "person_id": "1",
    }


# ── Measurements ──


def _addresses() -> list[tuple[str, str]]:
    """Every address with a page, so that none is left out, and the queries."""
    every = {route.path for router in PAGES for route in router.routes if "GET" in route.methods}
    shown = sorted(path.replace("{payment_id}/manual", "{at_desk}/manual") for path in every - NO_PAGES)
    return [*((path, "") for path in (*shown, *PAYERS)), *ASKED]


def _measure(program: Program, cookies: dict[str, str], values: dict[str, str], size: Size) -> list[Timed]:
    line = http.client.HTTPConnection("127.0.0.1", program.port, timeout=60)
    assets = {names: sum(_compressed(line, f"/static/{name}") for name in names) for names in (ASSETS, PAYERS_ASSETS)}
    found = []
    for pattern, query in _addresses():
        door = next((door for door in cookies if pattern.format(**values).startswith(door)), "")
        headers = {"Accept-Language": "en-NG"} | ({"Cookie": cookies[door]} if door else {})
        timed = Timed(pattern.replace("{practice_id}", "…") + (f"?{query}" if query else ""))
        path = pattern.format(**values) + (f"?{quote(query, safe='=&')}" if query else "")
        timed.bytes_html = _compressed(line, path, headers)  # the first visit compiles the template
        timed.bytes_with_assets = timed.bytes_html + assets[PAYERS_ASSETS if pattern.startswith("/pay") else ASSETS]
        for _ in range(_times(size)):
            began = time.perf_counter()
            _read(line, path, headers)
            timed.took_ms.append((time.perf_counter() - began) * 1000)
        found.append(timed)
    line.close()
    return found


def _read(line: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> bytes:
    line.request("GET", path, headers=headers)
    answer = line.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise WrongAnswer(f"{path} answered {answer.status}, {answer.getheader('Location', '')}")
    return body


def _compressed(line: http.client.HTTPConnection, path: str, headers: dict[str, str] | None = None) -> int:
    return len(gzip.compress(_read(line, path, headers or {})))
