"""An export has every table and column of a practice, or says why not; the documentation has the same."""

from __future__ import annotations

import importlib.util

from polytill.storage.export_tables import LEFT_OUT, LEFT_OUT_COLUMNS, NEVER, PARTS
from polytill.storage.schema import practice
from tests.house.reading import ROOT


def test_every_column_is_exported_or_left_out_for_a_reason() -> None:
    parts = {part.table: part for part in PARTS if not part.table.startswith("(")}
    tables = {name: {column.name for column in table.columns} for name, table in practice.tables.items()}
    assert parts.keys() | LEFT_OUT.keys() - {"alembic_version"} == tables.keys()
    assert not parts.keys() & LEFT_OUT.keys()
    for name, part in parts.items():
        plain = {column.name for column in part.columns if column.sql == f"t.{column.name}"}
        left_out = LEFT_OUT_COLUMNS.get(name, {}).keys()
        assert plain | left_out | (NEVER.keys() & tables[name]) == tables[name], name
        assert not plain & (left_out | NEVER.keys()), name
    assert LEFT_OUT_COLUMNS.keys() <= parts.keys()


def test_the_page_has_every_column() -> None:
    spec = importlib.util.spec_from_file_location("write_export", ROOT / "docs" / "write_export.py")
    assert spec is not None
    assert spec.loader is not None
    writing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writing)
    text = (ROOT / "docs" / "export.md").read_text()
    assert text == writing.page(text), "Run `./run python docs/write_export.py`."
