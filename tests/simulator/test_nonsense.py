"""Invalid input at every address: an answer in the provider's own format, never a crash."""

from __future__ import annotations

import json
import logging
import random
from typing import Any
from urllib.parse import urlencode

import pytest

from polytill.simulator import RunningSimulator
from tests.simulator.conftest import KEYS, PREFIX, Client

WORDS = (
    "amount currency email reference metadata customer confirm payment_method expand limit created line_items mode "
    "success_url tx_ref redirect_url transaction authorization_code card ussd mobile_money type page perPage from "
    "payment_intent charge capture_method return_url automatic_payment_methods payment_intent_data configurations "
    "customizations meta comments link url enabled_events channels callback_url quantity unit_amount price_data status"
)
NAMES = WORDS.split()
VALUES: list[Any] = [
    "",
    "0",
    "1",
    "2000",
    "-1",
    "1e9",
    "usd",
    "KES",
    "true",
    "x" * 600,
    "\x00",
    "é",
    "pm_card_visa",
    "pm_card_authenticationRequired",
    "a@example.com",
    "http://127.0.0.1:9/",
    "payment",
    "manual",
    0,
    1,
    -5,
    10**18,
    0.1,
    1e300,
    True,
    None,
    [],
    [1, "a", None],
    {},
    {"a": {"b": []}},
    {"email": "a@example.com"},
    {"session_duration": "x"},
]


def _form(dice: random.Random) -> str:
    pairs = []
    for _ in range(dice.randint(0, 8)):
        name = dice.choice(NAMES) + dice.choice(("", "", "", "[]", "[0]", "[a]", "[a][b]", "[", "]", "[0][price_data]"))
        pairs.append((name, str(dice.choice(VALUES))))
    return urlencode(pairs)


def _paths(simulator: RunningSimulator, provider: str) -> list[tuple[str, str]]:
    """Every address of a provider, with the parts of its pattern left open."""
    routes = simulator.network.providers[provider].routes
    return [(line.method, line.pattern.pattern.strip("^$")) for line in routes]


@pytest.mark.parametrize("provider", ["stripe", "paystack", "flutterwave"])
@pytest.mark.parametrize("seed", range(4))
async def test_nonsense(
    client: Client, simulator: RunningSimulator, caplog: pytest.LogCaptureFixture, provider: str, seed: int
) -> None:
    dice = random.Random(f"{provider} {seed}")
    caplog.set_level(logging.ERROR)
    await client.paid_intent("known", capture_method="manual")
    await client.new_paystack("known")
    await client.new_flutterwave("known")
    await client.control("POST", "/pay/known", {"outcome": "success", "provider": "flutterwave"})
    known = [row["id"] for row in await client.book()]
    routes = _paths(simulator, provider)
    for _ in range(250):
        method, path = dice.choice(routes)
        for part in ("id", "reference", "number", "code"):
            path = path.replace(f"(?P<{part}>[^/]+)", str(dice.choice([*known, "known", "x", "0", "NGN"])))
        headers = {"Authorization": f"Bearer {KEYS[provider]}"}
        data: Any = None
        if method == "GET":
            path += "?" + _form(dice)
        elif provider == "stripe":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            data = _form(dice).encode()
        else:
            document = {dice.choice(NAMES): dice.choice(VALUES) for _ in range(dice.randint(0, 8))}
            data = json.dumps(document).encode()
        reply = await client.send(method, PREFIX[provider] + path, headers=headers, data=data)
        assert reply.status < 500, (method, path, data, reply.text)
        assert isinstance(reply.json, dict)
    await client.control("POST", "/clock", {"advanceSeconds": 10**7})
    for row in await client.book():
        assert 0 <= row["refunded"] <= row["captured"] <= row["amount"]
    assert not caplog.records


ALMOST: list[tuple[str, str, dict[str, Any]]] = [
    (
        "stripe",
        "/payment_intents",
        {
            "amount": "2000",
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "confirm": "true",
            "return_url": "http://127.0.0.1:9/",
            "metadata[a]": "b",
            "automatic_payment_methods[enabled]": "true",
            "capture_method": "manual",
            "customer": "",
            "expand[]": "latest_charge",
            "setup_future_usage": "off_session",
            "shipping[name]": "x",
            "off_session": "false",
            "payment_method_data[type]": "card",
            "receipt_email": "a@example.com",
        },
    ),
    (
        "stripe",
        "/checkout/sessions",
        {
            "mode": "payment",
            "success_url": "http://127.0.0.1:9/",
            "cancel_url": "http://127.0.0.1:9/",
            "line_items[0][price_data][currency]": "usd",
            "line_items[0][price_data][unit_amount]": "500",
            "line_items[0][price_data][product_data][name]": "Visit",
            "line_items[0][quantity]": "1",
            "payment_intent_data[metadata][a]": "b",
            "payment_intent_data[capture_method]": "manual",
            "client_reference_id": "x",
            "expires_at": "",
            "customer_email": "a@example.com",
        },
    ),
    ("stripe", "/refunds", {"payment_intent": "?", "amount": "100", "reason": "duplicate", "metadata[a]": "b"}),
    ("stripe", "/payment_intents/?/capture", {"amount_to_capture": "100", "metadata[a]": "b"}),
    (
        "paystack",
        "/transaction/initialize",
        {
            "email": "a@example.com",
            "amount": 500_000,
            "currency": "NGN",
            "reference": None,
            "callback_url": "http://127.0.0.1:9/",
            "metadata": {"cancel_action": "http://127.0.0.1:9/"},
            "first_name": "Ada",
            "channels": ["card"],
        },
    ),
    (
        "paystack",
        "/charge",
        {
            "email": "a@example.com",
            "amount": 500_000,
            "card": {"number": "4084084084084081"},
            "ussd": {"type": "737"},
            "mobile_money": {"phone": "0551234987"},
            "authorization_code": None,
        },
    ),
    ("paystack", "/refund", {"transaction": "paid", "amount": 100, "merchant_note": "x", "currency": "NGN"}),
    (
        "flutterwave",
        "/payments",
        {
            "tx_ref": "x",
            "amount": 100,
            "currency": "KES",
            "redirect_url": "http://127.0.0.1:9/",
            "customer": {"email": "a@example.com"},
            "customizations": {"title": "x"},
            "meta": {"a": 1},
            "configurations": {"session_duration": 5},
        },
    ),
    (
        "flutterwave",
        "/charges?type=mpesa",
        {"tx_ref": "x", "amount": 100, "currency": "KES", "email": "a@example.com", "phone_number": "0700", "meta": {}},
    ),
    ("flutterwave", "/transactions/?/refund", {"amount": 1, "comments": "x", "callbackurl": "http://127.0.0.1:9/"}),
]


@pytest.mark.parametrize(("provider", "path", "right"), ALMOST, ids=[f"{row[0]} {row[1]}" for row in ALMOST])
async def test_almost_right(
    client: Client, caplog: pytest.LogCaptureFixture, provider: str, path: str, right: dict[str, Any]
) -> None:
    """Every member of a valid request, replaced by each invalid value; then the customer acts on the result."""
    caplog.set_level(logging.ERROR)
    await client.paid_intent("paid", capture_method="manual" if path.endswith("capture") else "automatic")
    await client.new_paystack("paid")
    await client.new_flutterwave("paid")
    for name in ("paystack", "flutterwave"):
        await client.control("POST", "/pay/paid", {"outcome": "success", "provider": name})
    paid = (await client.book(provider=provider))[0]["id"]
    path, base = path.replace("?/", f"{paid}/"), {k: paid if v == "?" else v for k, v in right.items()}
    statuses = set()
    for member in [None, *base]:
        for value in VALUES:
            body = {**base, member: value} if member is not None else dict(base)
            if provider == "stripe":
                body = {key: str(item) for key, item in body.items()}
                reply = await client.stripe("POST", path, body)
            else:
                reply = await client.api(provider, "POST", path, json=body)
            assert reply.status < 500, (body, reply.text)
            assert isinstance(reply.json, dict)
            statuses.add(reply.status)
    assert 200 in statuses
    for row in await client.book():
        choice = {"outcome": "decline", "provider": row["provider"]}
        if row["reference"] and row["status"] in ("created", "requires_action"):
            reply = await client.send("POST", f"/_network/pay/{row['reference'].replace(chr(0), '%00')}", json=choice)
            assert reply.status in (200, 404, 409)
    await client.control("POST", "/clock", {"advanceSeconds": 10**7})
    for row in await client.book():
        assert 0 <= row["refunded"] <= row["captured"] <= row["amount"]
    assert not caplog.records
