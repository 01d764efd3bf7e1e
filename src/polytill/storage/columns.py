"""Column lists of statements, from the fields of the rows: a new column is one line in the schema and one field.

They do not come from the schema itself, so that a service that migrates nothing never loads SQLAlchemy.
"""

from __future__ import annotations

from dataclasses import fields


def columns_of(row: type) -> str:
    """SQL: the columns of a row, in the order of its fields: ``a, b, c``."""
    return ", ".join(field.name for field in fields(row))


def insert_into(table: str, columns: str) -> str:
    """SQL: insert a row, with a parameter for each column."""
    places = ", ".join(f"${number}" for number in range(1, columns.count(",") + 2))
    return f"INSERT INTO {table} ({columns}) VALUES ({places})"  # noqa: S608
