"""The tables of the owner's database: catalog, directory of practices, staff, keys, leases and the event feed."""

from __future__ import annotations

import sqlalchemy as sa

from polytill.domain.states import ApiKeyKind, DeliveryState, IntegrationType, PracticeState, ProviderStatus
from polytill.storage.schema_columns import (
    NAMING,
    Json,
    Moment,
    Serial,
    audit,
    currencies,
    environment,
    flag,
    id_column,
    locality,
    maybe,
    moment,
    one_of,
    serial_id,
    signing_in,
    stamps,
    text,
    users,
    whole,
)


def pending_index(*columns: str) -> sa.Index:
    """An index of pending event deliveries, which are few of all."""
    pending = sa.text("state = 'pending'")
    name = f"ix_event_deliveries_pending_{'_'.join(columns)}"
    return sa.Index(name, *columns, postgresql_where=pending, sqlite_where=pending)


owner = sa.MetaData(naming_convention=NAMING)

currencies(owner)
users(owner)
signing_in(owner)
audit(owner)

sa.Table(
    "payment_providers", owner, id_column(),
    text("code"), text("name"), maybe("description"),
    maybe("logo_url"), maybe("website_url"), maybe("documentation_url"),
    maybe("api_base_url"), maybe("sandbox_api_base_url"),
    # A copy of the active rows of provider_currency_support, written with them in one transaction.
    maybe("supported_currencies", Json), maybe("supported_payment_methods", Json), maybe("supported_features", Json),
    flag("requires_public_key", True), flag("requires_secret_key", True), flag("requires_webhook_secret", False),
    maybe("config_schema", Json),
    text("status", server_default="active"), flag("is_default", False), whole("priority", 0, sa.Integer),
    text("integration_type", server_default="built_in"), maybe("handler_module"),
    *stamps(), maybe("created_by"),
    sa.UniqueConstraint("code"),
    one_of("status", ProviderStatus),
    one_of("integration_type", IntegrationType),
)  # fmt: skip

sa.Table(
    "provider_currency_support",
    owner,
    id_column(),
    sa.Column("provider_id", sa.Integer, sa.ForeignKey("payment_providers.id"), nullable=False),
    text("currency_code"),
    flag("is_recommended", False),
    # Parts per million, and minor units of the currency.
    maybe("transaction_fee_percent", sa.Integer),
    maybe("transaction_fee_fixed", sa.BigInteger),
    maybe("min_amount", sa.BigInteger),
    maybe("max_amount", sa.BigInteger),
    flag("is_active", True),
    *stamps(),
    sa.UniqueConstraint("provider_id", "currency_code", name="provider_currency_unique"),
    sa.CheckConstraint("transaction_fee_percent BETWEEN 0 AND 1000000", name="fee_percent"),
    sa.CheckConstraint("transaction_fee_fixed >= 0 AND min_amount >= 0 AND max_amount >= 0", name="amounts"),
)

sa.Table(
    "clusters",
    owner,
    id_column(),
    text("name"),
    text("sealed_url"),
    flag("is_active", True),
    *stamps(),
    sa.UniqueConstraint("name"),
)

sa.Table(
    "practices",
    owner,
    id_column(),
    text("name"),
    sa.Column("default_currency_id", sa.Integer, sa.ForeignKey("currencies.id"), nullable=False),
    text("cluster", server_default="default"),
    text("database_name"),
    text("schema_version", server_default=""),
    text("state"),
    text("wrapped_data_key", server_default=""),
    *stamps(),
    *locality(),
    maybe("external_id"),
    sa.UniqueConstraint("cluster", "database_name"),
    sa.Index(None, "external_id", unique=True),
    one_of("state", PracticeState),
)

sa.Table(
    "api_keys",
    owner,
    id_column(),
    text("kind"),
    maybe("practice_id", sa.Integer),
    text("name", server_default=""),
    text("key_hash"),
    text("last4"),
    maybe("scopes", Json),
    moment("created_at", now=True),
    maybe("revoked_at", Moment),
    sa.ForeignKeyConstraint(["practice_id"], ["practices.id"]),
    sa.UniqueConstraint("key_hash"),
    one_of("kind", ApiKeyKind),
    sa.CheckConstraint("(kind = 'owner') = (practice_id IS NULL)", name="practice_bound"),
)

# A practice that takes payments has a lease, so that the worker visits every practice that may have open work. A worker
# claims a practice for the time of its visit. The claim of a crashed worker expires and is taken over.
sa.Table(
    "practice_leases",
    owner,
    sa.Column("practice_id", sa.Integer, sa.ForeignKey("practices.id"), primary_key=True, autoincrement=False),
    moment("lease_until"),
    maybe("visit_due_at", Moment),
    maybe("claimed_by"),
    maybe("claimed_until", Moment),
    sa.Index(None, "lease_until"),
    sa.Index(None, "visit_due_at"),
    sa.Index(None, "claimed_by"),
)

# One process at a time migrates all practices. It holds the one row; the other rows are its failures.
sa.Table(
    "fleet_migration",
    owner,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    text("run"),
    text("started_by"),
    whole("to_migrate"),
    moment("started_at"),
    moment("claimed_until"),
    maybe("ended_at", Moment),
    sa.CheckConstraint("id = 1", name="one_row"),
)
sa.Table(
    "fleet_migration_failures",
    owner,
    sa.Column("practice_id", sa.Integer, sa.ForeignKey("practices.id"), primary_key=True, autoincrement=False),
    text("code"),
    text("detail"),
    moment("at"),
)

# The keys that every node's key ring must have: a keyed check value of each key that wraps something. It does not
# reveal the key.
sa.Table(
    "key_ring_keys", owner, sa.Column("key_id", sa.Text, primary_key=True), text("check_value"), moment("created_at")
)
# The running processes, each with the keys that it has. The row of a crashed process expires.
sa.Table(
    "nodes",
    owner,
    sa.Column("id", sa.Text, primary_key=True),
    text("name"),
    sa.Column("runs_worker", sa.Boolean, nullable=False),
    text("key_checks"),
    moment("started_at"),
    moment("live_until"),
)
# The oldest revision of each tree whose version of polytill may still use the databases as they are now.
sa.Table("schema_readers", owner, sa.Column("tree", sa.Text, primary_key=True), text("oldest"))

# The events of all practices in one order, and the destination for the platform.
sa.Table(
    "event_feed",
    owner,
    serial_id(),
    text("event_id"),
    whole("practice_id", kind=sa.Integer),
    *environment(),
    text("type"),
    maybe("payment_id"),
    text("data"),
    moment("created_at"),
    sa.UniqueConstraint("event_id"),
    sa.Index(None, "payment_id"),
)

sa.Table(
    "event_destinations",
    owner,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    text("url"),
    text("sealed_secret"),
    *stamps(),
    sa.CheckConstraint("id = 1", name="one_row"),
)

# Replaced secrets, which sign as well for a while, so that the host can change over.
sa.Table("event_previous_secrets", owner, serial_id(), text("sealed_secret"), moment("signs_until"))

sa.Table(
    "event_deliveries",
    owner,
    sa.Column("feed_id", Serial, sa.ForeignKey("event_feed.id"), primary_key=True, autoincrement=False),
    whole("practice_id", 0, sa.Integer),
    maybe("payment_id"),
    text("state", server_default="pending"),
    whole("tries", 0, sa.Integer),
    maybe("next_try_at", Moment),
    maybe("last_status", sa.Integer),
    maybe("last_error"),
    maybe("delivered_at", Moment),
    maybe("abandoned_at", Moment),
    maybe("resolved_at", Moment),
    maybe("claimed_by"),
    maybe("claimed_until", Moment),
    one_of("state", DeliveryState),
    sa.Index(None, "state", "next_try_at"),
    sa.Index(None, "payment_id"),
    sa.Index(None, "claimed_by"),
    pending_index("practice_id", "next_try_at"),
    pending_index("payment_id", "feed_id"),
)
