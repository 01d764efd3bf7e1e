"""Doing what the plan of an import says, practice by practice. What was done is never done again, so a run may die."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from polytill.domain.errors import Conflict, NotNow, PolytillError
from polytill.domain.legacy_findings import ImportAction
from polytill.domain.states import PracticeState
from polytill.flows.admin.practices import NewPractice, clear_half_made_one, create_practice
from polytill.flows.admin.provider_configs import add_missing
from polytill.flows.context import Context, log
from polytill.flows.legacy.key_file import KeyFile
from polytill.flows.legacy.plan import Plan
from polytill.flows.legacy.planned import PlannedPractice
from polytill.storage import practices
from polytill.storage.practices import PracticeEntry

MOST_FAILURES = 5  # in a row: then the databases are unavailable, and the import ends


@dataclass(slots=True)
class Result:
    """What happened to one practice. ``error``: why it failed, in a sentence."""

    planned: PlannedPractice
    action: ImportAction
    practice_id: int | None = None
    added: list[str] = field(default_factory=list)
    not_default: list[str] = field(default_factory=list)
    error: str | None = None


async def planned_only(plan: Plan) -> AsyncIterator[Result]:
    """The results of a dry run: what would happen."""
    async for one in plan.practices():
        yield Result(one, one.action, one.existing.id if one.existing else None)


async def bring_all(
    context: Context, plan: Plan, keys: KeyFile, actor: str, cluster: str | None
) -> AsyncIterator[Result]:
    """Import every practice that nothing holds up. An error of one practice does not stop the others.

    ``NotNow`` after ``MOST_FAILURES`` practices in a row whose databases were not available.
    """
    in_a_row = 0
    async for one in plan.practices():
        action = one.action
        if action in (ImportAction.held_up, ImportAction.nothing):
            yield Result(one, action, one.existing.id if one.existing else None)
            continue
        try:
            result = await bring(context, one, keys, actor, cluster)
            in_a_row = 0
        except PolytillError as error:
            in_a_row += isinstance(error, NotNow)
            log.warning("import_failed", external_id=one.external_id, error=type(error).__name__)
            result = Result(one, ImportAction.failed, error=error.detail)
        yield result
        if in_a_row >= MOST_FAILURES:
            raise NotNow("The databases are not available. Run the import again later: it continues where it stopped.")


async def bring(context: Context, planned: PlannedPractice, keys: KeyFile, actor: str, cluster: str | None) -> Result:
    """Create the practice if there is none, with its first key in ``keys``; then add the missing configurations, all in
    one transaction."""
    entry = planned.existing or await _created(context, planned, keys, actor, cluster)
    added, not_default = await add_missing(context, entry.id, planned.new, actor) if planned.new else ([], [])
    return Result(planned, planned.action, entry.id, added, not_default)


async def _created(
    context: Context, planned: PlannedPractice, keys: KeyFile, actor: str, cluster: str | None
) -> PracticeEntry:
    external_id = planned.external_id or ""
    keys.open()
    left = await practices.by_external_id(context.owner, external_id)
    if left is not None and left.state is not PracticeState.provisioning:
        raise Conflict("A practice with this external id was created just now. Run the import again.")
    if left is not None:
        await clear_half_made_one(context, left)  # of a run that died
    new = NewPractice(
        planned.name, planned.currency, cluster, planned.country, planned.time_zone, external_id=external_id
    )
    entry, _ = await create_practice(
        context, new, actor, lambda practice_id, key: keys.add(external_id, practice_id, key)
    )
    return entry
