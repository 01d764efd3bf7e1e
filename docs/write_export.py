"""Writes the tables of ``docs/export.md`` from ``storage/export_tables.py``: ``./run python docs/write_export.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from polytill.storage.export_columns import camel
from polytill.storage.export_tables import LEFT_OUT, LEFT_OUT_COLUMNS, NEVER, PARTS

PAGE = Path(__file__).resolve().parent / "export.md"
BEGIN = "## Files\n"


def tables() -> Iterator[str]:
    """The lines of the page from ``BEGIN`` on."""
    yield BEGIN
    for part in PARTS:
        yield f"### {part.name}\n"
        yield f"{part.about}\n"
        yield "| column | type | meaning |\n|---|---|---|"
        for column in part.columns:
            yield f"| `{camel(column.name)}` | {column.kind} | {column.about} |"
        yield ""
    yield "### api_keys\n"
    yield "The practice's API keys, without the keys: `id`, `kind`, `name`, `scopes`, `last4`, `createdAt`, `revokedAt`.\n"
    yield "### platform_audit_log\n"
    yield "What the platform's audit log has about the practice: `id`, `at`, `actor`, `action`, `subject`, `detail`.\n"
    yield "## What is left out\n"
    yield "| table or column | reason |\n|---|---|"
    for table, reason in LEFT_OUT.items():
        yield f"| `{table}` | {reason} |"
    for column, reason in NEVER.items():
        yield f"| `{column}` everywhere | {reason} |"
    for table, columns in LEFT_OUT_COLUMNS.items():
        for column, reason in columns.items():
            yield f"| `{table}.{column}` | {reason} |"


def page(before: str) -> str:
    """The page with new tables."""
    kept = before.partition(BEGIN)[0]
    return kept + "\n".join(tables()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
