"""Why a database rejected a statement, in words that quote no row: an error's own message may contain one."""

from __future__ import annotations

import sqlite3
from typing import Any

from polytill.domain.errors import CheckRefused, Duplicate

# SQLSTATE, see PostgreSQL's appendix "Error codes".
_STATES = {
    "23502": "a column without a value must have one",
    "23503": "a row refers to another row that does not exist",
    "23505": "two rows would have the same unique value",
    "23514": "a row violates a check",
    "25P02": "the transaction was aborted",
    "40001": "another transaction changed the same rows",
    "40P01": "two transactions waited for each other",
    "42501": "its user lacks a right",
    "42701": "a column of this name already exists",
    "42703": "a column does not exist",
    "42704": "an object does not exist",
    "42710": "an object of this name already exists",
    "42P01": "a table does not exist",
    "42P07": "a table or an index of this name already exists",
    "53100": "its disk is full",
    "55P03": "a lock was not available in time",
    "57014": "the statement was canceled, or took longer than allowed",
}
# Beginnings of SQLite's messages about the schema. They name tables and columns, and no row.
_SCHEMA = (
    "table ",
    "index ",
    "no such ",
    "duplicate column name: ",
    "near ",
    "cannot ",
    "error in ",
    "there is already ",
)
_ABOUT = (("table_name", "table"), ("column_name", "column"), ("constraint_name", "constraint"))


def reason(error: BaseException) -> str:
    """Return the reason in words, with the names of tables, columns and constraints, and the class or SQLSTATE."""
    if isinstance(error, Duplicate):
        return f"two rows would have the same unique value, constraint {error.constraint}"
    if isinstance(error, CheckRefused):
        return f"a row violates a check, constraint {error.constraint}"
    if isinstance(error, sqlite3.Error):
        text = str(error)
        said = isinstance(error, sqlite3.IntegrityError) or text.startswith(_SCHEMA)
        return f"{text if said else 'an error of the database'} ({type(error).__name__})"
    state: Any = getattr(error, "sqlstate", None)
    if not isinstance(state, str):
        return f"an unexpected error ({type(error).__name__})"
    found = [f"{word} {value}" for name, word in _ABOUT if (value := getattr(error, name, None))]
    about = f", {', '.join(found)}" if found else ""
    return f"{_STATES.get(state, type(error).__name__)}{about} (SQLSTATE {state})"
