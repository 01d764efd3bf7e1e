"""The building blocks of the tables: columns, checks, and the tables that both databases have."""

from __future__ import annotations

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


def id_column() -> sa.Column[Any]:
    """The key of a small table."""
    return sa.Column("id", sa.Integer, primary_key=True, autoincrement=True)


def serial_id() -> sa.Column[Any]:
    """The key of a table that grows."""
    return sa.Column("id", Serial, primary_key=True, autoincrement=True)


def text(name: str, **options: Any) -> sa.Column[Any]:
    """A required text, unless ``nullable``."""
    return sa.Column(name, sa.Text, nullable=options.pop("nullable", False), **options)


def maybe(name: str, kind: Any = sa.Text) -> sa.Column[Any]:
    """A nullable column."""
    return sa.Column(name, kind, nullable=True)


def flag(name: str, default: bool) -> sa.Column[Any]:
    """A boolean with a default."""
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.true() if default else sa.false())


def whole(name: str, default: int | None = None, kind: Any = sa.BigInteger) -> sa.Column[Any]:
    """A whole number: money in minor units, or a count."""
    server_default = None if default is None else sa.text(str(default))
    return sa.Column(name, kind, nullable=False, server_default=server_default)


def moment(name: str, now: bool = False) -> sa.Column[Any]:
    """A time in UTC."""
    return sa.Column(name, Moment, nullable=False, server_default=sa.text("CURRENT_TIMESTAMP") if now else None)


def one_of(column: str, values: EnumType | tuple[str, ...]) -> sa.CheckConstraint:
    """A check that a column has one of a closed list of values."""
    names = [value if isinstance(value, str) else value.value for value in values]
    return sa.CheckConstraint(f"{column} IN ({', '.join(repr(str(name)) for name in names)})", name=column)


def stamps() -> tuple[sa.Column[Any], sa.Column[Any]]:
    """When a row was created and last changed."""
    return moment("created_at", now=True), moment("updated_at", now=True)


def locality() -> tuple[sa.Column[Any], sa.Column[Any]]:
    """The practice's country (ISO 3166-1 alpha-2) and its IANA time zone."""
    return maybe("country"), text("time_zone", server_default="UTC")


def currencies(metadata: sa.MetaData) -> sa.Table:
    """ISO 4217."""
    # id is the ISO 4217 number, so that a currency has the same id in every database.
    return sa.Table(
        "currencies",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        text("code"),
        text("name"),
        whole("exponent", kind=sa.Integer),
        sa.UniqueConstraint("code"),
    )


def users(metadata: sa.MetaData) -> sa.Table:
    """The people who sign in."""
    return sa.Table(
        "users",
        metadata,
        id_column(),
        text("email"),
        text("name", server_default=""),
        text("role"),
        maybe("password_hash"),
        flag("is_active", True),
        *stamps(),
        sa.UniqueConstraint("email"),
        one_of("role", states.StaffRole),
    )


def of_user() -> sa.Column[Any]:
    """The person that a row belongs to."""
    return sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id"), nullable=False)


def signing_in(metadata: sa.MetaData) -> None:
    """Sessions, one-time links and failed tries."""
    # Only hashes of tokens are stored. A failed try has keyed hashes of the e-mail and the network address, and no
    # name.
    sa.Table(
        "sessions",
        metadata,
        serial_id(),
        of_user(),
        text("token_hash"),
        moment("created_at"),
        moment("last_seen_at"),
        sa.UniqueConstraint("token_hash"),
        sa.Index(None, "user_id"),
    )
    sa.Table(
        "person_links",
        metadata,
        serial_id(),
        of_user(),
        text("token_hash"),
        moment("created_at"),
        moment("expires_at"),
        sa.UniqueConstraint("token_hash"),
        sa.Index(None, "user_id"),
    )
    sa.Table(
        "sign_in_failures",
        metadata,
        serial_id(),
        text("email_hash"),
        text("address_hash"),
        moment("at"),
        sa.Index(None, "at"),
    )


def audit(metadata: sa.MetaData) -> sa.Table:
    """Who did what, and when."""
    return sa.Table(
        "audit_log",
        metadata,
        serial_id(),
        moment("at", now=True),
        text("actor"),
        text("action"),
        text("subject"),
        maybe("detail", Json),
        sa.Index(None, "subject"),
    )


def environment() -> tuple[sa.Column[Any], sa.CheckConstraint]:
    """Sandbox or production, fixed when a row is created."""
    return text("environment"), one_of("environment", states.Environment)
