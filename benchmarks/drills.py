"""Drills with real processes under load: ``python -m benchmarks.drills [restore] [owner] [copy] [servers] [steps]``.

What an operator does on a bad day is done to an installation whose customers go on paying, with the commands of the
documentation. In the end no acknowledged payment may be lost or doubled, and our ledgers must equal the provider's books.
Without names all of them run, on SQLite and on PostgreSQL where both apply. Prints one line of JSON for each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.flows import delete_drill, job_drill, life_drill
from tests.postgres.server import MISSING, PostgresError, PostgresServer, find_binaries, free_port
from tests.restoring import OwnerBackup

from benchmarks.installation import (
    AMOUNT,
    GIVEN_BACK,
    PROCESSES,
    PROVIDERS,
    Installation,
    Practice,
    add_practice,
    running,
)
from benchmarks.standby import Standby
from polytill.app import Polytill
from polytill.domain.secret import Secret
from polytill.domain.states import ApiKeyKind, Environment
from polytill.flows.admin import clusters
from polytill.flows.admin.clusters import Limits
from polytill.flows.admin.practices import create_key
from polytill.settings import Settings

ENGINES = ("sqlite", "postgresql")
OF_ENGINE = {"sqlite": ("serve",), "postgresql": PROCESSES}  # on SQLite the worker is a part of ``serve``
ADOPT_S = 120.0  # how long an operator tries


class DrillFailed(Exception):
    """A step of a drill did not succeed."""


@contextlib.contextmanager
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this drill's own."""
    binaries = find_binaries()
    if binaries is None:
        raise PostgresError(MISSING)
    made = PostgresServer(binaries)
    try:
        yield made
    finally:
        made.close()


@contextlib.asynccontextmanager
async def installation(
    engine: str, environment: Environment = Environment.sandbox, processes: Sequence[str] | None = None
) -> AsyncIterator[tuple[Installation, PostgresServer | None]]:
    """An installation on this engine, and its server."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="polytill-drill-")))
        place = stack.enter_context(server()) if engine == "postgresql" else None
        owner_url = f"{place.url}/owner" if place else f"sqlite:///{folder}/owner.db"
        practices = place.url if place else str(folder / "practices")
        processes = OF_ENGINE[engine] if processes is None else processes
        async with running(folder, owner_url, practices, processes, environment) as made:
            yield made, place


def must_succeed(done: tuple[int, str]) -> str:
    """What a command printed. It must have succeeded."""
    status, printed = done
    if status:
        raise DrillFailed(f"A command of the drill failed: {printed}")
    return printed


async def adopted(made: Installation, practice_id: int) -> tuple[float, str]:
    """Adopt a practice as often as it needs. Returns how long it took, and what the last run printed."""
    began_s = time.monotonic()
    while True:
        status, printed = await made.command("practices", "adopt", str(practice_id))
        if not status:
            return time.monotonic() - began_s, printed
        if time.monotonic() - began_s > ADOPT_S:
            raise DrillFailed(f"Practice {practice_id} could not be adopted: {printed}")
        await asyncio.sleep(2)


async def restore(engine: str, seconds: float) -> dict[str, Any]:
    """Restore an older backup of every practice while its customers go on paying."""
    async with installation(engine) as (made, _):
        folder, refused_s, adopting_s = str(made.folder / "backups"), [], []
        async with made.load():
            await asyncio.sleep(seconds)
            must_succeed(await made.command("practices", "backup", "--all", "--in", folder))
            before = len(made.acknowledged)
            await asyncio.sleep(seconds)
            after = len(made.acknowledged) - before
            for practice in made.practices:
                began_s = time.monotonic()
                must_succeed(await made.command("practices", "restore", str(practice.id), "latest", "--in", folder))
                adopting_s.append((await adopted(made, practice.id))[0])
                await made.recovered(time.monotonic(), [practice.id])
                refused_s.append(time.monotonic() - began_s)
            await asyncio.sleep(seconds)
        about = {"acknowledgedBeforeTheBackup": before, "acknowledgedAfterTheBackup": after}
        return {
            **about,
            "adoptS": [round(one, 1) for one in adopting_s],
            "withoutPaymentsS": [round(one, 1) for one in refused_s],
            **await made.score(),
        }


class Host:
    """A host application that reads the feed, and keeps its cursor."""

    def __init__(self, made: Installation, key: str) -> None:
        self._made, self._key = made, key
        self.cursor = 0
        self.seen: dict[str, int] = {}  # how often each event came
        self.is_sorted = True

    async def read(self) -> None:
        """Read what is new."""
        while True:
            page = await self._made.ask("GET", f"/api/owner/events?after={self.cursor}&limit=100", self._key)
            if not page or not page["data"]:
                return
            for event in page["data"]:
                self.seen[event["id"]] = self.seen.get(event["id"], 0) + 1
                self.is_sorted &= event["cursor"] > self.cursor
                self.cursor = event["cursor"]

    async def follow(self, until: asyncio.Event) -> None:
        """Read the feed until the event is set."""
        while not until.is_set():
            await self.read()
            await asyncio.sleep(0.2)


async def outboxes(made: Installation) -> set[str]:
    """The ids of all events that happened, as the practices' databases have them."""
    found: set[str] = set()
    async with Polytill.open(Settings(_env_file=None, **made.settings)) as till:
        for practice in made.practices:
            db = (await till.context.practice(practice.id)).db
            found |= {str(row["event_id"]) for row in await db.fetch("SELECT event_id FROM events")}
    return found


async def owner(engine: str, seconds: float) -> dict[str, Any]:
    """Restore an older copy of the owner database, while a host reads the feed."""
    async with installation(engine) as (made, _):
        async with Polytill.open(Settings(_env_file=None, **made.settings)) as till:
            key = await create_key(till.context, ApiKeyKind.owner, None, "host", None, "drill")
        host, settings = Host(made, key), Settings(_env_file=None, **made.settings)
        async with made.load() as until:
            following = asyncio.create_task(host.follow(until))
            await asyncio.sleep(seconds)
            backup, at_backup = await OwnerBackup.of(settings), len(host.seen)
            await asyncio.sleep(seconds)
            known = len(host.seen)
            began_s = time.monotonic()
            for name in OF_ENGINE[engine]:
                made.end(name)
            await backup.restore()
            printed = must_succeed(await made.command("installation", "adopt", "--restored"))
            for name in OF_ENGINE[engine]:
                made.begin(name)
            gap_s = await made.recovered(began_s)
            await asyncio.sleep(seconds)
            until.set()
            await following
        score = await made.score()
        happened = await outboxes(made)
        give_up_s = time.monotonic() + 60
        while happened - host.seen.keys() and time.monotonic() < give_up_s:
            await host.read()
            await asyncio.sleep(0.5)
        lost, invented = happened - host.seen.keys(), host.seen.keys() - happened
        again = sum(times - 1 for times in host.seen.values())
        return {
            "eventsAtTheBackup": at_backup,
            "eventsAtTheLoss": known,
            "withoutPaymentsS": round(gap_s, 1),
            "adopt": printed.splitlines()[0],
            **score,
            "events": len(happened),
            "eventsLost": len(lost),
            "eventsInvented": len(invented),
            "eventsAgain": again,
            "cursorsGrow": host.is_sorted,
            "held": score["held"] and not lost and not invented and host.is_sorted,
        }


def _copy_files(made: Installation, folder: Path) -> None:
    """Copy SQLite databases as they are."""
    (folder / "practices").mkdir()
    for file in [made.folder / "owner.db", *(made.folder / "practices").glob("practice_*.db")]:
        with (
            contextlib.closing(sqlite3.connect(file)) as source,
            contextlib.closing(sqlite3.connect(folder / file.relative_to(made.folder))) as target,
        ):
            source.backup(target)


@contextlib.asynccontextmanager
async def copied(made: Installation, place: PostgresServer | None) -> AsyncIterator[Installation]:
    """A staging environment as somebody makes it in a hurry: the key ring and the databases are copied. On SQLite nothing
    says that it is a copy but where it is; a copied PostgreSQL server has another ``POLYTILL_INSTALLATION``."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="polytill-drill-")))
        shutil.copy2(made.folder / "keyring", folder / "keyring")
        url = f"http://127.0.0.1:{free_port()}"
        changes = {"keyring": str(folder / "keyring"), "public_url": url, "bind": url.removeprefix("http://")}
        if place is None:
            await asyncio.to_thread(_copy_files, made, folder)
            changes |= {
                "owner_database_url": f"sqlite:///{folder}/owner.db",
                "practice_databases": str(folder / "practices"),
            }
        else:
            clone = stack.enter_context(contextlib.closing(Standby(place.binaries, place)))
            await asyncio.to_thread(clone.promote)
            changes |= {
                "owner_database_url": f"{clone.url}/owner",
                "practice_databases": clone.url,
                "installation": "staging",
            }
        fresh: dict[str, Any] = {name: {} for name in ("acknowledged", "refunds", "processes", "urls")}
        copy = dataclasses.replace(made, folder=folder, settings=made.settings | changes, refused=0, **fresh)
        try:
            for name in ("serve",) if place is None else ("serve", "worker-1"):
                copy.begin(name)
            yield copy
        finally:
            for name in list(copy.processes):
                copy.end(name)


async def _ask_everything(copy: Installation, known: dict[str, Practice]) -> int:
    """Try to move money in a copy. Returns how often it was accepted."""
    accepted = 0
    for number, (payment_id, practice) in enumerate(known.items()):
        path = f"/api/practices/{practice.id}/payments"
        body = {"amount": AMOUNT, "currency": "NGN", "customer": {"email": "ada@example.com"}}
        environment = {"environment": copy.environment}
        for address, given in (
            (path, body | environment),
            (f"{path}/{payment_id}/confirm", None),
            (f"{path}/{payment_id}/refunds", {"amount": GIVEN_BACK}),
        ):
            accepted += await copy.ask("POST", address, practice.key, given, f"copy-{number}") is not None
    return accepted


async def copy(engine: str, seconds: float) -> dict[str, Any]:
    """Run a copy of an installation with live keys and payments of unknown outcome, while nothing else calls the
    providers."""
    async with installation(engine, Environment.production) as (made, place):
        made.settings["installation"] = "prod"
        for name in OF_ENGINE[engine]:  # the first process with a name gives it to the installation
            made.end(name)
            made.begin(name)
        await made.faults({"provider": "*", "operation": "create", "fault": "lose_answer", "probability": 0.3})
        async with made.load():
            await asyncio.sleep(seconds)
            for name in OF_ENGINE[engine]:
                made.end(name)
            await made.faults(None)
            network, known = made.simulator.network, dict(made.acknowledged)
            async with copied(made, place) as other:
                before = network.calls
                await other.answers()
                accepted = await _ask_everything(other, known)
                refused = other.refused
                await asyncio.sleep(2 * seconds)
                calls = network.calls - before
                _, said = await other.command("doctor")
            for name in OF_ENGINE[engine]:
                made.begin(name)
            await made.recovered(time.monotonic())
        score = await made.score()
        return {
            "copyAccepted": accepted,
            "copyRefused": refused,
            "callsOfTheCopy": calls,
            "doctorSaysSo": "installation adopt" in said,
            **score,
            "held": score["held"] and not accepted and not calls and refused > 0,
        }


async def servers(engine: str, seconds: float) -> dict[str, Any]:
    """Two servers with three practices each, three nodes, two workers: each of them stopped hard for a while."""
    nodes = ("serve-1", "serve-2", "serve-3", "worker-1", "worker-2")
    async with installation(engine, processes=()) as (made, first):
        with server() as second:
            if first is None:
                raise DrillFailed("This drill is about servers.")
            async with Polytill.open(Settings(_env_file=None, **made.settings)) as till:
                await clusters.add(till.context, "second", Secret(second.url), Limits(), "drill")
                for code in PROVIDERS:
                    await add_practice(till, made, code, "second")
            for name in nodes:
                made.begin(name)
            found = {}
            async with made.load(2 * len(made.practices)):
                ids = [practice.id for practice in made.practices]
                half = len(PROVIDERS)
                others = {"first server, with the owner database": ids[half:], "second server": ids[:half]}
                for number, name in enumerate([*others, *nodes]):
                    stopped_s = time.monotonic()
                    if place := (first, second)[number] if number < 2 else None:
                        await asyncio.to_thread(place.kill)
                    else:
                        made.end(name)
                    await asyncio.sleep(seconds)
                    served = [practice for at_s, practice in made.acknowledged_at if at_s > stopped_s]
                    again_s = time.monotonic()
                    if place:
                        await asyncio.to_thread(place.start)
                    else:
                        made.begin(name)
                    recovery_s = await made.recovered(again_s, ids)
                    found[name] = {
                        "acknowledgedMeanwhile": len(served),
                        "practicesServed": len({*served} & {*others.get(name, ids)}),
                        "of": len(others.get(name, ids)),
                        "allAgainS": round(recovery_s, 1),
                    }
            score = await made.score()
            served_all = all(one["practicesServed"] == one["of"] for one in found.values())
            return {"stopped": found, **score, "held": score["held"] and served_all}


STEPS = {
    "tests/flows/test_job_engine.py::test_kill_9_at_every_boundary": (job_drill.BOUNDARIES,),
    "tests/flows/test_life_drill.py": (life_drill.MOVES, life_drill.BACKUPS),
    "tests/flows/test_deleting.py::test_kill_9_inside_every_step": (delete_drill.BOUNDARIES,),
}


async def steps(_engine: str, _seconds: float) -> dict[str, Any]:
    """kill -9 inside every step of migrating, moving, backing up and deleting, on both engines: the tests that do it."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *STEPS),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await started.communicate()
    boundaries = sum(len(each) for found in STEPS.values() for each in found)
    return {
        "placesToDie": boundaries,
        "processesKilled": boundaries * len(ENGINES),
        "pytest": printed.decode().strip().splitlines()[-1],
        "held": started.returncode == 0,
    }


DRILLS: dict[str, tuple[Callable[[str, float], Coroutine[Any, Any, dict[str, Any]]], Sequence[str]]] = {
    "restore": (restore, ENGINES),
    "owner": (owner, ENGINES),
    "copy": (copy, ENGINES),
    "servers": (servers, ("postgresql",)),
    "steps": (steps, ("both",)),
}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drills", nargs="*", metavar="drill", help=f"{', '.join(DRILLS)}; by default all")
    parser.add_argument("--engine", choices=ENGINES, help="only on this engine")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each phase of a drill (10)")
    options = parser.parse_args()
    if unknown := [name for name in options.drills if name not in DRILLS]:
        parser.error(f"there is no drill {unknown[0]!r}; there are {', '.join(DRILLS)}")
    failed = False
    for name in options.drills or DRILLS:
        drill, engines = DRILLS[name]
        for engine in engines:
            if options.engine in (None, engine) or engine == "both":
                try:
                    score = asyncio.run(drill(engine, options.seconds))
                except DrillFailed as error:
                    score = {"failed": str(error), "held": False}
                score = {"drill": name, "engine": engine} | score
                print(json.dumps(score), flush=True)
                failed |= not score["held"]
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
