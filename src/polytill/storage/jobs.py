"""Jobs and their parts: what was ordered, which process works on which practice, and how each part ended.

A node is a running process (``storage/nodes.py``). A part that is ``running`` belongs to its node. Once that node is
not live any more, another one takes the part over. Every change of a part names the node that made it, so a process
that was paused for minutes changes nothing that another one has taken over.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.jobs import JobKind, JobState, PartState, PauseReason
from polytill.storage.columns import Condition, Reader, Table
from polytill.storage.databases import OwnerDb, Reads, Tx, Writes

MOST_INSERTED = 400  # parts that one statement inserts


@dataclass(frozen=True, slots=True)
class Job:
    """One operation on one practice or many. ``foreground``: the node of the command that runs it; None: workers do."""

    id: int
    kind: JobKind
    state: JobState
    actor: str
    arguments: dict[str, Any]
    pause_reason: PauseReason | None
    foreground: str | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a job that concerns one practice. ``name``: the practice's, None if it is not in the directory.

    ``step``: the step that runs, or ran last. ``code`` and ``detail``: why it failed, or why it is tried again.
    """

    job_id: int
    practice_id: int
    name: str | None
    state: PartState
    is_canary: bool
    tries: int
    step: str | None
    node: str | None
    code: str | None
    detail: str | None
    due_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def duration_ms(self) -> int | None:
        """How long the last try took, in milliseconds. None if it has not ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return round((self.ended_at - self.started_at).total_seconds() * 1000)


@dataclass(frozen=True, slots=True)
class Taken:
    """A part that a node has taken. ``tries``: how often it was started, this time included."""

    job_id: int
    practice_id: int
    tries: int
    step: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """The number of a job's parts by state."""

    waiting: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0

    @property
    def total(self) -> int:
        """The number of all parts."""
        return self.waiting + self.running + self.ended

    @property
    def ended(self) -> int:
        """The number of parts that have ended."""
        return self.succeeded + self.failed + self.canceled


_JOBS = Table("jobs", Job)
_PARTS = Reader(
    Part,
    "SELECT p.job_id, p.practice_id, d.name, p.state, p.is_canary, p.tries, p.step, p.node, p.code, p.detail, p.due_at,"
    " p.started_at, p.ended_at FROM job_practices p LEFT JOIN practices d ON d.id = p.practice_id",
)
_LIVE = "EXISTS (SELECT 1 FROM nodes n WHERE n.id = {node} AND n.live_until >= {now})"


# ── Jobs ──


async def create(tx: Tx, job: Job, practice_ids: Sequence[int], canaries: Collection[int]) -> int:
    """Insert a job with a waiting part for each practice. Return its id."""
    job_id = await _JOBS.create(tx, job, "kind, state, actor, arguments, foreground, created_at")
    for start in range(0, len(practice_ids), MOST_INSERTED):
        chosen = practice_ids[start : start + MOST_INSERTED]
        rows = ", ".join(f"($1, {int(one)}, 'waiting', {str(one in canaries).upper()})" for one in chosen)
        tx.add(f"INSERT INTO job_practices (job_id, practice_id, state, is_canary) VALUES {rows}", job_id)  # noqa: S608
    return job_id


async def find(owner: OwnerDb, job_id: int) -> Job | None:
    """One job. None if there is none with this id."""
    return await _JOBS.one(owner, "WHERE id = $1", job_id) if 0 < job_id < 2**63 else None


async def listed(owner: OwnerDb, before_id: int | None = None, limit: int = 100) -> list[Job]:
    """Jobs, newest first."""
    where = Condition()
    where.compare("id <", before_id)
    return await _JOBS.all(owner, f"WHERE {where} ORDER BY id DESC LIMIT {where.add(limit)}", *where.args)


async def lock(tx: Tx, dialect: str) -> None:
    """Let the creators of single jobs take turns, until this transaction ends."""
    if dialect == "postgresql":  # SQLite has one writer at a time
        await tx.fetch("SELECT pg_advisory_xact_lock(7041777)")  # any number works that nobody else uses


async def unfinished(owner: Reads, kind: JobKind) -> Job | None:
    """The newest job of a kind that is running or paused. None if there is none."""
    return await _JOBS.one(owner, "WHERE kind = $1 AND state IN ('running', 'paused') ORDER BY id DESC LIMIT 1", kind)


async def newest(owner: Reads, kind: JobKind, actor: str) -> Job | None:
    """The newest job of a kind that this actor has started. None if there is none."""
    return await _JOBS.one(owner, "WHERE kind = $1 AND actor = $2 ORDER BY id DESC LIMIT 1", kind, actor)


async def counts(owner: OwnerDb, job_ids: Collection[int]) -> dict[int, Counts]:
    """The parts of jobs by state, in one query."""
    found: dict[int, dict[str, int]] = {job_id: {} for job_id in job_ids}
    if found:
        ids = ", ".join(str(int(job_id)) for job_id in found)
        grouped = (
            f"SELECT job_id, state, count(*) AS n FROM job_practices WHERE job_id IN ({ids}) GROUP BY job_id, state"  # noqa: S608
        )
        for row in await owner.fetch(grouped):
            found[row["job_id"]][row["state"]] = row["n"]
    return {job_id: Counts(**by_state) for job_id, by_state in found.items()}


def pause(unit: Writes, job_id: int, reason: PauseReason) -> None:
    """Start no further part. ``Stale`` unless the job is running."""
    unit.add(
        "UPDATE jobs SET state = 'paused', pause_reason = $2, foreground = NULL WHERE id = $1 AND state = 'running'",
        job_id,
        reason.value,
        expect=1,
    )


def resume(unit: Writes, job_id: int, foreground: str | None) -> None:
    """Start parts again, by a node or by the workers. ``Stale`` unless the job is running or paused."""
    unit.add(
        "UPDATE jobs SET state = 'running', pause_reason = NULL, foreground = $2"
        " WHERE id = $1 AND state IN ('running', 'paused')",
        job_id,
        foreground,
        expect=1,
    )


def release_canaries(unit: Writes, job_id: int) -> None:
    """Let the other parts start although a canary has not succeeded."""
    unit.add("UPDATE job_practices SET is_canary = FALSE WHERE job_id = $1 AND is_canary", job_id)


def reopen(unit: Writes, job_id: int, foreground: str | None) -> None:
    """Run a job again whose failed parts are retried. ``Stale`` if it was canceled or has succeeded."""
    unit.add(
        "UPDATE jobs SET state = 'running', pause_reason = NULL, ended_at = NULL, foreground = $2"
        " WHERE id = $1 AND state IN ('running', 'paused', 'failed')",
        job_id,
        foreground,
        expect=1,
    )


def retry(unit: Writes, job_id: int, practice_id: int | None) -> None:
    """Let failed parts wait again: one, or all. The failure stays on the row until the next try starts."""
    where = Condition(job_id)
    where.parts.append("job_id = $1 AND state = 'failed'")
    where.compare("practice_id =", practice_id)
    unit.add(f"UPDATE job_practices SET state = 'waiting', due_at = NULL, ended_at = NULL WHERE {where}", *where.args)  # noqa: S608


def cancel(unit: Writes, job_id: int, now: datetime) -> None:
    """Start no further part, for ever. Parts that are running end as they do. ``Stale`` if the job has ended."""
    unit.add(
        "UPDATE jobs SET state = 'canceled', pause_reason = NULL, ended_at = $2"
        " WHERE id = $1 AND state IN ('running', 'paused')",
        job_id,
        now,
        expect=1,
    )
    unit.add(
        "UPDATE job_practices SET state = 'canceled', ended_at = $2 WHERE job_id = $1 AND state = 'waiting'",
        job_id,
        now,
    )


def end(unit: Writes, job_id: int, state: JobState, now: datetime) -> None:
    """End a job whose parts have all ended. ``Stale`` if it is not running, or a part has not ended."""
    unit.add(
        "UPDATE jobs SET state = $2, ended_at = $3 WHERE id = $1 AND state = 'running' AND NOT EXISTS"
        " (SELECT 1 FROM job_practices WHERE job_id = $1 AND state IN ('waiting', 'running'))",
        job_id,
        state.value,
        now,
        expect=1,
    )


# ── Parts ──


async def parts(
    owner: OwnerDb, job_id: int, state: PartState | None = None, after: int = 0, limit: int = 100
) -> list[Part]:
    """The parts of a job by practice, after a practice's id."""
    where = Condition(job_id, after)
    where.parts.append("p.job_id = $1 AND p.practice_id > $2")
    where.compare("p.state =", state)
    return await _PARTS.all(owner, f"WHERE {where} ORDER BY p.practice_id LIMIT {where.add(limit)}", *where.args)


async def part(owner: OwnerDb, job_id: int, practice_id: int) -> Part | None:
    """One part of a job. None if the practice is not in it."""
    return await _PARTS.one(owner, "WHERE p.job_id = $1 AND p.practice_id = $2", job_id, practice_id)


async def canary_failed(owner: OwnerDb, job_id: int) -> bool:
    """Whether a canary has failed."""
    sql = "SELECT 1 FROM job_practices WHERE job_id = $1 AND is_canary AND state = 'failed' LIMIT 1"
    return await owner.one(sql, job_id) is not None


# ── For the processes that run jobs ──


async def with_work(owner: OwnerDb, node: str, now: datetime) -> list[Job]:
    """The jobs that a node may work on: the running ones that no other live node has in its foreground, and those with
    a part of a node that is not live any more."""
    return await _JOBS.all(
        owner,
        f"WHERE (state = 'running' AND (foreground IS NULL OR foreground = $1"  # noqa: S608
        f" OR NOT {_LIVE.format(node='jobs.foreground', now='$2')})) OR id IN (SELECT p.job_id FROM job_practices p"
        f" WHERE p.state = 'running' AND NOT {_LIVE.format(node='p.node', now='$2')}) ORDER BY id",
        node,
        now,
    )


async def take(tx: Tx, what: tuple[int, str], node: str, now: datetime, limit: int) -> list[Taken]:
    """Take waiting parts of a running job, canaries first. The others wait until all canaries have succeeded. ``what``:
    the job, and its first step.

    Nothing is taken by a node that is not live. ``Duplicate`` if another job took one of the practices at the same time.
    """
    job_id, first = what
    rows = await tx.fetch(
        "UPDATE job_practices SET state = 'running', node = $2, tries = tries + 1, step = COALESCE(step, $5), started_at = $3,"  # noqa: S608
        " ended_at = NULL, due_at = NULL, code = NULL, detail = NULL WHERE job_id = $1 AND state = 'waiting' AND practice_id IN ("
        "SELECT p.practice_id FROM job_practices p WHERE p.job_id = $1 AND p.state = 'waiting'"
        " AND (p.due_at IS NULL OR p.due_at <= $3)"
        " AND (p.is_canary OR NOT EXISTS (SELECT 1 FROM job_practices c WHERE c.job_id = $1 AND c.is_canary"
        " AND c.state <> 'succeeded')) AND NOT EXISTS (SELECT 1 FROM job_practices o"
        " WHERE o.practice_id = p.practice_id AND o.state = 'running')"
        " ORDER BY p.is_canary DESC, p.practice_id LIMIT $4)"
        " AND EXISTS (SELECT 1 FROM jobs j WHERE j.id = $1 AND j.state = 'running')"
        f" AND {_LIVE.format(node='$2', now='$3')} RETURNING practice_id, tries, step",
        job_id,
        node,
        now,
        limit,
        first,
    )
    return [Taken(job_id, row["practice_id"], row["tries"], row["step"]) for row in rows]


async def take_over(tx: Tx, job_id: int, node: str, now: datetime, limit: int) -> list[Taken]:
    """Take running parts whose node is not live any more."""
    rows = await tx.fetch(
        "UPDATE job_practices SET node = $2 WHERE job_id = $1 AND state = 'running' AND practice_id IN ("  # noqa: S608
        "SELECT p.practice_id FROM job_practices p WHERE p.job_id = $1 AND p.state = 'running'"
        f" AND NOT {_LIVE.format(node='p.node', now='$3')} ORDER BY p.practice_id LIMIT $4)"
        f" AND NOT {_LIVE.format(node='job_practices.node', now='$3')} AND {_LIVE.format(node='$2', now='$3')}"
        " RETURNING practice_id, tries, step",
        job_id,
        node,
        now,
        limit,
    )
    return [Taken(job_id, row["practice_id"], row["tries"], row["step"]) for row in rows]


def at_step(unit: Writes, taken: Taken, node: str, step: str) -> None:
    """Record the step that starts. ``Stale`` if the part is not this node's any more."""
    _change(unit, taken, node, "step = $4", step)


def succeeded(unit: Writes, taken: Taken, node: str, now: datetime) -> None:
    """End a part. ``Stale`` if it is not this node's any more."""
    _change(unit, taken, node, "state = 'succeeded', ended_at = $4", now)


def failed(unit: Writes, taken: Taken, node: str, why: tuple[str, str], now: datetime) -> None:
    """End a part with a failure: a code and a sentence. ``Stale`` if it is not this node's any more."""
    _change(unit, taken, node, "state = 'failed', code = $4, detail = $5, ended_at = $6", *why, now)


def put_off(unit: Writes, taken: Taken, node: str, why: tuple[str, str], due_at: datetime) -> None:
    """Let a part wait for its next try. ``Stale`` if it is not this node's any more."""
    _change(unit, taken, node, "state = 'waiting', code = $4, detail = $5, due_at = $6", *why, due_at)


def _change(unit: Writes, taken: Taken, node: str, changes: str, *args: Any) -> None:
    unit.add(
        f"UPDATE job_practices SET {changes} WHERE job_id = $1 AND practice_id = $2 AND state = 'running' AND node = $3",  # noqa: S608
        taken.job_id,
        taken.practice_id,
        node,
        *args,
        expect=1,
    )
