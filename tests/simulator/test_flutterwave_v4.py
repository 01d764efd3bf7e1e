"""Flutterwave v4's rules: tokens, idempotency keys, one charge for each reference, refunds, signed webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest

from tests.simulator.conftest import Client, Receiver, Reply

CLIENT_ID, SECRET, WORD = "client-0123456789", "secret-0123456789", "flw-v4-hash"
TOKENS = "/flutterwave_v4/realms/flutterwave/protocol/openid-connect/token"


async def token(client: Client, secret: str = SECRET) -> Reply:
    form = {"client_id": CLIENT_ID, "client_secret": secret, "grant_type": "client_credentials"}
    return await client.send("POST", TOKENS, data=form)


async def call(client: Client, method: str, path: str, body: Any = None, key: str | None = None) -> Reply:
    headers = {"Authorization": f"Bearer {(await token(client)).json['access_token']}"}
    headers |= {"X-Idempotency-Key": key} if key else {}
    return await client.send(method, f"/flutterwave_v4{path}", headers=headers, json=body)


def charge(**more: Any) -> dict[str, Any]:
    return {
        "amount": 75.5,
        "currency": "KES",
        "reference": "ref-000001",
        "customer": {"email": "a@example.com"},
        "payment_method": {
            "type": "mobile_money",
            "mobile_money": {"country_code": "254", "phone_number": "708374149"},
        },
        "redirect_url": "http://127.0.0.1:9/back",
        **more,
    }


async def test_a_charge_is_paid_and_refunded(client: Client, receiver: Receiver) -> None:
    hook = {"provider": "flutterwave_v4", "account": SECRET, "url": receiver.url, "secret": WORD}
    assert (await client.control("POST", "/webhooks", hook)).status == 201
    made = (await call(client, "POST", "/orchestration/direct-charges", charge())).json["data"]
    assert (made["status"], made["next_action"]["type"]) == ("pending", "payment_instruction")
    paid = await client.pay("ref-000001")
    assert (paid["captured"], paid["fee"], paid["id"]) == (7_550, 219, made["id"])
    shown = (await call(client, "GET", f"/charges/{made['id']}")).json["data"]
    assert (shown["status"], shown["amount"]) == ("succeeded", 75.5)
    body = {"charge_id": made["id"], "amount": 30.25, "reason": "requested_by_customer", "meta": {"mark": "re-1"}}
    one, two = [await call(client, "POST", "/refunds", body, "re-000000000001") for _ in range(2)]
    assert one.text == two.text
    assert two.headers["X-Idempotency-Cache-Hit"] == "true"
    assert (await call(client, "POST", "/refunds", {**body, "amount": 45.26})).status == 400
    assert (await call(client, "GET", "/refunds")).json["data"] == [one.json["data"]]
    assert (await call(client, "GET", f"/refunds/{one.json['data']['id']}")).json["data"]["meta"] == {"mark": "re-1"}
    assert (await client.book())[0]["refunded"] == 3_025
    for one in await receiver.until(lambda got: len(got) == 2):
        mac = hmac.new(WORD.encode(), one.body, hashlib.sha256).digest()
        assert one.headers["Flutterwave-Signature"] == base64.b64encode(mac).decode()


async def test_a_key_is_replayed_and_a_reference_is_used_once(client: Client) -> None:
    path = "/orchestration/direct-charges"
    one, two = [await call(client, "POST", path, charge(), "key-00000001") for _ in range(2)]
    assert one.json == two.json
    assert (await call(client, "POST", path, charge(), "key-00000002")).status == 409
    assert len(await client.book()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"reference": "no_under_score"},
        {"reference": "short"},
        {"amount": 0},
        {"amount": "x"},
        {"currency": "JPY"},
        {"payment_method": {"type": "card"}},
        {"payment_method": None},
        {"customer": {}},
        {"payment_method": {"type": "mobile_money"}},
    ],
)
async def test_what_it_refuses(client: Client, change: dict[str, Any]) -> None:
    reply = await call(client, "POST", "/orchestration/direct-charges", charge(**change))
    assert (reply.status, reply.json["status"]) == (400, "failed")
    assert await client.book() == []


async def test_a_redirect_has_a_page(client: Client) -> None:
    body = charge(payment_method={"type": "opay"}, currency="NGN")
    made = (await call(client, "POST", "/orchestration/direct-charges", body)).json["data"]
    page = made["next_action"]["redirect_url"]["url"]
    assert "75.5" in (await client.send("GET", page)).text
    done = await client.send("POST", page, data={"outcome": "decline"})
    assert done.headers["Location"] == "http://127.0.0.1:9/back"
    assert (await client.control("POST", "/pay/ref-000001", {"outcome": "success"})).status == 409


async def test_keys_and_faults(client: Client) -> None:
    assert (await token(client, "invalid-0123456789")).status == 401
    stale = {"Authorization": "Bearer x"}
    assert (await client.send("GET", "/flutterwave_v4/charges/x", headers=stale)).json["error"]["code"] == "10401"
    for operation, method, path in (
        ("create", "POST", "/orchestration/direct-charges"),
        ("refund", "POST", "/refunds"),
        ("lookup", "GET", "/charges/x"),
    ):
        await client.fault("flutterwave_v4", operation, "rate_limit", count=1)
        assert (await call(client, method, path, {} if method == "POST" else None)).status == 429
        assert (await call(client, method, path, {} if method == "POST" else None)).status in (400, 404)
