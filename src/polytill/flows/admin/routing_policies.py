"""A practice's routing policies: drafts, publishing and rolling back, each as one command with an audit line.

A version is checked when it is published, with the configurations as they are then: both are one commit, so that neither
can change in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, Duplicate, FieldError, Invalid, NotFound, Stale, invalid
from polytill.domain.states import Environment
from polytill.flows import active_policies
from polytill.flows.commits import until_committed
from polytill.flows.context import Context, Practice, Snapshot
from polytill.flows.routing.policy_reading import parse_draft_text
from polytill.storage import audit, provider_configs, routing_policies
from polytill.storage.databases import Writes
from polytill.storage.routing_policies import NO_POLICY, PolicyVersion, Switch
from polytill.storage.units import Unit

LONGEST_NOTE = 500
MOST_VERSIONS = 1000  # of one environment


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of an environment, newest first, and the active one; 0 is the default order without a policy."""

    active: int
    listed: tuple[PolicyVersion, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """The text of a policy that a person wrote, and why. ``edits``: of the draft when it was read, to change it only if
    nobody else has; None: whatever it is now."""

    content: str
    note: str = ""
    edits: int | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A version that is active now, what was active before, and what may be wrong with it."""

    version: PolicyVersion
    before: int
    warnings: tuple[FieldError, ...]


async def versions(context: Context, practice_id: int, environment: Environment) -> Versions:
    """The versions of the policy of an environment."""
    practice = await context.practice(practice_id)
    active = await routing_policies.active_version(practice.db, environment)
    return Versions(active, tuple(await routing_policies.versions(practice.db, environment)))


async def version(
    context: Context, practice_id: int, environment: Environment, number: int
) -> tuple[PolicyVersion, int]:
    """One version, and the number of the active one. ``NotFound`` if there is no such version."""
    practice = await context.practice(practice_id)
    return await _found(practice, environment, number), await routing_policies.active_version(practice.db, environment)


async def create_draft(
    context: Context, practice_id: int, environment: Environment, draft: Draft, actor: str
) -> PolicyVersion:
    """A new draft. ``Invalid`` if its text is no policy. Its own tests may still fail (``failed_tests``): only publishing
    is refused then."""
    practice = await context.practice(practice_id)
    await _check_draft(context, draft)

    async def insert() -> PolicyVersion:
        now = practice.now()
        number = await routing_policies.newest(practice.db, environment) + 1
        if number > MOST_VERSIONS:
            raise Conflict(f"A policy has at most {MOST_VERSIONS} versions.", code="too_many_versions")
        new = PolicyVersion(practice.id, environment, number, draft.content, draft.note, actor, actor, now, now)
        unit = Unit()
        routing_policies.insert(unit, new)
        _audit(unit, now, actor, AuditAction.routing_policy_saved, new)
        await practice.db.commit(unit)
        return new

    return await until_committed(insert, (Duplicate,))


async def change_draft(
    context: Context, practice_id: int, environment: Environment, number: int, draft: Draft, actor: str
) -> PolicyVersion:
    """Change a draft. ``Conflict`` if it was published, or if somebody else changed it since it was read."""
    practice = await context.practice(practice_id)
    await _check_draft(context, draft)
    known = await _found(practice, environment, number)
    if known.published_at is not None:
        raise Conflict("This version was published and does not change. Create a draft.", code="not_a_draft")
    if draft.edits not in (None, known.edits):
        raise _changed_meanwhile()
    now, unit = practice.now(), Unit()
    routing_policies.edit(unit, known, draft.content, draft.note, actor, now)
    _audit(unit, now, actor, AuditAction.routing_policy_saved, known)
    try:
        await practice.db.commit(unit)
    except Stale:
        raise _changed_meanwhile() from None
    return await _found(practice, environment, number)


async def publish(
    context: Context, practice_id: int, environment: Environment, number: int, instead_of: int | None, actor: str
) -> Published:
    """Let a draft route the payments of its environment from now on.

    ``instead_of``: the version that was active when this was decided; None: whichever is. ``Conflict`` if another one
    is active by now, ``Invalid`` if the policy is wrong or one of its tests fails.
    """
    practice = await context.practice(practice_id)
    known = await _found(practice, environment, number)
    if known.published_at is not None:
        raise Conflict("This version was published before. Roll back to it instead.", code="not_a_draft")
    return await _activate(practice, known, instead_of, actor)


async def roll_back(
    context: Context, practice_id: int, environment: Environment, number: int, instead_of: int | None, actor: str
) -> Published:
    """Let an earlier version route payments again; 0: the default order, without a policy.

    It is not refused because of its tests: it is the way back. ``Conflict`` if another version than ``instead_of`` is
    active by now, or if the version is active or was never published.
    """
    practice = await context.practice(practice_id)
    if number == NO_POLICY:
        now = practice.now()
        nothing = PolicyVersion(practice.id, environment, NO_POLICY, "", "", actor, actor, now, now)
        return await _activate(practice, nothing, instead_of, actor, is_way_back=True)
    known = await _found(practice, environment, number)
    if known.published_at is None:
        raise Conflict("This version is a draft. Publish it instead.", code="not_published")
    return await _activate(practice, known, instead_of, actor, is_way_back=True)


async def _activate(
    practice: Practice, new: PolicyVersion, instead_of: int | None, actor: str, is_way_back: bool = False
) -> Published:
    context, environment = practice.context, new.environment
    before = await routing_policies.active_version(practice.db, environment)
    if instead_of not in (None, before):
        raise Conflict(f"Version {before} is active by now. Nothing was changed.", code="policy_changed")
    if before == new.version:
        raise Conflict("This version is active already.", code="already_active")

    async def once() -> tuple[FieldError, ...]:
        context.forget(practice.id)
        snapshot = await context.configured(practice.db)
        # A rollback is the way out of trouble, so nothing that may be wrong with the earlier version stops it.
        warnings = () if is_way_back else await _warnings(context, snapshot, new.content)
        if await routing_policies.active_version(practice.db, environment) != before:
            raise Conflict(
                "Another version became active at the same time. Nothing was changed.", code="policy_changed"
            )
        now, unit = practice.now(), Unit()
        if snapshot.configurations:
            provider_configs.unchanged(unit, snapshot.revision)
        # Every process finds its copy of the configurations out of date, and reads them and the policy again.
        provider_configs.touch_all(unit)
        routing_policies.activate(unit, practice.id, Switch(environment, new.version, before), actor, now)
        action = AuditAction.routing_policy_rolled_back
        if not is_way_back:
            routing_policies.mark_published(unit, new, actor, now)
            action = AuditAction.routing_policy_published
        _audit(unit, now, actor, action, new, instead_of=before)
        await practice.db.commit(unit)
        return warnings

    try:
        warnings = await until_committed(once)
    except Stale:  # the draft itself was changed or published
        raise _changed_meanwhile() from None
    finally:
        context.forget(practice.id)
    known = await routing_policies.version(practice.db, environment, new.version)
    return Published(known or new, before, warnings)


async def _checked(context: Context, content: str) -> tuple[FieldError, ...]:
    """Check a policy with the catalog. Returns its tests that fail; ``Invalid`` names everything that is wrong."""
    found = parse_draft_text(content, frozenset(await context.catalog()))
    if found.policy is None:
        raise _invalid(found.errors)
    return found.failed


async def failed_tests(context: Context, draft: PolicyVersion) -> tuple[FieldError, ...]:
    """The tests of a draft that fail now: it cannot be published."""
    return parse_draft_text(draft.content, frozenset(await context.catalog())).failed


async def _warnings(context: Context, snapshot: Snapshot, content: str) -> tuple[FieldError, ...]:
    """What may be wrong with a policy that is to be published. ``Invalid`` also names the tests that fail."""
    failed = await _checked(context, content)
    if failed:
        raise _invalid(failed)
    missing = active_policies.words_in(content) & set(await context.catalog()) - snapshot.live.keys()
    return tuple(
        FieldError("/policy", f"{code} is not configured, so it takes no payments.", "not_configured", {"code": code})
        for code in sorted(missing)
    )


async def _check_draft(context: Context, draft: Draft) -> None:
    if len(draft.note) > LONGEST_NOTE:
        raise invalid("/note", f"A note has at most {LONGEST_NOTE} characters.", reason="note_too_long")
    await _checked(context, draft.content)


def _invalid(errors: Iterable[FieldError]) -> Invalid:
    placed = [replace(one, pointer=f"/policy{one.pointer}") for one in errors]
    return Invalid(placed, "The policy is not valid.", code="invalid_policy")


def _changed_meanwhile() -> Conflict:
    return Conflict("Somebody else changed this version. Load it again. Nothing was changed.", code="draft_changed")


async def _found(practice: Practice, environment: Environment, number: int) -> PolicyVersion:
    found = await routing_policies.version(practice.db, environment, number)
    if found is None:
        raise NotFound(f"There is no version {number} of the routing policy for {environment}.")
    return found


def _audit(unit: Writes, now: datetime, actor: str, action: AuditAction, of: PolicyVersion, **more: int) -> None:
    detail = {"environment": of.environment.value, "version": of.version, **more}
    audit.append(unit, now, actor, action, f"routing:{of.environment}", detail)
