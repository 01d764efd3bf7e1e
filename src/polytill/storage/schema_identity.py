"""The tables of a practice's database that say whose it is, and what the owner database must know."""

from __future__ import annotations

import sqlalchemy as sa

from polytill.storage.schema_columns import given_id, maybe, moment, only_row, small, text


def add_identity_tables(metadata: sa.MetaData) -> None:
    """The identity of the database, and the API keys that were revoked."""
    sa.Table(  # ``storage/anchors.py``
        "identity",
        metadata,
        *only_row(),
        *small("practice_id"),
        *text("epoch"),
        *text("installation", default=""),
        *maybe("birthplace"),
        *moment("created_at", now=True),
    )
    # By their hashes: a restored owner database does not know of the last ones.
    sa.Table("revoked_keys", metadata, given_id("key_hash"), *moment("revoked_at"))
