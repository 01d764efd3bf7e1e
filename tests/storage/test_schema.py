"""The migrations result in the metadata, on both engines, and both contain every name of the founding document."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from polytill import storage
from polytill.domain.currencies import CURRENCIES
from polytill.storage import migrating, schema
from polytill.storage.api_keys import ApiKey
from polytill.storage.attempts import Attempt
from polytill.storage.databases import Database
from polytill.storage.disputes import Dispute
from polytill.storage.migrating import Tree
from polytill.storage.operations import Operation
from polytill.storage.payments import Payment
from polytill.storage.refunds import Refund
from polytill.storage.saved_methods import StoredMethod
from polytill.storage.staff_decisions import StaffDecision
from tests.storage.making import empty, plain, run

TREES: dict[Tree, sa.MetaData] = {"owner": schema.owner, "practice": schema.practice}

# Every table and column of the founding document, by database.
SEED: dict[Tree, dict[str, str]] = {
    "owner": {
        "payment_providers": "id code name description logo_url website_url documentation_url api_base_url"
        " sandbox_api_base_url supported_currencies supported_payment_methods supported_features requires_public_key"
        " requires_secret_key requires_webhook_secret config_schema status is_default priority integration_type"
        " handler_module created_at updated_at created_by",
        "provider_currency_support": "id provider_id currency_code is_recommended transaction_fee_percent"
        " transaction_fee_fixed min_amount max_amount is_active created_at updated_at",
    },
    "practice": {
        "practice_payment_providers": "id practice_id provider_code provider_name is_enabled is_default public_key"
        " secret_key webhook_secret environment config supported_currencies priority configured_by last_tested_at"
        " last_used_at created_at updated_at",
        "payments": "provider_code provider_transaction_id provider_response provider_fee",
        "practices": "id default_currency_id",
        "users": "id",
    },
}
UNIQUE: dict[str, tuple[str, tuple[str, ...]]] = {
    "provider_currency_unique": ("provider_currency_support", ("provider_id", "currency_code")),
    "practice_provider_unique": ("practice_payment_providers", ("practice_id", "provider_code")),
}


def statements(metadata: sa.MetaData, dialect: Any) -> list[str]:
    """What ``metadata.create_all`` would run."""
    made = []
    for table in metadata.sorted_tables:
        made.append(str(CreateTable(table).compile(dialect=dialect)))
        made += [str(CreateIndex(index).compile(dialect=dialect)) for index in sorted(table.indexes, key=str)]
    return made


async def seen_by_postgres(database: Database) -> set[tuple[Any, ...]]:
    columns = await plain(
        database,
        "SELECT table_name::text, column_name::text, data_type::text, is_nullable::text, column_default::text,"
        " collation_name::text"
        " FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'",
    )
    constraints = await plain(
        database,
        "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid)::text FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'",
    )
    indexes = await plain(
        database,
        "SELECT tablename::text, indexdef::text FROM pg_indexes"
        " WHERE schemaname = 'public' AND tablename <> 'alembic_version'",
    )
    triggers = await plain(database, "SELECT pg_get_triggerdef(oid)::text FROM pg_trigger WHERE NOT tgisinternal")
    return {*columns, *constraints, *indexes, *triggers}


def seen_by_sqlite(path: Path) -> set[tuple[Any, ...]]:
    engine = sa.create_engine(f"sqlite:///{path}")
    found: set[tuple[Any, ...]] = set()
    try:
        inspector = sa.inspect(engine)
        for table in inspector.get_table_names():
            if table == "alembic_version":
                continue
            for c in inspector.get_columns(table):
                kind = str(c["type"])
                found.add((table, c["name"], kind, c["nullable"], c["default"], c["primary_key"]))
            found |= {(table, "unique", u["name"], *u["column_names"]) for u in inspector.get_unique_constraints(table)}
            found |= {(table, "check", k["name"], k["sqltext"]) for k in inspector.get_check_constraints(table)}
            found |= {
                (
                    table,
                    "fk",
                    *f["constrained_columns"],
                    f["referred_table"],
                    *f["referred_columns"],
                    *f["options"].items(),
                )
                for f in inspector.get_foreign_keys(table)
            }
            found |= {
                (table, "index", i["name"], i["unique"], *i["column_names"]) for i in inspector.get_indexes(table)
            }
            found.add((table, "pk", *inspector.get_pk_constraint(table)["constrained_columns"]))
        with engine.connect() as connection:  # what the inspector leaves out: partial indexes, triggers, collations
            made = connection.exec_driver_sql("SELECT type, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL")
            for kind, table, sql in made:
                if kind != "table":
                    found.add((table, kind, " ".join(sql.split())))
                elif table != "alembic_version":
                    found.add((table, "options", sql.rpartition(")")[2].strip()))
                    found |= {(table, "collation", *each) for each in re.findall(r"(\w+) \w+ COLLATE (\w+)", sql)}
    finally:
        engine.dispose()
    return found


@pytest.mark.parametrize("tree", TREES)
async def test_migrations_arrive_at_the_metadata(tree: Tree, engine_url: str | None, tmp_path: Path) -> None:
    async with empty(engine_url, tmp_path) as migrated, empty(engine_url, tmp_path) as made:
        assert migrating.head(tree) == migrating.steps(tree, "sqlite")[-1].revision
        assert await migrating.migrate(migrated, tree) == [step.revision for step in migrating.steps(tree, "sqlite")]
        if engine_url is None:
            await run(made, *statements(TREES[tree], sa.create_engine("sqlite://").dialect))
            ours, theirs = (seen_by_sqlite(d.engine.path) for d in (migrated, made))  # type: ignore[attr-defined]
        else:
            await run(made, *statements(TREES[tree], postgresql.dialect()))
            ours, theirs = await seen_by_postgres(migrated), await seen_by_postgres(made)
    assert len(ours) > 50
    assert ours - theirs == set(), "only the migrations make this"
    assert theirs - ours == set(), "only the metadata makes this"


@pytest.mark.parametrize("tree", TREES)
async def test_alembic_sees_no_difference(tree: Tree, tmp_path: Path) -> None:
    async with empty(None, tmp_path) as database:
        await migrating.migrate(database, tree)
        path = database.engine.path  # type: ignore[attr-defined]
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": False}
            )
            assert compare_metadata(context, TREES[tree]) == []
    finally:
        engine.dispose()


async def columns_of(database: Database, table: str) -> set[str]:
    if database.engine.dialect == "sqlite":
        rows = await plain(database, f"SELECT name FROM pragma_table_info('{table}')")
    else:
        rows = await plain(
            database, "SELECT column_name::text FROM information_schema.columns WHERE table_name = $1", table
        )
    return {row[0] for row in rows}


@pytest.mark.parametrize("tree", TREES)
async def test_every_name_of_the_founding_document_is_there(tree: Tree, engine_url: str | None, tmp_path: Path) -> None:
    async with empty(engine_url, tmp_path) as database:
        await migrating.migrate(database, tree)
        for table, columns in SEED[tree].items():
            assert set(columns.split()) <= await columns_of(database, table), table


@pytest.mark.parametrize("name", UNIQUE)
def test_unique_constraints_keep_their_names(name: str) -> None:
    table_name, columns = UNIQUE[name]
    table = {**schema.owner.tables, **schema.practice.tables}[table_name]
    [found] = [c for c in table.constraints if c.name == name]
    assert isinstance(found, sa.UniqueConstraint)
    assert tuple(found.columns.keys()) == columns


async def test_the_documents_own_insert_runs(engine_url: str | None, tmp_path: Path) -> None:
    async with empty(engine_url, tmp_path) as database:
        await migrating.migrate(database, "owner")
        await run(
            database,
            """INSERT INTO payment_providers (
              code, name, description,
              api_base_url, supported_currencies,
              status, handler_module
            ) VALUES (
              'flutterwave',
              'Flutterwave',
              'African payment gateway supporting multiple countries',
              'https://api.flutterwave.com/v3',
              '["NGN", "GHS", "KES", "ZAR", "UGX"]',
              'active',
              '@/lib/payments/handlers/flutterwave'
            )""",
            """INSERT INTO provider_currency_support (provider_id, currency_code, is_recommended)
            SELECT id, 'NGN', true FROM payment_providers WHERE code = 'flutterwave'""",
        )
        [row] = await database.fetch("SELECT * FROM payment_providers")
        assert (row["code"], bool(row["requires_public_key"]), bool(row["requires_webhook_secret"])) == (
            "flutterwave",
            True,
            False,
        )
        assert (row["integration_type"], bool(row["is_default"]), row["priority"]) == ("built_in", False, 0)
        assert row["created_at"] is not None
        assert row["updated_at"] is not None
        assert await plain(database, "SELECT currency_code FROM provider_currency_support") == [("NGN",)]


async def test_migrating_twice_changes_nothing(engine_url: str | None, tmp_path: Path) -> None:
    async with empty(engine_url, tmp_path) as database:
        assert await migrating.current(database) is None
        await migrating.migrate(database, "practice")
        assert await migrating.migrate(database, "practice") == []
        assert await migrating.current(database) == migrating.head("practice")


@pytest.mark.parametrize("tree", TREES)
async def test_both_databases_have_the_currencies(tree: Tree, engine_url: str | None, tmp_path: Path) -> None:
    async with empty(engine_url, tmp_path) as database:
        await migrating.migrate(database, tree)
        rows = await plain(database, "SELECT id, code, name, exponent FROM currencies")
    assert set(rows) == {(one.numeric, one.code, one.name, one.exponent) for one in CURRENCIES.values()}
    assert len(rows) == len(CURRENCIES) > 100


@pytest.mark.parametrize("tree", TREES)
def test_a_released_migration_never_changes_with_the_metadata(tree: Tree) -> None:
    folder = Path(migrating.__file__).parent / "migrations"
    for script in (*folder.glob("*.py"), *(folder / tree).rglob("*.py")):
        assert "schema" not in {
            part
            for node in ast.walk(ast.parse(script.read_text("utf-8")))
            if isinstance(node, ast.ImportFrom)
            for name in (node.module or "", *(alias.name for alias in node.names))
            for part in re.split(r"[._]", name)
        }, script


ROWS: dict[str, tuple[type, set[str]]] = {  # and the columns that only SQL reads
    "api_keys": (ApiKey, {"key_hash"}),
    "payments": (Payment, set()),
    "payment_attempts": (Attempt, set()),
    "payment_operations": (Operation, set()),
    "refunds": (Refund, {"search_key"}),
    "disputes": (Dispute, {"search_key"}),
    "saved_methods": (StoredMethod, set()),
    "staff_decisions": (StaffDecision, {"transaction_key"}),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_has_the_columns_of_its_table(name: str) -> None:
    row, others = ROWS[name]
    table = {**schema.owner.tables, **schema.practice.tables}[name]
    columns = {field.name for field in fields(row) if field.compare}  # the others are what only a request has
    assert columns | others == set(table.columns.keys())


# Rows that a statement deletes only while nothing refers to them: the reservation of a practice that was never made.
NEVER_REFERRED_TO = {"practices"}


def test_no_deleted_row_is_held_by_a_row_of_another_table() -> None:
    """A foreign key without ``ON DELETE`` would let a DELETE fail as soon as somebody refers to the row."""
    sources = [path.read_text("utf-8") for path in Path(storage.__file__).parent.rglob("*.py")]
    deleted = {name for text in sources for name in re.findall(r"DELETE\s+FROM\s+(\w+)", text)} - NEVER_REFERRED_TO
    assert "webhook_events" in deleted
    held = [
        f"{key.parent} keeps a row of {key.column.table.name}"
        for metadata in TREES.values()
        for table in metadata.tables.values()
        for key in table.foreign_keys
        if key.column.table.name in deleted and key.ondelete is None
    ]
    assert held == []


def test_no_column_could_round_money() -> None:
    for metadata in TREES.values():
        for table in metadata.tables.values():
            for column in table.columns:
                assert not isinstance(column.type, sa.Numeric), f"{table.name}.{column.name}"
                if "amount" in column.name or column.name.endswith(("_fixed", "_fee", "_reserved", "_refunded")):
                    assert isinstance(column.type, sa.BigInteger), f"{table.name}.{column.name}"
