"""Many payments in one practice: the product's own functions write the rows, many at once.

Row by row, as in the product, 100,000 payments would take almost an hour.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import asyncpg

from benchmarks.ground import Ground
from benchmarks.load import drive, payments
from benchmarks.processes import Program
from polytill.app import Polytill
from polytill.storage import attempts
from polytill.storage import payments as payment_rows
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment
from polytill.storage.sqlite import SqliteEngine, numbered, values
from polytill.storage.units import Steps

AT_ONCE = 5_000


class Rows(Steps):
    """Rows grouped by statement. It replaces a ``Unit``; statements run in the order in which they were first added."""

    def __init__(self) -> None:
        super().__init__()
        self.by_statement: dict[str, list[tuple[Any, ...]]] = {}

    def add(self, sql: str, *args: Any, expect: int | None = None) -> None:
        """See ``Writes``."""
        self.by_statement.setdefault(sql, []).append(args)

    async def write(self, ground: Ground, db: PracticeDb) -> None:
        """Write all rows in one transaction."""
        if isinstance(db.engine, SqliteEngine):
            connection = sqlite3.connect(db.engine.path)
            for sql, rows in self.by_statement.items():
                connection.executemany(numbered(sql), map(values, rows))
            connection.commit()
            connection.close()
            return
        line = await asyncpg.connect(f"{ground.postgres_url}/{ground.practices[0].database}")
        async with line.transaction():
            for sql, rows in self.by_statement.items():
                await line.executemany(sql, rows)
        await line.close()


async def one_payment(till: Polytill, program: Program, ground: Ground) -> tuple[PracticeDb, Payment, Attempt]:
    """Create one payment through the service: the model of all others."""
    [practice] = ground.practices
    await drive(program.port, payments("bulk", [practice], 1), 201)
    db = await till.context.opening.practice(practice.id)
    [row] = await db.fetch("SELECT id FROM payments")
    payment = await payment_rows.by_id(db, row["id"])
    assert payment is not None
    [attempt] = await attempts.of_payment(db, payment.id)
    return db, payment, attempt


async def settled_down(db: PracticeDb) -> None:
    """Do what PostgreSQL's autovacuum does soon after so many rows were written."""
    if db.engine.dialect == "postgresql":
        await db.fetch("VACUUM ANALYZE")
