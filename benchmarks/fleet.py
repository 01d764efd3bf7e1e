"""What an operator of many practices waits for: onboarding one, asking for those that are not migrated, migrating all,
also when the process is killed; and the memory of an idle process that knows ten thousand."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import sqlite3
import statistics
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from benchmarks.ground import Ground
from benchmarks.load import WrongAnswer
from benchmarks.measuring import FULL, Size, stage, start
from benchmarks.processes import ROOT
from benchmarks.results import Aim, Result
from polytill.app import Polytill
from polytill.flows.admin.practices import NewPractice, create_practice
from polytill.storage import migrating, practices

PRACTICES, KNOWN, KEYS_EACH = 1_000, 10_000, 2
ONBOARDED, KILLS = 15, 6
MOST_KILLED_AFTER_S = 12.0
IDLE_AFTER_S = 8.0  # it has read the directory, and collected what it no longer needs


def fleet(size: Size) -> Result:
    """Onboarding, migration and memory with many practices."""
    is_full = size is FULL
    rows: list[list[str]] = []
    figures: dict[str, Any] = {}
    count, known = (PRACTICES, KNOWN) if is_full else (12, 100)
    for engine in ("postgresql", "sqlite"):
        with stage(engine, dataclasses.replace(size, practices=count)) as (ground, folder, _):
            found = figures[engine] = asyncio.run(_measured(ground, 3))
            found |= _migrated(ground, folder, KILLS if is_full else 1)
        rows += [
            [engine, f"onboarding one, with {count:,} others", f"{found['onboarding_ms']:.0f} ms"],
            [engine, f"which of {count:,} practices are not migrated", f"{found['behind_ms']:.1f} ms"],
            [engine, f"a new column in {count:,} practices", f"{found['migration_s']:.1f} s"],
            [engine, f"the same, killed {found['kills']} times", f"{found['killed_s']:.1f} s, {found['wrong']} wrong"],
        ]
    memory = figures["memory"] = _memory(size, known)
    rows += [
        ["sqlite", f"an idle process that knows {known:,} practices", f"{memory['many_mb']:.0f} MB"],
        ["sqlite", "the same with 10 practices", f"{memory['few_mb']:.0f} MB"],
    ]
    if any(figures[engine]["wrong"] for engine in ("postgresql", "sqlite")):
        raise WrongAnswer("After the killed migrations some practices have another schema than they must have.")
    aims = [
        Aim(f"ms to onboard one on {engine}, with {count:,} others", figures[engine]["onboarding_ms"], 80)
        for engine in ("postgresql", "sqlite")
    ]
    aims.append(Aim(f"MB of an idle process that knows {known:,}", memory["many_mb"], 150))
    notes = [f"Killed: by SIGKILL, at random times below {MOST_KILLED_AFTER_S:.0f} s. Medians of {ONBOARDED} and of 9."]
    return Result("fleet", "operating many practices", ["engine", "what", "figure"], rows, figures, aims, notes)


async def _measured(ground: Ground, warm_up: int) -> dict[str, Any]:
    """Onboarding, and the question whether everybody is migrated."""
    async with Polytill.open(ground.opened_settings()) as till:
        onboarding, asked = [], []
        for number in range(warm_up + ONBOARDED):
            began_s = time.perf_counter()
            await create_practice(till.context, NewPractice(f"Another {number}", "NGN"), "benchmark")
            onboarding.append((time.perf_counter() - began_s) * 1000)
        for _ in range(9):
            began_s = time.perf_counter()
            behind = await practices.at_other_schema(till.context.owner, migrating.head("practice"))
            asked.append((time.perf_counter() - began_s) * 1000)
            if behind:
                raise WrongAnswer(f"{len(behind)} practices are not migrated.")
    return {"onboarding_ms": statistics.median(onboarding[warm_up:]), "behind_ms": statistics.median(asked)}


# ── Migration ──


def _begun(folder: Path, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.programs.migrating", str(folder / "ground.json"), str(number)]
    with (folder / "migrating.log").open("a") as log:
        begun = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
    assert begun.stdout is not None
    if begun.stdout.readline().strip() != "begins":
        begun.kill()
        raise WrongAnswer(f"The migration did not begin: {(folder / 'migrating.log').read_text()[-400:]}")
    return begun


def _ended(begun: subprocess.Popen[str], folder: Path) -> None:
    left, _ = begun.communicate(timeout=1200)
    if begun.returncode or left.strip() != "0":
        why = (folder / "migrating.log").read_text()[-400:]
        raise WrongAnswer(f"The migration ended with {begun.returncode}, and left {left.strip()} behind: {why}")


def _migrated(ground: Ground, folder: Path, kills: int) -> dict[str, Any]:
    """A migration that runs to its end, and one whose processes are killed."""
    began_s = time.perf_counter()
    _ended(_begun(folder, 1), folder)
    migration_s, began_s, chance, killed = time.perf_counter() - began_s, time.perf_counter(), random.Random(1), 0
    for _ in range(kills):
        begun = _begun(folder, 2)
        with suppress(subprocess.TimeoutExpired):
            begun.wait(chance.uniform(0.05, min(MOST_KILLED_AFTER_S, migration_s / 2)))
        if begun.poll() is None:
            begun.kill()
            killed += 1
        begun.communicate()
    _ended(_begun(folder, 2), folder)
    wrong = asyncio.run(_wrong(ground))
    return {"migration_s": migration_s, "killed_s": time.perf_counter() - began_s, "kills": killed, "wrong": wrong}


async def _wrong(ground: Ground) -> int:
    """How many practices do not have both columns, or are not at the last revision."""
    wrong = 0
    async with Polytill.open(ground.opened_settings()) as till:
        for entry in await practices.listed(till.context.owner):
            async with till.context.opening.at_any_schema(entry.id) as db:
                at = await migrating.current(db)
                await db.fetch("SELECT benchmark_1, benchmark_2 FROM payments LIMIT 1")
            wrong += at != "benchmark_2" or entry.schema_version != at
    return wrong


# ── Memory ──


def _memory(size: Size, known: int) -> dict[str, float]:
    """Resident memory of the service before any request, with few practices and with many."""
    found = {}
    for name in ("few_mb", "many_mb"):
        with stage("sqlite", dataclasses.replace(size, practices=10)) as (_, folder, stack):
            if name == "many_mb":
                _add_rows(folder / "owner.db", known)
            program = start("product", folder, stack)
            time.sleep(IDLE_AFTER_S)
            found[name] = program.memory_mb()
    return found


def _add_rows(file: Path, known: int) -> None:
    """Practices that are in the directory, with their keys. Nobody visits them, so they need no database."""
    with closing(sqlite3.connect(file)) as owner:
        for table, keys in (("practices", 1), ("api_keys", KEYS_EACH)):
            columns = [row[1] for row in owner.execute(f"PRAGMA table_info({table})")]
            row = dict(zip(columns, owner.execute(f"SELECT * FROM {table} ORDER BY id DESC").fetchone(), strict=True))
            first = row["id"] + 1
            for number in range(known * keys):
                new = row | {"id": first + number}
                if table == "practices":
                    new |= {"name": f"Practice {number}", "database_name": f"practice_{number:016x}"}
                else:
                    new |= {"key_hash": f"{number:064x}", "practice_id": 11 + number // keys}
                places = ", ".join("?" * len(new))
                owner.execute(f"INSERT INTO {table} ({', '.join(new)}) VALUES ({places})", list(new.values()))
        owner.commit()
