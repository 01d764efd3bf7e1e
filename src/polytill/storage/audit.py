"""The audit log: who did what. Append only, written in the transaction that it reports. It never contains a secret."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.storage.columns import Condition
from polytill.storage.databases import OwnerDb, PracticeDb, Writes
from polytill.storage.units import json_text, json_value, moment


def append(
    unit: Writes, now: datetime, actor: str, action: AuditAction, subject: str, detail: dict[str, Any] | None = None
) -> None:
    """Add one entry: ``actor`` did ``action`` to ``subject``."""
    unit.add(
        "INSERT INTO audit_log (at, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5)",
        now,
        actor,
        action.value,
        subject,
        json_text(detail),
    )


async def count(db: OwnerDb | PracticeDb, subject: str) -> int:
    """The number of entries about a subject."""
    return int(await db.value("SELECT count(*) FROM audit_log WHERE subject = $1", subject))


async def details(db: PracticeDb, subject: str, action: AuditAction) -> list[dict[str, Any]]:
    """The details of the entries of one action about a subject, oldest first."""
    rows = await db.fetch(
        "SELECT detail FROM audit_log WHERE subject = $1 AND action = $2 ORDER BY id", subject, action.value
    )
    return [json_value(row["detail"]) or {} for row in rows]


async def listed(
    db: OwnerDb | PracticeDb, subject: str | None = None, before_id: int | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """Entries, newest first."""
    where = Condition()
    where.compare("id <", before_id or None)
    where.compare("subject =", subject)
    rows = await db.fetch(
        f"SELECT id, at, actor, action, subject, detail FROM audit_log WHERE {where}"  # noqa: S608
        f" ORDER BY id DESC LIMIT {where.add(limit)}",
        *where.args,
    )
    return [{**dict(row), "at": moment(row["at"]), "detail": json_value(row["detail"])} for row in rows]
