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
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.postgres.server import MISSING, PostgresError, PostgresServer, find_binaries

from benchmarks.installation import DRAIN_S, PROCESSES, Installation, running
from benchmarks.standby import Standby, make_synchronous


async def suffer(
    made: Installation, options: argparse.Namespace, owner: PostgresServer, first: PostgresServer, second: Standby
) -> dict[str, Any]:
    """Kill, promote and stop databases under load. Returns the times until payments were acknowledged again."""
    chance = random.Random(options.seed)
    times: dict[str, list[float]] = {"serve": [], "worker": [], "failover": [], "owner": []}
    await made.faults({"provider": "*", "operation": "create", "fault": "lose_answer", "probability": 0.05})
    async with made.load() as until:
        for number in range(options.kills):
            await asyncio.sleep(chance.uniform(0.2, 2.0))
            name = chance.choice(PROCESSES)
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
    return {name: _summary(sorted(seen)) for name, seen in times.items() if seen}


async def _provider_away(made: Installation, seconds: float, until: asyncio.Event) -> list[float]:
    """Lose every answer of the provider for a while. Returns how long each payment stayed unknown after it answered
    again."""
    before = set(made.acknowledged)
    await made.faults({"provider": "*", "operation": "*", "fault": "lose_answer"})
    await asyncio.sleep(seconds)
    until.set()
    await made.faults(None)
    again_s = time.monotonic()
    waiting, resolved_s = set(made.acknowledged) - before, []
    while waiting and time.monotonic() < again_s + DRAIN_S:
        for payment_id in sorted(waiting):
            practice = made.acknowledged[payment_id]
            payment = await made.ask("GET", f"/api/practices/{practice.id}/payments/{payment_id}", practice.key)
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
        hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
        practices = f"postgresql://polytill@{hosts}?target_session_attrs=read-write"
        async with running(Path(folder), f"{owner.url}/owner", practices) as made:
            began_s = time.monotonic()
            times = await suffer(made, options, owner, first, second)
            about = {
                "kills": options.kills,
                "failover": options.failover,
                "ownerOutageS": options.owner_outage,
                "providerOutageS": options.provider_outage,
                "seed": options.seed,
                "recovery": times,
                "loadS": round(time.monotonic() - began_s, 1),
            }
            return about | await made.score()


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
