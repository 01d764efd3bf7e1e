"""Crash test with real processes: ``python -m benchmarks.survival [--kills 100] [--failover] [--owner-outage 30]``.

``serve`` and two workers on private PostgreSQL servers (the owner's; the practices', with a synchronous standby), the
simulator as provider, customers who pay and staff who refund a part. Meanwhile, processes are killed with kill -9, the
practices' primary is stopped hard and its standby promoted, and the owner database is down for a while. At the end, no
acknowledged payment or refund may be lost, each must be proven, no money may have moved twice, and the ledger must
equal the provider's books. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from tests.installation import BASES, TEST_KEYS
from tests.postgres.server import MISSING, PostgresError, PostgresServer, find_binaries, free_port

from benchmarks.standby import Standby, make_synchronous
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
from polytill.simulator.app import start
from polytill.storage import ledger

PROVIDERS = ("paystack", "flutterwave", "stripe")  # of one practice each
PAYERS = 6
AMOUNT, GIVEN_BACK = 500_000, 120_000
REFUND_EVERY = 3  # one in this many payments of each customer is partially refunded
DRAIN_S = 240.0


@dataclass
class House:
    """The addresses and processes of the installation, and the acknowledged payments and refunds."""

    folder: Path
    settings: dict[str, Any]
    url: str
    network: str
    http: aiohttp.ClientSession
    practices: list[tuple[int, str, str]] = field(default_factory=list)  # id, key, provider account
    acknowledged: dict[str, tuple[int, str]] = field(default_factory=dict)  # payment -> practice, key
    refunds: dict[str, tuple[int, str, str]] = field(default_factory=dict)  # refund -> practice, key, payment
    acknowledged_at_s: list[float] = field(default_factory=list)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    refused: int = 0
    restarted: int = 0
    never_sent: int = 0

    def begin(self, name: str) -> None:
        """Start ``serve``, ``worker-1`` or ``worker-2``."""
        environment = {**os.environ, **{f"POLYTILL_{k.upper()}": str(v) for k, v in self.settings.items()}}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "polytill", name.partition("-")[0]],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def end(self, name: str) -> None:
        """End a process with kill -9 only."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

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
        """Send one request. Returns None if it was not answered or not with success."""
        headers = {"Authorization": f"Bearer {key}", **({"Idempotency-Key": idempotency} if idempotency else {})}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self.http.request(method, self.url + path, json=body, headers=headers) as answer:
                if answer.status < 300:
                    return await answer.json()
                self.refused += 1
        return None

    async def act(self, payment: dict[str, Any]) -> None:
        """Let the customer pay every payable payment."""
        if payment["nextAction"] is not None:
            reference = payment["attempts"][-1]["reference"]
            async with self.http.post(f"{self.network}/pay/{reference}", json={"outcome": "success"}) as answer:
                await answer.read()

    async def payer(self, number: int, until: asyncio.Event) -> None:
        """Pay repeatedly, with the same key until it is acknowledged."""
        count = 0
        while not until.is_set():
            count += 1
            practice_id, key, _ = self.practices[(number + count) % len(self.practices)]
            body = {"amount": AMOUNT, "currency": "NGN", "customer": {"email": "ada@example.com"}}
            payment = await self.insist(f"/api/practices/{practice_id}/payments", key, body, f"payer-{number}-{count}")
            self.acknowledged[payment["id"]] = (practice_id, key)
            self.acknowledged_at_s.append(time.monotonic())
            await self.act(payment)
            if count % REFUND_EVERY == 0:
                await self.give_back(practice_id, key, payment["id"])
            await asyncio.sleep(0.05)

    async def insist(self, path: str, key: str, body: Any, idempotency: str) -> Any:
        """Send the same request under the same key until it is acknowledged."""
        while True:
            answer = await self.ask("POST", path, key, body, idempotency)
            if answer is not None:
                return answer
            await asyncio.sleep(0.2)

    async def give_back(self, practice_id: int, key: str, payment_id: str) -> None:
        """Make a partial refund if the payment is proven paid by now."""
        path = f"/api/practices/{practice_id}/payments/{payment_id}"
        payment = await self.ask("POST", f"{path}/confirm", key)
        if payment is not None and payment["status"] == "succeeded":
            made = await self.insist(f"{path}/refunds", key, {"amount": GIVEN_BACK}, f"back-{payment_id}")
            self.refunds[made["id"]] = (practice_id, key, payment_id)

    async def recovered(self, since_s: float) -> float:
        """Seconds until a payment is acknowledged again."""
        while self.acknowledged_at_s[-1] <= since_s:  # noqa: ASYNC110 — it is looked at, not told
            await asyncio.sleep(0.02)
        return self.acknowledged_at_s[-1] - since_s

    async def longest_gap(self, since_s: float) -> float:
        """The longest time without an acknowledged payment, from a given time until payments are acknowledged again."""
        await self.recovered(time.monotonic())
        at = [since_s, *(moment for moment in self.acknowledged_at_s if moment > since_s)]
        return max(after - before for before, after in itertools.pairwise(at))

    async def drained(self) -> dict[str, str]:
        """Wait until every acknowledged payment is proven paid. Returns those that are not, with their last status."""
        seen: dict[str, str] = {}
        open_ids, give_up_s = set(self.acknowledged), time.monotonic() + DRAIN_S
        while open_ids and time.monotonic() < give_up_s:
            for payment_id in sorted(open_ids):
                practice_id, key = self.acknowledged[payment_id]
                path = f"/api/practices/{practice_id}/payments/{payment_id}"
                payment = await self.ask("GET", path, key)
                if payment is None:
                    continue
                if payment["status"] == "requires_action":
                    await self.act(payment)
                    payment = await self.ask("POST", f"{path}/confirm", key) or payment
                seen[payment_id] = payment["status"]
                if payment["status"] == "succeeded":
                    open_ids.discard(payment_id)
            await asyncio.sleep(0.5)
        open_refunds = await self.refunds_open()
        while open_refunds and time.monotonic() < give_up_s:
            await asyncio.sleep(0.5)
            open_refunds = await self.refunds_open()
        return {payment_id: seen.get(payment_id, "never answered") for payment_id in sorted(open_ids)} | open_refunds

    async def refunds_open(self) -> dict[str, str]:
        """The acknowledged refunds without proof: neither that they succeeded nor that the provider never received them
        (its process crashed before the call), so that nothing is reserved any more."""
        found: dict[str, str] = {}
        for practice_id, key, payment_id in sorted(self.refunds.values()):
            made = await self.ask("GET", f"/api/practices/{practice_id}/payments/{payment_id}/refunds", key)
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
            for practice_id, _, secret in self.practices:
                practice = await till.context.practice(practice_id)
                balances = (await ledger.balances(practice.db, Environment.sandbox)).get("NGN", {})
                ours -= sum(balances.get(name, 0) for name in ("payments", "duplicate_payments", "refunds"))
                twice += balances.get("duplicate_payments", 0) != 0
                assert any(tx["account"] == secret for tx in held) or not self.acknowledged
        over = sum(tx["refunded"] > GIVEN_BACK for tx in held)
        return {"provider": provider, "ledger": ours, "paidTwice": twice, "refundedTwice": over}


@contextlib.asynccontextmanager
async def house(folder: Path, owner: PostgresServer, first: PostgresServer, second: Standby) -> AsyncIterator[House]:
    """Start everything, with configured practices."""
    simulator = await start("127.0.0.1", 0)
    ring, port = folder / "keyring", free_port()
    KeyRing.create(ring, World())
    hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
    settings: dict[str, Any] = {
        "owner_database_url": f"{owner.url}/owner",
        "practice_databases": f"postgresql://polytill@{hosts}?target_session_attrs=read-write",
        "keyring": str(ring),
        "allowed_provider_origins": simulator.url,
        "bind": f"127.0.0.1:{port}",
        "public_url": f"http://127.0.0.1:{port}",
        "provider_timeout_s": 3.0,
        "sweep_interval_s": 0.5,
        "database_connections": 40,
    }
    opened = Settings(_env_file=None, **settings)
    await migrate_owner(opened)
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        made = House(folder, settings, str(settings["public_url"]), f"{simulator.url}/_network", http)
        async with Polytill.open(opened) as till:
            await catalog.seed(till.context, list(PROVIDERS))
            for code in PROVIDERS:
                base = simulator.url + BASES[code]
                await catalog.change(
                    till.context, code, {"api_base_url": base, "sandbox_api_base_url": base}, None, "x"
                )
                await _practice(till, made, code)
        supervisor = asyncio.create_task(made.supervise())
        try:
            for name in ("serve", "worker-1", "worker-2"):
                made.begin(name)
            yield made
        finally:
            supervisor.cancel()
            for name in list(made.processes):
                made.end(name)
            await simulator.stop()


async def _practice(till: Polytill, made: House, code: str) -> None:
    entry, key = await create_practice(till.context, NewPractice(f"Practice with {code}", "NGN"), "benchmark")
    given = TEST_KEYS[code]
    account, signed_with = given["secretKey"], given.get("webhookSecret", given["secretKey"])
    keys = credentials.Keys(
        given["publicKey"], Secret(account), Secret(signed_with) if "webhookSecret" in given else None
    )
    wish = provider_configs.Wish(
        code, Environment.sandbox, keys, is_enabled=True, is_default=True, supported_currencies=["NGN"]
    )
    saved, _ = await provider_configs.configure(till.context, entry.id, wish, "survival")
    hook = hook_url(till.context, saved.hook_token)
    body = {"provider": code, "account": account, "url": hook, "secret": signed_with}
    async with made.http.post(f"{made.network}/webhooks", json=body) as answer:
        assert answer.status < 300
    made.practices.append((entry.id, key, account))


async def suffer(
    made: House, options: argparse.Namespace, owner: PostgresServer, first: PostgresServer, second: Standby
) -> dict[str, Any]:
    """Kill, promote and stop databases under load. Returns the times until payments were acknowledged again."""
    chance = random.Random(options.seed)
    until, times = asyncio.Event(), {"serve": [], "worker": [], "failover": [], "owner": []}  # type: ignore[var-annotated]
    faults = {"provider": "*", "operation": "create", "fault": "lose_answer", "probability": 0.05}
    async with made.http.post(f"{made.network}/faults", json=faults) as answer:
        assert answer.status < 300
    payers = [asyncio.create_task(made.payer(number, until)) for number in range(PAYERS)]
    try:
        async with asyncio.timeout(60):
            while not made.acknowledged_at_s:  # noqa: ASYNC110 — it is looked at, not told
                await asyncio.sleep(0.1)
        for number in range(options.kills):
            await asyncio.sleep(chance.uniform(0.2, 2.0))
            name = chance.choice(["serve", "worker-1", "worker-2"])
            killed_s = time.monotonic()
            made.end(name)
            made.begin(name)
            times[name.partition("-")[0]].append(await made.recovered(killed_s))
            if options.failover and number == options.kills // 2:
                stopped_s = time.monotonic()
                await asyncio.to_thread(first.kill)
                await asyncio.to_thread(second.promote)
                times["failover"].append(await made.longest_gap(stopped_s))
        if options.owner_outage:
            await asyncio.sleep(2)
            before = len(made.acknowledged)
            await asyncio.to_thread(owner.kill)
            await asyncio.sleep(options.owner_outage)
            during = len(made.acknowledged) - before
            await asyncio.to_thread(owner.start)
            times["owner"].append(await made.recovered(time.monotonic()))
            print(f"{during} payments were acknowledged while the owner database was down")
        if options.provider_outage:
            times["resolution"] = await _provider_away(made, options.provider_outage, until)
    finally:
        until.set()
        await asyncio.wait(payers, timeout=60)
    return {name: _summary(sorted(seen)) for name, seen in times.items() if seen}


async def _provider_away(made: House, seconds: float, until: asyncio.Event) -> list[float]:
    """Lose every answer of the provider for a while. Returns how long each payment stayed unknown after it answered
    again."""
    before = set(made.acknowledged)
    async with made.http.post(
        f"{made.network}/faults", json={"provider": "*", "operation": "*", "fault": "lose_answer"}
    ) as answer:
        assert answer.status < 300
    await asyncio.sleep(seconds)
    until.set()
    async with made.http.delete(f"{made.network}/faults") as answer:
        assert answer.status < 300
    again_s = time.monotonic()
    waiting, resolved_s = set(made.acknowledged) - before, []
    while waiting and time.monotonic() < again_s + DRAIN_S:
        for payment_id in sorted(waiting):
            practice_id, key = made.acknowledged[payment_id]
            payment = await made.ask("GET", f"/api/practices/{practice_id}/payments/{payment_id}", key)
            if payment is not None and payment["status"] != "processing":
                waiting.discard(payment_id)
                resolved_s.append(time.monotonic() - again_s)
        await asyncio.sleep(0.2)
    return resolved_s


def _summary(seen: list[float]) -> dict[str, float]:
    picked = {"median_s": seen[len(seen) // 2], "p95_s": seen[len(seen) * 95 // 100], "max_s": seen[-1]}
    return {"count": len(seen)} | {name: round(value, 2) for name, value in picked.items()}


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the whole campaign. Returns its score."""
    binaries = find_binaries()
    if binaries is None:
        raise PostgresError(MISSING)
    with contextlib.ExitStack() as servers, tempfile.TemporaryDirectory(prefix="polytill-survival-") as folder:
        owner, first = PostgresServer(binaries), PostgresServer(binaries)
        servers.callback(owner.close)
        servers.callback(first.close)
        second = Standby(binaries, first)
        servers.callback(second.close)
        await make_synchronous(first)
        async with house(Path(folder), owner, first, second) as made:
            began_s = time.monotonic()
            times = await suffer(made, options, owner, first, second)
            async with made.http.delete(f"{made.network}/faults") as answer:
                assert answer.status < 300
            drained_s = time.monotonic()
            unproven = await made.drained()
            score = {
                "kills": options.kills,
                "failover": options.failover,
                "ownerOutageS": options.owner_outage,
                "providerOutageS": options.provider_outage,
                "seed": options.seed,
                "acknowledged": len(made.acknowledged),
                "refunds": len(made.refunds),
                "refundsNeverSent": made.never_sent,
                "refused": made.refused,
                "restarted": made.restarted,
                "unproven": unproven,
                "recovery": times,
                "loadS": round(drained_s - began_s, 1),
                "drainS": round(time.monotonic() - drained_s, 1),
                **await made.books(),
            }
            score["held"] = not unproven and score["provider"] == score["ledger"] and not score["paidTwice"]
            score["held"] = score["held"] and not score["refundedTwice"]
            return score


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--failover", action="store_true", help="stop the primary hard and promote its standby")
    parser.add_argument("--owner-outage", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument(
        "--provider-outage", type=float, default=0.0, metavar="SECONDS", help="lose every answer of the provider"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    score = asyncio.run(run(parser.parse_args()))
    print(json.dumps(score))
    raise SystemExit(0 if score["held"] else 1)


if __name__ == "__main__":
    main()
