"""A running simulator, a client for it, and a receiver of its webhooks. All on 127.0.0.1."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from polytill.simulator import RunningSimulator, start

STRIPE_KEY = "sk_test_" + "StripeMerchant01"
PAYSTACK_KEY = "sk_test_" + "paystackmerchant0000000001"
FLUTTERWAVE_KEY = "FLWSECK_TEST-" + "flutterwavemerchant1-X"
KEYS = {"stripe": STRIPE_KEY, "paystack": PAYSTACK_KEY, "flutterwave": FLUTTERWAVE_KEY}
PREFIX = {"stripe": "/stripe/v1", "paystack": "/paystack", "flutterwave": "/flutterwave/v3"}


@dataclass
class Reply:
    """One response, read completely."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Client:
    """Calls the simulator as a merchant, a customer or a test."""

    url: str
    session: aiohttp.ClientSession
    keys: dict[str, str] = field(default_factory=lambda: dict(KEYS))

    async def send(self, method: str, path: str, **options: Any) -> Reply:
        options.setdefault("allow_redirects", False)
        address = path if path.startswith("http") else self.url + path
        async with self.session.request(method, address, **options) as response:
            headers = {name.title(): value for name, value in response.headers.items()}
            return Reply(response.status, headers, await response.text())

    async def api(self, provider: str, method: str, path: str, **options: Any) -> Reply:
        headers = {"Authorization": f"Bearer {self.keys[provider]}", **options.pop("headers", {})}
        return await self.send(method, PREFIX[provider] + path, headers=headers, **options)

    async def stripe(self, method: str, path: str, form: Any = None, **options: Any) -> Reply:
        return await self.api("stripe", method, path, data=form, **options)

    async def paystack(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        return await self.api("paystack", method, path, json=body, **options)

    async def flutterwave(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        return await self.api("flutterwave", method, path, json=body, **options)

    async def control(self, method: str, path: str, body: Any = None) -> Reply:
        return await self.send(method, "/_network" + path, json=body)

    async def fault(self, provider: str, operation: str, fault: str, **more: Any) -> None:
        body = {"provider": provider, "operation": operation, "fault": fault, "probability": 1, **more}
        reply = await self.control("POST", "/faults", body)
        assert reply.status == 201, reply.text

    async def book(self, **wanted: str) -> list[Any]:
        """The provider's books."""
        rows: list[Any] = (await self.control("GET", "/transactions")).json
        return [row for row in rows if all(row[name] == value for name, value in wanted.items())]

    async def pay(self, reference: str, outcome: str = "success") -> Any:
        reply = await self.control("POST", f"/pay/{reference}", {"outcome": outcome})
        assert reply.status == 200, reply.text
        return reply.json

    async def new_paystack(self, reference: str, amount: Any = 500_000, **more: Any) -> Any:
        body = {"email": "ada@example.com", "amount": amount, "currency": "NGN", "reference": reference, **more}
        reply = await self.paystack("POST", "/transaction/initialize", body)
        assert reply.status == 200, reply.text
        return reply.json["data"]

    async def new_flutterwave(self, reference: str, amount: Any = "75.50", **more: Any) -> str:
        body = {
            "tx_ref": reference,
            "amount": amount,
            "currency": "KES",
            "redirect_url": "http://127.0.0.1:9/back?shop=1",
            "customer": {"email": "ada@example.com", "name": "Ada"},
            **more,
        }
        reply = await self.flutterwave("POST", "/payments", body)
        assert reply.status == 200, reply.text
        link: str = reply.json["data"]["link"]
        return link

    async def new_intent(self, reference: str, amount: int = 2000, currency: str = "usd", **more: str) -> Any:
        form = {"amount": str(amount), "currency": currency, "metadata[polytill_attempt]": reference, **more}
        reply = await self.stripe("POST", "/payment_intents", form)
        assert reply.status == 200, reply.text
        return reply.json

    async def paid_intent(self, reference: str, amount: int = 2000, currency: str = "usd", **more: str) -> Any:
        card = {"payment_method": "pm_card_visa", "confirm": "true", "return_url": "http://127.0.0.1:9/back"}
        return await self.new_intent(reference, amount, currency, **{**card, **more})


@dataclass
class Delivered:
    """One webhook as received."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def event(self) -> str:
        document = self.json
        return str(document.get("type") or document.get("event") or "flat")


class Receiver:
    """A merchant's webhook address. ``answers`` are the next statuses; 200 after them."""

    def __init__(self) -> None:
        self.got: list[Delivered] = []
        self.answers: list[int] = []
        self.location: str | None = None
        self._news = asyncio.Condition()
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.title(): value for name, value in request.headers.items()}
        delivered = Delivered(request.path, headers, await request.read())
        async with self._news:
            self.got.append(delivered)
            self._news.notify_all()
        extra = {"Location": self.location} if self.location else {}
        return web.Response(status=self.answers.pop(0) if self.answers else 200, headers=extra)

    async def until(self, enough: Callable[[list[Delivered]], bool]) -> list[Delivered]:
        async with self._news:
            await asyncio.wait_for(self._news.wait_for(lambda: enough(self.got)), 10)
        return self.got

    async def of(self, event: str, count: int = 1) -> list[Delivered]:
        """The webhooks of one event, as soon as there are ``count`` of them."""
        await self.until(lambda got: sum(item.event == event for item in got) >= count)
        return [item for item in self.got if item.event == event]


@pytest.fixture
async def simulator() -> AsyncIterator[RunningSimulator]:
    running = await start("127.0.0.1", 0, seed=7)
    yield running
    await running.stop()


@pytest.fixture
async def client(simulator: RunningSimulator) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(simulator.url, session)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/{tail:.*}", made.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()
