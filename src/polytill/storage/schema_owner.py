"""The tables of the owner's database: catalog, directory of practices, staff, keys, leases and the event feed."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from polytill.domain.behind import BehindReason
from polytill.domain.states import (
    ApiKeyKind,
    ClusterState,
    DeliveryState,
    IntegrationType,
    PracticeState,
    ProviderStatus,
)
from polytill.storage.schema_columns import (
    NAMING,
    Json,
    Moment,
    Serial,
    add_shared_tables,
    check,
    environment,
    flag,
    given_id,
    id_column,
    index,
    locality,
    maybe,
    moment,
    of,
    one_of,
    only_row,
    partial_index,
    serial_id,
    small,
    stamps,
    text,
    unique,
    whole,
)
from polytill.storage.schema_jobs import add_job_tables
from polytill.storage.schema_rollout import add_rollout_tables

owner = sa.MetaData(naming_convention=NAMING)
add_shared_tables(owner)


def _table(name: str, *parts: Any) -> None:
    sa.Table(name, owner, *parts)


def _pending_index(*columns: str) -> sa.Index:
    # Pending event deliveries are few of all.
    return partial_index(f"ix_event_deliveries_pending_{'_'.join(columns)}", "state = 'pending'", *columns)


_table(
    "payment_providers",
    id_column(),
    *text("code", "name"),
    *maybe("description", "logo_url", "website_url", "documentation_url", "api_base_url", "sandbox_api_base_url"),
    # ``supported_currencies`` is a copy of the active rows of provider_currency_support, written with them in one
    # transaction.
    *maybe("supported_currencies", "supported_payment_methods", "supported_features", "config_schema", kind=Json),
    flag("requires_public_key", True),
    flag("requires_secret_key", True),
    flag("requires_webhook_secret"),
    *text("status", default="active"),
    flag("is_default"),
    *small("priority", default=0),
    *text("integration_type", default="built_in"),
    *maybe("handler_module", "created_by"),
    *stamps(),
    unique("code"),
    one_of("status", ProviderStatus),
    one_of("integration_type", IntegrationType),
)

_table(
    "provider_currency_support",
    id_column(),
    of("provider_id", "payment_providers"),
    *text("currency_code"),
    flag("is_recommended"),
    *maybe("transaction_fee_percent", kind=sa.Integer),  # parts per million
    *maybe("transaction_fee_fixed", "min_amount", "max_amount", kind=sa.BigInteger),  # minor units of the currency
    flag("is_active", True),
    *stamps(),
    unique("provider_id", "currency_code", name="provider_currency_unique"),
    check("fee_percent", "transaction_fee_percent BETWEEN 0 AND 1000000"),
    check("amounts", "transaction_fee_fixed >= 0 AND min_amount >= 0 AND max_amount >= 0"),
)

# Where practices are placed. The address of the default cluster is a setting, so its row has none. ``capacity``: of
# practices; ``connection_limit``: of one process. Without a value, the one has no limit, and the other that of the settings.
_table(
    "clusters",
    id_column(),
    *text("name"),
    *maybe("sealed_url"),
    *text("state", default="open"),
    *maybe("capacity", "connection_limit", kind=sa.Integer),
    *small("priority", default=0),
    *stamps(),
    unique("name"),
    one_of("state", ClusterState),
    check("address", "(name = 'default') = (sealed_url IS NULL)"),
    check("limits", "capacity >= 1 AND connection_limit >= 2"),
)

_table(
    "practices",
    id_column(),
    *text("name"),
    of("default_currency_id", "currencies"),
    *text("cluster", default="default"),
    *text("database_name", "state"),
    *text("schema_version", "wrapped_data_key", default=""),
    *stamps(),
    *locality(),
    *maybe("external_id"),
    # What its database must have: the same epoch, the last event that was forwarded, and the newest payment that was
    # recorded (``storage/anchors.py``).
    *text("epoch", default=""),
    *whole("mark_position", default=0),
    *maybe("mark_event_id", "mark_payment_id", "behind"),
    # The end of its life (``storage/practice_life.py``). ``run_out_ended_at``: since when no worker visits it. The last
    # two are left of a deleted practice.
    *maybe("closed_at", "runs_out_at", "run_out_ended_at", "deleted_at", kind=Moment),
    *maybe("deleted_by", "external_id_hash"),
    unique("cluster", "database_name"),
    index("external_id", unique=True),
    one_of("state", PracticeState),
    one_of("behind", BehindReason),
)

_table(
    "api_keys",
    id_column(),
    *text("kind", "key_hash", "last4"),
    of("practice_id", "practices", nullable=True),
    *text("name", default=""),
    *maybe("scopes", kind=Json),
    *moment("created_at", now=True),
    *maybe("revoked_at", kind=Moment),
    unique("key_hash"),
    one_of("kind", ApiKeyKind),
    check("practice_bound", "(kind = 'owner') = (practice_id IS NULL)"),
)

# A practice that takes payments has a lease, so that the worker visits every practice that may have open work. A worker
# claims a practice for the time of its visit. The claim of a crashed worker expires and is taken over.
_table(
    "practice_leases",
    given_id("practice_id", sa.Integer, "practices"),
    *moment("lease_until"),
    *maybe("claimed_by"),
    *maybe("visit_due_at", "claimed_until", kind=Moment),
    *small("relays_waiting", default=0),
    *maybe("oldest_relay_at", kind=Moment),
    index("lease_until"),
    index("visit_due_at"),
    index("claimed_by"),
)

# The last good backup of each practice.
_table(
    "practice_backups",
    sa.Column(
        "practice_id",
        sa.Integer,
        sa.ForeignKey("practices.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    *text("name", "place"),
    *whole("size", "row_count"),
    *moment("made_at"),
    flag("is_restored", None),
    index("made_at"),
)

# Copies of practices' databases that are or were moved. ``moved_at``: since when the copy is in use; the database of before
# is kept as ``kept`` until somebody confirms.
_table(
    "practice_moves",
    given_id("to_database"),
    sa.Column("practice_id", sa.Integer, sa.ForeignKey("practices.id", ondelete="CASCADE"), nullable=False),
    *text("to_cluster", "from_cluster", "kept"),
    *moment("started_at"),
    *maybe("moved_at", kind=Moment),
    *maybe("refused_ms", kind=sa.Integer),
    index("practice_id"),
)

# The keys that every node's key ring must have: a keyed check value of each key that wraps something. It does not
# reveal the key.
_table("key_ring_keys", given_id("key_id"), *text("check_value"), *moment("created_at"))
# The running processes, each with the keys that it has. The row of a crashed process expires.
# What each process may have of a server's connections (``storage/connection_shares.py``).
_table(
    "connection_shares",
    *text("server", "node_id"),
    *small("connections", "wanted", "most"),
    sa.PrimaryKeyConstraint("server", "node_id"),
)

_table("nodes", given_id(), *text("name", "key_checks"), flag("runs_worker", None), *moment("started_at", "live_until"))
# The oldest revision of each tree whose version of polytill may still use the databases as they are now.
_table("schema_readers", given_id("tree"), *text("oldest"))

# The installation: a text that only its databases have, its name, where this database was created or adopted, since when it
# is known to be older than what the practices' databases know, the highest id that a practice ever got, and whether its
# production credentials were destroyed. The migration inserts the only row.
_table(
    "installation",
    *only_row(),
    *text("uid", "name", default=""),
    *maybe("place"),
    *maybe("older_since", kind=Moment),
    *small("last_practice_id", default=0),
    flag("is_sandbox_only"),
)

# The events of all practices in one order, and the destination for the platform.
_table(
    "event_feed",
    serial_id(),
    *small("practice_id"),
    *environment(),
    *text("event_id", "type", "data"),
    *maybe("payment_id"),
    *moment("created_at"),
    unique("event_id"),
    index("payment_id"),
)

# The position of the newest event in the feed, and where the database was when its numbering began
# (``storage/events.py``). The migration inserts the only row.
_table("feed_state", *only_row(), *whole("position", default=0), *text("visit", default=""))

# Of each recent payment what brings it back if its practice's database is restored from an older copy: sealed with the
# practice's data key, and without data about a person.
_table(
    "payment_records",
    given_id("payment_id"),
    *small("practice_id"),
    *text("sealed"),
    *moment("recorded_at"),
    index("practice_id", "recorded_at"),
)

_table("event_destinations", *only_row(), *text("url", "sealed_secret"), *stamps())

# Replaced secrets, which sign as well for a while, so that the host can change over.
_table("event_previous_secrets", serial_id(), *text("sealed_secret"), *moment("signs_until"))

_table(
    "event_deliveries",
    given_id("feed_id", Serial, "event_feed"),
    *text("state", default="pending"),
    *small("practice_id", "tries", default=0),
    *maybe("payment_id", "last_error", "claimed_by"),
    *maybe("last_status", kind=sa.Integer),
    *maybe("next_try_at", "delivered_at", "abandoned_at", "resolved_at", "claimed_until", kind=Moment),
    one_of("state", DeliveryState),
    index("state", "next_try_at"),
    index("payment_id"),
    index("claimed_by"),
    _pending_index("practice_id", "next_try_at"),
    _pending_index("payment_id", "feed_id"),
)

add_job_tables(owner)
add_rollout_tables(owner)
