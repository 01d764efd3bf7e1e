"""Jobs: operations on one practice or many, such as a migration. A job has one part for each of its practices."""

from __future__ import annotations

from enum import StrEnum


class JobKind(StrEnum):
    """What a job does. ``flows/jobs/kinds.py`` has the steps of each kind."""

    migrate = "migrate"
    backup = "backup"
    move = "move"
    delete = "delete"


class JobState(StrEnum):
    """The state of a job. ``failed``: it ended, and at least one part failed. ``paused``: no further part starts."""

    running = "running"
    paused = "paused"
    succeeded = "succeeded"
    failed = "failed"
    canceled = "canceled"


class PartState(StrEnum):
    """The state of the part of a job that concerns one practice. ``canceled``: it never started."""

    waiting = "waiting"
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    canceled = "canceled"


class PauseReason(StrEnum):
    """Why a job is paused. ``interrupted``: the command that ran it was stopped."""

    requested = "requested"
    interrupted = "interrupted"
    canary_failed = "canary_failed"
