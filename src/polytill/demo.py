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
class Row:
    """One line of the printed table."""

    practice: str
    provider: str
    amount: str
    story: str
    status: str
    ok: bool


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
    rows: list[Row] = field(default_factory=list)

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
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        raise OperatorError(f"Port {port} for {what} is in use. Choose another one with --port.") from None


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
                    _print_table(console, demo)
                _print_addresses(console, demo, folder, once)
                ok = all(row.ok for row in demo.rows)
                if not once:
                    async with jobs(till):  # as in ``serve``; this late, so that nothing waits for them
                        await serving
    return ok


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
    if code == "stripe":
        return {"publicKey": f"pk_test_{mark}", "secretKey": f"sk_test_{mark}", "webhookSecret": f"whsec_{mark}"}
    if code == "paystack":
        return {"publicKey": f"pk_test_{mark}", "secretKey": f"sk_test_{mark}"}
    return {
        "publicKey": f"FLWPUBK_TEST-{mark}-X",
        "secretKey": f"FLWSECK_TEST-{mark}-X",
        "webhookSecret": f"hash-{mark}",
    }


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


async def _take_payments(demo: Demo, console: Console) -> None:
    lagos, boston, nairobi = demo.practices
    with console.status("Taking payments …"):
        await _paid(demo, lagos, "paystack", 500_000, "NGN", "paid on the provider's page")
        await _declined(demo, lagos, "flutterwave", 1_250_000, "NGN")
        await _paid(demo, lagos, "flutterwave", 1_250_000, "NGN", "paid on the provider's page")
        await _refunded(demo, boston, "stripe", 12_345, "USD")
        await _lost_and_found(demo, nairobi, "flutterwave", 350_000, "KES")
        await _paid(demo, nairobi, "paystack", 90_000, "KES", "paid on the provider's page")


async def _create(demo: Demo, practice: dict[str, Any], provider: str, amount: int, currency: str) -> Any:
    body = {
        "amount": amount,
        "currency": currency,
        "providerCode": provider,
        "description": "Consultation",
        "customer": {"email": "payer@example.com", "name": "Ada Payer"},
    }
    path = f"/api/practices/{practice['id']}/payments"
    return await demo.call("POST", path, practice["key"], body, secrets.token_hex(8))


async def _until(demo: Demo, practice: dict[str, Any], payment_id: str, **wanted: Any) -> Any:
    """Return the payment as soon as its fields have these values, or as it is after a time limit: webhooks take time."""
    path = f"/api/practices/{practice['id']}/payments/{payment_id}"
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while True:
        payment = await demo.call("GET", path, practice["key"])
        if all(payment[name] == value for name, value in wanted.items()):
            return payment
        if asyncio.get_running_loop().time() > deadline:
            return payment
        await asyncio.sleep(0.05)


async def _payer(demo: Demo, payment: Any, outcome: str) -> None:
    await demo.network(f"/pay/{payment['attempts'][-1]['reference']}", {"outcome": outcome})


def _note(demo: Demo, practice: dict[str, Any], payment: Any, story: str, ok: bool) -> None:
    amount = str(Money(payment["amount"], payment["currency"]))
    demo.rows.append(Row(practice["name"], payment["providerCode"], amount, story, payment["status"], ok))


async def _paid(demo: Demo, practice: dict[str, Any], provider: str, amount: int, currency: str, story: str) -> None:
    payment = await _create(demo, practice, provider, amount, currency)
    await _payer(demo, payment, "success")
    payment = await _until(demo, practice, payment["id"], status="succeeded")
    fee = payment["providerFee"]
    told = f"{story}, webhook applied, fee {Money(fee, payment['providerFeeCurrency'])}" if fee is not None else story
    _note(demo, practice, payment, told, payment["status"] == "succeeded" and fee is not None)


async def _declined(demo: Demo, practice: dict[str, Any], provider: str, amount: int, currency: str) -> None:
    payment = await _create(demo, practice, provider, amount, currency)
    await _payer(demo, payment, "decline")
    payment = await _until(demo, practice, payment["id"], failureReason="declined")
    ok = payment["failureReason"] is not None and payment["status"] == "requires_action"
    _note(demo, practice, payment, f"declined ({payment['failureReason']}); the customer may try again", ok)


async def _refunded(demo: Demo, practice: dict[str, Any], provider: str, amount: int, currency: str) -> None:
    payment = await _create(demo, practice, provider, amount, currency)
    await _payer(demo, payment, "success")
    payment = await _until(demo, practice, payment["id"], status="succeeded")
    half = amount // 2
    path = f"/api/practices/{practice['id']}/payments/{payment['id']}/refunds"
    await demo.call("POST", path, practice["key"], {"amount": half, "reason": "Half the visit"}, secrets.token_hex(8))
    payment = await _until(demo, practice, payment["id"], amountRefunded=half)
    ok = payment["status"] == "succeeded" and payment["amountRefunded"] == half
    _note(demo, practice, payment, f"paid, then {Money(half, currency)} refunded", ok)


async def _lost_and_found(demo: Demo, practice: dict[str, Any], provider: str, amount: int, currency: str) -> None:
    fault = {"provider": provider, "operation": "create", "fault": "lose_answer", "probability": 1, "count": 1}
    await demo.network("/faults", fault)
    payment = await _create(demo, practice, provider, amount, currency)
    lost = payment["status"] == "processing"
    path = f"/api/practices/{practice['id']}/payments/{payment['id']}/confirm"
    payment = await demo.call("POST", path, practice["key"])
    found = payment["status"] == "requires_action"
    await _payer(demo, payment, "success")
    payment = await _until(demo, practice, payment["id"], status="succeeded")
    story = f"the answer was lost, looked up, paid under a new reference (attempt {len(payment['attempts'])})"
    _note(demo, practice, payment, story, lost and found and payment["status"] == "succeeded")


# ── Printing ──


def _print_table(console: Console, demo: Demo) -> None:
    table = Table(title="Payments", title_justify="left")
    table.add_column("practice")
    table.add_column("provider", no_wrap=True)
    table.add_column("amount", justify="right", no_wrap=True)
    table.add_column("result", min_width=24)
    table.add_column("status", no_wrap=True)
    table.add_column("ok", justify="center", no_wrap=True)
    for row in demo.rows:
        mark = Text("yes", "green") if row.ok else Text("NO", "bold red")
        table.add_row(row.practice, row.provider, row.amount, row.story, row.status, mark)
    console.print(table)


def _print_addresses(console: Console, demo: Demo, folder: Path, once: bool) -> None:
    console.print(f"service    {demo.url}  (API as a page: {demo.url}/docs)", highlight=False)
    console.print(
        f"simulator  {demo.simulator_url}  (its transactions: {demo.simulator_url}/_network/transactions)",
        highlight=False,
    )
    console.print(f"keys       {folder / 'demo.json'}", highlight=False)
    for person in demo.people:
        console.print(
            f"sign in    {person['url']}  as {person['email']}, password {person['password']}", highlight=False
        )
    if not once:
        console.print("Serving until Ctrl-C.")
