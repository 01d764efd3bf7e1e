"""Paystack's rules: references, amounts, fees, refunds, disputes, the hosted page."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from tests.simulator.conftest import PAYSTACK_KEY, Client, Receiver


@pytest.mark.parametrize(
    ("currency", "wire", "minor", "fee"),
    [
        ("NGN", 200_000, 200_000, 3_000),
        ("NGN", 249_999, 249_999, 3_750),
        ("NGN", 250_000, 250_000, 13_750),
        ("NGN", 50_000_000, 50_000_000, 200_000),
        ("NGN", "500000", 500_000, 17_500),
        ("GHS", 10_000, 10_000, 195),
        ("ZAR", 10_000, 10_000, 390),
        ("KES", 10_000, 10_000, 150),
        ("USD", 10_000, 10_000, 390),
        ("XOF", 500_000, 5_000, 98),
        ("RWF", 100_000, 1_000, 29),
    ],
)
async def test_amounts_and_fees(client: Client, currency: str, wire: Any, minor: int, fee: int) -> None:
    await client.new_paystack("a-1", wire, currency=currency)
    await client.pay("a-1")
    row = (await client.book())[0]
    assert (row["amount"], row["captured"], row["fee"], row["currency"]) == (minor, minor, fee, currency)
    seen = (await client.paystack("GET", "/transaction/verify/a-1")).json["data"]
    assert (seen["amount"], seen["requested_amount"]) == (int(wire), int(wire))
    assert seen["fees"] == fee * (100 if currency in ("XOF", "RWF") else 1)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"amount": 4_999}, 400, "invalid_amount"),
        ({"amount": 10.5}, 400, "invalid_amount"),
        ({"amount": "10.50"}, 400, "invalid_amount"),
        ({"amount": -1}, 400, "invalid_amount"),
        ({"amount": None}, 400, "invalid_amount"),
        ({"amount": True}, 400, "invalid_amount"),
        ({"amount": 150, "currency": "XOF"}, 400, "invalid_amount"),
        ({"amount": 199, "currency": "USD"}, 400, "invalid_amount"),
        ({"currency": "EUR"}, 403, "unsupported_currency"),
        ({"currency": ["NGN"]}, 403, "unsupported_currency"),
        ({"email": "nobody"}, 400, "invalid_email_address"),
        ({"email": None}, 400, "invalid_email_address"),
        ({"reference": "under_score"}, 400, "invalid_params"),
        ({"callback_url": "javascript:alert(1)"}, 400, "invalid_params"),
    ],
)
async def test_what_paystack_refuses(client: Client, change: dict[str, Any], status: int, code: str) -> None:
    body = {"email": "ada@example.com", "amount": 500_000, "currency": "NGN", "reference": "no-1", **change}
    reply = await client.paystack("POST", "/transaction/initialize", body)
    assert (reply.status, reply.json["code"], reply.json["status"]) == (status, code, False)
    assert set(reply.json) == {"status", "message", "meta", "type", "code"}
    assert await client.book() == []


async def test_a_reference_is_unique_for_ever(client: Client) -> None:
    await client.new_paystack("once")
    body = {"email": "eve@example.com", "amount": 100_000, "reference": "once"}
    for _ in range(2):
        reply = await client.paystack("POST", "/transaction/initialize", body)
        assert (reply.status, reply.json["code"]) == (400, "duplicate_reference")
        await client.control("POST", "/clock", {"advanceSeconds": 10**8})
    assert len(await client.book()) == 1


async def test_a_declined_checkout_can_be_tried_again(client: Client) -> None:
    made = await client.new_paystack("retry", callback_url="http://127.0.0.1:9/back?a=b")
    page = made["authorization_url"]
    shown = await client.send("GET", page)
    assert (shown.status, "NGN 5000.00" in shown.text) == (200, True)
    left = await client.send("POST", page, data={"outcome": "abandon"})
    assert left.headers["Location"] == "http://127.0.0.1:9/back?a=b&trxref=retry&reference=retry"
    assert (await client.paystack("GET", "/transaction/verify/retry")).json["data"]["status"] == "abandoned"
    await client.send("POST", page, data={"outcome": "decline"})
    failed = (await client.paystack("GET", "/transaction/verify/retry")).json["data"]
    assert (failed["status"], failed["gateway_response"], failed["paid_at"]) == ("failed", "Declined", None)
    await client.send("POST", page, data={"outcome": "success"})
    paid = (await client.paystack("GET", "/transaction/verify/retry")).json["data"]
    assert (paid["status"], paid["authorization"]["reusable"]) == ("success", True)
    assert (await client.send("POST", page, data={"outcome": "success"})).status == 409


async def test_a_cancelled_checkout_goes_where_the_merchant_said(client: Client) -> None:
    made = await client.new_paystack("left", metadata={"cancel_action": "http://127.0.0.1:9/cancelled"})
    left = await client.send("POST", made["authorization_url"], data={"outcome": "abandon"})
    assert left.headers["Location"] == "http://127.0.0.1:9/cancelled"
    paid = await client.send("POST", made["authorization_url"], data={"outcome": "success"})
    assert (paid.status, "complete" in paid.text) == (200, True)


async def test_refunds(client: Client) -> None:
    await client.new_paystack("back")
    early = await client.paystack("POST", "/refund", {"transaction": "back"})
    assert early.status == 400
    number = (await client.pay("back"))["id"]
    one = await client.paystack("POST", "/refund", {"transaction": "back", "amount": 200_000, "merchant_note": "r-1"})
    assert (one.json["data"]["status"], one.json["data"]["transaction"]["id"]) == ("pending", int(number))
    over = await client.paystack("POST", "/refund", {"transaction": int(number), "amount": 300_001})
    assert over.status == 400
    row = (await client.book())[0]
    assert [(refund["reference"], refund["status"]) for refund in row["refunds"]] == [("r-1", "pending")]
    await client.control("POST", "/clock", {"advanceSeconds": 1})
    fetched = (await client.paystack("GET", f"/refund/{one.json['data']['id']}")).json["data"]
    assert (fetched["status"], fetched["transaction"]) == ("processed", int(number))
    assert (await client.paystack("GET", "/transaction/verify/back")).json["data"]["status"] == "success"
    rest = await client.paystack("POST", "/refund", {"transaction": "back"})
    assert rest.json["data"]["amount"] == 300_000
    await client.control("POST", "/clock", {"advanceSeconds": 1})
    assert (await client.paystack("GET", "/transaction/verify/back")).json["data"]["status"] == "reversed"
    row = (await client.book())[0]
    assert (row["status"], row["captured"], row["refunded"]) == ("succeeded", 500_000, 500_000)
    none = await client.paystack("POST", "/refund", {"transaction": "back"})
    assert none.status == 400
    listed = (await client.paystack("GET", f"/refund?transaction={number}")).json["data"]
    assert [(item["amount"], item["transaction"]) for item in listed] == [
        (300_000, int(number)),
        (200_000, int(number)),
    ]
    assert (await client.paystack("GET", "/refund?transaction=back")).json["data"] == []
    await client.control("POST", f"/refunds/{listed[0]['id']}/fail")
    assert (await client.book())[0]["refunded"] == 200_000
    assert (await client.paystack("GET", "/transaction/verify/back")).json["data"]["status"] == "success"


async def test_xof_is_refunded_in_whole_francs(client: Client) -> None:
    await client.new_paystack("cfa", 500_000, currency="XOF")
    await client.pay("cfa")
    part = await client.paystack("POST", "/refund", {"transaction": "cfa", "amount": 12_345})
    assert part.status == 400
    good = await client.paystack("POST", "/refund", {"transaction": "cfa", "amount": 12_300})
    assert good.json["data"]["amount"] == 12_300
    assert (await client.book())[0]["refunds"][0]["amount"] == 123


async def test_lists(client: Client) -> None:
    for number in range(5):
        await client.new_paystack(f"l-{number}", 100_000 + number * 1000)
    await client.pay("l-3")
    page = (await client.paystack("GET", "/transaction?perPage=2&page=2")).json
    assert [row["reference"] for row in page["data"]] == ["l-2", "l-1"]
    assert page["meta"] == {"total": 5, "skipped": 2, "perPage": 2, "page": 2, "pageCount": 3}
    paid = (await client.paystack("GET", "/transaction?status=success")).json["data"]
    assert [row["reference"] for row in paid] == ["l-3"]
    exact = (await client.paystack("GET", "/transaction?amount=101000&reference=l-1")).json["data"]
    assert [row["reference"] for row in exact] == ["l-1"]
    cursor = (await client.paystack("GET", "/transaction?use_cursor=true&perPage=3")).json
    following = (
        await client.paystack("GET", f"/transaction?use_cursor=true&perPage=3&next={cursor['meta']['next']}")
    ).json
    assert [row["reference"] for row in cursor["data"] + following["data"]] == [f"l-{n}" for n in (4, 3, 2, 1, 0)]
    assert following["meta"]["next"] is None
    assert (await client.paystack("GET", "/transaction?perPage=many")).status == 400
    assert (await client.paystack("GET", "/transaction?from=2999-01-01")).json["data"] == []
    one = (await client.paystack("GET", f"/transaction/{paid[0]['id']}")).json["data"]
    assert one["reference"] == "l-3"
    assert (await client.paystack("GET", "/transaction/1")).status == 404


async def test_disputes(client: Client) -> None:
    for reference in ("won", "lost"):
        await client.new_paystack(reference)
        await client.pay(reference)
        assert (await client.control("POST", f"/dispute/{reference}", {"outcome": "open"})).status == 200
        again = await client.control("POST", f"/dispute/{reference}", {"outcome": "open"})
        assert again.status == 409
        await client.control("POST", f"/dispute/{reference}", {"outcome": reference})
    rows = (await client.paystack("GET", "/dispute?status=resolved")).json["data"]
    resolutions = {row["transaction"]["reference"]: (row["resolution"], row["transaction"]["status"]) for row in rows}
    assert resolutions == {"won": ("declined", "success"), "lost": ("merchant-accepted", "reversed")}
    assert [row["disputes"][0]["status"] for row in await client.book()] == ["won", "lost"]


async def test_the_api_key_signs(client: Client, receiver: Receiver) -> None:
    await client.control("POST", "/webhooks", {"provider": "paystack", "account": PAYSTACK_KEY, "url": receiver.url})
    await client.new_paystack("signed")
    await client.pay("signed", "decline")
    await client.pay("signed")
    delivered = (await receiver.of("charge.success"))[0]
    expected = hmac.new(PAYSTACK_KEY.encode(), delivered.body, hashlib.sha512).hexdigest()
    assert delivered.headers["X-Paystack-Signature"] == expected
    assert delivered.json["data"]["reference"] == "signed"
    assert b'": ' not in delivered.body
    # A failed attempt sends no webhook.
    assert [item.event for item in receiver.got] == ["charge.success"]


async def test_mode_and_metadata(client: Client) -> None:
    for sent, kept in (({"a": 1}, {"a": 1}), ('{"a":"b"}', {"a": "b"}), (None, ""), ("words", "words"), (0, 0)):
        await client.new_paystack(f"m-{type(sent).__name__}-{len(str(sent))}", metadata=sent)
        reference = (await client.book())[-1]["reference"]
        seen = (await client.paystack("GET", f"/transaction/verify/{reference}")).json["data"]
        assert (seen["metadata"], seen["domain"]) == (kept, "test")
    client.keys["paystack"] = "sk_live_" + "a" * 40
    await client.new_paystack("live")
    assert (await client.paystack("GET", "/transaction/verify/live")).json["data"]["domain"] == "live"


async def test_unreadable_bodies(client: Client) -> None:
    headers = {"Authorization": f"Bearer {PAYSTACK_KEY}", "Content-Type": "application/json"}
    for data in (b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000):
        reply = await client.send("POST", "/paystack/transaction/initialize", data=data, headers=headers)
        assert (reply.status, reply.json["status"]) == (400, False)
