"""The first schema of the owner database, with the currencies of ISO 4217."""

from __future__ import annotations

from polytill.storage.migrations import sql

revision = "owner_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    sql.run(__file__)
