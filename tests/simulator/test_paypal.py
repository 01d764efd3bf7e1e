"""PayPal's rules: tokens, request ids, approval before capture, authorizations, decimals, refunds, signed webhooks."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate

from tests.simulator.conftest import Client, Receiver, Reply

KEY, SECRET, WEBHOOK_ID = "client-0123456789", "secret-0123456789", "8PT597110X687430LKGECATA"


class Merchant:
    """A merchant at the simulated PayPal."""

    def __init__(self, client: Client, token: str) -> None:
        self.client, self.token = client, token

    @classmethod
    async def enter(cls, client: Client, secret: str = SECRET) -> Merchant:
        pair = base64.b64encode(f"{KEY}:{secret}".encode()).decode()
        reply = await client.send(
            "POST",
            "/paypal/v1/oauth2/token",
            headers={"Authorization": f"Basic {pair}"},
            data={"grant_type": "client_credentials"},
        )
        assert reply.status == 200, reply.text
        return cls(client, reply.json["access_token"])

    async def call(self, method: str, path: str, body: Any = None, request_id: str | None = None) -> Reply:
        headers = {"Authorization": f"Bearer {self.token}"}
        headers |= {"PayPal-Request-Id": request_id} if request_id else {}
        return await self.client.send(method, f"/paypal/v2{path}", headers=headers, json=body)

    async def order(self, value: str = "100.00", code: str = "USD", intent: str = "CAPTURE", **more: Any) -> Reply:
        page = {"return_url": "http://127.0.0.1:9/back?a=1", "cancel_url": "http://127.0.0.1:9/away"}
        unit = {"custom_id": "r-1", "amount": {"currency_code": code, "value": value}, **more}
        body = {"intent": intent, "purchase_units": [unit], "payment_source": {"paypal": {"experience_context": page}}}
        return await self.call("POST", "/checkout/orders", body)

    async def issue(self, method: str, path: str, body: Any = None) -> str:
        reply = await self.call(method, path, body)
        assert reply.status in (400, 404, 422), reply.text
        return str(reply.json["details"][0]["issue"])


async def test_approval_is_not_payment(client: Client) -> None:
    merchant = await Merchant.enter(client)
    made = (await merchant.order()).json
    path = f"/checkout/orders/{made['id']}"
    assert made["status"] == "PAYER_ACTION_REQUIRED"
    assert await merchant.issue("POST", f"{path}/capture", {}) == "ORDER_NOT_APPROVED"
    page = next(link["href"] for link in made["links"] if link["rel"] == "payer-action")
    assert "100.00" in (await client.send("GET", page)).text
    left = await client.send("POST", page, data={"outcome": "abandon"})
    assert left.headers["Location"] == f"http://127.0.0.1:9/away?token={made['id']}"
    done = await client.send("POST", page, data={"outcome": "success"})
    assert done.headers["Location"].startswith(f"http://127.0.0.1:9/back?a=1&token={made['id']}")
    [row] = await client.book()
    assert (row["status"], row["captured"]) == ("processing", 0)
    taken = await merchant.call("POST", f"{path}/capture", {})
    assert (taken.status, taken.json["status"]) == (201, "COMPLETED")
    capture = taken.json["purchase_units"][0]["payments"]["captures"][0]
    assert (capture["status"], capture["custom_id"]) == ("COMPLETED", "r-1")
    assert capture["seller_receivable_breakdown"]["paypal_fee"]["value"] == "3.98"
    assert await merchant.issue("POST", f"{path}/capture", {}) == "ORDER_ALREADY_CAPTURED"
    [row] = await client.book()
    assert (row["status"], row["captured"], row["fee"]) == ("succeeded", 10_000, 398)


async def test_a_declined_instrument_leaves_the_order_payable(client: Client) -> None:
    merchant = await Merchant.enter(client)
    made = (await merchant.order()).json
    await client.pay("r-1", "decline")
    assert await merchant.issue("POST", f"/checkout/orders/{made['id']}/capture", {}) == "INSTRUMENT_DECLINED"
    assert (await client.book())[0]["status"] == "failed"
    await client.pay("r-1")
    assert (await merchant.call("POST", f"/checkout/orders/{made['id']}/capture", {})).status == 201


async def test_a_request_id_is_replayed(client: Client) -> None:
    merchant = await Merchant.enter(client)
    made = (await merchant.order()).json
    await client.pay("r-1")
    path = f"/checkout/orders/{made['id']}/capture"
    first, second = [await merchant.call("POST", path, {}, "k-1") for _ in range(2)]
    assert (first.status, first.text) == (second.status, second.text)
    capture = first.json["purchase_units"][0]["payments"]["captures"][0]["id"]
    for _ in range(2):
        await merchant.call("POST", f"/payments/captures/{capture}/refund", {"invoice_id": "re-1"}, "k-2")
    [row] = await client.book()
    assert [refund["amount"] for refund in row["refunds"]] == [10_000]


async def test_holds(client: Client) -> None:
    merchant = await Merchant.enter(client)
    made = (await merchant.order(intent="AUTHORIZE")).json
    await client.pay("r-1")
    assert await merchant.issue("POST", f"/checkout/orders/{made['id']}/capture", {}) == "ACTION_DOES_NOT_MATCH_INTENT"
    held = await merchant.call("POST", f"/checkout/orders/{made['id']}/authorize", {})
    hold = held.json["purchase_units"][0]["payments"]["authorizations"][0]
    assert (hold["status"], (await client.book())[0]["status"]) == ("CREATED", "authorized")
    too_much = {"amount": {"currency_code": "USD", "value": "100.01"}}
    path = f"/payments/authorizations/{hold['id']}"
    assert await merchant.issue("POST", f"{path}/capture", too_much) == "MAX_CAPTURE_AMOUNT_EXCEEDED"
    part = {"amount": {"currency_code": "USD", "value": "40.00"}, "final_capture": True}
    assert (await merchant.call("POST", f"{path}/capture", part)).json["amount"]["value"] == "40.00"
    assert await merchant.issue("POST", f"{path}/void", {}) == "PREVIOUSLY_CAPTURED"
    assert (await client.book())[0]["captured"] == 4_000
    await merchant.order(intent="AUTHORIZE", custom_id="r-2")
    row = await client.pay("r-2")
    held = await merchant.call("POST", f"/checkout/orders/{row['id']}/authorize", {})
    hold = held.json["purchase_units"][0]["payments"]["authorizations"][0]
    assert (await merchant.call("POST", f"/payments/authorizations/{hold['id']}/void", {})).json["status"] == "VOIDED"
    assert (await client.book(reference="r-2"))[0]["status"] == "canceled"


@pytest.mark.parametrize(
    ("value", "code", "issue"),
    [
        ("100.001", "USD", "DECIMAL_PRECISION"),
        ("100.50", "HUF", "DECIMAL_PRECISION"),
        ("100.5", "JPY", "DECIMAL_PRECISION"),
        ("0", "USD", "DECIMAL_PRECISION"),
        ("-1", "USD", "DECIMAL_PRECISION"),
        ("100", "NGN", "CURRENCY_NOT_SUPPORTED"),
        ("1e3", "USD", "DECIMAL_PRECISION"),
    ],
)
async def test_what_paypal_refuses(client: Client, value: str, code: str, issue: str) -> None:
    merchant = await Merchant.enter(client)
    reply = await merchant.order(value, code)
    assert (reply.status, reply.json["details"][0]["issue"]) == (422, issue)
    assert await client.book() == []


async def test_refunds(client: Client) -> None:
    merchant = await Merchant.enter(client)
    made = (await merchant.order("5000", "HUF")).json
    await client.pay("r-1")
    taken = (await merchant.call("POST", f"/checkout/orders/{made['id']}/capture", {})).json
    capture = taken["purchase_units"][0]["payments"]["captures"][0]["id"]
    path = f"/payments/captures/{capture}/refund"
    one = await merchant.call("POST", path, {"amount": {"currency_code": "HUF", "value": "2000"}, "invoice_id": "re-1"})
    assert (one.status, one.json["status"], one.json["invoice_id"]) == (201, "COMPLETED", "re-1")
    assert one.json["links"][1]["href"].endswith(f"/v2/payments/captures/{capture}")
    over = {"amount": {"currency_code": "HUF", "value": "3001"}}
    assert await merchant.issue("POST", path, over) == "REFUND_AMOUNT_EXCEEDED"
    assert (await merchant.call("GET", f"/payments/refunds/{one.json['id']}")).json["amount"]["value"] == "2000"
    await client.control("POST", f"/refunds/{one.json['id']}/fail")
    seen = (await merchant.call("GET", f"/checkout/orders/{made['id']}")).json["purchase_units"][0]["payments"]
    assert [refund["status"] for refund in seen["refunds"]] == ["FAILED"]


@pytest.mark.parametrize("token", ["0", "MA==", "AA==", "bm8="])
async def test_a_page_token_that_paypal_did_not_issue_is_refused(client: Client, token: str) -> None:
    merchant = await Merchant.enter(client)
    headers = {"Authorization": f"Bearer {merchant.token}"}
    query = {"next_page_token": token}
    reply = await client.send("GET", "/paypal/v1/customer/disputes", headers=headers, params=query)
    assert (reply.status, reply.json["details"][0]["issue"]) == (400, "INVALID_PARAMETER_VALUE")


async def test_deliveries_are_signed(client: Client, receiver: Receiver) -> None:
    hook = {"provider": "paypal", "account": SECRET, "url": receiver.url, "secret": WEBHOOK_ID}
    assert (await client.control("POST", "/webhooks", hook)).status == 201
    merchant = await Merchant.enter(client)
    made = (await merchant.order()).json
    await client.pay("r-1")
    await merchant.call("POST", f"/checkout/orders/{made['id']}/capture", {})
    await client.control("POST", "/dispute/r-1", {"outcome": "open"})
    got = await receiver.until(lambda got: len(got) == 3)
    assert [one.json["event_type"] for one in got] == [
        "CHECKOUT.ORDER.APPROVED",
        "PAYMENT.CAPTURE.COMPLETED",
        "CUSTOMER.DISPUTE.CREATED",
    ]
    for one in got:
        pem = (await client.send("GET", one.headers["Paypal-Cert-Url"])).text.encode()
        key = load_pem_x509_certificate(pem).public_key()
        assert isinstance(key, RSAPublicKey)
        head = f"{one.headers['Paypal-Transmission-Id']}|{one.headers['Paypal-Transmission-Time']}"
        signed = f"{head}|{WEBHOOK_ID}|{zlib.crc32(one.body)}".encode()
        key.verify(base64.b64decode(one.headers["Paypal-Transmission-Sig"]), signed, PKCS1v15(), SHA256())


async def test_keys_and_faults(client: Client) -> None:
    for secret in ("invalid-secret-0123456789", "short"):
        pair = base64.b64encode(f"{KEY}:{secret}".encode()).decode()
        headers = {"Authorization": f"Basic {pair}"}
        reply = await client.send("POST", "/paypal/v1/oauth2/token", headers=headers)
        assert (reply.status, reply.json["error"]) == (401, "invalid_client")
    merchant = await Merchant.enter(client)
    assert (await Merchant(client, "stale").order()).status == 401
    await client.fault("paypal", "create", "error_500_after", count=1)
    assert (await merchant.order()).status == 500
    assert len(await client.book()) == 1
    for operation, method, path in (
        ("confirm", "POST", "/checkout/orders/x/capture"),
        ("capture", "POST", "/payments/authorizations/x/capture"),
        ("cancel", "POST", "/payments/authorizations/x/void"),
        ("refund", "POST", "/payments/captures/x/refund"),
        ("lookup", "GET", "/checkout/orders/x"),
    ):
        await client.fault("paypal", operation, "rate_limit", count=1)
        assert (await merchant.call(method, path, {} if method == "POST" else None)).status == 429
        assert (await merchant.call(method, path, {} if method == "POST" else None)).status == 404
