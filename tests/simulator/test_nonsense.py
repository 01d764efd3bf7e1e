"""Nonsense at every address: an answer in the provider's own words, never a crash."""

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
    """Every address of a provider, its pattern's parts left open."""
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
