"""An installation of real processes under load, for crash tests and drills.

``serve`` and workers as an operator starts them, the simulator as provider, customers who pay and staff who refund a part.
Every acknowledged payment and refund is remembered, and in the end compared with the provider's books.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from tests.installation import BASES, TEST_KEYS
from tests.postgres.server import free_port

from polytill.app import Polytill
from polytill.domain.clock import World
from polytill.domain.sealing import KeyRing
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.admin import catalog, credentials, provider_configs
from polytill.flows.admin.practices import NewPractice, create_practice
from polytill.flows.provider_calls import hook_url
from polytill.owner_setup import migrate_owner
from polytill.settings import Settings
from polytill.simulator.app import RunningSimulator, start
from polytill.storage import ledger

PROVIDERS = ("paystack", "flutterwave", "stripe")  # of one practice each
PROCESSES = ("serve", "worker-1", "worker-2")
PAYERS = 6
AMOUNT, GIVEN_BACK = 500_000, 120_000
REFUND_EVERY = 3  # one in this many payments of each customer is partially refunded
DRAIN_S = 240.0
ASKED_AT_ONCE = 4


@dataclass(frozen=True)
class Practice:
    """A practice, and the account that it has at its provider."""

    id: int
    key: str
    account: str


@dataclass
class Installation:
    """The addresses and processes of the installation, and the acknowledged payments and refunds."""

    folder: Path
    settings: dict[str, Any]
    simulator: RunningSimulator
    http: aiohttp.ClientSession
    environment: Environment = Environment.sandbox
    practices: list[Practice] = field(default_factory=list)
    acknowledged: dict[str, Practice] = field(default_factory=dict)  # by payment
    refunds: dict[str, tuple[Practice, str]] = field(default_factory=dict)  # refund -> practice, payment
    acknowledged_at: list[tuple[float, int]] = field(default_factory=list)  # a moment in seconds, practice
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)  # of each ``serve``
    failures: dict[str, str] = field(default_factory=dict)  # the last answer to each path that was no success
    refused: int = 0
    restarted: int = 0
    never_sent: int = 0

    @property
    def network(self) -> str:
        """The address of what the simulator lets others do: pay, lose answers, read the books."""
        return f"{self.simulator.url}/_network"

    def environment_of(self, name: str) -> dict[str, str]:
        """The environment variables of a process."""
        given = self.settings | ({"bind": self.urls[name].removeprefix("http://")} if name in self.urls else {})
        return {**os.environ, **{f"POLYTILL_{key.upper()}": str(value) for key, value in given.items()}}

    def begin(self, name: str) -> None:
        """Start a process: ``serve`` or ``worker``, with ``-`` and a number if there are several."""
        if name.startswith("serve"):
            first = str(self.settings["public_url"])
            self.urls.setdefault(name, f"http://127.0.0.1:{free_port()}" if self.urls else first)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "polytill", name.partition("-")[0]],
                cwd=self.folder,
                env=self.environment_of(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def end(self, name: str) -> None:
        """End a process with kill -9 only."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    async def command(self, *words: str) -> tuple[int, str]:
        """Run a command of polytill. Returns its status and what it printed."""
        started = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "polytill", *words),
            cwd=self.folder,
            env=self.environment_of("command"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await started.communicate()
        return started.returncode or 0, printed.decode()

    async def supervise(self) -> None:
        """Restart a process that ended on its own because its owner database was down while it started, as every
        installation's supervisor does."""
        while True:
            for name, process in list(self.processes.items()):
                if process.poll() is not None:
                    self.restarted += 1
                    self.begin(name)
            await asyncio.sleep(1)

    async def ask(self, method: str, path: str, key: str, body: Any = None, idempotency: str | None = None) -> Any:
        """Send one request to one ``serve`` after the other, as a load balancer does, until one answers. Returns None if
        the answer was no success."""
        headers = {"Authorization": f"Bearer {key}", **({"Idempotency-Key": idempotency} if idempotency else {})}
        for name, url in list(self.urls.items()):
            if name not in self.processes:
                continue
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self.http.request(method, url + path, json=body, headers=headers) as answer:
                    if answer.status < 300:
                        return await answer.json()
                    self.refused += 1
                    self.failures[path] = f"{answer.status} {(await answer.text())[:200]}"
                    return None
        return None

    async def act(self, payment: dict[str, Any]) -> None:
        """Let the customer pay every payable payment."""
        if payment["nextAction"] is not None:
            reference = payment["attempts"][-1]["reference"]
            async with self.http.post(f"{self.network}/pay/{reference}", json={"outcome": "success"}) as answer:
                await answer.read()

    async def payer(self, number: int, until: asyncio.Event) -> None:
        """Pay one practice repeatedly, with the same key until it is acknowledged."""
        practice = self.practices[number % len(self.practices)]
        for count in itertools.takewhile(lambda _: not until.is_set(), itertools.count(1)):
            body = {
                "amount": AMOUNT,
                "currency": "NGN",
                "customer": {"email": "ada@example.com"},
                "environment": self.environment,
            }
            path, idempotency = f"/api/practices/{practice.id}/payments", f"payer-{number}-{count}"
            payment = await self.insist(path, practice, body, idempotency)
            self.acknowledged[payment["id"]] = practice
            self.acknowledged_at.append((time.monotonic(), practice.id))
            await self.act(payment)
            if count % REFUND_EVERY == 0:
                await self.give_back(practice, payment["id"])
            await asyncio.sleep(0.05)

    @contextlib.asynccontextmanager
    async def load(self, payers: int = PAYERS) -> AsyncIterator[asyncio.Event]:
        """Customers pay until the event is set, at the latest until the end of this block."""
        until = asyncio.Event()
        running = [asyncio.create_task(self.payer(number, until)) for number in range(payers)]
        try:
            async with asyncio.timeout(60):
                while len({practice for _, practice in self.acknowledged_at}) < len(self.practices):  # noqa: ASYNC110 — it is looked at, not told
                    await asyncio.sleep(0.1)
            yield until
        finally:
            until.set()
            await asyncio.wait(running, timeout=60)

    async def insist(self, path: str, practice: Practice, body: Any, idempotency: str) -> Any:
        """Send the same request under the same key until it is acknowledged."""
        while True:
            answer = await self.ask("POST", path, practice.key, body, idempotency)
            if answer is not None:
                return answer
            await asyncio.sleep(0.2)

    async def give_back(self, practice: Practice, payment_id: str) -> None:
        """Make a partial refund if the payment is proven paid by now."""
        path = f"/api/practices/{practice.id}/payments/{payment_id}"
        payment = await self.ask("POST", f"{path}/confirm", practice.key)
        if payment is not None and payment["status"] == "succeeded":
            made = await self.insist(f"{path}/refunds", practice, {"amount": GIVEN_BACK}, f"back-{payment_id}")
            self.refunds[made["id"]] = (practice, payment_id)

    async def answers(self) -> None:
        """Wait until every ``serve`` answers."""
        for url in self.urls.values():
            async with asyncio.timeout(60):
                while True:
                    with contextlib.suppress(aiohttp.ClientError):
                        async with self.http.get(f"{url}/healthz") as answer:
                            if answer.status < 500:
                                break
                    await asyncio.sleep(0.1)

    async def recovered(self, since_s: float, practices: Collection[int] = ()) -> float:
        """Seconds until a payment is acknowledged again; with ``practices``, until each of these has one."""
        while True:
            since = [(at_s, practice) for at_s, practice in self.acknowledged_at if at_s > since_s]
            if since and {*practices} <= {practice for _, practice in since}:
                firsts = [min(at_s for at_s, practice in since if practice == one) for one in practices]
                return max(firsts or [since[0][0]]) - since_s
            await asyncio.sleep(0.02)

    async def longest_gap(self, since_s: float) -> float:
        """The longest time without an acknowledged payment, from a given time until payments are acknowledged again."""
        await self.recovered(time.monotonic())
        at = [since_s, *(moment for moment, _ in self.acknowledged_at if moment > since_s)]
        return max(after - before for before, after in itertools.pairwise(at))

    async def faults(self, fault: dict[str, Any] | None) -> None:
        """Let the providers have this fault, or none any more."""
        address = f"{self.network}/faults"
        async with self.http.delete(address) if fault is None else self.http.post(address, json=fault) as answer:
            assert answer.status < 300

    async def drained(self) -> dict[str, str]:
        """Wait until every acknowledged payment is proven paid. Returns those that are not, with their last status."""
        seen: dict[str, str] = {}
        open_ids, give_up_s = set(self.acknowledged), time.monotonic() + DRAIN_S
        while open_ids and time.monotonic() < give_up_s:
            waiting = iter(sorted(open_ids))
            await asyncio.gather(*(self._look(waiting, seen) for _ in range(ASKED_AT_ONCE)))
            open_ids = {payment_id for payment_id in open_ids if seen[payment_id] != "succeeded"}
            await asyncio.sleep(0.5)
        open_refunds = await self.refunds_open()
        while open_refunds and time.monotonic() < give_up_s:
            await asyncio.sleep(0.5)
            open_refunds = await self.refunds_open()
        return {payment_id: seen[payment_id] for payment_id in sorted(open_ids)} | open_refunds

    async def _look(self, waiting: Iterator[str], seen: dict[str, str]) -> None:
        """Look at payments, one after the other. Those that are not paid are paid."""
        for payment_id in waiting:
            practice = self.acknowledged[payment_id]
            path = f"/api/practices/{practice.id}/payments/{payment_id}"
            payment = await self.ask("GET", path, practice.key)
            if payment is None:
                seen[payment_id] = self.failures.get(path, "never answered")
                continue
            if payment["status"] == "requires_action":
                await self.act(payment)
                payment = await self.ask("POST", f"{path}/confirm", practice.key) or payment
            seen[payment_id] = payment["status"]

    async def refunds_open(self) -> dict[str, str]:
        """The acknowledged refunds without proof: neither that they succeeded nor that the provider never received them
        (its process crashed before the call), so that nothing is reserved any more."""
        found: dict[str, str] = {}
        for practice, payment_id in sorted(self.refunds.values(), key=lambda one: (one[0].id, one[1])):
            path = f"/api/practices/{practice.id}/payments/{payment_id}/refunds"
            made = await self.ask("GET", path, practice.key)
            found |= {refund["id"]: refund["status"] for refund in made or ()}
        self.never_sent = sum(status == "not_sent" for status in found.values())
        missing = {refund_id: "never answered" for refund_id in sorted(self.refunds.keys() - found)}
        return missing | {name: status for name, status in found.items() if status not in ("succeeded", "not_sent")}

    async def books(self) -> dict[str, int]:
        """The sums in the provider's books and in our ledgers, and payments that were paid more than once."""
        async with self.http.get(f"{self.network}/transactions") as answer:
            held = [tx for tx in await answer.json() if tx["captured"] > 0]
        provider = sum(tx["captured"] - tx["refunded"] for tx in held)
        ours = twice = 0
        async with Polytill.open(Settings(_env_file=None, **self.settings)) as till:
            for practice in self.practices:
                db = (await till.context.practice(practice.id)).db
                balances = (await ledger.balances(db, self.environment)).get("NGN", {})
                ours -= sum(balances.get(name, 0) for name in ("payments", "duplicate_payments", "refunds"))
                twice += balances.get("duplicate_payments", 0) != 0
                assert any(tx["account"] == practice.account for tx in held) or not self.acknowledged
        over = sum(tx["refunded"] > GIVEN_BACK for tx in held)
        return {"provider": provider, "ledger": ours, "paidTwice": twice, "refundedTwice": over}

    async def score(self) -> dict[str, Any]:
        """Wait until everything is proven, and compare all books. ``held``: nothing was lost or doubled."""
        await self.faults(None)
        began_s = time.monotonic()
        unproven = await self.drained()
        books = await self.books()
        return {
            "acknowledged": len(self.acknowledged),
            "refunds": len(self.refunds),
            "refundsNeverSent": self.never_sent,
            "refused": self.refused,
            "restarted": self.restarted,
            "unproven": unproven,
            "drainS": round(time.monotonic() - began_s, 1),
            **books,
            "held": not unproven
            and books["provider"] == books["ledger"] > 0
            and not books["paidTwice"]
            and not books["refundedTwice"],
        }


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    owner_url: str,
    practices_url: str,
    processes: Sequence[str] = PROCESSES,
    environment: Environment = Environment.sandbox,
) -> AsyncIterator[Installation]:
    """Start everything, with a configured practice for each provider."""
    simulator = await start("127.0.0.1", 0)
    KeyRing.create(folder / "keyring", World())
    url = f"http://127.0.0.1:{free_port()}"
    settings: dict[str, Any] = {
        "owner_database_url": owner_url,
        "practice_databases": practices_url,
        "keyring": str(folder / "keyring"),
        "allowed_provider_origins": simulator.url,
        "bind": url.removeprefix("http://"),
        "public_url": url,
        "provider_timeout_s": 3.0,
        "sweep_interval_s": 0.5,
        "database_connections": 40,
    }
    await migrate_owner(Settings(_env_file=None, **settings))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        made = Installation(folder, settings, simulator, http, environment)
        async with Polytill.open(Settings(_env_file=None, **settings)) as till:
            await catalog.seed(till.context, list(PROVIDERS))
            for code in PROVIDERS:
                base = simulator.url + BASES[code]
                bases = {"api_base_url": base, "sandbox_api_base_url": base}
                await catalog.change(till.context, code, bases, None, "benchmark")
                await add_practice(till, made, code)
        supervisor = asyncio.create_task(made.supervise())
        try:
            for name in processes:
                made.begin(name)
            yield made
        finally:
            supervisor.cancel()
            for name in list(made.processes):
                made.end(name)
            await simulator.stop()


async def add_practice(till: Polytill, made: Installation, code: str, cluster: str | None = None) -> None:
    """Add a practice with this provider. Each has an account of its own."""
    number = len(made.practices)
    wanted = NewPractice(f"Practice {number} with {code}", "NGN", cluster=cluster)
    entry, key = await create_practice(till.context, wanted, "benchmark")
    given = {name: _of_environment(value, made.environment) for name, value in TEST_KEYS[code].items()}
    given["secretKey"] = _numbered(given["secretKey"], number)
    account, signed_with = given["secretKey"], given.get("webhookSecret", given["secretKey"])
    keys = credentials.Keys(
        given["publicKey"], Secret(account), Secret(signed_with) if "webhookSecret" in given else None
    )
    wish = provider_configs.Wish(
        code, made.environment, keys, is_enabled=True, is_default=True, supported_currencies=["NGN"]
    )
    saved, _ = await provider_configs.configure(till.context, entry.id, wish, "benchmark")
    hook = hook_url(till.context, saved.hook_token)
    body = {"provider": code, "account": account, "url": hook, "secret": signed_with}
    async with made.http.post(f"{made.network}/webhooks", json=body) as answer:
        assert answer.status < 300
    made.practices.append(Practice(entry.id, key, account))


def _of_environment(value: str, environment: Environment) -> str:
    return value if environment is Environment.sandbox else value.replace("_test_", "_live_").replace("_TEST-", "-")


def _numbered(secret: str, number: int) -> str:
    head, digits, tail = secret.rpartition("0123456789abcdef")
    return f"{head}{digits[:-2]}{number:02x}{tail}" if digits else f"{secret}{number}"
