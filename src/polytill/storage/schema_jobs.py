"""The tables of jobs, in the owner's database: one row for each job, and one for each of its practices."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from polytill.domain.jobs import JobKind, JobState, PartState, PauseReason
from polytill.storage.schema_columns import (
    Json,
    Moment,
    Serial,
    flag,
    index,
    maybe,
    moment,
    one_of,
    serial_id,
    small,
    text,
)


def add_job_tables(metadata: sa.MetaData) -> None:
    """Add the tables to the owner's."""

    def table(name: str, *parts: Any) -> None:
        sa.Table(name, metadata, *parts)

    # ``arguments`` hold no secret. ``foreground``: the node of the command that runs the job; while that node is live,
    # workers leave the job to it.
    table(
        "jobs",
        serial_id(),
        *text("kind", "state", "actor"),
        sa.Column("arguments", Json, nullable=False),
        *maybe("pause_reason", "foreground"),
        *moment("created_at"),
        *maybe("ended_at", kind=Moment),
        index("state"),
        one_of("kind", JobKind),
        one_of("state", JobState),
        one_of("pause_reason", PauseReason),
    )
    # No foreign key to practices: the record of a job outlives a practice that it erased. ``node``: the process that
    # runs the part, or did so last. ``due_at``: a part whose database was away is tried again then.
    table(
        "job_practices",
        sa.Column(
            "job_id", Serial, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
        ),
        sa.Column("practice_id", sa.Integer, primary_key=True, autoincrement=False),
        *text("state"),
        flag("is_canary"),
        *small("tries", default=0),
        *maybe("step", "node", "code", "detail"),
        *maybe("due_at", "started_at", "ended_at", kind=Moment),
        index("job_id", "state"),
        index("practice_id"),
        # Two jobs never work on one practice at the same time.
        sa.Index(
            "ix_job_practices_running",
            "practice_id",
            unique=True,
            postgresql_where=sa.text("state = 'running'"),
            sqlite_where=sa.text("state = 'running'"),
        ),
        one_of("state", PartState),
    )
