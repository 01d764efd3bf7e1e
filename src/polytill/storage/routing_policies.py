"""A practice's routing policies: versions for each environment, and which of them routes payments.

Version 0 is the default order, without a policy. A draft can be edited; a version that was published never changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from polytill.domain.routing_policies import PolicyState
from polytill.domain.states import Environment
from polytill.storage.columns import Table
from polytill.storage.databases import PracticeDb, Writes

NO_POLICY = 0


@dataclass(slots=True)
class PolicyVersion:
    """One version of the policy of an environment. ``content`` is its text, as a person wrote it."""

    practice_id: int
    environment: Environment
    version: int
    content: str
    note: str
    created_by: str
    changed_by: str
    created_at: datetime
    changed_at: datetime
    edits: int = 0
    published_by: str | None = None
    published_at: datetime | None = None

    def state(self, active: int) -> PolicyState:
        """Its state, if ``active`` is the version that routes payments."""
        if self.version == active:
            return PolicyState.active
        return PolicyState.draft if self.published_at is None else PolicyState.retired


_VERSIONS = Table("routing_policies", PolicyVersion)


@dataclass(frozen=True, slots=True)
class ActiveVersion:
    """The version that routes the payments of an environment, and its text."""

    version: int
    content: str


async def active(db: PracticeDb) -> dict[Environment, ActiveVersion]:
    """The active versions. An environment without a policy is missing."""
    rows = await db.fetch(
        "SELECT a.environment, a.version, p.content FROM routing_active a JOIN routing_policies p"
        " ON p.environment = a.environment AND p.version = a.version"
    )
    return {Environment(row["environment"]): ActiveVersion(row["version"], row["content"]) for row in rows}


async def active_version(db: PracticeDb, environment: Environment) -> int:
    """The number of the active version; 0 without a policy."""
    return int(await db.value("SELECT version FROM routing_active WHERE environment = $1", environment) or NO_POLICY)


async def versions(db: PracticeDb, environment: Environment, limit: int = 100) -> list[PolicyVersion]:
    """The newest versions of an environment, newest first."""
    return await _VERSIONS.all(db, "WHERE environment = $1 ORDER BY version DESC LIMIT $2", environment, limit)


async def version(db: PracticeDb, environment: Environment, number: int) -> PolicyVersion | None:
    """One version; None if there is none with this number."""
    return await _VERSIONS.one(db, "WHERE environment = $1 AND version = $2", environment, number)


async def newest(db: PracticeDb, environment: Environment) -> int:
    """The highest number in use; 0 if there is no version."""
    return int(await db.value("SELECT MAX(version) FROM routing_policies WHERE environment = $1", environment) or 0)


def insert(unit: Writes, new: PolicyVersion) -> None:
    """Add a draft. ``Duplicate`` if another one got this number first."""
    _VERSIONS.insert(unit, new)


def edit(unit: Writes, draft: PolicyVersion, content: str, note: str, by: str, now: datetime) -> None:
    """Change a draft. ``Stale`` if somebody else changed or published it since it was read."""
    unit.add(
        "UPDATE routing_policies SET content = $4, note = $5, changed_by = $6, changed_at = $7, edits = edits + 1"
        " WHERE environment = $1 AND version = $2 AND edits = $3 AND published_at IS NULL",
        draft.environment,
        draft.version,
        draft.edits,
        content,
        note,
        by,
        now,
        expect=1,
    )


def mark_published(unit: Writes, draft: PolicyVersion, by: str, now: datetime) -> None:
    """Record the first publication. ``Stale`` if the draft is no longer the one that was read."""
    unit.add(
        "UPDATE routing_policies SET published_by = $4, published_at = $5"
        " WHERE environment = $1 AND version = $2 AND edits = $3 AND published_at IS NULL",
        draft.environment,
        draft.version,
        draft.edits,
        by,
        now,
        expect=1,
    )


@dataclass(frozen=True, slots=True)
class Switch:
    """A change of the active version of an environment."""

    environment: Environment
    version: int
    instead_of: int  # the version that was active when this was decided


def activate(unit: Writes, practice_id: int, switch: Switch, by: str, now: datetime) -> None:
    """Let another version route payments. ``Stale`` if the active one has changed since it was read."""
    unit.add(
        "INSERT INTO routing_active (environment, practice_id, version, changed_by, changed_at)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (environment) DO UPDATE SET version = excluded.version,"
        " changed_by = excluded.changed_by, changed_at = excluded.changed_at WHERE routing_active.version = $6",
        switch.environment,
        practice_id,
        switch.version,
        by,
        now,
        switch.instead_of,
        expect=1,
    )
