"""Rows of two customers in every table that can have a customer's data, with a marker in each such column."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from polytill.domain.personal_data import Holds
from polytill.domain.search import signature
from polytill.flows.events import forward
from polytill.providers.contract import Customer
from polytill.storage import schema
from polytill.storage.databases import Database, Tx
from polytill.storage.personal_data import OWNER, PRACTICE
from polytill.storage.units import json_text
from tests.flows.scenes import Scene

NOW = "2026-09-21 12:00:00"
OF_A_CUSTOMER = (Holds.customer, Holds.document)
# Columns of a customer that stay in use as long as their row is, or that others erase.
NOT_PLANTED = {"webhook_relays.sealed_request", "payment_records.sealed"}
OURS = ("operator_cases.detail", "events.data", "audit_log.detail")


def marker(who: str, table: str, column: str) -> str:
    """What stands in one column of one customer: one word, so that searches find it whole."""
    return f"zq{who}{table}{column}".replace("_", "")


def value_of(who: str, table: str, column: sa.Column[Any]) -> str:
    """SQL: the marker of a column, in the shape that its type needs."""
    mark = marker(who, table, column.name)
    if isinstance(column.type, sa.LargeBinary):
        return "''"
    if f"{table}.{column.name}" in OURS:
        content: Any = {"message": mark, "state": "done", "of": {"note": [mark, {"proof": mark}]}, "amount": 7}
    elif column.name == "reason" and table == "webhook_events":
        return f"'unreadable: {mark}'"
    elif column.name == "method_details":
        content = {"bank": mark}
    elif isinstance(column.type, sa.JSON):
        content = {"customer": {"name": mark, "list": [mark]}}
    else:
        return f"'{mark}'"
    return f"'{json_text(content)}'"


def _plain(column: sa.Column[Any]) -> str:
    """SQL: something that a column may hold."""
    if column.nullable:
        return "NULL"
    kinds: list[tuple[Any, str]] = [
        (sa.Boolean, "TRUE"),
        (sa.Integer, "0"),
        (sa.DateTime, f"'{NOW}'"),
        (sa.JSON, "'{}'"),
    ]
    return next((text for kind, text in kinds if isinstance(column.type, kind)), "'x'")


async def plant(tx: Tx, tree: str, table: str, who: str, **given: Any) -> None:
    """Insert a row. ``given``: its columns that matter to the database or for finding it."""
    metadata, declared = {"owner": (schema.owner, OWNER), "practice": (schema.practice, PRACTICE)}[tree]
    holds, values = declared[table].holds(), {}
    for column in metadata.tables[table].columns:
        if column.name in given:
            value = given[column.name]
            values[column.name] = str(value) if isinstance(value, int) else value if value == "NULL" else f"'{value}'"
        elif column.autoincrement is True:
            continue
        elif holds[column.name] in OF_A_CUSTOMER and f"{table}.{column.name}" not in NOT_PLANTED:
            values[column.name] = value_of(who, table, column)
        else:
            values[column.name] = _plain(column)
    await tx.fetch(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(values.values())})")


async def mark(tx: Tx, table: str, who: str, where: str) -> None:
    """Put the markers into every column of a customer of rows that are there."""
    found = schema.practice.tables[table].columns
    holds = PRACTICE[table].holds()
    sets = [f"{one.name} = {value_of(who, table, one)}" for one in found if holds[one.name] in OF_A_CUSTOMER]
    await tx.fetch(f"UPDATE {table} SET {', '.join(sets)} WHERE {where}")


async def customer(scene: Scene, who: str) -> str:
    """A customer with one paid payment, and rows in all tables. Returns the payment's id."""
    email = f"{who}@example.com"
    made = await scene.succeeded(key=f"key-{who}", customer=Customer(email, who), reference=f"ref-{who}")
    of = {"payment_id": made.id, "practice_id": scene.practice_id, "environment": "sandbox"}
    [attempt] = await scene.attempts(made.id)
    account = {"config_id": attempt.config_id, "provider_code": "scripted", "currency": "NGN"}
    keys = {"idempotency_key": f"{who}-1", "search_key": "NULL"}
    async with scene.db.transaction() as tx:
        await mark(tx, "payments", who, f"id = '{made.id}'")
        await tx.fetch(f"UPDATE payments SET customer_email = '{email}' WHERE id = '{made.id}'")
        await mark(tx, "payment_attempts", who, f"payment_id = '{made.id}'")
        await mark(tx, "payment_search", who, f"payment_id = '{made.id}'")
        await tx.fetch(f"UPDATE payment_search SET block = 1 WHERE payment_id = '{made.id}'")
        rows: list[tuple[str, dict[str, Any]]] = [
            ("payment_identifiers", {"attempt_id": attempt.id, "kind": "cardLast4"}),
            ("refunds", {"id": f"{who}-rf", "attempt_id": attempt.id, "state": "declined", "origin": "api", "amount": 1,
                         **keys}),
            ("payment_operations", {"id": f"{who}-op", "attempt_id": attempt.id, "kind": "capture", "state": "declined",
                                    "idempotency_key": f"{who}-2"}),
            ("disputes", {"id": f"{who}-dp", "attempt_id": attempt.id, "provider_dispute_id": f"{who}-d", "state": "won",
                          "kind": "inquiry"}),
            ("saved_methods", {"id": f"{who}-sm", "removed_at": "NULL"}),
            ("saved_method_detachments", {"id": f"{who}-sm", "state": "detached"}),
            ("webhook_events", {"id": f"{who}-wh", "dedupe_key": f"{who}-k", "state": "applied"}),
            ("operator_cases", {"id": f"{who}-case", "kind": "notice", "subject": f"{who}-s", "state": "resolved"}),
            ("staff_decisions", {"id": f"{who}-sd", "attempt_id": attempt.id, "decided_on": "payment",
                                 "subject": f"{who}-s"}),
            ("events", {"event_id": f"{who}-ev", "type": "payment.succeeded"}),
            ("payment_links", {"id": f"{who}-link", "state": "closed", "amount": 5}),
            ("payment_link_payments", {"link_id": f"{who}-link"}),
            ("audit_log", {"subject": made.id, "action": "payment.created", "actor": "test"}),
            ("audit_log", {"subject": f"{who}-case", "action": "case.resolved", "actor": "test"}),
        ]  # fmt: skip
        for table, given in rows:
            own = {name: value for name, value in (of | account).items() if name in PRACTICE[table].holds()}
            await plant(tx, "practice", table, who, **(own | given))
    async with scene.context.owner.transaction() as tx:
        reference = marker(who, "payments", "reference")
        await plant(tx, "owner", "rollout_decisions", who, practice_id=scene.practice_id, reference=reference)
        await plant(
            tx, "owner", "rollout_differences", who, practice_id=scene.practice_id, environment="sandbox",
            reference=reference, reason="other_order",
        )  # fmt: skip
    await forward(await scene.context.practice(scene.practice_id))
    return made.id


async def close_block(scene: Scene) -> None:
    """Write the signature of the search block in which both customers are."""
    rows = await scene.db.fetch("SELECT body, major_units FROM payment_search WHERE block = 1")
    async with scene.db.transaction() as tx:
        parts = signature((row["body"], row["major_units"]) for row in rows)
        tx.add(
            "INSERT INTO payment_search_blocks (environment, block, oldest_at, newest_at,"
            " part0, part1, part2, part3, part4, part5, part6, part7) VALUES ('sandbox', 1, CURRENT_TIMESTAMP,"
            " CURRENT_TIMESTAMP, $1, $2, $3, $4, $5, $6, $7, $8)",
            *parts,
        )


Dump = dict[str, list[dict[str, Any]]]


async def dump(database: Database, metadata: sa.MetaData) -> Dump:
    """Every row of every table, by table; the name of each column with its value."""
    found = {}
    for table in metadata.sorted_tables:
        order = ", ".join(column.name for column in table.primary_key.columns)
        rows = await database.fetch(f"SELECT * FROM {table.name} ORDER BY {order}")
        found[table.name] = [dict(row) for row in rows]
    return found
