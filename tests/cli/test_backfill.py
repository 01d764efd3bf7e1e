"""The command that takes over past payments."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from polytill.domain.ids import made_at
from polytill.storage import refunds
from tests import calls
from tests.cli.process import one_sentence, polytill
from tests.installation import fresh_settings, opened

HEADER = "payment_id,gateway,provider_transaction_id,reference,amount,currency,fee,paid_at,status,refunded\n"


async def test_a_file_is_taken_over_and_every_row_is_told(tmp_path: Path) -> None:
    settings = fresh_settings(tmp_path)
    async with opened(settings) as till:
        practice = await calls.create_practice(till, "Clinic", "NGN")
    place = {
        "POLYTILL_OWNER_DATABASE_URL": settings.owner_database_url.get_secret_value(),
        "POLYTILL_PRACTICE_DATABASES": settings.practice_databases.get_secret_value(),
        "POLYTILL_KEYRING": str(settings.keyring),
    }
    source = tmp_path / "past.csv"
    source.write_bytes(
        HEADER.encode()
        + b"1,paystack,77,inv-1,150.00,NGN,2.25,2025-03-04,paid,10.00\n"
        + b"2,paystack,78,inv-2,150.001,NGN,,2025-03-04,paid,\n"
        + b'3,paystack,79,"inv-3,150,NGN,,2025-03-04,paid\n'
    )
    os.utime(source, (1_750_000_000, 1_750_000_000))
    command = ("legacy", "backfill", "past.csv", "--practice", str(practice[0].id))
    one_sentence(polytill(tmp_path, *command, "--amounts", "major", "--as-of", "yesterday", **place))
    one_sentence(polytill(tmp_path, *command, **place))  # the unit of amounts is missing
    (tmp_path / "mapping.json").write_text('{"amounts": "major", "fileds": {}}')
    one_sentence(polytill(tmp_path, *command, "--mapping", "mapping.json", **place))
    one_sentence(polytill(tmp_path, *command, "--amounts", "major", "--dry-run", "--check", "5", **place))
    dry = polytill(tmp_path, *command, "--amounts", "major", "--dry-run", "--json", **place)
    done = polytill(tmp_path, *command, "--amounts", "major", "--json", **place)
    for run, is_dry in ((dry, True), (done, False)):
        rows = [json.loads(line) for line in run.stdout.splitlines()]
        assert [(row["certainty"], row["reasons"]) for row in rows[:3]] == [
            ("uncertain", ["not_configured"]),
            ("rejected", ["amount_too_fine"]),
            ("rejected", ["row_unreadable"]),
        ], run.stderr
        assert (rows[0]["paymentId"] is None) is is_dry
        assert (run.returncode, rows[-1]["sums"]["rejected"]) == (1, 2)
    async with opened(settings) as till:
        db = (await till.context.practice(practice[0].id)).db
        [its] = await refunds.of_payment(db, rows[0]["paymentId"])
        assert made_at(its.id).timestamp() == 1_750_000_000, "the sum is as of the file's time"
    with closing(sqlite3.connect(tmp_path / "host.db")) as host, host:
        host.execute("CREATE TABLE bills (id, gateway, provider_transaction_id, amount, currency, paid_at)")
        host.execute("INSERT INTO bills VALUES (1, 'paystack', '77', '150.00', 'NGN', '2025-03-04')")
        host.execute("INSERT INTO bills VALUES (2, 'paystack', '90', 150.1, 'NGN', '2025-03-04')")
    (tmp_path / "mapping.json").write_text('{"amounts": "major", "source": {"table": "bills"}}')
    asked = ("legacy", "backfill", "env:HOST", *command[3:], "--mapping", "mapping.json", "--json")
    read = polytill(tmp_path, *asked, HOST=f"sqlite:///{tmp_path}/host.db", **place)
    rows = [json.loads(line) for line in read.stdout.splitlines()]
    assert [(row["action"], row["reasons"]) for row in rows[:2]] == [
        ("unchanged", ["not_configured"]),
        ("none", ["amount_unreadable"]),
    ], read.stderr
    secret = one_sentence(polytill(tmp_path, *asked, HOST="postgresql://u:hidden@127.0.0.1:1/x", **place))
    assert "hidden" not in secret
