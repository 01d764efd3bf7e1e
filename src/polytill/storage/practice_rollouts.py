"""The phase of each practice in a rollout, and what is known of its field, in the owner's database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from polytill.domain.rollout import FieldState, RolloutPhase
from polytill.storage.columns import Condition, Reader
from polytill.storage.databases import OwnerDb, Writes


@dataclass(frozen=True, slots=True)
class Rollout:
    """A practice's place in a rollout. ``phase`` None: it is not in one."""

    practice_id: int
    name: str
    external_id: str | None
    phase: RolloutPhase | None
    moving_to: RolloutPhase | None
    moving_since: datetime | None
    field_state: FieldState
    field_hash: str | None
    writing_hash: str | None
    writing_until: datetime | None
    field_detail: str | None
    compared_with: str | None
    field_due: int
    tries: int
    next_try_at: datetime | None
    checked_at: datetime | None
    agreements: int
    moved_at: datetime | None


_OF_PRACTICE = (
    "SELECT p.id AS practice_id, p.name, p.external_id, r.phase, r.moving_to, r.moving_since,"
    " COALESCE(r.field_state, 'unknown') AS field_state, r.field_hash, r.writing_hash, r.writing_until,"
    " r.field_detail, r.compared_with,"
    " COALESCE(r.field_due, 0) AS field_due, COALESCE(r.tries, 0) AS tries, r.next_try_at, r.checked_at,"
    " COALESCE(r.agreements, 0) AS agreements, r.moved_at"
)
_ALL = Reader(Rollout, f"{_OF_PRACTICE} FROM practices p LEFT JOIN practice_rollouts r ON r.practice_id = p.id")
_IN_ROLLOUT = Reader(Rollout, f"{_OF_PRACTICE} FROM practice_rollouts r JOIN practices p ON p.id = r.practice_id")


async def of_practice(owner: OwnerDb, practice_id: int) -> Rollout | None:
    """One practice's rollout, also if it is not in one. None if there is no such practice."""
    return await _ALL.one(owner, "WHERE p.id = $1 AND p.state NOT IN ('provisioning', 'deleted')", practice_id)


async def everyone(owner: OwnerDb) -> list[Rollout]:
    """Every practice, by id, whether it is in a rollout or not."""
    return await _ALL.all(owner, "WHERE p.state NOT IN ('provisioning', 'deleted') ORDER BY p.id")


async def listed(
    owner: OwnerDb,
    phase: RolloutPhase | None = None,
    field_state: FieldState | None = None,
    after_id: int = 0,
    limit: int = 100,
) -> list[Rollout]:
    """The practices in a rollout, by id, after ``after_id``."""
    where = Condition()
    where.compare("r.practice_id >", after_id)
    where.compare("r.phase =", phase)
    where.compare("r.field_state =", field_state)
    return await _IN_ROLLOUT.all(owner, f"WHERE {where} ORDER BY r.practice_id LIMIT {where.add(limit)}", *where.args)


async def due(owner: OwnerDb, now: datetime, limit: int) -> list[Rollout]:
    """The practices whose field has to get our changes now, the longest due first."""
    return await _IN_ROLLOUT.all(
        owner,
        "WHERE r.field_state = 'pending' AND (r.next_try_at IS NULL OR r.next_try_at <= $1)"
        " ORDER BY r.next_try_at, r.practice_id LIMIT $2",
        now,
        limit,
    )


async def half_moved(owner: OwnerDb, before: datetime, limit: int = 100) -> list[Rollout]:
    """The practices with a step that began before a time and did not end: its process is gone."""
    return await _IN_ROLLOUT.all(owner, "WHERE r.moving_since < $1 ORDER BY r.practice_id LIMIT $2", before, limit)


async def count(owner: OwnerDb) -> int:
    """How many practices there are, in a rollout or not."""
    return int(await owner.value("SELECT COUNT(*) FROM practices WHERE state NOT IN ('provisioning', 'deleted')"))


async def count_by_phase(owner: OwnerDb) -> dict[RolloutPhase, int]:
    """How many practices are in each phase."""
    rows = await owner.fetch("SELECT phase, COUNT(*) AS n FROM practice_rollouts GROUP BY phase")
    return {RolloutPhase(row["phase"]): int(row["n"]) for row in rows}


async def count_by_field_state(owner: OwnerDb) -> dict[FieldState, int]:
    """How many practices that are not closed have a field in each state; of the closed ones, those still to be
    blanked."""
    rows = await owner.fetch(
        "SELECT field_state, COUNT(*) AS n FROM practice_rollouts"
        " WHERE phase <> 'closed' OR field_state <> 'in_sync' GROUP BY field_state"
    )
    return {FieldState(row["field_state"]): int(row["n"]) for row in rows}


async def agreements(owner: OwnerDb) -> int:
    """How many comparisons agreed, of all practices."""
    return int(await owner.value("SELECT COALESCE(SUM(agreements), 0) FROM practice_rollouts"))


# ── Steps ──


def begin(unit: Writes, practice_id: int, phase: RolloutPhase | None, to: RolloutPhase, now: datetime) -> None:
    """Begin a step from a phase. ``Stale`` if the practice is in another phase, or another step has begun;
    ``Duplicate`` if another process has just entered it."""
    if phase is None:
        unit.add(
            "INSERT INTO practice_rollouts (practice_id, phase, moving_to, moving_since, moved_at)"
            " VALUES ($1, $2, $2, $3, $3)",
            practice_id,
            to,
            now,
        )
        return
    unit.add(
        "UPDATE practice_rollouts SET moving_to = $3, moving_since = $4"
        " WHERE practice_id = $1 AND phase = $2 AND moving_to IS NULL",
        practice_id,
        phase,
        to,
        now,
        expect=1,
    )


def end(unit: Writes, practice_id: int, to: RolloutPhase, now: datetime) -> None:
    """End a step: the practice is in its new phase, and a closed one's field has to be emptied. ``Stale`` if somebody
    else has ended it."""
    unit.add(
        "UPDATE practice_rollouts SET phase = $2, moving_to = NULL, moving_since = NULL, moved_at = $3,"
        " field_state = CASE WHEN $2 = 'closed' AND field_state = 'in_sync' THEN 'pending' ELSE field_state END"
        " WHERE practice_id = $1 AND moving_to = $2",
        practice_id,
        to,
        now,
        expect=1,
    )


def abandon(unit: Writes, practice_id: int, to: RolloutPhase) -> None:
    """Take a step back that was not made."""
    unit.add(
        "UPDATE practice_rollouts SET moving_to = NULL, moving_since = NULL WHERE practice_id = $1 AND moving_to = $2",
        practice_id,
        to,
    )


def settle(unit: Writes, practice_id: int, phase: RolloutPhase, now: datetime) -> None:
    """Record the phase that the practice's own database has, and end a step that somebody has begun."""
    unit.add(
        "INSERT INTO practice_rollouts (practice_id, phase, moved_at) VALUES ($1, $2, $3)"
        " ON CONFLICT (practice_id) DO UPDATE SET phase = $2, moving_to = NULL, moving_since = NULL, moved_at = $3,"
        " field_state = CASE WHEN $2 = 'closed' AND practice_rollouts.field_state = 'in_sync' THEN 'pending'"
        " ELSE practice_rollouts.field_state END",
        practice_id,
        phase,
        now,
    )


def leave(unit: Writes, practice_id: int) -> None:
    """Record that a practice is in no rollout, as its own database says."""
    unit.add("DELETE FROM practice_rollouts WHERE practice_id = $1", practice_id)


def forget(unit: Writes, practice_id: int) -> None:
    """Delete the row of a practice that did not enter the rollout in the end."""
    unit.add(
        "DELETE FROM practice_rollouts WHERE practice_id = $1 AND moving_to = 'legacy' AND phase = 'legacy'",
        practice_id,
    )


# ── The field ──


def field_is_due(unit: Writes, practice_id: int, now: datetime) -> None:
    """Record that our configurations are about to change, so that the field has to get the change. ``Stale`` if the
    practice is in no rollout."""
    unit.add(
        "UPDATE practice_rollouts SET field_due = field_due + 1, next_try_at = $2, tries = 0,"
        " field_state = CASE WHEN field_state = 'conflict' THEN field_state ELSE 'pending' END WHERE practice_id = $1",
        practice_id,
        now,
        expect=1,
    )


def claim_write(unit: Writes, known: Rollout, until: datetime) -> None:
    """Take the next write of a field until a time. ``Stale`` if another worker has taken it."""
    unit.add(
        "UPDATE practice_rollouts SET next_try_at = $3, tries = tries + 1"
        " WHERE practice_id = $1 AND field_state = 'pending' AND tries = $2",
        known.practice_id,
        known.tries,
        until,
        expect=1,
    )


@dataclass(frozen=True, slots=True)
class FieldFound:
    """What a comparison of the field with our configurations found. ``hash`` None leaves the known one.
    ``compared_with``: what they were when they were compared."""

    state: FieldState
    compared_with: str
    hash: str | None = None
    detail: str | None = None
    next_try_at: datetime | None = None


def field_found(unit: Writes, known: Rollout, found: FieldFound, now: datetime) -> None:
    """Record a comparison. ``Stale`` if our configurations have changed since ``known`` was read, somebody else has
    recorded another one, or a step was made."""
    unit.add(
        "UPDATE practice_rollouts SET field_state = $4, field_hash = COALESCE($5, field_hash), field_detail = $6,"
        " next_try_at = $7, checked_at = $8, compared_with = $9"
        " WHERE practice_id = $1 AND field_due = $2 AND field_state = $3 AND COALESCE(compared_with, '') = $10"
        " AND phase = $11",
        known.practice_id,
        known.field_due,
        known.field_state,
        found.state,
        found.hash,
        found.detail,
        found.next_try_at,
        now,
        found.compared_with,
        known.compared_with or "",
        known.phase,
        expect=1,
    )


@dataclass(frozen=True, slots=True)
class Writing:
    """A write of the field: keyed hashes of what it replaces and of what it writes, and what our configurations were."""

    before: str
    after: str
    compared_with: str


def writing(unit: Writes, known: Rollout, write: Writing, until: datetime | None = None) -> None:
    """Record what is about to be written into the field, in place of what. ``until``: when we shall have written it at the
    latest; None if the host writes it. ``Stale`` if our configurations have changed since, or a step has begun."""
    unit.add(
        "UPDATE practice_rollouts SET field_hash = $3, writing_hash = $4, writing_until = COALESCE($5, writing_until)"
        " WHERE practice_id = $1 AND field_due = $2 AND phase = $6 AND moving_to IS NULL",
        known.practice_id,
        known.field_due,
        write.before,
        write.after,
        until,
        known.phase,
        expect=1,
    )


def not_written(unit: Writes, known: Rollout, write: Writing) -> None:
    """Record that a write has ended without any effect."""
    unit.add(
        "UPDATE practice_rollouts SET writing_until = NULL WHERE practice_id = $1 AND writing_hash = $2",
        known.practice_id,
        write.after,
    )


def written(unit: Writes, known: Rollout, write: Writing, now: datetime) -> None:
    """Record that the field holds what was written. It is in sync, unless our configurations have changed since.
    ``Stale`` if another writer has replaced it meanwhile."""
    unit.add(
        "UPDATE practice_rollouts SET field_hash = $4, checked_at = $5, field_detail = NULL,"
        " writing_hash = CASE WHEN writing_hash = $4 THEN NULL ELSE writing_hash END,"
        " writing_until = CASE WHEN writing_hash = $4 THEN NULL ELSE writing_until END,"
        " compared_with = CASE WHEN field_due = $2 THEN $6 ELSE compared_with END,"
        " field_state = CASE WHEN field_due = $2 THEN 'in_sync' ELSE field_state END,"
        " next_try_at = CASE WHEN field_due = $2 THEN NULL ELSE next_try_at END"
        " WHERE practice_id = $1 AND field_hash = $3",
        known.practice_id,
        known.field_due,
        write.before,
        write.after,
        now,
        write.compared_with,
        expect=1,
    )


def agreed(unit: Writes, practice_id: int) -> None:
    """Count a comparison that agreed."""
    unit.add("UPDATE practice_rollouts SET agreements = agreements + 1 WHERE practice_id = $1", practice_id)
