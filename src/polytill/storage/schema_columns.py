"""The building blocks of the tables: columns, checks, and the tables that both databases have."""

from __future__ import annotations

from collections.abc import Iterator
from enum import EnumType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from polytill.domain import states

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

Json = sa.JSON().with_variant(JSONB(), "postgresql")
Moment = sa.DateTime(timezone=True)
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

Column = sa.Column[Any]
Columns = Iterator[Column]


def id_column() -> Column:
    """The key of a small table."""
    return sa.Column("id", sa.Integer, primary_key=True, autoincrement=True)


def serial_id() -> Column:
    """The key of a table that grows."""
    return sa.Column("id", Serial, primary_key=True, autoincrement=True)


def given_id(name: str = "id", kind: Any = sa.Text, of: str | None = None) -> Column:
    """The key of a table whose rows bring their own, which may be the key of the row ``of`` another table."""
    references = [sa.ForeignKey(f"{of}.id")] if of else []
    return sa.Column(name, kind, *references, primary_key=True, autoincrement=False)


def part_of(name: str, table: str, is_key: bool = True) -> Column:
    """The row of another table that a row is a part of, and with which it is deleted. ``is_key``: it has only one such
    part, which has its key."""
    whole = sa.ForeignKey(f"{table}.id", ondelete="CASCADE")
    return sa.Column(name, sa.Text, whole, primary_key=is_key, nullable=False, autoincrement=False)


def only_row() -> tuple[Column, sa.CheckConstraint]:
    """The key of a table of one row."""
    return given_id(kind=sa.Integer), check("one_row", "id = 1")


def of(name: str, table: str, kind: Any = sa.Integer, nullable: bool = False) -> Column:
    """The row of another table that a row belongs to."""
    return sa.Column(name, kind, sa.ForeignKey(f"{table}.id"), nullable=nullable)


def text(*names: str, default: str | None = None) -> Columns:
    """Required texts."""
    return (sa.Column(name, sa.Text, nullable=False, server_default=default) for name in names)


def maybe(*names: str, kind: Any = sa.Text) -> Columns:
    """Nullable columns."""
    return (sa.Column(name, kind, nullable=True) for name in names)


def flag(name: str, default: bool | None = False) -> Column:
    """A boolean. With None it has no default."""
    server_default = {True: sa.true(), False: sa.false(), None: None}[default]
    return sa.Column(name, sa.Boolean, nullable=False, server_default=server_default)


def whole(*names: str, default: int | None = None, kind: Any = sa.BigInteger) -> Columns:
    """Whole numbers: money in minor units, or counts that grow."""
    server_default = None if default is None else sa.text(str(default))
    return (sa.Column(name, kind, nullable=False, server_default=server_default) for name in names)


def small(*names: str, default: int | None = None) -> Columns:
    """Whole numbers that stay small."""
    return whole(*names, default=default, kind=sa.Integer)


def moment(*names: str, now: bool = False) -> Columns:
    """Times in UTC."""
    server_default = sa.text("CURRENT_TIMESTAMP") if now else None
    return (sa.Column(name, Moment, nullable=False, server_default=server_default) for name in names)


def stamps() -> Columns:
    """When a row was created and last changed."""
    return moment("created_at", "updated_at", now=True)


def check(name: str, condition: str) -> sa.CheckConstraint:
    """A condition that every row meets."""
    return sa.CheckConstraint(condition, name=name)


def one_of(column: str, values: EnumType | tuple[str, ...]) -> sa.CheckConstraint:
    """A check that a column has one of a closed list of values."""
    return check(column, f"{column} IN ({', '.join(repr(str(value)) for value in values)})")


def index(*columns: str, unique: bool = False) -> sa.Index:
    """An index, named by the convention."""
    return sa.Index(None, *columns, unique=unique)


def unique(*columns: str, name: str | None = None) -> sa.UniqueConstraint:
    """No two rows have the same values."""
    return sa.UniqueConstraint(*columns, name=name)


def partial_index(name: str, condition: str, *columns: str) -> sa.Index:
    """An index of the rows that meet a condition."""
    where = sa.text(condition)
    return sa.Index(name, *columns, postgresql_where=where, sqlite_where=where)


def environment() -> Iterator[Any]:
    """Sandbox or production, fixed when a row is created."""
    yield from text("environment")
    yield one_of("environment", states.Environment)


def locality() -> Columns:
    """The practice's country (ISO 3166-1 alpha-2) and its IANA time zone."""
    yield from maybe("country")
    yield from text("time_zone", default="UTC")


def add_shared_tables(metadata: sa.MetaData) -> None:
    """The tables that both databases have."""

    def table(name: str, *parts: Any) -> None:
        sa.Table(name, metadata, *parts)

    # ISO 4217. The id is the ISO 4217 number, so that a currency has the same id in every database.
    table("currencies", given_id(kind=sa.Integer), *text("code", "name"), *small("exponent"), unique("code"))
    # The people who sign in.
    table(
        "users",
        id_column(),
        *text("email"),
        *text("name", default=""),
        *text("role"),
        *maybe("password_hash"),
        flag("is_active", True),
        *stamps(),
        unique("email"),
        one_of("role", states.StaffRole),
    )
    # Sessions, one-time links and failed tries. Only hashes of tokens are stored. A failed try has keyed hashes of the
    # e-mail and the network address, and no name.
    for name, time in (("sessions", "last_seen_at"), ("person_links", "expires_at")):
        table(
            name,
            serial_id(),
            of("user_id", "users"),
            *text("token_hash"),
            *moment("created_at", time),
            unique("token_hash"),
            index("user_id"),
        )
    table("sign_in_failures", serial_id(), *text("email_hash", "address_hash"), *moment("at"), index("at"))
    # Who did what, and when.
    table(
        "audit_log",
        serial_id(),
        *moment("at", now=True),
        *text("actor", "action", "subject"),
        *maybe("detail", kind=Json),
        index("subject"),
    )
