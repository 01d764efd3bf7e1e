"""Creates an installation, or brings its databases to the schema of this version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from polytill.app import Polytill
from polytill.domain.jobs import PartState
from polytill.flows.admin import catalog
from polytill.flows.admin.practices import clear_half_made
from polytill.flows.context import Context
from polytill.flows.installation import must_be_adopted
from polytill.flows.jobs import migrate as migrating_job
from polytill.flows.jobs.migrate import Wanted
from polytill.flows.jobs.runner import AT_ONCE
from polytill.job_run import run_here
from polytill.owner_setup import migrate_owner
from polytill.settings import Settings
from polytill.storage import jobs, migrating, practices
from polytill.storage.jobs import Counts, Job, Part

ACTOR = "cli"


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration did. ``failures``: by practice id, why it is not at the current schema."""

    revisions: tuple[str, ...]  # Applied to the owner database.
    providers: tuple[str, ...]  # Added to the catalog.
    practices: int
    failures: dict[int, str]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was done before the practices are migrated. ``removed``: practices whose creation was never finished."""

    providers: list[str]
    removed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The practices after a migration. ``job`` None: there was nothing to do. ``behind``: at an older schema."""

    practices: int
    behind: int
    job: Job | None = None
    counts: Counts = field(default_factory=Counts)
    failed: tuple[Part, ...] = ()


async def prepare(context: Context) -> Prepared:
    """Fill the catalog, and remove practices whose creation was never finished. ``InstallationCopied`` in a copy."""
    must_be_adopted(context)
    seeded = await catalog.seed(context)
    return Prepared(list(seeded.added), await clear_half_made(context))


async def migrate_practices(
    context: Context, wanted: Wanted, show: Callable[[Job, Counts], None], at_once: int = AT_ONCE
) -> Outcome:
    """Migrate practices in this process, as a job in its foreground."""

    async def begin(node: str | None) -> Job | None:
        return await migrating_job.begin(context, wanted, ACTOR, node)

    return await outcome_of(context, await run_here(context, begin, ACTOR, show, at_once))


async def outcome_of(context: Context, job: Job | None) -> Outcome:
    """Where the practices are now, by the directory, and which parts of a job have failed."""
    by_schema = await practices.count_by_schema(context.owner)
    total, done = sum(by_schema.values()), by_schema.get(migrating.head("practice"), 0)
    if job is None:
        return Outcome(total, total - done)
    counts = (await jobs.counts(context.owner, [job.id]))[job.id]
    failed = await jobs.parts(context.owner, job.id, PartState.failed, limit=practices.MOST_ID) if counts.failed else []
    return Outcome(total, total - done, job, counts, tuple(failed))


async def migrate(settings: Settings | None = None) -> Migrated:
    """Create the owner database and its key ring if they do not exist, fill the catalog, and migrate every practice.

    Does what ``polytill migrate`` does, and may be repeated. Keep a copy of the key ring: without it no secret can be
    opened.
    """
    settings = settings or Settings()
    applied = await migrate_owner(settings)
    async with Polytill.open(settings) as till:
        prepared = await prepare(till.context)
        found = await migrate_practices(till.context, Wanted(), lambda _, __: None)
    failures = {part.practice_id: part.detail or "" for part in found.failed}
    return Migrated(tuple(applied), tuple(prepared.providers), found.practices, failures)
