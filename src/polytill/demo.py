"""``polytill demo``: a complete installation in one process, with the provider simulator, that takes payments.

Everything goes through the service's own HTTP API, as a platform would do it; customers act on the simulator. Only this
module registers webhook addresses at the simulator: the flows know no simulator.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from rich.console import Console
from rich.table import Table
from rich.text import Text

from polytill.app import Polytill
from polytill.domain.clock import World
from polytill.domain.errors import OperatorError
from polytill.domain.money import Money
from polytill.domain.sealing import KeyRing
from polytill.domain.states import ApiKeyKind, CredentialState
from polytill.flows.admin import catalog, staff
from polytill.flows.admin.practices import create_key
from polytill.flows.context import log
from polytill.owner_setup import migrate_owner
from polytill.settings import Settings
from polytill.simulator.app import start as start_simulator
from polytill.storage import practices
from polytill.storage.catalog import ProviderEntry
from polytill.storage.databases import PracticeDb
from polytill.storage.provider_configs import Configuration, open_credentials
from polytill.web.app import make_app
from polytill.worker import jobs

PATHS = {
    "stripe": "/stripe",
    "paystack": "/paystack",
    "flutterwave": "/flutterwave/v3",
    "flutterwave_v4": "/flutterwave_v4",
    "mpesa": "/mpesa",
    "paypal": "/paypal",
}
PRACTICES = (("Lagos Family Clinic", "NGN"), ("Boston Dental", "USD"), ("Nairobi Eye Centre", "KES"))
# The providers of each practice, with their currencies.
SET_UP = {
    "Lagos Family Clinic": {"paystack": ["NGN"], "flutterwave": ["NGN"]},
    "Boston Dental": {"stripe": ["USD"]},
    "Nairobi Eye Centre": {"flutterwave": ["KES"], "paystack": ["KES"], "stripe": ["KES"]},
}
WAIT_S = 15.0


@dataclass
class Demo:
    """A running demo: its addresses, its keys, and its results."""

    till: Polytill
    url: str
    simulator_url: str
    http: aiohttp.ClientSession
    owner_key: str = ""
    practices: list[dict[str, Any]] = field(default_factory=list)
    people: list[dict[str, str]] = field(default_factory=list)
    results: Table = field(default_factory=lambda: _results())
    ok: bool = True  # whether every step had the expected result

    async def call(self, method: str, path: str, key: str, body: Any = None, idempotency: str = "") -> Any:
        """Send one request to the service. An error status ends the demo."""
        headers = {"Authorization": f"Bearer {key}"} | ({"Idempotency-Key": idempotency} if idempotency else {})
        async with self.http.request(method, self.url + path, json=body, headers=headers) as response:
            answer = await response.json(content_type=None)
            if response.status >= 400:
                raise OperatorError(f"{method} {path} returned {response.status}: {answer.get('detail')}")
            return answer

    async def network(self, path: str, body: Any) -> Any:
        """Send one control call to the simulator."""
        async with self.http.post(f"{self.simulator_url}/_network{path}", json=body) as response:
            if response.status >= 400:
                raise OperatorError(f"The simulator returned {response.status} for {path}.")
            return await response.json(content_type=None)

    async def register_hook(self, db: PracticeDb, entry: ProviderEntry, configuration: Configuration) -> None:
        """Register the webhook address of an account at the simulator. Called after every saved configuration. If the
        simulator does not know the account, the configuration stays saved, and no webhooks arrive."""
        for kept in (configuration.active, *configuration.others):
            if not (entry.base_url(kept.environment.value) or "").startswith(self.simulator_url):
                continue
            opened = open_credentials(db.data_key, entry.code, kept)
            if kept.state is CredentialState.superseded or opened.secret_key is None:
                continue
            signed_with = opened.webhook_secret or opened.secret_key
            hook = {
                "provider": entry.code,
                "account": opened.secret_key.reveal(),
                "url": f"{self.url}/hooks/{configuration.hook_token}",
                "secret": signed_with.reveal(),
            }
            try:
                await self.network("/webhooks", hook)
            except (OperatorError, aiohttp.ClientError, TimeoutError) as error:
                log.error("webhook_address_not_registered", provider=entry.code, error=str(error))


# ── Setting up ──


def settings_for(folder: Path, port: int, simulator_url: str) -> Settings:
    """Return the demo's settings: SQLite files in ``folder``, and keys that may be sent only to its simulator."""
    return Settings(
        owner_database_url=f"sqlite:///{folder}/owner.db",
        practice_databases=str(folder / "practices"),
        keyring=folder / "keyring",
        public_url=f"http://127.0.0.1:{port}",
        bind=f"127.0.0.1:{port}",
        allowed_provider_origins=frozenset({simulator_url}),
        provider_timeout_s=10.0,
        sweep_interval_s=1.0,
        _env_file=None,
    )


def _free(port: int, what: str) -> socket.socket:
    try:
        found = socket.create_server(("127.0.0.1", port))
    except OSError:
        raise OperatorError(f"Port {port} for {what} is in use. Choose another one with --port.") from None
    # asyncio sets it only on sockets that name their protocol; without it each response waits 40 ms for an ACK.
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found


def _fresh_folder(folder: Path) -> None:
    """Delete the files of an earlier demo, and no other files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("owner.db", "owner.db-wal", "owner.db-shm", "keyring", "demo.json"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "practices", ignore_errors=True)


@contextlib.asynccontextmanager
async def _simulator(url: str | None, port: int) -> AsyncIterator[str]:
    if url is not None:
        yield url.rstrip("/")
        return
    _free(port, "the simulator").close()
    running = await start_simulator("127.0.0.1", port)
    try:
        yield running.url
    finally:
        await running.stop()


@contextlib.asynccontextmanager
async def _serving(till: Polytill, listening: socket.socket) -> AsyncIterator[asyncio.Task[None]]:
    config = uvicorn.Config(
        make_app(till), log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not server.started and not task.done():  # noqa: ASYNC110 — uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield task
    finally:
        server.should_exit = True
        await task


async def run(console: Console, folder: Path, port: int, once: bool, resume: bool, simulator: str | None) -> bool:
    """Run the whole demo. Return whether every step had the expected result."""
    if resume and not (folder / "demo.json").exists():
        raise OperatorError(f"There is no demo in {folder} to resume. Run the demo once without --resume.")
    listening = _free(port, "the service")
    async with _simulator(simulator, port + 9) as simulator_url, aiohttp.ClientSession() as http:
        if not resume:
            _fresh_folder(folder)
            KeyRing.create(folder / "keyring", World())
        settings = settings_for(folder, port, simulator_url)
        await migrate_owner(settings)
        async with Polytill.open(settings) as till:
            demo = Demo(till, settings.public_url, simulator_url, http)
            till.context.on_configured = demo.register_hook
            await _point_at_simulator(demo)
            async with _serving(till, listening) as serving:
                if resume:
                    await _resume(demo, folder)
                else:
                    await _seed(demo, folder, console)
                    await _take_payments(demo, console)
                    console.print(demo.results)
                _print_addresses(console, demo, folder, once)
                if not once:
                    async with jobs(till):  # as in ``serve``; this late, so that nothing waits for them
                        await serving
    return demo.ok


async def _point_at_simulator(demo: Demo) -> None:
    context = demo.till.context
    await catalog.seed(context, actor="demo")
    for code, path in PATHS.items():
        base = demo.simulator_url + path
        await catalog.change(context, code, {"api_base_url": base, "sandbox_api_base_url": base}, None, "demo")


async def _resume(demo: Demo, folder: Path) -> None:
    held = json.loads((folder / "demo.json").read_text())
    demo.owner_key, demo.practices, demo.people = held["ownerKey"], held["practices"], held["people"]
    _write(demo, folder)
    context = demo.till.context
    entries = await context.catalog()
    for practice in await practices.listed(context.owner):
        db = await context.opening.practice(practice.id)
        for configuration in (await context.configured(db)).configurations.values():
            if configuration.provider_code in entries:
                await demo.register_hook(db, entries[configuration.provider_code], configuration)


def _write(demo: Demo, folder: Path) -> None:
    content = {
        "url": demo.url,
        "simulatorUrl": demo.simulator_url,
        "ownerKey": demo.owner_key,
        "practices": demo.practices,
        "people": demo.people,
    }
    descriptor = os.open(folder / "demo.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(content, indent=2) + "\n")


def made_up_keys(code: str) -> dict[str, str]:
    """Return new keys of the right form for a provider; each pair is an account of its own at the simulator."""
    mark = secrets.token_hex(20)
    if code == "flutterwave":
        return {
            "publicKey": f"FLWPUBK_TEST-{mark}-X",
            "secretKey": f"FLWSECK_TEST-{mark}-X",
            "webhookSecret": f"hash-{mark}",
        }
    keys = {"publicKey": f"pk_test_{mark}", "secretKey": f"sk_test_{mark}"}
    return keys | ({"webhookSecret": f"whsec_{mark}"} if code == "stripe" else {})


async def _seed(demo: Demo, folder: Path, console: Console) -> None:
    demo.owner_key = await create_key(demo.till.context, ApiKeyKind.owner, None, "demo", None, "demo")
    for name, currency in PRACTICES:
        with console.status(f"Onboarding {name} …"):
            made = await demo.call(
                "POST", "/api/owner/practices", demo.owner_key, {"name": name, "defaultCurrency": currency}
            )
            practice = {"id": made["practice"]["id"], "name": name, "currency": currency, "key": made["key"]}
            demo.practices.append(practice)
            for code, currencies in SET_UP[name].items():
                body = {
                    "providerCode": code,
                    "environment": "sandbox",
                    "isEnabled": True,
                    "supportedCurrencies": currencies,
                    **made_up_keys(code),
                }
                await demo.call("POST", f"/api/practices/{practice['id']}/payment-providers", practice["key"], body)
    await _invite(demo)
    _write(demo, folder)


async def _invite(demo: Demo) -> None:
    """Invite one admin of the owner, and one of the first practice, each with a generated password."""
    context, first = demo.till.context, demo.practices[0]
    staff_of = (
        ("owner", context.owner, "Olu Owner"),
        ("practice", await context.opening.practice(first["id"]), "Pat Practice"),
    )
    for who, db, name in staff_of:
        email, password = f"{who}@example.com", secrets.token_urlsafe(12)
        link = await staff.invite(context, db, email, name, "admin", "demo")
        await staff.choose_password(context, db, link.rpartition("/")[2], password)
        address = demo.url + staff.door_of(db)
        demo.people.append({"email": email, "password": password, "role": f"{who} admin", "url": address})


# ── Payments ──


@dataclass
class Sale:
    """One payment of the demo, with its customer at the simulator."""

    demo: Demo
    practice: dict[str, Any]
    provider: str
    amount: int
    payment: Any = None

    async def call(self, method: str, path: str, body: Any = None, idempotency: str = "") -> Any:
        """Send one request about the practice's payments to the service."""
        path = f"/api/practices/{self.practice['id']}/payments{path}"
        return await self.demo.call(method, path, self.practice["key"], body, idempotency)

    async def create(self) -> None:
        """Create the payment."""
        body = {
            "amount": self.amount,
            "currency": self.practice["currency"],
            "providerCode": self.provider,
            "description": "Consultation",
            "customer": {"email": "payer@example.com", "name": "Ada Payer"},
        }
        self.payment = await self.call("POST", "", body, secrets.token_hex(8))

    async def until(self, **wanted: Any) -> None:
        """Read the payment until its fields have these values, or a time limit has passed: webhooks take time."""
        deadline = asyncio.get_running_loop().time() + WAIT_S
        while any(self.payment[name] != value for name, value in wanted.items()):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(0.05)
            self.payment = await self.call("GET", f"/{self.payment['id']}")

    async def end(self, outcome: str, **wanted: Any) -> None:
        """Let the customer end the payment, and wait for the webhook."""
        await self.demo.network(f"/pay/{self.payment['attempts'][-1]['reference']}", {"outcome": outcome})
        await self.until(**wanted)

    def note(self, story: str, ok: bool) -> None:
        """Add the result to the table."""
        amount, mark = self.money(self.amount), Text("yes", "green") if ok else Text("NO", "bold red")
        self.demo.results.add_row(self.practice["name"], self.provider, amount, story, self.payment["status"], mark)
        self.demo.ok &= ok

    def money(self, minor: int) -> str:
        """An amount in the practice's currency."""
        return str(Money(minor, self.practice["currency"]))


async def _take_payments(demo: Demo, console: Console) -> None:
    lagos, boston, nairobi = demo.practices
    with console.status("Taking payments …"):
        await _paid(Sale(demo, lagos, "paystack", 500_000))
        await _declined(Sale(demo, lagos, "flutterwave", 1_250_000))
        await _paid(Sale(demo, lagos, "flutterwave", 1_250_000))
        await _refunded(Sale(demo, boston, "stripe", 12_345))
        await _lost_and_found(Sale(demo, nairobi, "flutterwave", 350_000))
        await _paid(Sale(demo, nairobi, "paystack", 90_000))


async def _paid(sale: Sale) -> None:
    await sale.create()
    await sale.end("success", status="succeeded")
    fee, story = sale.payment["providerFee"], "paid on the provider's page"
    if fee is not None:
        story += f", webhook applied, fee {Money(fee, sale.payment['providerFeeCurrency'])}"
    sale.note(story, sale.payment["status"] == "succeeded" and fee is not None)


async def _declined(sale: Sale) -> None:
    await sale.create()
    await sale.end("decline", failureReason="declined")
    reason = sale.payment["failureReason"]
    ok = reason is not None and sale.payment["status"] == "requires_action"
    sale.note(f"declined ({reason}); the customer may try again", ok)


async def _refunded(sale: Sale) -> None:
    await sale.create()
    await sale.end("success", status="succeeded")
    half = sale.amount // 2
    body = {"amount": half, "reason": "Half the visit"}
    await sale.call("POST", f"/{sale.payment['id']}/refunds", body, secrets.token_hex(8))
    await sale.until(amountRefunded=half)
    ok = sale.payment["status"] == "succeeded" and sale.payment["amountRefunded"] == half
    sale.note(f"paid, then {sale.money(half)} refunded", ok)


async def _lost_and_found(sale: Sale) -> None:
    fault = {"provider": sale.provider, "operation": "create", "fault": "lose_answer", "probability": 1, "count": 1}
    await sale.demo.network("/faults", fault)
    await sale.create()
    lost = sale.payment["status"] == "processing"
    sale.payment = await sale.call("POST", f"/{sale.payment['id']}/confirm")
    found = sale.payment["status"] == "requires_action"
    await sale.end("success", status="succeeded")
    story = f"the answer was lost, looked up, paid under a new reference (attempt {len(sale.payment['attempts'])})"
    sale.note(story, lost and found and sale.payment["status"] == "succeeded")


# ── Printing ──


def _results() -> Table:
    table = Table(title="Payments", title_justify="left")
    table.add_column("practice")
    table.add_column("provider", no_wrap=True)
    table.add_column("amount", justify="right", no_wrap=True)
    table.add_column("result", min_width=24)
    table.add_column("status", no_wrap=True)
    table.add_column("ok", justify="center", no_wrap=True)
    return table


def _print_addresses(console: Console, demo: Demo, folder: Path, once: bool) -> None:
    for what, where in (
        ("service", f"{demo.url}  (API as a page: {demo.url}/docs)"),
        ("simulator", f"{demo.simulator_url}  (its transactions: {demo.simulator_url}/_network/transactions)"),
        ("keys", str(folder / "demo.json")),
        *(("sign in", f"{one['url']}  as {one['email']}, password {one['password']}") for one in demo.people),
    ):
        console.print(f"{what:<10} {where}")
    if not once:
        console.print("Serving until Ctrl-C.")
