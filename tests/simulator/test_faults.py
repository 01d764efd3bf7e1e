"""Every fault as a client sees it, and what the provider's books hold afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from polytill.simulator import RunningSimulator, start
from tests.simulator.conftest import KEYS, PREFIX, Client, Reply

PROVIDERS = ("stripe", "paystack", "flutterwave")
LONG = aiohttp.ClientTimeout(total=0.3)


async def create(client: Client, provider: str, reference: str = "f-1", **options: Any) -> Reply:
    """Create a payment at any provider, with the same bytes every time."""
    if provider == "stripe":
        form = {"amount": "2000", "currency": "usd", "metadata[polytill_attempt]": reference}
        headers = {"Idempotency-Key": f"key-{reference}"}
        return await client.stripe("POST", "/payment_intents", form, headers=headers, **options)
    if provider == "paystack":
        body: dict[str, Any] = {"email": "a@example.com", "amount": 500_000, "reference": reference}
        return await client.paystack("POST", "/transaction/initialize", body, **options)
    body = {"tx_ref": reference, "amount": 20, "currency": "KES", "redirect_url": "http://127.0.0.1:9/"}
    return await client.flutterwave("POST", "/payments", {**body, "customer": {"email": "a@example.com"}}, **options)


async def until(true: Callable[[], bool]) -> None:
    """Run the simulator in this event loop until something has happened."""
    for _ in range(100_000):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never happened")


async def lookup(client: Client, provider: str, reference: str = "f-1") -> Reply:
    path = {
        "stripe": "/payment_intents",
        "paystack": f"/transaction/verify/{reference}",
        "flutterwave": f"/transactions/verify_by_reference?tx_ref={reference}",
    }
    return await client.api(provider, "GET", path[provider])


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_refuse(client: Client, provider: str) -> None:
    await client.fault(provider, "create", "refuse", count=1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await create(client, provider)
    assert await client.book() == []
    assert (await create(client, provider)).status == 200


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_lose_answer(client: Client, provider: str) -> None:
    await client.fault(provider, "create", "lose_answer", count=1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await create(client, provider)
    assert [row["reference"] for row in await client.book()] == ["f-1"]


async def test_a_lost_answer_is_found_again(client: Client) -> None:
    for provider in PROVIDERS:
        await client.fault(provider, "create", "lose_answer", count=1)
        with pytest.raises(aiohttp.ClientConnectionError):
            await create(client, provider)
    again = await create(client, "stripe")
    assert (again.status, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert (await lookup(client, "paystack")).json["data"]["status"] == "abandoned"
    assert len(await client.book()) == 3


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_act_late(client: Client, provider: str) -> None:
    await client.fault(provider, "create", "act_late", count=1, delaySeconds=3600)
    with pytest.raises(aiohttp.ClientConnectionError):
        await create(client, provider)
    assert await client.book() == []
    if provider == "stripe":
        meanwhile = await create(client, provider)
        assert (meanwhile.status, meanwhile.json["error"]["code"]) == (409, "idempotency_key_in_use")
    await client.control("POST", "/clock", {"advanceSeconds": 3600})
    assert [row["reference"] for row in await client.book()] == ["f-1"]
    if provider == "stripe":
        assert (await create(client, provider)).headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("acts", [True, False])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_timeout(client: Client, provider: str, acts: bool) -> None:
    await client.fault(provider, "create", "timeout", count=1, acts=acts)
    with pytest.raises(TimeoutError):
        await create(client, provider, timeout=LONG)
    assert len(await client.book()) == acts


async def test_a_timeout_ends_with_the_simulator(client: Client, simulator: RunningSimulator) -> None:
    await client.fault("*", "*", "timeout")
    waiting = asyncio.create_task(create(client, "paystack"))
    await until(lambda: simulator.network.faults.rules[0].struck > 0)
    await asyncio.wait_for(simulator.stop(), 10)
    with pytest.raises(aiohttp.ClientConnectionError):
        await waiting


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_error_500(client: Client, provider: str) -> None:
    await client.fault(provider, "create", "error_500", count=1)
    reply = await create(client, provider)
    assert reply.status == 500
    shape = {"stripe": "error", "paystack": "status", "flutterwave": "status"}[provider]
    assert reply.json[shape] in (False, "error") or reply.json["error"]["type"] == "api_error"
    assert await client.book() == []


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_error_500_after(client: Client, provider: str) -> None:
    await client.fault(provider, "create", "error_500_after", count=1)
    assert (await create(client, provider)).status == 500
    assert len(await client.book()) == 1


@pytest.mark.parametrize(("fault", "made"), [("error_500", 0), ("error_500_after", 1)])
async def test_stripe_replays_a_500(client: Client, fault: str, made: int) -> None:
    await client.fault("stripe", "create", fault, count=1)
    first = await create(client, "stripe")
    again = await create(client, "stripe")
    assert (first.status, again.status, again.text) == (500, 500, first.text)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len((await lookup(client, "stripe")).json["data"]) == made
    await client.fault("stripe", "create", "error_500", count=1, stored=False)
    assert (await create(client, "stripe", "f-2")).status == 500
    assert (await create(client, "stripe", "f-2")).status == 200


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_rate_limit(client: Client, provider: str) -> None:
    await client.fault(provider, "create", "rate_limit", count=1)
    reply = await create(client, provider)
    assert (reply.status, reply.headers["Retry-After"]) == (429, "1")
    assert isinstance(reply.json, dict)
    assert await client.book() == []
    assert (await create(client, provider)).status == 200


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_slow(client: Client, provider: str) -> None:
    await client.fault(provider, "create", "slow", count=1, delaySeconds=0.5)
    with pytest.raises(TimeoutError):
        await create(client, provider, timeout=aiohttp.ClientTimeout(total=0.05))
    await client.fault(provider, "create", "slow", count=1, delaySeconds=0.01)
    assert (await create(client, provider, "f-2")).status == 200


async def test_two_at_once_with_one_key(client: Client, simulator: RunningSimulator) -> None:
    await client.fault("stripe", "create", "slow", count=1, delaySeconds=0.5)
    slow = asyncio.create_task(create(client, "stripe"))
    memory = simulator.network.account("stripe", KEYS["stripe"]).memory
    await until(lambda: bool(memory.get("running")))
    second = await create(client, "stripe")
    assert (second.status, second.json["error"]["code"]) == (409, "idempotency_key_in_use")
    assert (await slow).status == 200
    third = await create(client, "stripe")
    assert (third.text, third.headers["Idempotent-Replayed"]) == ((await slow).text, "true")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_truncate(client: Client, provider: str) -> None:
    await client.fault(provider, "create", "truncate", count=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await create(client, provider)
    assert len(await client.book()) == 1


async def test_half_of_the_body_arrives(client: Client, simulator: RunningSimulator) -> None:
    await client.fault("paystack", "lookup", "truncate")
    port = int(simulator.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = KEYS["paystack"]
    writer.write(
        f"GET /paystack/transaction/verify/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    )
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    promised = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    assert len(body) == promised // 2 > 0
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("status", [200, 502])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_not_json(client: Client, provider: str, status: int) -> None:
    await client.fault(provider, "create", "not_json", count=2, status=status, acts=True)
    reply = await create(client, provider)
    assert (reply.status, reply.headers["Content-Type"].split(";")[0]) == (status, "text/html")
    assert reply.text.startswith("<!DOCTYPE html>")
    assert len(await client.book()) == 1


OPERATIONS = {
    "create": ("POST", {"stripe": "/checkout/sessions", "paystack": "/charge", "flutterwave": "/charges"}),
    "confirm": ("POST", {"stripe": "/payment_intents/pi_1/confirm"}),
    "capture": ("POST", {"stripe": "/payment_intents/pi_1/capture"}),
    "cancel": ("POST", {"stripe": "/payment_intents/pi_1/cancel", "flutterwave": "/payments/link/disable"}),
    "refund": ("POST", {"stripe": "/refunds", "paystack": "/refund", "flutterwave": "/transactions/1/refund"}),
    "lookup": (
        "GET",
        {"stripe": "/payment_intents/pi_1", "paystack": "/refund", "flutterwave": "/transactions/1/verify"},
    ),
}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_operations(client: Client, operation: str) -> None:
    """A rule applies to its own operation at all providers, and to no other."""
    await client.fault("*", operation, "rate_limit")
    for name, (method, paths) in OPERATIONS.items():
        for provider, path in paths.items():
            reply = await client.api(provider, method, path)
            assert (reply.status == 429) == (name == operation), (provider, path)
    balance = {"stripe": "/balance", "paystack": "/balance", "flutterwave": "/balances"}
    for provider, path in balance.items():
        assert (await client.api(provider, "GET", path)).status == 200


async def test_every_call_is_struck_by_the_star(client: Client) -> None:
    await client.fault("stripe", "*", "error_500")
    assert (await client.stripe("GET", "/balance")).status == 500
    assert (await client.paystack("GET", "/balance")).status == 200


async def test_one_account_only(client: Client) -> None:
    await client.fault("paystack", "create", "error_500", account=KEYS["paystack"])
    assert (await create(client, "paystack")).status == 500
    client.keys["paystack"] = "sk_test_" + "b" * 30
    assert (await create(client, "paystack")).status == 200


async def test_count_and_clearing(client: Client) -> None:
    await client.fault("paystack", "create", "error_500", count=2)
    statuses = [(await create(client, "paystack", f"c-{n}")).status for n in range(4)]
    assert statuses == [500, 500, 200, 200]
    rule = (await client.control("GET", "/faults")).json[0]
    assert (rule["struck"], rule["count"]) == (2, 0)
    await client.fault("*", "*", "error_500")
    assert (await client.control("DELETE", "/faults")).status == 204
    assert (await client.control("GET", "/faults")).json == []
    assert (await create(client, "paystack")).status == 200


async def _history(seed: int, how_often: float) -> tuple[list[int], list[str]]:
    simulator = await start("127.0.0.1", 0, seed=seed)
    async with aiohttp.ClientSession() as session:
        client = Client(simulator.url, session)
        await client.fault("*", "create", "error_500", probability=how_often)
        statuses = [(await create(client, provider, f"d-{n}")).status for n in range(20) for provider in PROVIDERS]
        ids = [row["id"] for row in await client.book()]
    await simulator.stop()
    return statuses, ids


async def test_a_seed_repeats_everything() -> None:
    one, same, other = await _history(3, 0.4), await _history(3, 0.4), await _history(4, 0.4)
    assert one == same
    assert one[0] != other[0]
    assert set(one[0]) == {200, 500}
    assert not set(one[1]) & {name for name in other[1] if name.startswith("pi_")}
    # Faults have a random source of their own, so ids do not depend on them.
    assert (await _history(3, 0.0))[1][0] == (await _history(3, 1e-9))[1][0]


async def test_without_faults_nothing_breaks(client: Client) -> None:
    for number in range(30):
        for provider in PROVIDERS:
            assert (await create(client, provider, f"n-{number}")).status == 200
            assert (await lookup(client, provider, f"n-{number}")).status in (200, 400)
    assert len(await client.book()) == 90
    assert PREFIX.keys() == KEYS.keys()
