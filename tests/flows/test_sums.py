"""Every summary of a practice equals its ledger to the last unit, by the practice's own days: random histories.

The expected figures are computed here from the rows of ``ledger_lines`` alone, with nothing of the code that is tested.
"""

from __future__ import annotations

import csv
import io
from asyncio import create_task, sleep
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pytest
import uvicorn

from polytill.domain.currencies import exponent_of
from polytill.domain.localities import zone_of
from polytill.domain.states import Environment
from polytill.flows.admin.practices import PracticeChanges, change_practice, create_key
from polytill.storage.units import moment
from polytill.web.app import make_app
from polytill.web.console.overview import read_month
from tests.flows import histories
from tests.flows.scenes import Scene
from tests.installation import KEEP_ALIVE_S, Installation, loopback
from tests.web.browsing import Browser, person

ZONES = ("Asia/Kolkata", "Africa/Cairo", "America/Havana", "Africa/Nairobi", "Pacific/Chatham")


@dataclass(frozen=True)
class Line:
    """One ledger line on its own day."""

    day: date
    currency: str
    account: str
    fact: str
    amount: int
    payment_id: str
    provider: str
    method: str


async def ledger_of(scene: Scene, zone: ZoneInfo) -> list[Line]:
    """All lines, each with its entry's provider and its payment's method."""
    rows = await scene.db.fetch(
        "SELECT l.entry_id, l.currency, l.account, l.fact, l.amount, l.payment_id, l.created_at, p.payment_method"
        " FROM ledger_lines l JOIN payments p ON p.id = l.payment_id ORDER BY l.id"
    )
    providers = {r["entry_id"]: r["account"][9:] for r in rows if r["account"].startswith("provider:")}
    found = []
    for r in rows:
        at = moment(r["created_at"])
        assert isinstance(at, datetime)
        day = at.astimezone(zone).date()
        found.append(
            Line(
                day,
                r["currency"],
                r["account"],
                r["fact"],
                r["amount"],
                r["payment_id"],
                providers[r["entry_id"]],
                r["payment_method"] or "",
            )
        )
    return found


def total(lines: list[Line], account: str, **narrowed: Any) -> int:
    """The balance of an account, or of all accounts whose name begins so."""
    return sum(
        line.amount
        for line in lines
        if line.account.startswith(account) and all(getattr(line, name) == v for name, v in narrowed.items())
    )


def minor(text: str, currency: str) -> int:
    """What a table says, in minor units."""
    return int(Decimal(text).scaleb(exponent_of(currency)))


@asynccontextmanager
async def served(scene: Scene) -> AsyncIterator[Installation]:
    """The scene's installation on a loopback port."""
    listening = loopback()
    app = make_app(scene.till, sweeping=False)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", lifespan="on", access_log=False, timeout_keep_alive=KEEP_ALIVE_S)
    )
    serving = create_task(server.serve(sockets=[listening]))
    while not server.started:  # noqa: ASYNC110 — uvicorn has no event for it
        await sleep(0.01)
    try:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with aiohttp.ClientSession() as http:
            yield Installation(scene.till, None, url, "", http, app)  # type: ignore[arg-type]
    finally:
        server.should_exit = True
        await serving
        listening.close()


async def overview_agrees(scene: Scene, lines: list[Line], zone: ZoneInfo) -> None:
    for currency in {line.currency for line in lines}:
        own = [line for line in lines if line.currency == currency]
        for first in {line.day.replace(day=1) for line in own}:
            month = await read_month(scene.db, Environment.sandbox, currency, first, zone)
            there = [line for line in own if line.day.replace(day=1) == first]
            groups: list[tuple[Any, list[Line]]] = [(month.total, there)]
            groups += [
                (month.by_day[day.isoformat()], [line for line in there if line.day == day]) for day in month.days
            ]
            for name in ("provider", "method"):
                shown = getattr(month, f"by_{name}")
                assert set(shown) == {getattr(line, name) for line in there}
                groups += [(sums, [x for x in there if getattr(x, name) == key]) for key, sums in shown.items()]
            for sums, expected in groups:
                assert sums.net == total(expected, "provider:")
                assert sums.gross == -total(expected, "payments")
                assert sums.fees == total(expected, "fees")
                assert sums.refunded == total(expected, "refunds")
                assert sums.disputed == total(expected, "disputes")
                assert sums.duplicates_received == -total(expected, "duplicate_payments", fact="duplicate_payment")
                assert sums.duplicates_received - sums.duplicates_returned == -total(expected, "duplicate_payments")
                assert sums.payments == sum(line.account == "payments" and line.fact == "payment" for line in expected)


async def tables_agree(browser: Browser, door: str, lines: list[Line]) -> None:
    seen = await browser.get(f"{door}/payments.csv?environment=sandbox")
    *rows, last = list(csv.DictReader(io.StringIO(seen.html.lstrip("\ufeff"))))
    assert last["id"] == f"# complete: {len(rows)} rows"
    for row in rows:
        own = [line for line in lines if line.payment_id == row["id"]]
        same = [line for line in own if line.currency == row["currency"]]
        assert minor(row["net"], row["currency"]) == total(same, "provider:")
        assert minor(row["captured"], row["currency"]) == -total(same, "payments")
        assert minor(row["refunded"], row["currency"]) == total(same, "refunds")
        assert minor(row["lost to disputes"], row["currency"]) == total(same, "disputes")
        assert minor(row["fee"], row["currency"]) == total(same, "fees")
        others = total([line for line in own if line.currency != row["currency"]], "fees")
        assert minor(row["other fee"] or "0", row["other fee currency"] or "USD") == others
    assert {row["id"] for row in rows} >= {line.payment_id for line in lines}
    for first in {line.day.replace(day=1) for line in lines}:
        seen = await browser.get(f"{door}/bookings.csv?environment=sandbox&month={first:%Y-%m}")
        *rows, last = list(csv.DictReader(io.StringIO(seen.html.lstrip("\ufeff"))))
        assert last["booked"] == f"# complete: {len(rows)} rows"
        for currency in {line.currency for line in lines}:
            there = [x for x in lines if x.currency == currency and x.day.replace(day=1) == first]
            sums: dict[str, int] = defaultdict(int)
            for row in rows:
                if row["currency"] == currency:
                    sums[row["booked"][:10]] += minor(row["amount"], currency)
            for day in {line.day for line in there}:
                assert sums[day.isoformat()] == total(there, "provider:", day=day)
            assert sum(sums.values()) == total(there, "provider:")


async def api_agrees(house: Installation, scene: Scene, key: str, lines: list[Line]) -> None:
    base, cursor = f"/api/practices/{scene.practice_id}", ""
    while True:
        page = (await house.call("GET", f"{base}/payments?limit=20&environment=sandbox{cursor}", key)).body
        for one in page["data"]:
            alone = (await house.call("GET", f"{base}/payments/{one['id']}", key)).body
            own = [line for line in lines if line.payment_id == one["id"]]
            same = [line for line in own if line.currency == one["currency"]]
            for shown in (one, alone):
                assert shown["amountCaptured"] == -total(same, "payments")
                assert shown["amountRefunded"] == total(same, "refunds")
                assert shown["amountLost"] == total(same, "disputes")
                assert shown["amountDuplicate"] == -total(same, "duplicate_payments", fact="duplicate_payment")
                assert shown["amountDuplicate"] - shown["amountDuplicateReturned"] == -total(same, "duplicate_payments")
                fees = {fee["currency"]: fee["amount"] for fee in shown["fees"]}
                assert fees == {c: n for c in ("NGN", "USD") if (n := total(own, "fees", currency=c))}
        if not page["nextCursor"]:
            break
        cursor = f"&cursor={page['nextCursor']}"
    days = sorted({line.day for line in lines})
    for first, last in ((days[0], days[-1]), *((day, day) for day in days)):
        there = [line for line in lines if first <= line.day <= last]
        found = await house.call("GET", f"{base}/ledger?environment=sandbox&from={first}&to={last}", key)
        assert found.status == 200, found.body
        for currency in {line.currency for line in there}:
            own = [line for line in there if line.currency == currency]
            expected = {a: sum(x.amount for x in own if x.account == a) for a in {x.account for x in own}}
            accounts = found.body["balances"][currency]
            assert accounts == {a: n for a, n in expected.items() if a in accounts}
            assert {a for a, n in expected.items() if n} <= set(accounts)


@pytest.mark.parametrize("seed", range(5))
async def test_every_summary_equals_the_ledger(scene: Scene, seed: int) -> None:
    zone = zone_of(ZONES[seed % len(ZONES)])
    await change_practice(scene.context, scene.practice_id, PracticeChanges(time_zone=str(zone)), "test")
    await histories.play(scene, seed)
    lines = await ledger_of(scene, zone)
    assert {"payments", "duplicate_payments", "fees"} <= {line.account for line in lines}
    await overview_agrees(scene, lines, zone)
    key = await create_key(scene.context, "practice", scene.practice_id, "test", None, "test")
    door = f"/practice/{scene.practice_id}"
    async with served(scene) as house, Browser(house) as browser:
        await person(house, scene.db, "admin@clinic.example")
        await browser.sign_in(door, "admin@clinic.example")
        await tables_agree(browser, door, lines)
        await api_agrees(house, scene, key, lines)
        seen = await browser.get(f"{door}/overview?currency=NGN&environment=sandbox")
        assert f'data-zone="{zone}"' in seen.html
