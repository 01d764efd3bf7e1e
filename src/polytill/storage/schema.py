"""The tables of both databases, as SQLAlchemy metadata. The result of the two Alembic trees must equal it.

Used for migrations and in tests, never on a request path. Names are those of the founding document. Money is a BIGINT
of minor units, percentages are integers in parts per million, times are UTC.
"""

from __future__ import annotations

from polytill.storage import schema_erasures as schema_erasures
from polytill.storage import schema_retention as schema_retention
from polytill.storage import schema_routing as schema_routing
from polytill.storage.schema_owner import owner as owner
from polytill.storage.schema_practice import practice as practice
