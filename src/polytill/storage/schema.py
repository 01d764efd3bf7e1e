"""The tables of both databases, as SQLAlchemy metadata: the truth that the two Alembic trees must arrive at.

Used when migrating and in tests, never on a request path. Names are the seed's. Money is a BIGINT of minor units,
percentages are integers in parts per million, moments are UTC.
"""

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

owner = sa.MetaData(naming_convention=NAMING)
practice = sa.MetaData(naming_convention=NAMING)

Json = sa.JSON().with_variant(JSONB(), "postgresql")
Moment = sa.DateTime(timezone=True)
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.Integer, primary_key=True, autoincrement=True)


def _serial() -> sa.Column[Any]:
    return sa.Column("id", Serial, primary_key=True, autoincrement=True)


def _text(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=options.pop("nullable", False), **options)


def _maybe(name: str, kind: Any = sa.Text) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=True)


def _flag(name: str, default: bool) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.true() if default else sa.false())


def _whole(name: str, default: int | None = None, kind: Any = sa.BigInteger) -> sa.Column[Any]:
    server_default = None if default is None else sa.text(str(default))
    return sa.Column(name, kind, nullable=False, server_default=server_default)


def _moment(name: str, now: bool = False) -> sa.Column[Any]:
    return sa.Column(name, Moment, nullable=False, server_default=sa.text("CURRENT_TIMESTAMP") if now else None)


def _one_of(column: str, values: EnumType | tuple[str, ...]) -> sa.CheckConstraint:
    names = [value if isinstance(value, str) else value.value for value in values]
    return sa.CheckConstraint(f"{column} IN ({', '.join(repr(str(name)) for name in names)})", name=column)


def _stamps() -> tuple[sa.Column[Any], sa.Column[Any]]:
    return _moment("created_at", now=True), _moment("updated_at", now=True)


def _currencies(metadata: sa.MetaData) -> sa.Table:
    # id is the ISO 4217 number, so that a currency has the same id in every database.
    return sa.Table(
        "currencies", metadata,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        _text("code"), _text("name"), _whole("exponent", kind=sa.Integer),
        sa.UniqueConstraint("code"),
    )  # fmt: skip


def _users(metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "users", metadata, _id(), _text("email"), _text("name", server_default=""), _text("role"),
        _maybe("password_hash"), _flag("is_active", True), *_stamps(),
        sa.UniqueConstraint("email"), _one_of("role", ("admin", "viewer")),
    )  # fmt: skip


def _of_user() -> sa.Column[Any]:
    return sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id"), nullable=False)


def _signing_in(metadata: sa.MetaData) -> None:
    # Tokens are kept as hashes only; a failed try names nobody: keyed hashes of the e-mail and the network address.
    sa.Table(
        "sessions", metadata, _serial(), _of_user(), _text("token_hash"), _moment("created_at"), _moment("last_seen_at"),
        sa.UniqueConstraint("token_hash"), sa.Index(None, "user_id"),
    )  # fmt: skip
    sa.Table(
        "person_links", metadata, _serial(), _of_user(), _text("token_hash"), _moment("created_at"),
        _moment("expires_at"), sa.UniqueConstraint("token_hash"), sa.Index(None, "user_id"),
    )  # fmt: skip
    sa.Table(
        "sign_in_failures", metadata, _serial(), _text("email_hash"), _text("address_hash"), _moment("at"),
        sa.Index(None, "at"),
    )  # fmt: skip


def _audit(metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "audit_log", metadata, _serial(), _moment("at", now=True), _text("actor"), _text("action"),
        _text("subject"), _maybe("detail", Json),
        sa.Index(None, "subject"),
    )  # fmt: skip


def _environment() -> tuple[sa.Column[Any], sa.CheckConstraint]:
    return _text("environment"), _one_of("environment", states.Environment)


# ── The owner's database ──

_currencies(owner)
_users(owner)
_signing_in(owner)
_audit(owner)

sa.Table(
    "payment_providers", owner, _id(),
    _text("code"), _text("name"), _maybe("description"),
    _maybe("logo_url"), _maybe("website_url"), _maybe("documentation_url"),
    _maybe("api_base_url"), _maybe("sandbox_api_base_url"),
    # A copy of the active rows of provider_currency_support, written with them in one transaction.
    _maybe("supported_currencies", Json), _maybe("supported_payment_methods", Json), _maybe("supported_features", Json),
    _flag("requires_public_key", True), _flag("requires_secret_key", True), _flag("requires_webhook_secret", False),
    _maybe("config_schema", Json),
    _text("status", server_default="active"), _flag("is_default", False), _whole("priority", 0, sa.Integer),
    _text("integration_type", server_default="built_in"), _maybe("handler_module"),
    *_stamps(), _maybe("created_by"),
    sa.UniqueConstraint("code"),
    _one_of("status", ("active", "inactive", "deprecated", "beta")),
    _one_of("integration_type", ("built_in", "plugin", "custom")),
)  # fmt: skip

sa.Table(
    "provider_currency_support", owner, _id(),
    sa.Column("provider_id", sa.Integer, sa.ForeignKey("payment_providers.id"), nullable=False),
    _text("currency_code"), _flag("is_recommended", False),
    # Parts per million, and minor units of the currency.
    _maybe("transaction_fee_percent", sa.Integer), _maybe("transaction_fee_fixed", sa.BigInteger),
    _maybe("min_amount", sa.BigInteger), _maybe("max_amount", sa.BigInteger),
    _flag("is_active", True), *_stamps(),
    sa.UniqueConstraint("provider_id", "currency_code", name="provider_currency_unique"),
    sa.CheckConstraint("transaction_fee_percent BETWEEN 0 AND 1000000", name="fee_percent"),
    sa.CheckConstraint("transaction_fee_fixed >= 0 AND min_amount >= 0 AND max_amount >= 0", name="amounts"),
)  # fmt: skip

sa.Table(
    "clusters", owner, _id(), _text("name"), _text("sealed_url"), _flag("is_active", True), *_stamps(),
    sa.UniqueConstraint("name"),
)  # fmt: skip

sa.Table(
    "practices", owner, _id(), _text("name"),
    sa.Column("default_currency_id", sa.Integer, sa.ForeignKey("currencies.id"), nullable=False),
    _text("cluster", server_default="default"), _text("database_name"), _text("schema_version", server_default=""),
    _text("state"), _text("wrapped_data_key", server_default=""), *_stamps(),
    sa.UniqueConstraint("cluster", "database_name"),
    _one_of("state", ("provisioning", "active", "suspended")),
)  # fmt: skip

sa.Table(
    "api_keys", owner, _id(), _text("kind"), _maybe("practice_id", sa.Integer), _text("name", server_default=""),
    _text("key_hash"), _text("last4"), _maybe("scopes", Json), _moment("created_at", now=True), _maybe("revoked_at", Moment),
    sa.ForeignKeyConstraint(["practice_id"], ["practices.id"]),
    sa.UniqueConstraint("key_hash"), _one_of("kind", ("owner", "practice", "publishable")),
    sa.CheckConstraint("(kind = 'owner') = (practice_id IS NULL)", name="practice_bound"),
)  # fmt: skip

# A practice that takes payments holds a lease, so that the worker visits every practice where something can be open.
# A worker claims a practice for the time of its visit; a claim of one that died is taken over when it has ended.
sa.Table(
    "practice_leases", owner,
    sa.Column("practice_id", sa.Integer, sa.ForeignKey("practices.id"), primary_key=True, autoincrement=False),
    _moment("lease_until"), _maybe("visit_due_at", Moment), _maybe("claimed_by"), _maybe("claimed_until", Moment),
    sa.Index(None, "lease_until"), sa.Index(None, "visit_due_at"), sa.Index(None, "claimed_by"),
)  # fmt: skip

# All practices are brought to the present schema by one process at a time, which holds the one row; what it could not do.
sa.Table(
    "fleet_migration", owner,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    _text("run"), _text("started_by"), _whole("to_migrate"), _moment("started_at"), _moment("claimed_until"),
    _maybe("ended_at", Moment), sa.CheckConstraint("id = 1", name="one_row"),
)  # fmt: skip
sa.Table(
    "fleet_migration_failures", owner,
    sa.Column("practice_id", sa.Integer, sa.ForeignKey("practices.id"), primary_key=True, autoincrement=False),
    _text("code"), _text("detail"), _moment("at"),
)  # fmt: skip

# What happened in all practices, in one order; and where the platform is told.
sa.Table(
    "event_feed", owner, _serial(), _text("event_id"), _whole("practice_id", kind=sa.Integer),
    *_environment(), _text("type"), _maybe("payment_id"), _text("data"), _moment("created_at"),
    sa.UniqueConstraint("event_id"), sa.Index(None, "payment_id"),
)  # fmt: skip

sa.Table(
    "event_destinations", owner,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    _text("url"), _text("sealed_secret"), *_stamps(),
    sa.CheckConstraint("id = 1", name="one_row"),
)  # fmt: skip

sa.Table(
    "event_deliveries", owner,
    sa.Column("feed_id", Serial, sa.ForeignKey("event_feed.id"), primary_key=True, autoincrement=False),
    _maybe("payment_id"), _text("state", server_default="pending"), _whole("tries", 0, sa.Integer),
    _maybe("next_try_at", Moment), _maybe("last_status", sa.Integer), _maybe("last_error"),
    _maybe("delivered_at", Moment),
    _one_of("state", ("pending", "delivered", "given_up")), sa.Index(None, "state", "next_try_at"),
    sa.Index(None, "payment_id"),
)  # fmt: skip

# ── A practice's database ──

_currencies(practice)
_users(practice)
_signing_in(practice)
_audit(practice)


def _of_practice() -> sa.Column[Any]:
    # Redundant within one database, and kept as a check that the handle and the row agree.
    return sa.Column("practice_id", sa.Integer, sa.ForeignKey("practices.id"), nullable=False)


def _of_payment(nullable: bool = False) -> sa.Column[Any]:
    return sa.Column("payment_id", sa.Text, sa.ForeignKey("payments.id"), nullable=nullable)


def _lookups() -> tuple[sa.Column[Any], sa.Column[Any]]:
    return _maybe("next_lookup_at", Moment), _whole("lookups", 0, sa.Integer)


sa.Table(
    "identity", practice,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    _whole("practice_id", kind=sa.Integer), _moment("created_at", now=True),
    sa.CheckConstraint("id = 1", name="one_row"),
)  # fmt: skip

sa.Table(
    "practices", practice,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    _text("name"), sa.Column("default_currency_id", sa.Integer, sa.ForeignKey("currencies.id"), nullable=False),
    *_stamps(), _maybe("checkout_color"),  # #rrggbb
)  # fmt: skip

sa.Table(
    "practice_payment_providers", practice, _id(), _of_practice(),
    _text("provider_code"), _text("provider_name"),
    _flag("is_enabled", False), _flag("is_default", False),
    _maybe("public_key"), _maybe("secret_key"), _maybe("webhook_secret"),  # sealed
    _text("environment", server_default="sandbox"),
    _maybe("config", Json), _maybe("supported_currencies", Json), _whole("priority", 0, sa.Integer),
    sa.Column("configured_by", sa.Integer, sa.ForeignKey("users.id"), nullable=True),
    _maybe("last_tested_at", Moment), _maybe("last_used_at", Moment), *_stamps(),
    _whole("credential_version", 1, sa.Integer), _text("hook_token"),
    _whole("revision", 1, sa.Integer),  # counts changes, those of its defaults and kept credentials too
    _maybe("removed_at", Moment),  # deleted for the practice; kept so that money already taken can go back
    sa.UniqueConstraint("practice_id", "provider_code", name="practice_provider_unique"),
    sa.UniqueConstraint("hook_token"), _one_of("environment", states.Environment),
)  # fmt: skip

sa.Table(
    "provider_credentials", practice, _id(), _of_practice(),
    sa.Column("config_id", sa.Integer, sa.ForeignKey("practice_payment_providers.id"), nullable=False),
    *_environment(), _whole("version", kind=sa.Integer), _text("state"),
    _maybe("public_key"), _maybe("secret_key"), _maybe("webhook_secret"), _maybe("config", Json),  # sealed
    _moment("created_at", now=True), _maybe("superseded_at", Moment),
    sa.UniqueConstraint("config_id", "version"), _one_of("state", ("prepared", "superseded")),
)  # fmt: skip

sa.Table(
    "currency_defaults", practice, _of_practice(), *_environment(), _text("currency_code"),
    sa.Column("config_id", sa.Integer, sa.ForeignKey("practice_payment_providers.id"), nullable=False),
    sa.PrimaryKeyConstraint("practice_id", "environment", "currency_code"),
)  # fmt: skip

sa.Table(
    "payments", practice, sa.Column("id", sa.Text, primary_key=True), _of_practice(), *_environment(),
    _text("status"), _whole("amount"), _text("currency"), _maybe("payment_method"), _text("capture_mode"),
    _whole("amount_authorized", 0), _whole("amount_captured", 0), _whole("amount_refunded", 0),
    _whole("refund_reserved", 0),
    # Lost to disputes, and refunds that a provider made beyond what was captured: facts that are never refused.
    _whole("amount_lost", 0), _whole("excess_refunded", 0),
    _whole("version", 0),  # counts every change, for those that must not overlap
    _maybe("provider_code"), _maybe("provider_transaction_id"), _maybe("provider_response", Json),
    _maybe("provider_fee", sa.BigInteger), _maybe("provider_fee_currency"),
    _maybe("customer_email"), _maybe("customer_name"), _maybe("customer_phone"),
    _maybe("description"), _maybe("reference"), _maybe("metadata", Json), _maybe("return_url"),
    _maybe("failure_reason"), _maybe("cancel_reason"), _flag("pinned_provider", False),
    _flag("save_method", False), _maybe("saved_method_id"), _maybe("method_details", Json),
    _text("idempotency_key"), _text("request_hash"), _text("created_by"),
    _maybe("expires_at", Moment), _moment("created_at"), _moment("updated_at"),
    sa.UniqueConstraint("practice_id", "idempotency_key"),
    _one_of("status", states.PaymentStatus), _one_of("capture_mode", ("automatic", "manual")),
    sa.CheckConstraint("amount > 0", name="amount"),
    sa.CheckConstraint(
        "amount_refunded >= 0 AND refund_reserved >= 0 AND amount_lost >= 0 AND excess_refunded >= 0"
        " AND amount_refunded + refund_reserved <= amount_captured AND amount_captured <= amount_authorized",
        name="money_order",
    ),
    sa.Index(None, "environment", "created_at", "id"), sa.Index(None, "status", "expires_at"),
)  # fmt: skip

# The token is sealed; it goes when the method is removed.
sa.Table(
    "saved_methods", practice, sa.Column("id", sa.Text, primary_key=True), _of_practice(), *_environment(),
    _of_payment(), sa.Column("config_id", sa.Integer, sa.ForeignKey("practice_payment_providers.id"), nullable=False),
    _text("provider_code"), _maybe("customer_email"), _text("kind"), _maybe("brand"), _maybe("last4"),
    _maybe("expires"), _maybe("fingerprint"), _maybe("provider_customer_id"), _maybe("sealed_token"),
    _moment("created_at"), _maybe("removed_at", Moment),
    sa.UniqueConstraint("payment_id"), sa.Index(None, "customer_email"),
    sa.CheckConstraint("(sealed_token IS NULL) = (removed_at IS NOT NULL)", name="removed"),
)  # fmt: skip

sa.Table(
    "payment_attempts", practice, sa.Column("id", sa.Text, primary_key=True), _of_payment(), _of_practice(),
    *_environment(), _whole("number", kind=sa.Integer), _text("provider_code"),
    sa.Column("config_id", sa.Integer, sa.ForeignKey("practice_payment_providers.id"), nullable=False),
    _whole("credential_version", kind=sa.Integer), _text("state"), _whole("amount"), _text("currency"),
    _maybe("provider_transaction_id"), _maybe("reason"), _maybe("raw_code"), _maybe("detail"),
    _maybe("next_action"),  # sealed: it can hold a client secret
    *_lookups(), _moment("created_at"), _moment("updated_at"),
    sa.UniqueConstraint("payment_id", "number"), _one_of("state", states.AttemptState),
    sa.Index(None, "config_id", "provider_transaction_id"), sa.Index(None, "next_lookup_at"),
)  # fmt: skip

sa.Table(
    "refunds", practice, sa.Column("id", sa.Text, primary_key=True), _of_payment(), _of_practice(), *_environment(),
    _text("attempt_id"), _text("state"), _whole("amount"), _text("currency"), _maybe("reason"), _text("origin"),
    _maybe("failure_reason"), _maybe("raw_code"), _maybe("provider_refund_id"), _maybe("provider_response", Json),
    _whole("booked", 0),  # how much of it stands in payments.amount_refunded now
    _whole("booked_excess", 0),  # and how much in payments.excess_refunded
    _text("idempotency_key"), _text("request_hash"), _text("created_by"), *_lookups(),
    _moment("created_at"), _moment("updated_at"),
    sa.ForeignKeyConstraint(["attempt_id"], ["payment_attempts.id"]),
    sa.UniqueConstraint("practice_id", "idempotency_key"), sa.UniqueConstraint("payment_id", "provider_refund_id"),
    sa.CheckConstraint("amount > 0", name="amount"), _one_of("state", states.RefundState),
    _one_of("origin", ("api", "provider")), sa.Index(None, "next_lookup_at"),
)  # fmt: skip

sa.Table(
    "payment_operations", practice, sa.Column("id", sa.Text, primary_key=True), _of_payment(), _of_practice(),
    *_environment(), _text("attempt_id"), _text("kind"), _maybe("amount", sa.BigInteger), _text("state"),
    _maybe("reason"), _maybe("raw_code"), _text("idempotency_key"), _text("request_hash"), _text("created_by"),
    *_lookups(), _moment("created_at"), _moment("updated_at"),
    sa.ForeignKeyConstraint(["attempt_id"], ["payment_attempts.id"]),
    sa.UniqueConstraint("practice_id", "idempotency_key"), _one_of("kind", ("capture", "cancel")),
    _one_of("state", states.OperationState), sa.Index(None, "payment_id"), sa.Index(None, "next_lookup_at"),
)  # fmt: skip

sa.Table(
    "disputes", practice, sa.Column("id", sa.Text, primary_key=True), _of_payment(), _of_practice(), *_environment(),
    _text("provider_dispute_id"), _text("state"), _text("provider_state"), _maybe("amount", sa.BigInteger),
    _text("currency"), _flag("funds_withdrawn", False), _maybe("due_at"), _moment("created_at"), _moment("updated_at"),
    _maybe("attempt_id"),  # whose money it is about; not known of older rows
    sa.UniqueConstraint("payment_id", "provider_dispute_id"), _one_of("state", states.DisputeState),
)  # fmt: skip

sa.Table(
    "webhook_events", practice, sa.Column("id", sa.Text, primary_key=True), _of_practice(), *_environment(),
    sa.Column("config_id", sa.Integer, sa.ForeignKey("practice_payment_providers.id"), nullable=False),
    _text("provider_code"), _text("dedupe_key"), _text("event_type"), _text("state"), _maybe("reason"),
    _maybe("body", Json), _flag("must_fetch", False), _maybe("payment_id"), _whole("tries", 0, sa.Integer),
    _moment("received_at"), _maybe("applied_at", Moment),
    sa.UniqueConstraint("config_id", "environment", "dedupe_key"), _one_of("state", states.EventState),
    sa.Index(None, "state", "received_at"), sa.Index(None, "payment_id"),
)  # fmt: skip

sa.Table(
    "ledger_lines", practice, _serial(), _text("entry_id"), _of_practice(), *_environment(), _text("currency"),
    _text("account"), _whole("amount"),  # debits positive, credits negative: an entry's lines sum to zero
    _text("fact"), _of_payment(), _maybe("refund_id"), _moment("created_at"),
    sa.Index(None, "payment_id"), sa.Index(None, "environment", "currency", "account"),
)  # fmt: skip

sa.Table(
    "operator_cases", practice, sa.Column("id", sa.Text, primary_key=True), _of_practice(), *_environment(),
    _text("kind"), _text("subject"), _maybe("payment_id"), _text("state", server_default="open"), _maybe("detail", Json),
    _moment("created_at"), _maybe("resolved_at", Moment), _maybe("resolved_by"),
    sa.UniqueConstraint("kind", "subject"), _one_of("state", ("open", "resolved")),
    sa.Index(None, "state", "created_at"),
)  # fmt: skip

sa.Table(
    "listing_cursors", practice,
    sa.Column("config_id", sa.Integer, sa.ForeignKey("practice_payment_providers.id"), primary_key=True, autoincrement=False),
    _text("environment", primary_key=True), _one_of("environment", states.Environment), _moment("compared_until"),
)  # fmt: skip

# What the platform is to be told, written in the transaction that makes it true; forwarded to the owner's feed.
sa.Table(
    "events", practice, _serial(), _text("event_id"), _of_practice(), *_environment(), _text("type"),
    _maybe("payment_id"), _text("data"), _moment("created_at"), _maybe("forwarded_at", Moment),
    sa.UniqueConstraint("event_id"), sa.Index(None, "forwarded_at", "id"),
)  # fmt: skip

sa.Table(
    "payment_links", practice, sa.Column("id", sa.Text, primary_key=True), _of_practice(), *_environment(),
    _whole("amount"), _text("currency"), _text("description"), _maybe("reference"), _flag("single_use", True),
    _text("state", server_default="open"), _moment("expires_at"), _text("created_by"), _moment("created_at"),
    _moment("updated_at"),
    _one_of("state", ("open", "closed")), sa.CheckConstraint("amount > 0", name="amount"),
)  # fmt: skip

sa.Table(
    "payment_link_payments", practice,
    sa.Column("payment_id", sa.Text, sa.ForeignKey("payments.id"), primary_key=True),
    sa.Column("link_id", sa.Text, sa.ForeignKey("payment_links.id"), nullable=False), _moment("created_at"),
    sa.Index(None, "link_id", "created_at"),
)  # fmt: skip
