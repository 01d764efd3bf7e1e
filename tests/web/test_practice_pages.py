"""A practice's pages over HTTP: providers set up and switched, payments found, shown and refunded; bad input rejected."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.installation import Installation
from tests.web.browsing import Browser, person
from tests.web.support import Practice, fresh, fresh_keys, snapshot
from tests.wording import part, said

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = "<script>alert(1)</script>\"'=1+1"


@dataclass
class Signed:
    """A practice, and an admin of it in a browser."""

    practice: Practice
    browser: Browser
    door: str


@pytest_asyncio.fixture(loop_scope="module")
async def signed(shared: Installation) -> AsyncIterator[Signed]:
    practice = await Practice.make(shared, "paystack")
    email, door = f"{fresh('admin')}@example.com", f"/practice/{practice.id}"
    await person(shared, await practice.db, email, name="Pat")
    async with Browser(shared) as browser:
        await browser.sign_in(door, email)
        yield Signed(practice, browser, door)


async def test_from_nothing_to_live(shared: Installation, signed: Signed) -> None:
    browser, page = signed.browser, f"{signed.door}/providers/flutterwave"
    keys = fresh_keys("flutterwave")
    saved = await browser.send(page, page, environment="sandbox", **keys)
    assert saved.status == 303, saved.text
    shown = await browser.get(saved.headers["Location"])
    for name in ("secretKey", "webhookSecret"):
        assert keys[name] not in shown.html
    assert "/hooks/" in shown.html
    assert said("provider.delivery_waiting") in shown.text
    listed = (await signed.practice.call("GET", "/payment-providers/flutterwave")).body
    assert (listed["isEnabled"], listed["environment"], listed["supportedCurrencies"]) == (False, "sandbox", ["NGN"])
    assert listed["configuredBy"] is not None
    tested = await browser.send(page, f"{page}/test")
    assert said("provider.test_ok") in tested.text
    for action, enabled in (("enable", True), ("disable", False), ("enable", True)):
        assert (await browser.send(page, f"{page}/state", action=action)).status == 303
        assert (await signed.practice.call("GET", "/payment-providers/flutterwave")).body["isEnabled"] is enabled
    assert (await browser.send(page, f"{page}/state", action="default")).status == 303
    assert said("provider.default_for", currencies="NGN") in (await browser.get(f"{signed.door}/providers")).text
    # Live: first the keys, then one clear step that has to be said in so many words.
    early = await browser.post(f"{page}/activate/production", {**_token(await browser.get(page)), "understood": "yes"})
    assert early.status == 409
    wrong = await browser.send(page, f"{page}/credentials/production", **keys)
    assert (wrong.status, part("fault.test_key") in wrong.text) == (422, True)
    live = {name: value.replace("_TEST", "") for name, value in keys.items()}
    assert (await browser.send(page, f"{page}/credentials/production", **live)).status == 303
    assert (await signed.practice.call("GET", "/payment-providers/flutterwave")).body["environment"] == "sandbox"
    unsaid = await browser.send(page, f"{page}/activate/production")
    assert (unsaid.status, said("provider.tick_box") in unsaid.text) == (422, True)
    assert (await browser.send(page, f"{page}/activate/production", understood="yes")).status == 303
    assert (await signed.practice.call("GET", "/payment-providers/flutterwave")).body["environment"] == "production"
    assert (await browser.send(page, f"{page}/activate/sandbox")).status == 303
    assert (await browser.send(page, f"{page}/state", action="remove")).status == 303
    assert said("providers.set_up", name="Flutterwave") in (await browser.get(f"{signed.door}/providers")).text


def _token(seen: object) -> dict[str, list[str]]:
    return {"form_token": next(iter(seen.forms.values()))["form_token"]}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"secretKey": ""}, "fault.key_needed"),
        ({"secretKey": "FLWSECK-0123456789abcdef-X"}, "fault.live_key"),
        ({"secretKey": "sk_test_0123456789abcdef0123"}, "fault.not_this_key"),
        ({"publicKey": "FLWSECK_TEST-0123456789abcdef-X"}, "fault.key_in_wrong_field"),
        ({"publicKey": "x" * 501}, "fault.too_long_for_a_key"),
        ({"currency": []}, "fault.choose_a_currency"),
        ({"currency": ["NGN", "QQQ"]}, "fault.no_such_currency"),
        ({"environment": "moon"}, "fault.shape_choice"),
        ({"config-webhookVersion": "v9"}, "fault.shape_choice"),
    ],
)
async def test_bad_keys(shared: Installation, signed: Signed, fields: dict[str, str], key: str) -> None:
    page = f"{signed.door}/providers/flutterwave"
    keys = {**fresh_keys("flutterwave"), "environment": "sandbox", **fields}
    before = await snapshot(shared, signed.practice.id)
    seen = await signed.browser.send(page, page, **keys)
    assert (seen.status, part(key) in seen.text) == (422, True), seen.text
    assert await snapshot(shared, signed.practice.id) == before
    for secret in ("FLWSECK", "sk_test", keys["webhookSecret"]):
        assert secret not in seen.html  # a wrong key is not shown again, wherever it was pasted


async def test_a_key_is_judged_at_once(shared: Installation, signed: Signed) -> None:
    page = f"{signed.door}/providers/stripe"
    token = _token(await signed.browser.get(page))

    async def judged(field: str, text: str, environment: str = "sandbox") -> str:
        sent = {**token, "field": field, field: text, "environment": environment}
        return (await signed.browser.post(f"{page}/check", sent)).text

    assert said("provider.key_fits") in await judged("secretKey", "sk_test_51Hclinic0000")
    assert said("fault.test_key") in await judged("secretKey", "sk_test_51Hclinic0000", "production")
    assert said("fault.live_key") in await judged("publicKey", "pk_live_51Hclinic0000")
    assert part("fault.key_in_wrong_field") in await judged("secretKey", "pk_test_51Hclinic0000")
    assert await judged("secretKey", "") == ""


async def test_order_and_who_takes_it(shared: Installation, signed: Signed) -> None:
    await signed.practice.configure("flutterwave", ["NGN"])
    page, browser = f"{signed.door}/providers", signed.browser
    assert (await browser.send(page, f"{page}/order", down="paystack")).status == 303
    assert (await browser.get(page)).forms[f"{page}/order"]["order"] == ["flutterwave", "paystack"]
    assert said("who.takes", name="Flutterwave", amount="NGN 5,000.00") in (await browser.get(page)).text
    dragged = {**_token(await browser.get(page)), "order": ["paystack", "flutterwave", "made-up", "paystack"]}
    assert (await browser.post(f"{page}/order", dragged)).status == 303
    asked = await browser.get(f"{page}?amount=5000&currency=NGN&method=card")
    assert said("who.takes", name="Paystack", amount="NGN 5,000.00") in asked.text
    small = await browser.get(f"{page}?amount=1&currency=NGN&method=card", **{"HX-Request": "true"})
    assert said("excluded.below_minimum", least="NGN 50.00") in small.text
    assert "<html" not in small.html
    for query in ("amount=-1", "amount=abc", "amount=1.234", "currency=QQQ", "amount=1e9", "amount=0"):
        seen = await browser.get(f"{page}?{query}")
        assert (seen.status, 'class="notice bad"' in seen.html) == (200, True), query
    nobody = await browser.get(f"{page}?amount=5&currency=USD")
    assert part("who.nobody") in nobody.text


async def test_payments_are_found(shared: Installation, signed: Signed) -> None:
    practice, browser, path = signed.practice, signed.browser, f"{signed.door}/payments"
    assert said("payments.none") in (await browser.get(path)).text
    paid = await practice.paid(
        123_456, description=HOSTILE, reference="=cmd", customer={"email": "zoe@example.com", "name": HOSTILE}
    )
    open_ = (await practice.create(99_900, customer={"email": "100%_of@example.com"})).body
    seen = await browser.get(path)
    assert "<script>alert" not in seen.html
    assert "1,234.56" in seen.text
    for query, found in (
        ("q=ZOE", {paid["id"]}),
        ("q=%25_of", {open_["id"]}),
        ("q=%25", set()),
        ("q=%3Dcmd", {paid["id"]}),
        (f"q={paid['id']}", {paid["id"]}),
        ("q=alert(1)", {paid["id"]}),
        ("q=nobody", set()),
        ("status=succeeded", {paid["id"]}),
        ("status=nonsense", {paid["id"], open_["id"]}),
        ("provider=stripe", set()),
        ("since=2000-01-01&until=2000-01-02", set()),
        ("since=yesterday", {paid["id"], open_["id"]}),
        ("environment=production", set()),
        ("since=2000-01-01", {paid["id"], open_["id"]}),
        ("since=0001-01-01&until=9999-12-31", {paid["id"], open_["id"]}),
        ("since=9999-12-31", set()),
    ):
        listed = await browser.get(f"{path}?{query}")
        assert {one for one in (paid["id"], open_["id"]) if one in listed.html} == found, query
    assert (await browser.get(f"{path}?cursor=made-up")).status == 422
    export = await browser.get(f"{path}.csv?q=zoe")
    *rows, last = list(csv.DictReader(io.StringIO(export.html.lstrip("\ufeff"))))
    assert last["id"] == "# complete: 1 rows"
    assert [(r["id"], r["amount"], r["captured"], r["fee"], r["currency"]) for r in rows] == [
        (paid["id"], "1234.56", "1234.56", str(rows[0]["fee"]), "NGN")
    ]
    assert rows[0]["reference"] == "'=cmd"  # a spreadsheet would run it
    assert "attachment" in export.headers["Content-Disposition"]


async def test_a_payment_is_told_and_given_back(shared: Installation, signed: Signed) -> None:
    practice, browser = signed.practice, signed.browser
    paid = await practice.paid(100_000, customer={"email": "ada@example.com", "name": "Ada"})
    path = f"{signed.door}/payments/{paid['id']}"
    seen = await browser.get(path)
    for words in (
        said("story.created"),
        said("story.delivery", provider="Paystack"),
        said("story.attempt.succeeded", provider="Paystack"),
        said("source.webhook"),
    ):
        assert words in seen.text
    for amount, fault in (
        ("0", "amount_not_positive"),
        ("-5", "amount_not_positive"),
        ("1000.01", "refund_exceeds_captured"),
        ("x", "amount_unreadable"),
        ("1e2", "amount_unreadable"),
        ("1.001", "amount_too_fine"),
    ):
        refused = await browser.send(f"{path}/refund", f"{path}/refund/confirm", amount=amount)
        assert (refused.status, part(f"fault.{fault}") in refused.text) == (422, True), amount
    sure = await browser.send(f"{path}/refund", f"{path}/refund/confirm", amount="400.50", reason="half")
    assert said("refund.sure", amount="NGN 400.50", whom="Ada") in sure.text
    form = sure.forms[f"{path}/refund"]
    before = await snapshot(shared, practice.id)
    for broken in ({"key": "short"}, {"minor": "x"}, {"minor": "-1"}, {"key": "a b" * 9}, {"minor": ""}):
        assert (await browser.post(f"{path}/refund", {**form, **broken})).status == 403
    assert (await browser.post(f"{path}/refund", {**form, "minor": "100001"})).status == 409
    assert await snapshot(shared, practice.id) == before
    for _ in range(2):  # pressed twice, refunded once
        assert (await browser.post(f"{path}/refund", form)).status == 303
    settled = await practice.settled(paid["id"], amountRefunded=40_050)
    assert settled["amountRefunded"] == 40_050
    assert len((await practice.call("GET", f"/payments/{paid['id']}/refunds")).body) == 1
    told = await browser.get(path)
    assert said("story.refund.created") in told.text
    assert "Pat" in told.text  # who
    rest = await browser.send(f"{path}/refund", f"{path}/refund/confirm", amount="599.50")
    await browser.post(f"{path}/refund", rest.forms[f"{path}/refund"])
    await practice.settled(paid["id"], amountRefunded=100_000)
    assert (await browser.get(f"{path}/refund")).status == 303  # nothing is left
    assert "Pat" in (await browser.get(f"{signed.door}/activity")).text
    assert (await browser.get(f"{signed.door}/payments/{'0' * 26}")).status == 404


async def test_overview(shared: Installation, signed: Signed) -> None:
    path = f"{signed.door}/overview"
    assert said("overview.none") in (await signed.browser.get(path)).text
    paid = await signed.practice.paid(200_000)
    await signed.practice.refund(paid["id"], 50_000)
    await signed.practice.settled(paid["id"], amountRefunded=50_000)
    await signed.practice.create(70_000)
    seen = await signed.browser.get(path)
    for words in (
        "2,000.00",
        "500.00",
        said("overview.payments", n=1),
        "100 %",
        said("overview.success_note", succeeded="1", n=1),
    ):
        assert words in seen.text, words
    assert seen.html.count("<svg") >= 3
    for query in ("month=2026-13", "month=x", "month=9999-01", "currency=QQQ", "environment=moon", "month=0001-01"):
        assert (await signed.browser.get(f"{path}?{query}")).status == 200, query
    assert said("overview.none") in (await signed.browser.get(f"{path}?month=2020-02")).text


async def test_no_page_is_large(shared: Installation, signed: Signed) -> None:
    """HTML, CSS and script of a page stay under 100 KB as they are compressed on the way."""
    import gzip

    total = 0
    for name in ("tokens.css", "app.css", "app.js", "htmx.min.js", "icon.svg"):
        seen = await signed.browser.get(f"/static/{name}")
        assert seen.status == 200
        total += len(gzip.compress(seen.html.encode()))
    for path in ("/payments", "/providers", "/providers/stripe", "/overview"):
        html = (await signed.browser.get(signed.door + path)).html
        assert total + len(gzip.compress(html.encode())) < 100_000, path
