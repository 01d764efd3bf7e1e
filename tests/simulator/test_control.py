"""The control calls: the provider's books, isolation, the clock, and a clear error for bad input."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from polytill.simulator import RunningSimulator, make_app, start
from polytill.simulator.books import Refund, Transaction, iso_time
from tests.simulator.conftest import KEYS, Client, Receiver

MEMBERS = {
    "provider",
    "account",
    "id",
    "reference",
    "status",
    "amount",
    "currency",
    "captured",
    "refunded",
    "fee",
    "idempotencyKey",
    "refunds",
    "createdAt",
}


async def test_the_oracle(client: Client) -> None:
    await client.paid_intent("s-1")
    await client.new_paystack("p-1")
    await client.new_flutterwave("f-1")
    rows = {row["provider"]: row for row in await client.book()}
    assert all(row.keys() >= MEMBERS for row in rows.values())
    assert {name: (row["account"], row["reference"]) for name, row in rows.items()} == {
        "stripe": (KEYS["stripe"], "s-1"),
        "paystack": (KEYS["paystack"], "p-1"),
        "flutterwave": (KEYS["flutterwave"], "f-1"),
    }
    assert {name: (row["status"], row["captured"], row["fee"]) for name, row in rows.items()} == {
        "stripe": ("succeeded", 2000, 88),
        "paystack": ("created", 0, 0),
        "flutterwave": ("created", 0, 0),
    }
    refund = (await client.control("POST", "/refund/s-1", {"amount": 700})).json["refunds"][0]
    assert refund.keys() >= {"id", "amount", "currency", "status", "createdAt"}
    found = (await client.control("GET", "/transactions?provider=stripe&reference=s-1")).json
    assert [(row["refunded"], row["captured"]) for row in found] == [(700, 2000)]


@pytest.mark.parametrize(
    ("form", "headers", "reference"),
    [
        ({"metadata[polytill_attempt]": "a", "metadata[reference]": "b"}, {"Idempotency-Key": "k"}, "a"),
        ({"metadata[reference]": "b"}, {"Idempotency-Key": "k"}, "b"),
        ({}, {"Idempotency-Key": "k"}, "k"),
        ({}, {}, None),
    ],
)
async def test_the_reference_of_an_intent(
    client: Client, form: dict[str, str], headers: dict[str, str], reference: str | None
) -> None:
    await client.stripe("POST", "/payment_intents", {"amount": "500", "currency": "usd", **form}, headers=headers)
    assert [row["reference"] for row in await client.book()] == [reference]


async def test_accounts_never_see_each_other(client: Client) -> None:
    stranger = Client(client.url, client.session)
    stranger.keys = {
        "stripe": "sk_live_StripeMerchant01",
        "paystack": "sk_live_paystackmerchant0000000001",
        "flutterwave": "FLWSECK-flutterwavemerchant1-X",
    }
    paid = await client.paid_intent("same")
    await client.new_paystack("same")
    await client.new_flutterwave("same")
    await client.control("POST", "/pay/same", {"outcome": "success", "provider": "paystack"})
    await client.control("POST", "/pay/same", {"outcome": "success", "provider": "flutterwave"})
    rows = {row["provider"]: row["id"] for row in await client.book()}
    refused = [
        await stranger.stripe("GET", f"/payment_intents/{paid['id']}"),
        await stranger.stripe("GET", f"/charges/{paid['latest_charge']}"),
        await stranger.stripe("POST", f"/payment_intents/{paid['id']}/cancel"),
        await stranger.stripe("POST", "/refunds", {"payment_intent": paid["id"]}),
        await stranger.stripe("POST", "/refunds", {"charge": paid["latest_charge"]}),
        await stranger.paystack("GET", "/transaction/verify/same"),
        await stranger.paystack("GET", f"/transaction/{rows['paystack']}"),
        await stranger.paystack("POST", "/refund", {"transaction": "same"}),
        await stranger.flutterwave("GET", f"/transactions/{rows['flutterwave']}/verify"),
        await stranger.flutterwave("GET", "/transactions/verify_by_reference?tx_ref=same"),
        await stranger.flutterwave("POST", f"/transactions/{rows['flutterwave']}/refund", {"amount": 1}),
    ]
    assert {reply.status for reply in refused} == {400, 404}
    lists = [
        (await stranger.stripe("GET", "/payment_intents")).json["data"],
        (await stranger.stripe("GET", "/events")).json["data"],
        (await stranger.paystack("GET", "/transaction")).json["data"],
        (await stranger.flutterwave("GET", "/transactions")).json["data"],
    ]
    assert lists == [[], [], [], []]
    # Another account can use the same reference.
    await stranger.new_paystack("same")
    assert all(row["refunded"] == 0 for row in await client.book())


async def test_which_transaction_the_payer_pays(client: Client) -> None:
    await client.new_flutterwave("x")
    await client.new_flutterwave("x")
    other = "FLWSECK_TEST-other-X"
    client.keys["flutterwave"] = other
    await client.new_flutterwave("x")
    mine = {"outcome": "success", "account": KEYS["flutterwave"]}
    for _ in range(2):
        assert (await client.control("POST", "/pay/x", mine)).json["account"] == KEYS["flutterwave"]
    assert (await client.control("POST", "/pay/x", mine)).status == 409
    assert (await client.pay("x"))["account"] == other


async def test_odd_references(client: Client) -> None:
    for reference in ("a/b c", "ünï?&#", "%2F", "x" * 300):
        await client.new_flutterwave(reference)
        address = URL(f"{client.url}/_network/pay/{quote(reference, safe='')}", encoded=True)
        async with client.session.post(address, json={"outcome": "success"}) as response:
            assert (await response.json())["reference"] == reference


BAD: list[tuple[str, str, Any]] = [
    ("POST", "/faults", {}),
    ("POST", "/faults", []),
    ("POST", "/faults", "refuse"),
    ("POST", "/faults", {"provider": "bank", "operation": "create", "fault": "refuse"}),
    ("POST", "/faults", {"provider": "stripe", "operation": "think", "fault": "refuse"}),
    ("POST", "/faults", {"provider": "stripe", "operation": "create", "fault": "explode"}),
    ("POST", "/faults", {"provider": "stripe", "operation": "create", "fault": "drop"}),
    ("POST", "/faults", {"provider": "stripe", "operation": "webhook", "fault": "refuse"}),
    ("POST", "/faults", {"provider": "*", "operation": "*", "fault": "refuse", "probability": 1.1}),
    ("POST", "/faults", {"provider": "*", "operation": "*", "fault": "refuse", "probability": "often"}),
    ("POST", "/faults", {"provider": "*", "operation": "*", "fault": "refuse", "probability": True}),
    ("POST", "/faults", {"provider": "*", "operation": "*", "fault": "refuse", "count": 0}),
    ("POST", "/faults", {"provider": "*", "operation": "*", "fault": "refuse", "count": 1.5}),
    ("POST", "/faults", {"provider": "*", "operation": "*", "fault": "slow", "delaySeconds": -1}),
    ("POST", "/faults", {"provider": "*", "operation": "*", "fault": "slow", "delay": 1}),
    ("POST", "/faults", {"provider": "*", "operation": "*", "fault": "not_json", "status": 404}),
    ("POST", "/faults", {"provider": ["*"], "operation": "*", "fault": "slow"}),
    ("POST", "/webhooks", {}),
    ("POST", "/webhooks", {"provider": "*", "account": KEYS["stripe"], "url": "http://127.0.0.1/", "secret": "x"}),
    ("POST", "/webhooks", {"provider": "stripe", "account": "sk", "url": "http://127.0.0.1/", "secret": "x"}),
    ("POST", "/webhooks", {"provider": "stripe", "account": KEYS["stripe"], "url": "http://127.0.0.1/"}),
    ("POST", "/webhooks", {"provider": "stripe", "account": KEYS["stripe"], "url": 5, "secret": "x"}),
    ("POST", "/clock", {}),
    ("POST", "/clock", {"advanceSeconds": -1}),
    ("POST", "/clock", {"advanceSeconds": "1"}),
    ("POST", "/clock", {"advanceSeconds": 1e300}),
    ("POST", "/clock", {"advanceSeconds": None}),
    ("POST", "/pay/known", {}),
    ("POST", "/pay/known", {"outcome": "maybe"}),
    ("POST", "/pay/known", {"outcome": "success", "tip": 1}),
    ("POST", "/refund/known", {"amount": 0}),
    ("POST", "/refund/known", {"amount": "5"}),
    ("POST", "/dispute/known", {"outcome": "draw"}),
]


@pytest.mark.parametrize(("method", "path", "body"), BAD)
async def test_bad_bodies(client: Client, method: str, path: str, body: Any) -> None:
    await client.new_paystack("known")
    reply = await client.control(method, path, body)
    assert reply.status == 400
    assert reply.headers["Content-Type"].startswith("application/problem+json")
    assert reply.json["detail"]
    assert reply.json["status"] == 400
    assert (await client.control("GET", "/faults")).json == []


@pytest.mark.parametrize("path", ["/faults", "/webhooks", "/clock", "/pay/x", "/dispute/x", "/refund/x"])
async def test_unreadable_bodies(client: Client, path: str) -> None:
    for data in (b"{", b"\xff", b"nonsense", b"[" * 50_000, b"NaN"):
        reply = await client.send("POST", f"/_network{path}", data=data)
        assert (reply.status, reply.json["code"]) == (400, "unreadable_body")


async def test_unknown_things(client: Client) -> None:
    await client.new_paystack("unpaid")
    assert (await client.control("POST", "/pay/nobody", {"outcome": "success"})).json["code"] == "unknown_reference"
    assert (await client.control("POST", "/pay/nobody", {"outcome": "success"})).status == 404
    assert (await client.control("POST", "/refund/nobody")).status == 404
    assert (await client.control("POST", "/dispute/nobody", {"outcome": "open"})).status == 404
    assert (await client.control("POST", "/refunds/re_nothing/fail")).status == 404
    assert (await client.control("POST", "/refund/unpaid")).status == 409
    assert (await client.control("POST", "/dispute/unpaid", {"outcome": "open"})).status == 409
    assert (await client.control("GET", "/nothing")).status == 404
    await client.pay("unpaid")
    assert (await client.control("POST", "/refund/unpaid", {"amount": 500_001})).status == 409
    assert (await client.control("POST", "/pay/unpaid", {"outcome": "success"})).status == 409
    await client.control("POST", "/refund/unpaid")
    refund = (await client.book())[0]["refunds"][0]["id"]
    assert (await client.control("POST", f"/refunds/{refund}/fail")).status == 200
    assert (await client.control("POST", f"/refunds/{refund}/fail")).status == 409


async def test_a_refund_that_the_provider_rejects(client: Client) -> None:
    await client.paid_intent("disputed")
    assert (await client.control("POST", "/dispute/disputed", {"outcome": "open"})).status == 200
    reply = await client.control("POST", "/refund/disputed", {"amount": 100})
    assert (reply.status, reply.json["code"]) == (409, "not_refundable")


async def test_the_clock(client: Client, simulator: RunningSimulator) -> None:
    before = (await client.control("GET", "/clock")).json["now"]
    order: list[tuple[str, float]] = []
    start_of = simulator.network.now()
    for delay in (30, 10, 20):
        act_at = float(delay)
        simulator.network.after(act_at, lambda at=act_at: order.append(("act", at)))  # type: ignore[misc]
    simulator.network.after(10.0, lambda: simulator.network.after(5.0, lambda: order.append(("then", 15.0))))
    after = (await client.control("POST", "/clock", {"advanceSeconds": 86_400})).json["now"]
    assert after > before
    assert order == [("act", 10.0), ("then", 15.0), ("act", 20.0), ("act", 30.0)]
    assert simulator.network.now() >= start_of + 86_400
    await client.new_paystack("later")
    assert (await client.book())[0]["createdAt"] >= after


async def test_reset_forgets_everything(client: Client, receiver: Receiver) -> None:
    hook = {"provider": "paystack", "account": KEYS["paystack"], "url": receiver.url}
    await client.control("POST", "/webhooks", hook)
    made = await client.new_paystack("r")
    await client.pay("r")
    await receiver.of("charge.success")
    await client.fault("*", "*", "error_500")
    await client.control("POST", "/clock", {"advanceSeconds": 10**7})
    assert (await client.control("POST", "/reset")).status == 204
    for path in ("/transactions", "/faults", "/webhooks", "/deliveries"):
        assert (await client.control("GET", path)).json == []
    assert (await client.send("GET", made["authorization_url"])).status == 404
    again = await client.new_paystack("r")
    assert again["access_code"] == made["access_code"]
    await client.control("POST", "/webhooks", hook)
    await client.pay("r")
    assert len(await receiver.of("charge.success", 2)) == 2


async def test_health(client: Client) -> None:
    reply = await client.control("GET", "/health")
    assert (reply.status, reply.json["status"], reply.json["seed"]) == (200, "ok", 7)


async def test_the_application_needs_no_public_address() -> None:
    app = make_app(seed=1)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:
        made = await Client(url, session).new_paystack("here")
    assert made["authorization_url"].startswith(f"{url}/paystack/pay/")
    await runner.cleanup()


async def test_a_taken_port_is_an_error() -> None:
    first = await start("127.0.0.1", 0)
    port = int(first.url.rsplit(":", 1)[1])
    with pytest.raises(OSError, match="address already in use"):
        await start("127.0.0.1", port)
    await first.stop()


def test_only_money_that_went_back_is_refunded() -> None:
    tx = Transaction("stripe", "key", "pi", None, 1000, "USD", 0.0, captured=1000)
    for number, status in enumerate(("pending", "succeeded", "failed")):
        tx.refunds.append(Refund(f"re_{number}", 100 * (number + 1), "USD", status, 0.0))
    assert (tx.refunded, tx.reserved, tx.refundable) == (200, 300, 700)
    assert tx.as_control()["refunded"] == 200


def test_times_are_printed_in_utc() -> None:
    assert iso_time(0.5) == "1970-01-01T00:00:00.500Z"
