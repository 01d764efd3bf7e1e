"""Counts match their labels, days are the practice's, exports are complete or say that they are not.

Sources: https://github.com/polarsource/polar/issues/6674 (unpaid payments beside the volume),
https://github.com/opencollective/opencollective/issues/6414 (an export that ends at a limit),
https://github.com/AlexsanderVargas/vendas-bot/issues/78 and
https://github.com/Automattic/woocommerce-payments/issues/9064 (days and receipts in UTC),
https://github.com/Automattic/woocommerce-payments/issues/9303 (a guard against formulas that spoils numbers).
The other seeds of the same kinds play in ``tests/flows/test_sums.py``, where every summary is compared with the ledger.
"""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime
from typing import Any

import aiohttp
import pytest

from polytill.domain.localities import zone_of
from polytill.domain.money import Money
from polytill.domain.spreadsheets import cell
from polytill.domain.states import CaptureMode, Environment
from polytill.flows.admin.practices import create_key
from polytill.flows.payments.create import client_token
from polytill.providers.contract import PaymentFact, RefundFact
from polytill.providers.outcomes import Succeeded
from polytill.storage import audit, overview, payment_lists, webhook_events
from polytill.web.console.overview import Month, drawn, read_month
from polytill.web.words import words_for
from tests import calls
from tests.flows.scenes import LINK, REFUSED, Scene, held, paid
from tests.flows.test_operator import paid_twice
from tests.flows.test_sums import served
from tests.web.browsing import Browser, person


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def rows_of(text: str) -> tuple[list[dict[str, str]], str]:
    *rows, last = list(csv.DictReader(io.StringIO(text.lstrip("\ufeff"))))
    return rows, last["id"]


async def read_until_broken(answer: aiohttp.ClientResponse) -> bytes:
    got = b""
    try:
        async for piece in answer.content.iter_any():
            got += piece
    except aiohttp.ClientPayloadError:
        return got
    raise AssertionError("the transfer ended as if it were whole")


async def signed_in(scene: Scene, browser: Browser) -> str:
    await person(browser.house, scene.db, "admin@clinic.example")
    door = f"/practice/{scene.practice_id}"
    await browser.sign_in(door, "admin@clinic.example")
    return door


async def test_a_payment_just_after_midnight_belongs_to_the_new_day(scene: Scene) -> None:
    """vendas-bot#78: 00:01 on 30 November in Lagos is 23:01 UTC on the 29th."""
    scene.clock.at_s = at("2026-11-29T23:01:00")
    await scene.configure()
    payment = await scene.succeeded(amount=150_000)
    month = await read_month(scene.db, Environment.sandbox, "NGN", date(2026, 11, 1), zone_of("Africa/Lagos"))
    assert {day: sums.gross for day, sums in month.by_day.items() if sums.any} == {"2026-11-30": 150_000}
    key = await create_key(scene.context, "practice", scene.practice_id, "test", None, "test")
    async with served(scene) as house, Browser(house) as browser:
        door = await signed_in(scene, browser)
        for day, found in (("2026-11-29", []), ("2026-11-30", [payment.id]), ("2026-12-01", [])):
            seen = await browser.get(f"{door}/payments.csv?since={day}&until={day}")
            rows, last = rows_of(seen.html)
            assert [row["id"] for row in rows] == found, day
            assert last == f"# complete: {len(found)} rows"
            assert [(row["created"], row["utc offset"]) for row in rows] == [("2026-11-30 00:01:00", "+01:00")][
                : len(found)
            ]
            path = f"/api/practices/{scene.practice_id}/payments?createdFrom={day}&createdTo={day}"
            assert [one["id"] for one in (await house.call("GET", path, key)).body["data"]] == found, day
        path = f"/api/practices/{scene.practice_id}/payments"
        before = await house.call("GET", f"{path}?createdTo=2026-11-29T23:01:00Z", key)
        assert before.body["data"] == []  # a moment is UTC, and not part of the range
        since = await house.call("GET", f"{path}?createdFrom=2026-11-29T23:01:00Z", key)
        assert [one["id"] for one in since.body["data"]] == [payment.id]
        assert 'data-day="2026-11-30"' in (await browser.get(f"{door}/overview")).html
        receipt = await browser.get(f"/pay/{client_token(scene.context, payment)}/receipt")
        assert "November\u00a030,\u00a02026,\u00a012:01\u00a0AM\u00a0WAT" in receipt.html.replace("\u202f", "\u00a0")


async def test_only_succeeded_payments_are_counted_beside_the_volume(scene: Scene) -> None:
    """polar#6674: Six were paid and five are open: the volume is that of six payments."""
    await scene.configure()
    for _ in range(6):
        await scene.succeeded(amount=1000, fee=15)
    for _ in range(5):
        scene.wire.says("create", LINK)
        await scene.pay(amount=7000)
    month = await read_month(scene.db, Environment.sandbox, "NGN", date(2026, 9, 1), zone_of("Africa/Lagos"))
    assert (month.total.payments, month.total.gross, month.total.fees, month.total.net) == (6, 6000, 90, 5910)
    assert (month.counts.succeeded, month.counts.finished, month.counts.open) == (6, 6, 5)
    assert {code: sums.payments for code, sums in month.by_provider.items()} == {"scripted": 6}


async def test_an_authorization_captured_in_parts_is_one_payment(scene: Scene) -> None:
    """Two captures are two entries of the ledger, and one payment beside the volume."""
    configuration = await scene.configure()
    scene.wire.says("create", held(10_000))
    payment = (await scene.pay(amount=10_000, capture=CaptureMode.manual)).payment
    [attempt] = await scene.attempts(payment.id)
    part = Succeeded(Money(3_000, "NGN"), "tx-1", authorized_only=True, captured=Money(7_000, "NGN"))
    for outcome in (part, paid(10_000, fee=None)):
        await scene.delivery(configuration, PaymentFact(outcome, attempt.id, attempt.provider_transaction_id))
    month = await read_month(scene.db, Environment.sandbox, "NGN", date(2026, 9, 1), zone_of("Africa/Lagos"))
    assert (month.total.payments, month.total.gross) == (1, 10_000)


async def test_a_refund_counts_on_its_own_day(scene: Scene) -> None:
    """Review of the pages, D6 and D20. A refund on the 2nd of a payment of the 1st lowers the 2nd, and its failure the 3rd."""
    scene.clock.at_s = at("2026-10-01T10:00:00")
    configuration = await scene.configure()
    payment = await scene.succeeded(amount=1000, fee=None)
    scene.clock.at_s += 86_400
    scene.wire.says("refund", paid(400, fee=None, transaction="re-1"))
    made = await calls.refund(scene.till, scene.practice_id, payment.id, key="r", amount=400)
    scene.clock.at_s += 86_400
    scene.wire.says("lookup_refund", REFUSED)
    attempt = (await scene.attempts(payment.id))[0]
    await scene.delivery(configuration, RefundFact("failed", made.id, payment_reference=attempt.id))
    month = await read_month(scene.db, Environment.sandbox, "NGN", date(2026, 10, 1), zone_of("Africa/Lagos"))
    assert {day: (s.gross, s.refunded, s.net) for day, s in month.by_day.items() if s.any} == {
        "2026-10-01": (1000, 0, 1000),
        "2026-10-02": (0, 400, -400),
        "2026-10-03": (0, -400, 400),
    }


async def test_an_export_says_that_it_is_complete(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """opencollective#6414: Of more rows than one read holds none is missing, and a broken file shows it."""
    monkeypatch.setattr("polytill.web.console.exports.CHUNK", 7)
    await scene.configure()
    ids = {(await scene.succeeded(amount=1000 + n)).id for n in range(22)}
    real, reads = payment_lists.listed, [0]

    async def breaks(db: Any, filters: Any, limit: int) -> Any:
        reads[0] += 1
        if reads[0] == 3:
            raise RuntimeError("the database went away")
        return await real(db, filters, limit)

    async with served(scene) as house, Browser(house) as browser:
        door = await signed_in(scene, browser)
        seen = await browser.get(f"{door}/payments.csv")
        rows, last = rows_of(seen.html)
        assert {row["id"] for row in rows} == ids
        assert last == "# complete: 22 rows"
        monkeypatch.setattr(payment_lists, "listed", breaks)
        async with browser.http.get(f"{house.url}{door}/payments.csv") as answer:
            broken = await read_until_broken(answer)
        assert b"complete" not in broken


async def test_the_csv_names_our_own_references(scene: Scene) -> None:
    """Issue 18, item 3: a provider's list and statement may know an attempt by our reference alone."""
    await scene.configure()
    payment = await scene.succeeded(amount=150_000)
    async with served(scene) as house, Browser(house) as browser:
        door = await signed_in(scene, browser)
        rows, _ = rows_of((await browser.get(f"{door}/payments.csv")).html)
        [attempt] = await scene.attempts(payment.id)
        assert attempt.id in rows[0]["identifiers"].split()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3+cmd|' /C calc'!D2", "'-2+3+cmd|' /C calc'!D2"),
        ("\t=1", "'\t=1"),
        (" =1", "' =1"),
        ("\n=1", "'\n=1"),
        ("-5.00", "-5.00"),
        ("+254712345678", "+254712345678"),
        ("-1 200", "-1 200"),
        ("1,234.56", "1,234.56"),
        ("Ada", "Ada"),
        (None, ""),
        ("a=b", "a=b"),
        ("-5=1", "'-5=1"),
    ],
)
def test_the_guard_against_formulas_leaves_numbers_alone(text: str | None, shown: str) -> None:
    """woocommerce-payments#9303."""
    assert cell(text) == shown


async def test_both_halves_of_a_duplicate_are_in_every_sum(scene: Scene) -> None:
    """Review of the pages, D7; of operations, D10 and "Month-end": the second amount and its fee were left out."""
    case = await paid_twice(scene)
    payment_id = str(case.payment_id)
    books = (await overview.of_payments(scene.db, [payment_id]))[payment_id]["NGN"]
    assert (books.gross, books.duplicates_received, books.duplicates_returned) == (1000, 1000, 0)
    assert (books.fees, books.net) == (30, 1970)
    key = await create_key(scene.context, "practice", scene.practice_id, "test", None, "test")
    async with served(scene) as house, Browser(house) as browser:
        one = (await house.call("GET", f"/api/practices/{scene.practice_id}/payments/{payment_id}", key)).body
        assert (one["amountCaptured"], one["amountDuplicate"], one["amountDuplicateReturned"]) == (1000, 1000, 0)
        assert one["fees"] == [{"amount": 30, "currency": "NGN"}]
        door = await signed_in(scene, browser)
        rows, _ = rows_of((await browser.get(f"{door}/payments.csv")).html)
        assert [(row["captured"], row["duplicate received"], row["fee"], row["net"]) for row in rows] == [
            ("10.00", "10.00", "0.30", "19.70")
        ]
        receipt = await browser.get(f"/pay/{client_token(scene.context, await scene.payment(payment_id))}/receipt")
        assert 'data-sum="duplicate">' in receipt.html


async def test_a_page_says_what_it_leaves_out(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 19, elsewhere: one payment's page and the list of what waits ended at their limits and did not say so."""
    monkeypatch.setattr("polytill.web.console.payments.LINES", 2)
    monkeypatch.setattr("polytill.web.console.payments.DELIVERIES", 1)
    monkeypatch.setattr("polytill.web.console.review_cases.SHOWN", 2)
    configuration = await scene.configure()
    payment = await scene.succeeded(amount=1000)
    about = {"provider_transaction_id": payment.provider_transaction_id}
    for number in range(3):
        await scene.delivery(
            configuration, RefundFact("succeeded", None, f"own-{number}", amount=Money(100, "NGN"), **about)
        )
    for number in range(5):
        await scene.delivery(configuration, RefundFact("succeeded", None, f"r{number}", f"nobody-{number}"))
    lines, deliveries = await audit.count(scene.db, payment.id), await webhook_events.count(scene.db, None, payment.id)
    assert (lines > 2, deliveries) == (True, 3)
    async with served(scene) as house, Browser(house) as browser:
        door = await signed_in(scene, browser)
        page = await browser.get(f"{door}/payments/{payment.id}")
        assert f'data-left-out="{lines + deliveries - 3}"' in page.html
        assert (
            'data-left-out="3"' in (await browser.get(f"{door}/attention")).html
        )  # five webhooks of nobody's, two shown


def test_a_fifth_provider_is_in_the_chart() -> None:
    """The bars of a day were the four largest providers: the chart showed less than the volume."""
    month = Month(date(2026, 9, 1), [date(2026, 9, 1)])
    for number in range(6):
        month.by_provider[f"p{number}"].gross = 100 * (number + 1)
        month.volume[(f"p{number}", "2026-09-01")] = 100 * (number + 1)
    drawing = drawn(words_for("en", ""), month, "NGN", {})["volume"]
    assert [bar.title.partition(": ")[2] for bar in drawing.bars] == [
        "NGN\xa06.00",
        "NGN\xa05.00",
        "NGN\xa04.00",
        "NGN\xa06.00",
    ]
