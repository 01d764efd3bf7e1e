"""All rows of a host's table, in pages, on both engines; nothing is written, nothing is dropped."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from polytill.domain.secret import Secret
from polytill.storage import host_rows
from polytill.storage.host_columns import HostError
from polytill.storage.host_field import Table
from polytill.storage.host_rows import database_rows
from tests.storage.making import empty, run


async def read(address: str, table: Table, key: str | None = None) -> list[dict[str, Any]]:
    return [row async for page in database_rows(Secret(address), table).pages(key) for row in page]


async def test_every_row_is_read_once(engine_url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_rows, "PAGE", 7)
    async with empty(engine_url, tmp_path) as database:
        path = getattr(database.engine, "path", None)
        address = f"sqlite:///{path}" if path else f"{engine_url}/{database.engine.database}"  # type: ignore[attr-defined]
        await run(
            database,
            'CREATE TABLE "past payments" ("ID" INTEGER, amount NUMERIC(12, 3), "paidAt" TIMESTAMP, meta TEXT, no TEXT)',
            *(
                f"INSERT INTO \"past payments\" VALUES ({number}, 150.5, '2025-03-04 10:00:00', '{{}}', 'x')"
                for number in range(1, 24)
            ),
            "INSERT INTO \"past payments\" VALUES (NULL, 1, NULL, NULL, 'x')",
        )
        table = Table("past payments")
        rows = await read(address, table)
        assert [row["ID"] for row in rows] == [*range(1, 24), None]
        if path is None:
            assert (rows[0]["amount"], rows[0]["paidAt"]) == (Decimal("150.500"), datetime(2025, 3, 4, 10))  # noqa: DTZ001
        some = Table(query='SELECT * FROM "past payments" WHERE "ID" > 20')
        assert [row["ID"] for row in await read(address, some, "ID")] == [21, 22, 23]
        for wrong, key in (
            (Table("nothing"), None),
            (table, "no"),  # not unique
            (table, "color"),
            (Table(query='SELECT amount FROM "past payments"'), None),
            (Table(query='DELETE FROM "past payments" RETURNING *'), None),
        ):
            with pytest.raises(HostError):
                await read(address, wrong, key)
        assert len(await read(address, table)) == 24
    with pytest.raises(HostError):
        await read("mysql://user:secret@host/db", table)
