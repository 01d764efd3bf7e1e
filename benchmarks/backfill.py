"""Takes over 10,000 past payments with planted faults, kills the command again and again, and judges every verdict.

Call ``./run python -m benchmarks.backfill``. Every row's verdict is decided when it is written; the command is killed with
SIGKILL at random and run again until it ends. Then the report, the payments and the ledger must be exactly those of the
rows: by month, by fact, and nothing twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.installation import fresh_settings
from tests.postgres.server import postgres_server

from polytill.app import Polytill
from polytill.domain.currencies import exponent_of
from polytill.domain.money import to_major
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.admin import catalog, provider_configs
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.practices import NewPractice, create_practice
from polytill.flows.admin.provider_configs import Wish
from polytill.owner_setup import migrate_owner

CURRENCIES = ("NGN", "USD", "UGX", "KWD")
MAPPING = {"amounts": "major", "timeZone": "Africa/Lagos", "environment": "production"}
# A fault, the change that plants it, and the verdict: certainty and reasons.
FAULTS: tuple[tuple[dict[str, Any], str, list[str]], ...] = (
    ({"amount": "12,50"}, "rejected", ["amount_unreadable"]),
    ({"amount": "0"}, "rejected", ["amount_not_positive"]),
    ({"amount": None}, "rejected", ["amount_missing"]),
    ({"amount": "1.2345"}, "rejected", ["amount_too_fine"]),
    ({"currency": "XXQ"}, "rejected", ["currency_unknown"]),
    ({"currency": ""}, "rejected", ["currency_missing"]),
    ({"paidAt": "31.12.2025"}, "rejected", ["date_unreadable"]),
    ({"paidAt": "2199-01-01"}, "rejected", ["date_impossible"]),
    ({"status": "failed"}, "rejected", ["was_not_paid"]),
    ({"status": "maybe"}, "rejected", ["status_unknown"]),
    ({"gateway": "bitpay"}, "rejected", ["provider_unknown"]),
    ({"refunded": "999999999"}, "rejected", ["refunded_too_much"]),
    ({"fee": "-1"}, "rejected", ["fee_unreadable"]),
    ({"mode": "moon"}, "rejected", ["environment_unknown"]),
    ({"transactionId": None}, "uncertain", ["no_transaction_id"]),
    ({"gateway": "stripe", "transactionId": "pi_{n}"}, "uncertain", ["not_configured"]),
    ({"gateway": "flutterwave"}, "uncertain", ["not_configured"]),
    ({"status": "chargeback"}, "uncertain", ["disputed"]),
)


class Row:
    """One row of the source, and what must come of it."""

    def __init__(self, line: str, certainty: str, reasons: list[str], payment: dict[str, Any] | None) -> None:
        self.line, self.certainty, self.reasons = line, certainty, reasons
        self.payment = payment  # what it must become; None: nothing, or another row's payment


def made_rows(many: int, chance: random.Random) -> list[Row]:
    """Rows with about one fault in five, and repeated rows."""
    rows: list[Row] = []
    good: list[Row] = []
    for number in range(1, many + 1):
        if good and chance.random() < 0.03:
            again = chance.choice(good)
            rows.append(Row(again.line, again.certainty, again.reasons, None))
            continue
        if chance.random() < 0.01:
            rows.append(Row('{"id": "broken', "rejected", ["row_unreadable"], None))
            continue
        currency = chance.choice(CURRENCIES)
        minor = chance.randrange(10_000, 9_000_000)
        given: dict[str, Any] = {
            "id": f"host-{number}",
            "gateway": "paystack",
            "transactionId": str(4_000_000_000 + number),
            "txRef": f"order_{number}",
            "amount": str(to_major(minor, currency)),
            "currency": currency,
            "fee": str(to_major(minor // 100, currency)),
            "paidAt": f"2025-{chance.randrange(1, 13):02d}-{chance.randrange(1, 29):02d} {chance.randrange(2, 22):02d}:00:00",
            "status": "paid",
            "customerEmail": f"payer{number}@example.com",
        }
        refunded = chance.choice((0, 0, 0, minor // 3, minor))
        if refunded:
            given["refunded"] = str(to_major(refunded, currency))
        certainty = "recorded"
        reasons: list[str] = []
        if chance.random() < 0.2:
            change, certainty, reasons = chance.choice(FAULTS)
            given |= {k: v.format(n=number) if isinstance(v, str) else v for k, v in change.items()}
            if reasons == ["amount_too_fine"] and exponent_of(currency) > 3:
                raise AssertionError
        line = json.dumps(given)
        payment = None
        if certainty != "rejected":
            payment = {"month": given["paidAt"][:7], "currency": currency, "minor": minor, "refunded": refunded}
        rows.append(Row(line, certainty, reasons, payment))
        if payment:
            good.append(rows[-1])
    return rows


async def _prepared(settings: Any) -> int:
    await migrate_owner(settings)
    async with Polytill.open(settings) as till:
        await catalog.seed(till.context)
        entry, _ = await create_practice(till.context, NewPractice("Clinic", "NGN"), "benchmark")
        keys = Keys("pk_live_0123456789abcdef", Secret("sk_live_" + "0123456789abcdef" * 2 + "01234567"))
        await provider_configs.configure(
            till.context, entry.id, Wish("paystack", Environment.production, keys), "benchmark"
        )
        return entry.id


async def _wrong(settings: Any, practice_id: int, rows: list[Row]) -> list[str]:
    """What the databases do not have as the rows say."""
    wanted: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        if (payment := row.payment) is not None:
            of = payment["month"], payment["currency"]
            wanted[(*of, "opening_payment")] += payment["minor"]
            wanted[(*of, "opening_fee")] += payment["minor"] // 100
            wanted[(*of, "opening_refund")] += payment["refunded"]
    async with Polytill.open(settings) as till:
        db = await till.context.opening.practice(practice_id)
        lines = await db.fetch("SELECT created_at, currency, fact, amount, entry_id FROM ledger_lines")
        payments = await db.value("SELECT count(*) FROM payments")
    found: Counter[tuple[str, str, str]] = Counter()
    sums: Counter[str] = Counter()
    for line in lines:
        sums[line["entry_id"]] += line["amount"]
        found[(str(line["created_at"])[:7], line["currency"], line["fact"])] += max(line["amount"], 0)
    wrong = [
        f"{key}: {found[key]} instead of {wanted[key]}"
        for key in wanted.keys() | found.keys()
        if found[key] != wanted[key]
    ]
    wrong += [f"entry {entry} does not sum to zero" for entry, total in sums.items() if total]
    if payments != (expected := sum(row.payment is not None for row in rows)):
        wrong.append(f"{payments} payments instead of {expected}")
    return wrong


def measured(folder: Path, postgres_url: str | None, many: int, kills: int, seed: int) -> list[str]:
    """One engine. Returns what is wrong."""
    chance = random.Random(seed)
    settings = fresh_settings(folder, postgres_url)
    practice_id = asyncio.run(_prepared(settings))
    rows = made_rows(many, chance)
    (folder / "past.jsonl").write_text("".join(f"{row.line}\n" for row in rows))
    (folder / "mapping.json").write_text(json.dumps(MAPPING))
    environment = os.environ | {
        "POLYTILL_OWNER_DATABASE_URL": settings.owner_database_url.get_secret_value(),
        "POLYTILL_PRACTICE_DATABASES": settings.practice_databases.get_secret_value(),
        "POLYTILL_KEYRING": str(settings.keyring),
    }
    command = [
        *(sys.executable, "-m", "polytill", "legacy", "backfill", "past.jsonl", "--practice", str(practice_id)),
        *("--mapping", "mapping.json", "--json"),
    ]
    killed, runs, busy_s, out = 0, 0, 0.0, b""
    while True:
        runs += 1
        began_s = time.monotonic()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        lines: list[bytes] = []
        last = chance.randrange(1, many) if killed < kills else many + 10
        for line in process.stdout:
            lines.append(line)
            if len(lines) >= last:
                process.send_signal(signal.SIGKILL)
                killed += 1
                break
        process.stdout.read()
        process.wait()
        busy_s = time.monotonic() - began_s
        if process.returncode >= 0:
            out = b"".join(lines)
            break
    *reports, sums = [json.loads(line) for line in out.splitlines()]
    wrong = [
        f"row {number}: {report['certainty']} {report['reasons']} instead of {row.certainty} {row.reasons}"
        for number, (report, row) in enumerate(zip(reports, rows, strict=True), 1)
        if (report["certainty"], report["reasons"]) != (row.certainty, row.reasons)
    ]
    wrong += asyncio.run(_wrong(settings, practice_id, rows))
    fresh = [json.loads(line) for line in out.splitlines()][:-1]
    engine = "PostgreSQL" if postgres_url else "SQLite"
    told = {name: sums["sums"].get(name, 0) for name in ("recorded", "uncertain", "rejected")}
    print(
        f"{engine}: {len(fresh):,} rows, killed {killed} times, {runs} runs, the last one {busy_s:.1f} s:"
        f" {told}; wrong: {len(wrong)}"
    )
    return wrong


def main() -> None:
    """Both engines, or SQLite only."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sqlite-only", action="store_true")
    given = parser.parse_args()
    wrong: list[str] = []
    with ExitStack() as stack:
        urls = [None] if given.sqlite_only else [None, stack.enter_context(postgres_server()).url]
        for url in urls:
            with tempfile.TemporaryDirectory() as folder:
                wrong += measured(Path(folder), url, given.rows, given.kills, given.seed)
    for one in wrong[:20]:
        print(one)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
