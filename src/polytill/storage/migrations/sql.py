"""Migrations that are written as SQL, once for both engines."""

from __future__ import annotations

from pathlib import Path

from alembic import op

# What the engines write differently, by its name in the files.
_WORDS = {
    "sqlite": {
        "serial": "INTEGER",
        "bigserial": "INTEGER",
        "bigkey": "INTEGER",
        "moment": "DATETIME",
        "json": "JSON",
        "bytes": "BLOB",
        "true": "1",
        "false": "0",
        "without_rowid": " WITHOUT ROWID",
    },
    "postgresql": {
        "serial": "SERIAL",
        "bigserial": "BIGSERIAL",
        "bigkey": "BIGINT",
        "moment": "TIMESTAMP WITH TIME ZONE",
        "json": "JSONB",
        "bytes": "BYTEA",
        "true": "true",
        "false": "false",
        "without_rowid": "",
    },
}


def run(script: str) -> None:
    """Run the SQL file beside a migration script. Each statement ends with a semicolon at the end of its line."""
    text = Path(script).with_suffix(".sql").read_text("utf-8").format(**_WORDS[op.get_context().dialect.name])
    for statement in text.split(";\n"):
        op.execute(statement.strip())
