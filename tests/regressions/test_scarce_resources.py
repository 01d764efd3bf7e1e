"""A full database and a low limit of open files, for real.

Sources: the review of operations, D15; https://github.com/openclaw/openclaw/pull/111411.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installation import Installation

LIMIT, PRACTICES = 128, 45  # three handles each: more than the limit

OPEN_ALL = f"""
import asyncio, json, os
from polytill import Polytill, Settings, migrate

async def run():
    await migrate(Settings())
    most, right = 0, 0
    async with Polytill.open() as till:
        made = [
            (await till.create_practice(f"Clinic {{n}}", "NGN", actor="test")).practice.id for n in range({PRACTICES})
        ]
        for practice_id in (*made, *reversed(made)):
            db = await till.context.opening.practice(practice_id)
            right += (await db.fetch("SELECT practice_id FROM identity"))[0]["practice_id"] == practice_id
            most = max(most, len(os.listdir("/proc/self/fd")))
    print(json.dumps([right, most]))

asyncio.run(run())
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_more_practices_than_open_files(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-c", OPEN_ALL],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT)),
    )
    assert found.returncode == 0, found.stderr[-2000:]
    right, most = json.loads(found.stdout.splitlines()[-1])
    assert right == 2 * PRACTICES
    assert most < LIMIT


@pytest.mark.parametrize("engine_url", [None], ids=["sqlite"])
async def test_a_payment_in_a_full_database(installation: Installation, engine_url: str | None) -> None:
    """SQLite says SQLITE_FULL at ``max_page_count`` as it does on a full disk."""
    practice_id, key = await installation.practice("Clinic", "NGN")
    await installation.configure(practice_id, key, "paystack", ["NGN"])
    path = f"/api/practices/{practice_id}/payments"
    body = {"amount": 5000, "currency": "NGN", "customer": {"email": "a@example.com"}, "metadata": {"a": "b" * 400}}
    engine = (await installation.till.context.opening.practice(practice_id)).engine
    [pages] = await engine.fetch("PRAGMA page_count")
    await engine.fetch(f"PRAGMA max_page_count = {pages['page_count']}")
    made, refused = [], None
    for number in range(200):
        found = await installation.call("POST", path, key, body, idempotency=f"payment-{number}")
        if found.status == 503:
            refused = number
            break
        assert found.status == 201, found.body
        made.append(found.body["id"])
    assert refused is not None, "the database was never full"
    assert (found.body["code"], found.headers["Retry-After"]) == ("disk_full", "30")
    # What is stored can be read, and nothing of the refused payment is taken for done.
    for payment_id in made:
        assert (await installation.call("GET", f"{path}/{payment_id}", key)).status == 200
    again = await installation.call("POST", path, key, body, idempotency=f"payment-{refused}")
    assert again.status == 503
    # There is room again: the same call makes the payment, once.
    await engine.fetch("PRAGMA max_page_count = 1000000")
    for _ in range(2):
        done = await installation.call("POST", path, key, body, idempotency=f"payment-{refused}")
        assert done.status in (200, 201), done.body
        made.append(done.body["id"])
    assert made[-1] == made[-2]
    listed = await installation.call("GET", f"{path}?limit=100", key)
    rows = listed.body["data"]
    assert sorted(row["id"] for row in rows) == sorted(set(made))
    assert len(rows) == refused + 1
