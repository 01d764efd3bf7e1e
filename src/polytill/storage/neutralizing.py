"""Destroys what a copy of an installation must not have: production credentials, and everything that leads outside."""

from __future__ import annotations

from datetime import datetime

from polytill.storage import staff
from polytill.storage.databases import Tx

# Whatever a practice's database has of production that opens an account or charges a card again.
_PRACTICE = (
    "DELETE FROM provider_credentials WHERE environment = 'production'",
    "UPDATE practice_payment_providers SET public_key = NULL, secret_key = NULL, webhook_secret = NULL, config = NULL,"
    " environment = 'sandbox', is_enabled = FALSE, is_default = FALSE, removed_at = $1, revision = revision + 1"
    " WHERE environment = 'production'",
    "DELETE FROM currency_defaults WHERE environment = 'production'",
    "UPDATE saved_methods SET sealed_token = NULL, removed_at = $1 WHERE environment = 'production' AND removed_at IS NULL",
    "DELETE FROM saved_method_detachments WHERE environment = 'production'",
    "UPDATE practice_payment_providers SET relay_urls = NULL, revision = revision + 1 WHERE relay_urls IS NOT NULL",
    "UPDATE webhook_relays SET state = 'turned_off', sealed_request = NULL, next_try_at = NULL, ended_at = $1"
    " WHERE state = 'waiting'",
    # Nobody waits for the outcome of a copied payment.
    "UPDATE payment_attempts SET next_lookup_at = NULL WHERE environment = 'production'",
    "UPDATE refunds SET next_lookup_at = NULL WHERE environment = 'production'",
    "UPDATE payment_operations SET next_lookup_at = NULL WHERE environment = 'production'",
)


def practice(tx: Tx, now: datetime) -> None:
    """Destroy them in a practice's database, and end all access of its staff."""
    for sql in _PRACTICE:
        tx.add(sql, *([now] if "$1" in sql else []))
    staff.end_all_access(tx, now)


def owner(tx: Tx, now: datetime) -> None:
    """Destroy them in the owner database: the event destination, every API key, and all access of its staff."""
    for table in ("event_destinations", "event_previous_secrets", "event_deliveries WHERE state = 'pending'"):
        tx.add(f"DELETE FROM {table}")  # noqa: S608
    tx.add("UPDATE api_keys SET revoked_at = $1 WHERE revoked_at IS NULL", now)
    tx.add("DELETE FROM payment_records")
    staff.end_all_access(tx, now)
