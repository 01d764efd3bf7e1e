"""Jobs: requests and responses."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StrictBool, StrictInt

from polytill.domain.jobs import JobKind, JobState, PartState, PauseReason
from polytill.flows.jobs import delete
from polytill.storage import jobs
from polytill.web.api.requests import RequestBody
from polytill.web.api.responses import Moment, ResponseBody
from polytill.web.api.values import no_control


class RetryJob(RequestBody):
    """What is retried: one practice, or by default all that failed."""

    practice_id: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)] | None = None


PracticeIds = Annotated[list[Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]], Field(min_length=1, max_length=10_000)]


class BackUpPractices(RequestBody):
    """Which practices are backed up: these, or by default all.

    With `check` each backup is restored beside its practice's database and compared. Otherwise it is read back and opened.
    """

    practice_ids: PracticeIds | None = None
    check: StrictBool = False


class MovePractices(RequestBody):
    """Which practices are moved, and where to: a `cluster`, or with `back` each to where it was before its last move."""

    practice_ids: PracticeIds
    cluster: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    back: StrictBool = False


class ConfirmMoves(RequestBody):
    """The moved practices whose old databases are dropped."""

    practice_ids: PracticeIds


class DeletePractice(RequestBody):
    """The practice that is deleted. `confirm` is its name.

    With `now` it is deleted before its run-out has ended; `reason` then says why, for the audit log. With `acceptUnresolved` it
    is deleted even with payments, refunds, disputes or review cases that are not resolved.
    """

    practice_id: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]
    confirm: Annotated[str, Field(max_length=200)]
    now: StrictBool = False
    reason: Annotated[str, Field(max_length=delete.MOST_REASON), AfterValidator(no_control)] = ""
    accept_unresolved: StrictBool = False

    def wanted(self) -> delete.Wanted:
        """The order in the form that the flow takes."""
        return delete.Wanted(self.practice_id, self.confirm, self.now, self.reason, self.accept_unresolved)


class Move(ResponseBody):
    """A practice that was moved, and whose old database is kept under the name `kept` on `fromCluster`.

    `refusedMs` is for how long its requests were refused, in milliseconds.
    """

    practice_id: int
    from_cluster: str
    to_cluster: str
    kept: str
    moved_at: Moment | None
    refused_ms: int | None


class LastBackup(ResponseBody):
    """The last good backup of one practice.

    `place` is the directory, or `s3://bucket/prefix`, in which it is. `isRestored` says that it was restored and compared;
    otherwise it was read back and opened.
    """

    practice_id: int
    name: str
    place: str
    size: int
    row_count: int
    made_at: Moment
    is_restored: bool


class JobCounts(ResponseBody):
    """The number of a job's practices by state."""

    total: int
    waiting: int
    running: int
    succeeded: int
    failed: int
    canceled: int


class Job(ResponseBody):
    """An operation on one practice or many."""

    id: int
    kind: JobKind
    state: JobState
    pause_reason: PauseReason | None
    arguments: dict[str, Any]
    actor: str
    created_at: Moment
    ended_at: Moment | None
    practices: JobCounts

    @classmethod
    def of(cls, job: jobs.Job, counts: jobs.Counts) -> Self:
        """Build it from its row."""
        return cls.from_record(job, practices=JobCounts.from_record(counts))


class JobPractice(ResponseBody):
    """The part of a job that concerns one practice.

    `step` is the one that runs, or ran last. `code` and `detail` say why it failed, or why it is tried again.
    `durationMs` is how long the last try took, in milliseconds.
    """

    practice_id: int
    name: str | None
    state: PartState
    step: str | None
    tries: int
    is_canary: bool
    code: str | None
    detail: str | None
    started_at: Moment | None
    ended_at: Moment | None
    duration_ms: int | None
