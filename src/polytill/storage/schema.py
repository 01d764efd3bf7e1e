"""The tables of both databases, as SQLAlchemy metadata: the truth that the two Alembic trees must arrive at.

Used when migrating and in tests, never on a request path. Names are the seed's. Money is a BIGINT of minor units,
percentages are integers in parts per million, moments are UTC.
"""

from __future__ import annotations

from polytill.storage.schema_owner import owner as owner
from polytill.storage.schema_practice import practice as practice
