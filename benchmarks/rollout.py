"""An import and a rollout of many practices, killed at random, and a shadow run with planted differences.

    python -m benchmarks.rollout [--practices 1000] [--payments 10000] [--kills 10] [--seed 1] [--engine postgresql]

Each step runs in a process of its own, which is killed at random times and started again until it ends. After each
step the judge compares three things for every practice: what it must be (the truth, kept here), the host's field, read
by a few lines of its own, and our tables. It prints one line for each step, and ends with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from tests.installation import TEST_KEYS, fresh_settings
from tests.postgres.server import postgres_server

from polytill.app import Polytill
from polytill.domain.rollout import DifferenceReason, RolloutPhase
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.admin import catalog, provider_configs
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.rollout import decisions, moves, settling, sync
from polytill.flows.rollout.decisions import Asked
from polytill.owner_setup import migrate_owner
from polytill.settings import Settings
from polytill.storage import practice_rollouts, practices, rollout_differences
from polytill.storage import provider_configs as stored
from polytill.storage.clusters import create_postgres_database

CODES = ("paystack", "flutterwave", "stripe")
CURRENCIES = {"paystack": ["NGN"], "flutterwave": ["NGN"], "stripe": ["USD"]}
Truth = dict[str, dict[str, Any]]  # by provider: keys, isEnabled, isDefault
NEW_SECRET = "sk_test_9999456789abcdef0123456789abcdef01234567"


def truth_of(number: int) -> Truth:
    """What practice ``number`` has at the start."""
    found: Truth = {}
    for code in CODES[: 1 + number % 3]:
        keys = dict(TEST_KEYS[code])
        end = "-X" if keys["secretKey"].endswith("-X") else ""
        keys["secretKey"] = f"{keys['secretKey'].removesuffix(end)}{number:06d}{end}"
        found[code] = {**keys, "isEnabled": (number + len(code)) % 5 != 0, "isDefault": code == "paystack"}
    return found


def shaped(number: int, truth: Truth) -> Any:
    """The field of the old code: four shapes."""
    full = {
        code: {**one, "supportedCurrencies": CURRENCIES[code], "environment": "sandbox"} for code, one in truth.items()
    }
    match number % 4:
        case 0:
            return full
        case 1:
            return [{"provider": code, **one} for code, one in full.items()]
        case 2:
            return json.dumps(full)
        case _:
            return {code: {_SNAKE.get(name, name): value for name, value in one.items()} for code, one in full.items()}


_SNAKE = {
    "publicKey": "public_key",
    "secretKey": "secret_key",
    "webhookSecret": "webhook_secret",
    "isEnabled": "enabled",
    "isDefault": "is_default",
    "supportedCurrencies": "currencies",
}
_CAMEL = {value: name for name, value in _SNAKE.items()}


def unshaped(value: Any) -> Truth:
    """The same, read back by the judge."""
    while isinstance(value, str):
        value = json.loads(value)
    if isinstance(value, list):
        value = {one["provider"]: one for one in value}
    names = ("publicKey", "secretKey", "webhookSecret", "isEnabled", "isDefault")
    return {
        code: {name: v for n, v in one.items() if (name := _CAMEL.get(n, n)) in names}
        for code, one in (value or {}).items()
    }


class HostRows:
    """The host's table, by a connection of the judge's own."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def run(self, sql: str, rows: list[tuple[Any, ...]] | None = None) -> list[Any]:
        """Run one statement, for each of ``rows`` if they are given."""
        if self.url.startswith("sqlite"):
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as line:
                found = line.executemany(sql, rows) if rows is not None else line.execute(sql)
                result = found.fetchall() if rows is None else []
                line.commit()
                return result
        line = await asyncpg.connect(self.url)
        try:
            if rows is not None:
                await line.executemany(sql, rows)
                return []
            return [tuple(row) for row in await line.fetch(sql)]
        finally:
            await line.close()

    async def fields(self) -> dict[int, Any]:
        """Every field by the host's id."""
        return dict(await self.run('SELECT id, "paymentProviders" FROM practices'))


# ── Steps, each in a process that may be killed ──


async def step(settings: Settings, name: str) -> None:
    """Do one step for all practices. It may be repeated."""
    settling.ABANDONED_S = 0.5  # instead of 30, so that a repeated step does not wait for the one that was killed
    async with Polytill.open(settings) as till:
        context = till.context
        if name == "change":
            for one in await practice_rollouts.listed(context.owner, limit=10**6):
                await _change(till, one.practice_id, int(one.external_id or 0))
            return
        if name != "sync":
            waiting = [
                one for one in await practice_rollouts.everyone(context.owner) if one.phase != name or one.moving_to
            ]
            bad = [m.refused async for m in moves.move_all(context, waiting, RolloutPhase(name), "bench") if m.refused]
            if bad:
                sys.exit(f"{len(bad)} refused, such as: {bad[0]}")
        if name in ("sync", "legacy", "closed"):  # a killed process has left fields to be emptied
            everyone = await practice_rollouts.listed(context.owner, limit=10**6)
            wrong = [
                s
                async for s in sync.sync_all(context, everyone, "bench")
                if not s.result or s.result.state != "in_sync"
            ]
            if wrong:
                sys.exit(f"{len(wrong)} not in sync, such as: {wrong[0].error or wrong[0].result}")


async def _change(till: Polytill, practice_id: int, number: int) -> None:
    if number % 10 == 0:
        wish = Wish("paystack", is_enabled=False)
        await provider_configs.configure(till.context, practice_id, wish, "bench", patch=True)
    if number % 10 == 1:
        keys = Keys(None, Secret(NEW_SECRET), None, None)
        await provider_configs.prepare_credentials(
            till.context, practice_id, "paystack", Environment.sandbox, keys, "bench"
        )


def changed(number: int, truth: Truth) -> Truth:
    """The truth after ``change``."""
    after = {code: dict(one) for code, one in truth.items()}
    if number % 10 == 0:
        after["paystack"]["isEnabled"] = False
    if number % 10 == 1:
        after["paystack"]["secretKey"] = NEW_SECRET
    return after


# ── The judge ──


@dataclass
class Judge:
    """What must be, and what is."""

    settings: Settings
    rows: HostRows
    truth: dict[int, Truth]
    wrong: list[str] = field(default_factory=list)

    async def compare(self, field_holds: str) -> int:
        """Compare every practice. ``field_holds``: ``truth``, ``anything`` or ``nothing``. Return what differs."""
        before = len(self.wrong)
        fields = await self.rows.fields()
        async with Polytill.open(self.settings) as till:
            entries = {int(one.external_id or 0): one.id for one in await practices.listed(till.context.owner)}
            self.wrong += [f"practice {number} is not there" for number in self.truth.keys() - entries.keys()]
            for number, practice_id in entries.items():
                truth = self.truth[number]
                if field_holds == "truth" and unshaped(fields[number]) != truth:
                    self.wrong.append(f"the field of {number}")
                if field_holds == "nothing" and fields[number] is not None:
                    self.wrong.append(f"the field of {number} is not empty")
                if await self._tables(till, practice_id) != truth:
                    self.wrong.append(f"the tables of {number}")
        return len(self.wrong) - before

    async def _tables(self, till: Polytill, practice_id: int) -> Truth:
        practice = await till.context.practice(practice_id)
        found: Truth = {}
        for code, one in (await stored.all_of(practice.db)).items():
            if one.removed_at is not None:
                continue
            opened = stored.open_credentials(practice.db.data_key, code, one.active)
            keys = {"publicKey": opened.public_key}
            keys |= {
                name: secret.reveal()
                for name, secret in (("secretKey", opened.secret_key), ("webhookSecret", opened.webhook_secret))
                if secret is not None
            }
            found[code] = {**keys, "isEnabled": one.is_enabled, "isDefault": one.is_default}
        return found


async def until_done(settings: Settings, name: str, kills: int, chance: random.Random) -> int:
    """Run a step in processes that are killed at random, and then in one that is not. Return how many were killed."""
    killed = 0
    environment = {
        "POLYTILL_OWNER_DATABASE_URL": settings.owner_database_url.get_secret_value(),
        "POLYTILL_PRACTICE_DATABASES": settings.practice_databases.get_secret_value(),
        "POLYTILL_KEYRING": str(settings.keyring),
        "POLYTILL_HOST_DATABASE_URL": settings.host_database_url.get_secret_value(),
        "PYTHONPATH": ":".join(sys.path),
        "PATH": "/usr/bin:/bin",
    }
    step_itself = ("benchmarks.rollout", "--step", name)
    importing = ("polytill", "legacy", "import", "env:POLYTILL_HOST_DATABASE_URL")
    for turn in range(kills + 3):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *(importing if name == "import" else step_itself)),
            cwd=settings.keyring.parent,
            env=environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        reading = asyncio.create_task(process.communicate())
        if turn < kills:
            done, _ = await asyncio.wait({reading}, timeout=chance.uniform(2.0, 9.0))
            if not done:
                process.send_signal(signal.SIGKILL)
                killed += 1
        _, err = await reading
        if process.returncode == 0:
            return killed
        if turn >= kills:
            print(f"  {name}: {err.decode().strip()[-300:]}")
        await asyncio.sleep(0.6)
    sys.exit(f"the step {name} did not end")


# ── The shadow run ──


def planned(
    numbers: list[int], truth: dict[int, Truth], payments: int, chance: random.Random
) -> Iterator[tuple[Any, ...]]:
    """Payments with the old code's choice, and the difference that is planted in it (None: none)."""
    for place in range(payments):
        number = chance.choice(numbers)
        mine = truth[number]
        able = [code for code in ("paystack", "flutterwave") if mine.get(code, {}).get("isEnabled")]
        right = able[0] if able else None
        planted: list[tuple[str | None, DifferenceReason]] = []
        if right is not None:
            planted.append((None, DifferenceReason.legacy_chose_nothing))
        if len(able) == 2:
            planted.append(("flutterwave", DifferenceReason.other_default))
        planted += [
            (code, DifferenceReason.not_enabled) for code in mine if code != "stripe" and not mine[code]["isEnabled"]
        ]
        planted.append(("mpesa", DifferenceReason.not_configured))
        if mine.get("stripe", {}).get("isEnabled"):
            planted.append(("stripe", DifferenceReason.currency_missing))
        choice, reason = chance.choice(planted) if place % 20 == 0 else (right, None)
        yield number, f"r-{place}", choice, reason


async def shadow_run(settings: Settings, truth: dict[int, Truth], payments: int, chance: random.Random) -> str:
    """Report decisions, and compare what was recorded with what was planted."""
    async with Polytill.open(settings) as till:
        context = till.context
        everyone = await practice_rollouts.listed(context.owner, RolloutPhase.shadow, limit=10**6)
        ids = {int(one.external_id or 0): one.practice_id for one in everyone}
        plan = list(planned(sorted(ids), truth, payments, chance))
        asked = Asked("NGN", 500_000, "card", Environment.sandbox)
        began, gate = time.monotonic(), asyncio.Semaphore(16)

        async def one(number: int, reference: str, choice: str | None, _: Any) -> None:
            async with gate:
                await decisions.compare(context, ids[number], asked, choice, reference)

        await asyncio.gather(*(one(*each) for each in plan))
        took_s = time.monotonic() - began
        found = {d.reference: d.reason for d in await rollout_differences.listed(context.owner, limit=10**6)}
        expected = {reference: reason for _, reference, _, reason in plan if reason is not None}
        missed = {name: reason for name, reason in expected.items() if found.get(name) is not reason}
        invented = found.keys() - expected.keys()
        agreed = await practice_rollouts.agreements(context.owner)
        if missed or invented or agreed != payments - len(expected):
            sys.exit(f"missed or with another reason: {missed}; invented: {len(invented)}; agreed: {agreed}")
        return (
            f"shadow run: {payments} payments in {took_s:.0f} s, {len(expected)} planted differences of"
            f" {len(set(expected.values()))} reasons, {len(found)} found, 0 missed, 0 invented, {agreed} agreements"
        )


# ── All of it ──


async def made(arguments: argparse.Namespace, folder: Path, postgres: str | None) -> Judge:
    """An installation without practices, and a host's table that has them all."""
    host = f"sqlite:///{folder}/host.db" if postgres is None else f"{postgres}/host_of_rollout"
    if postgres is not None:
        await create_postgres_database(postgres, "host_of_rollout")
    settings = fresh_settings(folder, postgres, host_database_url=host)
    await migrate_owner(settings)
    truth = {number: truth_of(number) for number in range(1, arguments.practices + 1)}
    rows = HostRows(host)
    await rows.run(
        "CREATE TABLE practices (id INTEGER PRIMARY KEY, name TEXT, currency TEXT,"
        f' "paymentProviders" {"jsonb" if postgres else "TEXT"})'
    )
    insert = "INSERT INTO practices VALUES " + ("($1, $2, $3, $4)" if postgres else "(?, ?, ?, ?)")
    await rows.run(insert, [(n, f"Clinic {n}", "NGN", json.dumps(shaped(n, one))) for n, one in truth.items()])
    async with Polytill.open(settings) as till:
        await catalog.seed(till.context, list(CODES))
    return Judge(settings, rows, truth)


STEPS = ("import", "legacy", "shadow", "live", "change", "sync", "shadow", "sync", "live", "closed")


async def rollout(arguments: argparse.Namespace) -> int:
    """Run the whole rollout, and print a line for each step."""
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = stack.enter_context(postgres_server()).url if arguments.engine == "postgresql" else None
        judge = await made(arguments, Path(folder), server)
        print(f"{arguments.practices} practices in the host's table, 4 shapes of the field", flush=True)
        killed = 0
        for place, name in enumerate(STEPS):
            began = time.monotonic()
            dead = await until_done(judge.settings, name, arguments.kills, chance)
            killed += dead
            if name == "change":
                judge.truth = {number: changed(number, one) for number, one in judge.truth.items()}
            holds = {"closed": "nothing", "change": "anything"}.get(name, "truth")
            wrong = await judge.compare(holds)
            took = f"{time.monotonic() - began:.0f} s"
            print(f"{name}: {took}, killed {dead} times, {wrong} differences; the field holds {holds}", flush=True)
            if name == "shadow" and place == 2:
                print(await shadow_run(judge.settings, judge.truth, arguments.payments, chance), flush=True)
        print(f"killed {killed} times; configurations lost: {len(judge.wrong)} {judge.wrong[:5]}")
        return 1 if judge.wrong else 0


def main() -> int:
    """Read the arguments, and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--practices", type=int, default=1_000)
    parser.add_argument("--payments", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--step")
    arguments = parser.parse_args()
    if arguments.step:
        asyncio.run(step(Settings(), arguments.step))
        return 0
    return asyncio.run(rollout(arguments))


if __name__ == "__main__":
    sys.exit(main())
