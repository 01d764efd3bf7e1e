"""Flutterwave's rules: links and attempts, amounts, refunds, the shared hash."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulator.conftest import FLUTTERWAVE_KEY, Client, Receiver


@pytest.mark.parametrize(
    ("currency", "wire", "minor", "printed", "fee"),
    [
        ("KES", "75.50", 7550, 75.5, 219),
        ("KES", 75.5, 7550, 75.5, 219),
        ("NGN", 10_000, 1_000_000, 10_000, 14_000),
        ("NGN", 1_000_000, 100_000_000, 1_000_000, 200_000),
        ("GHS", "0.10", 10, 0.1, 0),
        ("UGX", 5000, 5000, 5000, 190),
        ("XOF", "5000", 5000, 5000, 190),
        ("XAF", "5000.00", 5000, 5000, 190),
        ("USD", 19.99, 1999, 19.99, 76),
    ],
)
async def test_amounts_and_fees(client: Client, currency: str, wire: Any, minor: int, printed: Any, fee: int) -> None:
    await client.new_flutterwave("a", wire, currency=currency)
    paid = await client.pay("a")
    assert (paid["amount"], paid["captured"], paid["fee"], paid["currency"]) == (minor, minor, fee, currency)
    reply = await client.flutterwave("GET", f"/transactions/{paid['id']}/verify")
    data = reply.json["data"]
    assert (data["amount"], data["charged_amount"], data["id"]) == (printed, printed, int(paid["id"]))
    assert f'"amount":{printed},' in reply.text


@pytest.mark.parametrize(
    "change",
    [
        {"amount": "75.505"},
        {"amount": 0},
        {"amount": -1},
        {"amount": "1e3"},
        {"amount": True},
        {"amount": None},
        {"amount": "50.5", "currency": "UGX"},
        {"amount": "50.5", "currency": "XOF"},
        {"currency": "JPY"},
        {"currency": 5},
        {"tx_ref": ""},
        {"tx_ref": 5},
        {"customer": {}},
        {"customer": "ada@example.com"},
        {"redirect_url": "javascript:alert(1)"},
        {"configurations": {"session_duration": 1441}},
    ],
)
async def test_what_flutterwave_refuses(client: Client, change: dict[str, Any]) -> None:
    body: dict[str, Any] = {
        "tx_ref": "no",
        "amount": 100,
        "currency": "KES",
        "redirect_url": "http://127.0.0.1:9/",
        "customer": {"email": "a@example.com"},
    }
    reply = await client.flutterwave("POST", "/payments", {**body, **change})
    assert (reply.status, reply.json["status"], reply.json["data"]) == (400, "error", None)
    assert await client.book() == []


async def test_the_currency_defaults_to_naira(client: Client) -> None:
    await client.new_flutterwave("default", 100, currency=None)
    assert (await client.book())[0]["currency"] == "NGN"


async def test_a_link_has_no_transaction_until_somebody_tries(client: Client) -> None:
    link = await client.new_flutterwave("try")
    assert [row["status"] for row in await client.book()] == ["created"]
    nothing = await client.flutterwave("GET", "/transactions/verify_by_reference?tx_ref=try")
    assert (nothing.status, nothing.json["message"]) == (400, "No transaction was found for this id")
    assert (await client.flutterwave("GET", "/transactions?tx_ref=try")).json["data"] == []
    left = await client.send("POST", link, data={"outcome": "abandon"})
    assert left.headers["Location"] == "http://127.0.0.1:9/back?shop=1&status=cancelled&tx_ref=try"
    declined = await client.send("POST", link, data={"outcome": "decline"})
    first = (await client.book())[0]["id"]
    target = "http://127.0.0.1:9/back?shop=1&status={}&tx_ref=try&transaction_id={}"
    assert declined.headers["Location"] == target.format("failed", first)
    seen = (await client.flutterwave("GET", "/transactions/verify_by_reference?tx_ref=try")).json["data"]
    assert (seen["status"], seen["processor_response"], seen["app_fee"]) == ("failed", "Do Not Honour", None)
    paid = await client.send("POST", link, data={"outcome": "success"})
    rows = await client.book()
    assert [row["status"] for row in rows] == ["failed", "succeeded"]
    assert paid.headers["Location"] == target.format("successful", rows[1]["id"])
    listed = (await client.flutterwave("GET", "/transactions?tx_ref=try")).json
    assert [row["id"] for row in listed["data"]] == [rows[1]["id"], rows[0]["id"]]
    assert listed["meta"]["page_info"] == {"total": 2, "current_page": 1, "total_pages": 1}
    best = (await client.flutterwave("GET", "/transactions/verify_by_reference?tx_ref=try")).json["data"]
    assert (best["id"], best["status"]) == (int(rows[1]["id"]), "successful")
    assert (await client.send("POST", link, data={"outcome": "success"})).status == 409
    late = await client.control("POST", "/pay/try", {"outcome": "success"})
    assert (late.status, late.json["code"]) == (409, "not_payable")


async def test_a_reference_is_not_unique(client: Client) -> None:
    for _ in range(2):
        await client.new_flutterwave("twice")
        await client.pay("twice")
    assert [row["captured"] for row in await client.book(reference="twice")] == [7550, 7550]


async def test_links_close(client: Client) -> None:
    link = await client.new_flutterwave("close")
    closed = await client.flutterwave("POST", "/payments/link/disable", {"link": link})
    assert closed.json["status"] == "success"
    assert (await client.book())[0]["status"] == "canceled"
    assert "expired" in (await client.send("GET", link)).text
    assert (await client.send("POST", link, data={"outcome": "success"})).status == 409
    assert (await client.control("POST", "/pay/close", {"outcome": "success"})).status == 409
    assert (await client.flutterwave("POST", "/payments/link/disable", {"link": "https://x/y"})).status == 404
    short = await client.new_flutterwave("short", configurations={"session_duration": 5})
    await client.send("POST", short, data={"outcome": "decline"})
    await client.control("POST", "/clock", {"advanceSeconds": 301})
    assert "expired" in (await client.send("GET", short)).text
    assert (await client.control("POST", "/pay/short", {"outcome": "success"})).status == 409


async def test_refunds(client: Client) -> None:
    await client.new_flutterwave("back", 100)
    failed = (await client.pay("back", "decline"))["id"]
    assert (await client.flutterwave("POST", f"/transactions/{failed}/refund", {"amount": 1})).status == 400
    paid = (await client.pay("back"))["id"]
    path = f"/transactions/{paid}/refund"
    one = await client.flutterwave("POST", path, {"amount": "30.25", "comments": "r-1"})
    assert (one.json["data"]["status"], one.json["data"]["amount_refunded"]) == ("completed", 30.25)
    for amount in (69.76, 0, "x", -1):
        assert (await client.flutterwave("POST", path, {"amount": amount})).status == 400
    assert (await client.flutterwave("POST", path)).json["data"]["amount_refunded"] == 69.75
    assert (await client.flutterwave("POST", path)).status == 400
    row = (await client.book(status="succeeded"))[0]
    assert [(refund["amount"], refund["reference"]) for refund in row["refunds"]] == [(3025, "r-1"), (6975, None)]
    seen = (await client.flutterwave("GET", f"/transactions/{paid}/verify")).json["data"]
    assert seen["status"] == "successful"
    listed = (await client.flutterwave("GET", "/refunds")).json["data"]
    assert [item["tx_id"] for item in listed] == [int(paid), int(paid)]
    fetched = (await client.flutterwave("GET", f"/refunds/{one.json['data']['id']}")).json["data"]
    assert (fetched["amount_refunded"], fetched["comments"]) == (30.25, "r-1")
    assert (await client.flutterwave("GET", "/refunds/1")).status == 404
    assert (await client.flutterwave("POST", "/transactions/back/refund", {"amount": 1})).status == 400


async def test_the_hash_says_nothing_about_the_body(client: Client, receiver: Receiver) -> None:
    hook = {"provider": "flutterwave", "account": FLUTTERWAVE_KEY, "url": receiver.url, "secret": "shared word"}
    await client.control("POST", "/webhooks", hook)
    await client.new_flutterwave("told")
    await client.pay("told", "decline")
    await client.pay("told")
    await client.control("POST", "/refund/told", {"amount": 100})
    failed, good = await receiver.of("charge.completed", 2)
    assert failed.headers["Verif-Hash"] == good.headers["Verif-Hash"] == "shared word"
    assert failed.json["data"]["id"] != good.json["data"]["id"]
    log = (await client.control("GET", "/deliveries")).json
    assert [item["event"] for item in log] == ["charge.completed", "charge.completed"]


async def test_balances(client: Client) -> None:
    assert (await client.flutterwave("GET", "/balances")).json["data"][0]["currency"] == "NGN"
    await client.new_flutterwave("b", 100)
    await client.pay("b")
    rows = {
        row["currency"]: row["available_balance"] for row in (await client.flutterwave("GET", "/balances")).json["data"]
    }
    assert rows == {"NGN": 0, "KES": 97.1}
    assert (await client.flutterwave("GET", "/balances/XXX")).status == 404
