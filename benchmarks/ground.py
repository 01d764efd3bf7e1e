"""The installation that every program of a benchmark uses: a hundred practices with two providers each."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import asyncpg
from tests.postgres.server import PostgresServer, postgres_server

from polytill.app import Polytill
from polytill.domain.clock import World
from polytill.domain.sealing import KeyRing
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.admin import catalog, credentials, provider_configs
from polytill.flows.admin.practices import NewPractice, create_practice
from polytill.owner_setup import migrate_owner
from polytill.settings import Settings
from polytill.storage.provider_configs import Configuration

SECRET_KEY = "sk_test_0123456789abcdef0123456789abcdef01234567"
# Beside a connection per practice: more programs with one for each of a hundred practices, and the owner database.
OTHERS = 500


@dataclass
class Practice:
    """One practice, and what a caller or a provider needs to reach it."""

    id: int
    key: str
    database: str
    hook_token: str


@dataclass
class Ground:
    """All locations; the programs receive it as a JSON file."""

    settings: dict[str, Any]
    postgres_url: str | None
    provider_port: int
    practices: list[Practice]

    @classmethod
    def read(cls, path: Path) -> Ground:
        """Read the file of ``write``."""
        values = json.loads(path.read_text())
        values["practices"] = [Practice(**practice) for practice in values["practices"]]
        return cls(**values)

    def write(self, path: Path) -> None:
        """Write the file for a program."""
        path.write_text(json.dumps(asdict(self)))

    def opened_settings(self) -> Settings:
        """The product's settings."""
        return Settings(_env_file=None, **self.settings)


@contextmanager
def postgres(practices: int = 0) -> Iterator[str]:
    """A private PostgreSQL server with enough connections for all programs. Yields its address."""
    with postgres_server() as server:
        _make_room(server, practices + OTHERS)
        yield server.url


def _make_room(server: PostgresServer, connections: int) -> None:
    server.stop()
    with (server.data_folder / "postgresql.conf").open("a") as file:
        file.write(f"max_connections = {connections}\n")
    server.start()


async def prepare(folder: Path, postgres_url: str | None, provider_port: int, practices: int, sweeping: bool) -> Ground:
    """Migrate, seed the catalog, onboard the practices, configure Paystack (the default) and Flutterwave for each."""
    ring = folder / "keyring"
    KeyRing.create(ring, World())
    name = f"owner_{secrets.token_hex(6)}"
    provider = f"http://127.0.0.1:{provider_port}"
    settings: dict[str, Any] = {
        "owner_database_url": f"{postgres_url}/{name}" if postgres_url else f"sqlite:///{folder}/owner.db",
        "practice_databases": postgres_url or str(folder / "practices"),
        "keyring": str(ring),
        "allowed_provider_origins": provider,
        # The budget should cover the active practices, with room for two concurrent requests of one practice.
        "database_connections": practices + 50,
    }
    if not sweeping:
        # Background lookups of unpaid payments are a separate cost; ``memory`` measures it.
        settings["sweep_interval_s"] = 3600.0
    ground = Ground(settings, postgres_url, provider_port, [])
    opened = ground.opened_settings()
    await migrate_owner(opened)
    async with Polytill.open(opened) as till:
        await catalog.seed(till.context)
        base = {"api_base_url": provider, "sandbox_api_base_url": provider}
        for code in ("paystack", "flutterwave"):
            await catalog.change(till.context, code, base, None, "benchmark")
        for number in range(practices):
            entry, key = await create_practice(till.context, NewPractice(f"Practice {number + 1}", "NGN"), "benchmark")
            saved = await _configure(till, entry.id)
            ground.practices.append(Practice(entry.id, key, entry.database_name, saved.hook_token))
    return ground


async def _configure(till: Polytill, practice_id: int) -> Configuration:
    paystack = credentials.Keys("pk_test_0123456789abcdef", Secret(SECRET_KEY))
    flutterwave = credentials.Keys(
        "FLWPUBK_TEST-0123456789abcdef-X", Secret("FLWSECK_TEST-0123456789abcdef-X"), Secret("flw-secret-hash-1")
    )
    for code, keys in (("flutterwave", flutterwave), ("paystack", paystack)):
        wish = provider_configs.Wish(
            code,
            Environment.sandbox,
            keys,
            is_enabled=True,
            is_default=code == "paystack",
            supported_currencies=["NGN"],
        )
        saved, _ = await provider_configs.configure(till.context, practice_id, wish, "benchmark")
    return saved


# ── Written rows ──

_COUNTS = """
SELECT split_part(p.idempotency_key, '-', 1) AS program, p.status,
  count(*) AS payments,
  sum((SELECT count(*) FROM payment_attempts a WHERE a.payment_id = p.id)) AS attempts,
  sum((SELECT count(*) FROM audit_log l WHERE l.subject = p.id)) AS audit,
  sum((SELECT count(*) FROM ledger_lines l WHERE l.payment_id = p.id)) AS ledger
FROM payments p GROUP BY 1, 2
"""
_COLUMNS = """
SELECT split_part(p.idempotency_key, '-', 1) AS program, string_agg(DISTINCT names.name, ' ' ORDER BY names.name) AS names
FROM payments p
JOIN payment_attempts a ON a.payment_id = p.id
JOIN audit_log l ON l.subject = p.id,
LATERAL (
  SELECT 'payments.' || jsonb_object_keys(jsonb_strip_nulls(to_jsonb(p) - 'provider_response' - 'metadata')) AS name
  UNION ALL SELECT 'payments.metadata' WHERE p.metadata IS NOT NULL
  UNION ALL SELECT 'payments.provider_response' WHERE p.provider_response IS NOT NULL
  UNION ALL SELECT 'payment_attempts.' || jsonb_object_keys(jsonb_strip_nulls(to_jsonb(a)))
  UNION ALL SELECT 'audit_log.' || l.action || '.' || jsonb_object_keys(jsonb_strip_nulls(to_jsonb(l)))
) names
GROUP BY 1
"""


@asynccontextmanager
async def _connected(ground: Ground, practice: Practice) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(f"{ground.postgres_url}/{practice.database}")
    try:
        yield connection
    finally:
        await connection.close()


async def rows_by_program(ground: Ground) -> dict[str, dict[str, int]]:
    """The number of rows that each program wrote, by the first word of its idempotency keys."""
    turn = asyncio.Semaphore(8)
    found: dict[str, dict[str, int]] = {}

    async def count(practice: Practice) -> None:
        async with turn, _connected(ground, practice) as connection:
            for row in await connection.fetch(_COUNTS):
                counts = found.setdefault(row["program"], {})
                counts[row["status"]] = counts.get(row["status"], 0) + row["payments"]
                for name in ("payments", "attempts", "audit", "ledger"):
                    counts[name] = counts.get(name, 0) + int(row[name])

    await asyncio.gather(*(count(practice) for practice in ground.practices))
    return found


async def columns_by_program(ground: Ground) -> dict[str, str]:
    """The columns that each program filled, in one practice's database."""
    async with _connected(ground, ground.practices[0]) as connection:
        return {row["program"]: row["names"] for row in await connection.fetch(_COLUMNS)}
