"""The review cases of one practice: what only a person can decide, with the evidence. ``open_case`` opens them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.review_cases import CaseKind, CaseResolution, CaseState
from polytill.domain.states import Environment
from polytill.storage.columns import Condition, Table
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.reading import readable
from polytill.storage.units import json_text


@dataclass(slots=True)
class OperatorCase:
    """One case. ``detail`` is the evidence and, after the case ended, its resolution."""

    id: str
    practice_id: int
    environment: Environment
    kind: CaseKind
    subject: str
    payment_id: str | None
    state: CaseState
    detail: dict[str, Any]
    created_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None


_CASES = Table("operator_cases", OperatorCase)
_RESOLVED = (
    "UPDATE operator_cases SET state = 'resolved', detail = $2, resolved_at = $3, resolved_by = $4"
    " WHERE id = $1 AND state = 'open'"
)


async def by_id(db: PracticeDb, case_id: str) -> OperatorCase | None:
    """One case."""
    return await _CASES.one(db, "WHERE id = $1", case_id)


async def listed(
    db: PracticeDb,
    state: CaseState | None = CaseState.open,
    kind: CaseKind | None = None,
    before: str | None = None,
    limit: int = 50,
    subject: str | None = None,
) -> list[OperatorCase]:
    """Cases, newest first (ids are ordered by time)."""
    where = Condition()
    for comparison, value in (("id <", before or None), ("state =", state), ("kind =", kind), ("subject =", subject)):
        where.compare(comparison, value)
    rows = await db.fetch(
        f"SELECT {_CASES.columns} FROM operator_cases WHERE {where} ORDER BY id DESC LIMIT {where.add(limit)}",  # noqa: S608
        *where.args,
    )
    return readable(rows, _CASES.read)


def resolve(unit: Writes, case: OperatorCase, resolution: dict[str, Any], by: str, now: datetime) -> None:
    """End an open case. ``Stale`` if another writer ended it first."""
    unit.add(_RESOLVED, case.id, json_text({**case.detail, "resolution": resolution}), now, by, expect=1)


def close(unit: Writes, case: OperatorCase, resolution: dict[str, Any], by: str, now: datetime) -> None:
    """End a case that later facts have settled. If a person ended it first, their resolution stays."""
    unit.add(_RESOLVED, case.id, json_text({**case.detail, "resolution": resolution}), now, by)


def update(unit: Writes, case: OperatorCase, detail: dict[str, Any]) -> None:
    """Write the current evidence into an open case."""
    unit.add(
        "UPDATE operator_cases SET detail = $2 WHERE id = $1 AND state = 'open'",
        case.id,
        json_text({**case.detail, **detail}),
    )


def reopen(unit: Writes, case: OperatorCase, seen: dict[str, Any] | None = None) -> None:
    """Open an ended case again, because the facts that ended it were reversed or have changed (``seen``). Its earlier
    resolution stays in its detail."""
    detail = {name: value for name, value in case.detail.items() if name != "resolution"} | (seen or {})
    detail["ended_before"] = case.detail["resolution"]
    unit.add(
        "UPDATE operator_cases SET state = 'open', detail = $2, resolved_at = NULL, resolved_by = NULL"
        " WHERE id = $1 AND state = 'resolved'",
        case.id,
        json_text(detail),
    )


async def same_accounts(db: PracticeDb) -> list[dict[str, int]]:
    """The sets of keys that staff confirmed as one account's: ``config``, ``made_with`` and ``same_as`` (versions)."""
    found = []
    for case in await listed(db, CaseState.resolved, CaseKind.other_account, limit=1000):
        resolution = case.detail["resolution"]
        if resolution["action"] == CaseResolution.same_account:
            found.append({name: resolution[name] for name in ("config", "made_with", "same_as")})
    return found


@dataclass(frozen=True, slots=True)
class NewCase:
    """A review case to open. ``subject``: what it is about, such as the id of an attempt; unique with ``kind``."""

    kind: CaseKind
    subject: str
    payment_id: str | None
    detail: dict[str, Any]


def open_case(
    unit: Writes, case_id: str, practice_id: int, environment: Environment, case: NewCase, now: datetime
) -> None:
    """Open a review case, once for each kind and subject."""
    unit.add(
        "INSERT INTO operator_cases (id, practice_id, environment, kind, subject, payment_id, detail, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (kind, subject) DO NOTHING",
        case_id,
        practice_id,
        environment,
        case.kind,
        case.subject,
        case.payment_id,
        json_text(case.detail),
        now,
    )
