"""Whether this installation is a copy, and whether its owner database is older than what the practices know.

In a copy that nobody has adopted nothing of production is done: no provider is called with production credentials, the
worker does nothing, and nothing is sent. Sandbox payments go on in practices whose databases are copies as well.
"""

from __future__ import annotations

from polytill.domain.audit_actions import AuditAction
from polytill.domain.clock import World
from polytill.domain.copies import CopyReason
from polytill.domain.errors import InstallationCopied, NotNow, OwnerDatabaseOlder, SandboxOnly, Stale
from polytill.domain.ids import new_id
from polytill.domain.states import Environment
from polytill.flows.context import Context, Practice, log
from polytill.storage import audit, installations
from polytill.storage.databases import OwnerDb
from polytill.storage.installations import Installation
from polytill.storage.units import Unit


async def check(context: Context) -> None:
    """Find out whether this installation is a copy, and note what its owner database says."""
    found = await installations.read(context.owner)
    copied = _copied(context, found, await installations.place_of(context.owner))
    wanted = context.settings.installation
    if copied is None and wanted and not found.name and found.place is not None:
        unit = Unit()
        installations.give_name(unit, wanted)
        await context.owner.commit(unit)
    state = context.installation
    state.older_since, state.is_sandbox_only = found.older_since, found.is_sandbox_only
    if copied is not state.copied:
        state.copied = copied
        context.opening.set_copied(copied is not None)
        if copied is None:
            log.info("installation_adopted", name=found.name)
        else:
            log.error("installation_copied", reason=copied, recorded=found.name, setting=wanted)


async def record_first(owner: OwnerDb, world: World, name: str) -> None:
    """Record a new installation with its name. Changes nothing if one is recorded."""
    unit = Unit()
    installations.record_first(unit, new_id(world), name, await installations.place_of(owner))
    await owner.commit(unit)


def _copied(context: Context, found: Installation, place: str | None) -> CopyReason | None:
    name = context.settings.installation
    if installations.is_elsewhere(found.place, place):
        return CopyReason.place
    return CopyReason.name if name and found.name and name != found.name else None


def must_be_adopted(context: Context) -> None:
    """``InstallationCopied`` in a copy that nobody has adopted."""
    if context.installation.copied is not None:
        raise InstallationCopied


def may_use(context: Context, environment: Environment) -> None:
    """``InstallationCopied`` for production in a copy that nobody has adopted, ``SandboxOnly`` in a neutralized one."""
    if environment is Environment.production:
        must_be_adopted(context)
        if context.installation.is_sandbox_only:
            raise SandboxOnly


def may_write(practice: Practice, environment: Environment) -> None:
    """As ``may_use``, and also for the sandbox if the practice's database is the original: the copy leads to it."""
    may_use(practice.context, environment)
    if practice.db.anchor.at_birthplace:
        must_be_adopted(practice.context)


def must_be_current(context: Context) -> None:
    """``OwnerDatabaseOlder`` if the owner database lacks what happened later, ``InstallationCopied`` in a copy."""
    must_be_adopted(context)
    if context.installation.older_since is not None:
        raise OwnerDatabaseOlder


async def note_older(context: Context, why: str) -> None:
    """Record, once, that the owner database was restored from an older copy."""
    if context.installation.older_since is not None:
        return
    unit, now = Unit(), context.world.now()
    installations.note_older(unit, now)
    audit.append(unit, now, "polytill", AuditAction.installation_older, "owner", {"reason": why})
    try:
        await context.owner.commit(unit)
    except Stale:
        pass  # another process was first
    except NotNow:
        return
    context.installation.older_since = now
    log.error("owner_database_older", reason=why)
