"""``python -m benchmarks.legacy_import [--practices 1000] [--kills 8] [--engines sqlite,postgresql] [--seed N]``.

A host's database with practices in generated and hand-written shapes is imported by ``polytill legacy import``, whose process is
killed with kill -9 at random times, and run again until it is done. Then everything is verified from outside: the first key
of every practice over the API of a ``serve`` process, and the opened keys with what the rows were made from. Ends with one line
of JSON for each engine. Only this machine is used.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import asyncpg
from rich.console import Console
from tests.postgres.server import postgres_server

from benchmarks.legacy_rows import HostPractice, host_practices
from polytill.app import Polytill
from polytill.domain.clock import World
from polytill.domain.errors import PolytillError
from polytill.domain.sealing import KeyRing
from polytill.domain.states import Environment
from polytill.flows.admin import catalog
from polytill.owner_setup import migrate_owner
from polytill.settings import Settings
from polytill.storage import practices, provider_configs
from polytill.storage.provider_configs import open_credentials

TABLE = 'tenant "practices"'
MAPPING = {"source": {"table": TABLE, "columns": {"externalId": "tenant no", "paymentProviders": "payment Providers"}}}
START_S = 60.0
CALLS_AT_ONCE = 8
console = Console(width=110)


@dataclass
class Scene:
    """One installation and one host's database."""

    folder: Path
    engine: str
    settings: dict[str, str]
    host_url: str
    rows: list[HostPractice]
    random: Random
    killed: int = 0
    runs: int = 0
    seconds: float = 0.0
    reported: dict[str, dict[str, Any]] = field(default_factory=dict)  # of the last run, by external id

    @property
    def keys_file(self) -> Path:
        """Where first keys are handed over."""
        return self.folder / "keys.jsonl"

    def environment(self) -> dict[str, str]:
        """The variables of the product's processes."""
        own = {f"POLYTILL_{name.upper()}": value for name, value in self.settings.items()}
        return {**os.environ, **own, "HOST_DATABASE_URL": self.host_url}

    def product(self) -> Settings:
        """The product's settings."""
        return Settings(_env_file=None, **self.settings)  # type: ignore[arg-type]


# ── The host ──


async def fill_host(scene: Scene) -> None:
    """Create the host's table with its rows."""
    create = (
        'CREATE TABLE "tenant ""practices""" ("tenant no" text, name text, currency text, "payment Providers" text)'
    )
    values = [(one.external_id, one.name, "NGN", one.text) for one in scene.rows]
    if scene.engine == "sqlite":
        with contextlib.closing(sqlite3.connect(scene.host_url.removeprefix("sqlite:///"))) as host, host:
            host.execute(create)
            host.executemany('INSERT INTO "tenant ""practices""" VALUES (?, ?, ?, ?)', values)
        return
    connection = await asyncpg.connect(scene.host_url)
    try:
        await connection.execute(create)
        await connection.copy_records_to_table(TABLE, records=values)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def scene_of(engine: str, seed: int, count: int) -> AsyncIterator[Scene]:
    """An installation without practices, and a host's database, both on one engine."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="legacy-import-")))
        server = stack.enter_context(postgres_server()).url if engine == "postgresql" else None
        KeyRing.create(folder / "keyring", World())
        host = f"sqlite:///{folder}/host.db"
        if server is not None:
            connection = await asyncpg.connect(f"{server}/postgres")
            await connection.execute("CREATE DATABASE host")
            await connection.close()
            host = f"{server}/host"
        settings = {
            "owner_database_url": f"{server}/owner_{secrets.token_hex(4)}"
            if server
            else f"sqlite:///{folder}/owner.db",
            "practice_databases": server or str(folder / "practices"),
            "keyring": str(folder / "keyring"),
            "database_connections": "20",
        }
        scene = Scene(folder, engine, settings, host, host_practices(seed, count), Random(seed))
        (folder / "mapping.json").write_text(json.dumps(MAPPING))
        await fill_host(scene)
        await migrate_owner(scene.product())
        async with Polytill.open(scene.product()) as till:
            await catalog.seed(till.context)
        yield scene


# ── The import, killed ──


def _start(scene: Scene, output: Path) -> subprocess.Popen[bytes]:
    scene.runs += 1
    command = [sys.executable, "-m", "polytill", "legacy", "import", "env:HOST_DATABASE_URL"]
    options = ["--mapping", "mapping.json", "--json", "--keys-file", scene.keys_file.name]
    with output.open("wb") as out, (scene.folder / "errors.log").open("ab") as errors:
        return subprocess.Popen(
            [*command, *options],
            cwd=scene.folder,
            env=scene.environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
        )


def _lines(output: Path) -> int:
    return output.read_bytes().count(b"\n")


def import_with_kills(scene: Scene, kills: int) -> None:
    """Run the import; kill it ``kills`` times, each after a random number of practices; then run it to its end."""
    began = time.monotonic()
    output = scene.folder / "import.jsonl"
    for number in range(kills):
        # Past the part that earlier runs have done, into the part that this one does.
        aim = int(len(scene.rows) * (number + scene.random.random()) / (kills + 1))
        process = _start(scene, output)
        while process.poll() is None and _lines(output) < max(aim, 1):
            time.sleep(0.005)
        time.sleep(scene.random.uniform(0.0, 0.1))  # anywhere within a practice
        if process.poll() is None:
            process.kill()
            scene.killed += 1
        process.wait()
    process = _start(scene, output)
    code = process.wait(600)
    scene.seconds = time.monotonic() - began
    lines = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    if code not in (0, 1) or "summary" not in lines[-1]:
        raise SystemExit(f"The import ended with {code}: {(scene.folder / 'errors.log').read_text()[-500:]}")
    scene.reported = {one["externalId"]: one for one in lines[:-1]}


# ── Verified from outside ──


def planted_and_reported(scene: Scene) -> list[str]:
    """Each practice that was held up although it is right, or was not although something is planted."""
    faults = []
    for row in scene.rows:
        one = scene.reported.get(row.external_id)
        if one is None:
            faults.append(f"{row.external_id} is not reported")
            continue
        severe = {each["type"] for each in one["findings"] if each["severity"] != "note"}
        if row.wrong is None and (severe or one["action"] not in ("create", "add", "nothing")):
            faults.append(f"{row.external_id} ({row.shape}) is {one['action']}: {sorted(severe)}")
        if row.wrong is not None and (row.wrong not in severe or one["action"] != "held_up"):
            faults.append(f"{row.external_id} has {row.wrong} planted, and {sorted(severe)} was reported")
    return faults


def handed_over(scene: Scene) -> dict[str, tuple[int, str]]:
    """The practice and key of each external id: the last line counts."""
    lines = [json.loads(line) for line in scene.keys_file.read_text("utf-8").splitlines() if line.endswith("}")]
    return {one["externalId"]: (one["practiceId"], one["key"]) for one in lines}


async def directory(scene: Scene) -> list[str]:
    """Each practice that is missing, there twice, or there although it was held up; and what is half-made."""
    async with Polytill.open(scene.product()) as till:
        entries = await practices.listed(till.context.owner, limit=1_000_000)
    there = Counter(entry.external_id for entry in entries)
    wanted = {row.external_id for row in scene.rows if row.wrong is None}
    faults = [f"practice {entry.id} is {entry.state}" for entry in entries if entry.state != "active"]
    faults += [f"{one} is there {count} times" for one, count in there.items() if count > 1 or one not in wanted]
    return faults + [f"{one} is missing" for one in sorted(wanted - {str(each) for each in there})]


async def opened_keys(scene: Scene) -> list[str]:
    """Each configuration whose keys, environment or settings are not those that its row was made from."""
    faults = []
    keys = handed_over(scene)
    async with Polytill.open(scene.product()) as till:
        for row in scene.rows:
            if not row.truth or row.external_id not in keys:
                continue
            try:
                db = await till.context.opening.practice(keys[row.external_id][0])
            except PolytillError as error:
                faults.append(f"{row.external_id}: {error.detail}")
                continue
            held = await provider_configs.all_of(db)
            if held.keys() != row.truth.keys():
                faults.append(f"{row.external_id} has {sorted(held)}, not {sorted(row.truth)}")
                continue
            for code, truth in row.truth.items():
                for environment, given in truth.keys.items():
                    kept = held[code].newest(Environment(environment))
                    opened = open_credentials(db.data_key, code, kept) if kept else None
                    secret = opened.secret_key.reveal() if opened and opened.secret_key else None
                    if secret != given["secretKey"]:
                        faults.append(f"{row.external_id} {code} has another secret key for {environment}")
    return faults


async def over_the_api(scene: Scene) -> tuple[int, list[str]]:
    """Use every first key to read the practice's configurations. Return their number, and what is wrong with them."""
    keys, faults, count = handed_over(scene), [], 0
    at_once = asyncio.Semaphore(CALLS_AT_ONCE)
    async with _serving(scene) as url, aiohttp.ClientSession() as http:

        async def check(row: HostPractice) -> int:
            if row.external_id not in keys:
                faults.append(f"{row.external_id} has no key")
                return 0
            practice_id, key = keys[row.external_id]
            address = f"{url}/api/practices/{practice_id}/payment-providers"
            async with at_once, http.get(address, headers={"Authorization": f"Bearer {key}"}) as answer:
                if answer.status != 200:
                    faults.append(f"the key of {row.external_id} is answered with {answer.status}")
                    return 0
                found = {one["providerCode"]: one for one in await answer.json()}
            faults.extend(_differences(row, found))
            return len(found)

        count = sum(await asyncio.gather(*(check(row) for row in scene.rows if row.wrong is None)))
    return count, faults


def _differences(row: HostPractice, found: dict[str, dict[str, Any]]) -> list[str]:
    if not row.truth:
        here = {code: one["environment"] for code, one in found.items()}
        return [] if here == row.codes else [f"{row.external_id} ({row.name}) has {here}, not {row.codes}"]
    faults = []
    for code, truth in row.truth.items():
        one = found.get(code, {})
        wanted = (truth.environment, truth.is_enabled, truth.currencies, truth.priority, truth.is_default)
        is_now = tuple(
            one.get(name) for name in ("environment", "isEnabled", "supportedCurrencies", "priority", "isDefault")
        )
        other = [name for name in truth.keys if name != truth.environment]
        public = truth.keys[truth.environment]["publicKey"]
        if (*wanted, public, other) != (*is_now, one.get("publicKey"), one.get("preparedEnvironments")):
            faults.append(f"{row.external_id} ({row.shape}) {code} is {is_now}, not {wanted}")
    return faults


@contextlib.asynccontextmanager
async def _serving(scene: Scene) -> AsyncIterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    with (scene.folder / "serve.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "polytill", "serve", "--bind", place),
            cwd=scene.folder,
            env=scene.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession() as http:
            until = time.monotonic() + START_S
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(f"http://{place}/readyz") as answer:
                        if answer.status == 200:
                            break
                if time.monotonic() > until or process.returncode is not None:
                    raise SystemExit("serve did not start")
                await asyncio.sleep(0.1)
        yield f"http://{place}"
    finally:
        process.terminate()
        await process.wait()


async def measured(engine: str, seed: int, count: int, kills: int) -> dict[str, Any]:
    """Import on one engine, verify, and return the figures."""
    async with scene_of(engine, seed, count) as scene:
        await asyncio.to_thread(import_with_kills, scene, kills)
        faults = planted_and_reported(scene) + await directory(scene)
        configurations, wrong = await over_the_api(scene)
        faults += wrong + await opened_keys(scene)
        right = [row for row in scene.rows if row.wrong is None]
        lines = len(scene.keys_file.read_text("utf-8").splitlines())
        return {
            "engine": engine,
            "seed": seed,
            "practices": len(scene.rows),
            "handWritten": sum(row.shape == "hand-written" for row in scene.rows),
            "imported": len(right),
            "configurations": configurations,
            "planted": len(scene.rows) - len(right),
            "runs": scene.runs,
            "killed": scene.killed,
            "practicesMadeAgain": lines - len(handed_over(scene)),
            "seconds": round(scene.seconds, 1),
            "faults": faults,
        }


def main() -> int:
    """Run the measurement. Returns 0 if nothing is lost, doubled, wrong or wrongly reported."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--practices", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--engines", default="sqlite,postgresql")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    given = parser.parse_args()
    failed = False
    for engine in given.engines.split(","):
        figures = asyncio.run(measured(engine, given.seed, given.practices, given.kills))
        for name, value in figures.items():
            if name != "faults":
                console.print(f"{name:20} {value}")
        for fault in figures["faults"][:20]:
            console.print(f"FAULT {fault}", style="red")
        figures["faults"] = len(figures["faults"])
        print(json.dumps(figures), flush=True)
        failed |= bool(figures["faults"])
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
