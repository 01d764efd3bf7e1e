"""``polytill installation adopt``: take a restored owner database, or a copy of an installation, into use.

What the practices' databases know comes back into the owner database: events that were forwarded, records of payments,
revoked keys, and which ids were used. What only the owner database knew is named, for an admin to check. Every step may
be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from polytill.domain.audit_actions import AuditAction
from polytill.domain.behind import BehindReason
from polytill.domain.copies import CopyReason
from polytill.domain.errors import Conflict, PolytillError
from polytill.flows import installation
from polytill.flows.adoption.unknown import unknown_practices
from polytill.flows.context import Context, Practice
from polytill.flows.erasure import erase_in_feed
from polytill.flows.events import forward, owner_may_lack, revoke_again
from polytill.flows.lease import note_behind
from polytill.flows.payment_records import record_new
from polytill.storage import anchors, api_keys, audit, events, installations, leases, practices, staff
from polytill.storage.units import Unit
from polytill.storage.unknown_databases import UnknownPractice

MOST_FORWARDED = 1_000  # of 200 events each


@dataclass(slots=True)
class InstallationAdoption:
    """What one run found and did.

    Args:
        copied: Why the installation is a copy; None if it is not.
        older_since: Since when the owner database is known to be older; None if it is not.
        practices: How many practices were visited.
        events: Events that were forwarded again, or would be.
        keys: API keys that were revoked again.
        unknown: Practices that have a database and are not in the directory.
        behind: Practices whose databases stay behind.
        notes: Sentences about what nothing here can know, for an admin to check.
        is_done: Whether the installation is in use now.
    """

    copied: CopyReason | None
    older_since: datetime | None
    practices: int = 0
    events: int = 0
    keys: int = 0
    unknown: list[UnknownPractice] = field(default_factory=list)
    behind: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_done: bool = False


async def adopt_installation(
    context: Context, actor: str, is_dry: bool = False, nothing_lost: bool = False, is_restored: bool = False
) -> InstallationAdoption:
    """Adopt this installation. ``Conflict`` if it is neither a copy nor known to be older.

    Args:
        context: The process's tools.
        actor: Who adopts it, for the audit log.
        is_dry: Only count, and change nothing.
        nothing_lost: Nothing was done with the original after the copy was made, so that practices whose databases only
            are in another place need not be adopted one by one.
        is_restored: The owner database was restored, whether that was noticed or not.
    """
    await installation.check(context)
    state = context.installation
    if state.copied is None and state.older_since is None and not is_restored:
        raise Conflict("This installation is in use. There is nothing to adopt.", code="not_copied")
    found = InstallationAdoption(state.copied, state.older_since)
    found.unknown = await unknown_practices(context)
    context.opening.set_copied(False)  # each practice's own database is looked at now
    try:
        for entry in await practices.listed(context.owner):
            if entry.state.has_database:
                found.practices += 1
                await _practice(context, entry.id, found, is_dry, nothing_lost)
    finally:
        context.opening.set_copied(state.copied is not None)
    found.notes += await _to_check(context, found)
    if not is_dry:
        await _finish(context, actor, found)
    return found


async def _practice(
    context: Context, practice_id: int, found: InstallationAdoption, is_dry: bool, nothing_lost: bool
) -> None:
    try:
        practice = await context.practice(practice_id)
        await context.opening.read_mark(practice_id)
        if nothing_lost and not is_dry:
            await _settle_here(practice)
        if practice.db.anchor.behind is not None:
            found.behind.append(practice_id)
            if not is_dry:
                await note_behind(context, practice_id)
            return
        found.events += await _lost_events(practice)
        if not is_dry:
            for _ in range(MOST_FORWARDED):
                if not await forward(practice):
                    break
            await record_new(practice)
            found.keys += await revoke_again(practice)
            await erase_in_feed(practice)
    except PolytillError as error:
        found.notes.append(f"Practice {practice_id} cannot be opened now: {error.detail} A worker does the rest later.")


async def _lost_events(practice: Practice) -> int:
    if not owner_may_lack(practice, await events.last_forwarded(practice.db)):
        return 0
    return await events.forwarded_after(practice.db, practice.db.anchor.owners_position)


async def _settle_here(practice: Practice) -> None:
    """Take the place of a practice's database as its own, if that is all that differs."""
    anchor = practice.db.anchor
    if anchor.behind is not BehindReason.birthplace:
        return
    sql, args = anchors.held(anchor)
    if not await practice.db.fetch(sql, *args):
        return
    unit = Unit()
    anchors.renew(unit, anchor.epoch, await practice.db.engine.place())
    await practice.db.commit(unit)
    await practice.db.engine.verify(anchor)


async def _to_check(context: Context, found: InstallationAdoption) -> list[str]:
    """What only the owner database knew."""
    newest = await audit.listed(context.owner, None, None, 1)
    since = f"{newest[0]['at']:%Y-%m-%d %H:%M} UTC" if newest else "the backup"
    notes = [
        f"Practice {one.practice_id} ({one.name}) is not in the directory. Its database is {one.database_name} on the"
        f" cluster {one.cluster}. Only a newer backup of the owner database has its data key."
        for one in found.unknown
    ]
    if found.behind:
        named = ", ".join(map(str, found.behind[:20])) + (" and others" if len(found.behind) > 20 else "")
        notes.append(f"These practices take no payments before `polytill practices adopt`: {named}.")
    owners = [key for key in await api_keys.listed(context.owner, None) if key.revoked_at is None]
    if owners:
        named = ", ".join(f"{key.name} (…{key.last4})" for key in owners)
        notes.append(
            f"Owner keys that were revoked after {since} are valid again: {named}. Revoke each that is not used."
        )
    notes += [
        f"Practices that were suspended, renamed or given another external id after {since} are as they were before.",
        f"API keys that were created after {since} are unknown. Create new ones for those who used them.",
        f"Catalog, clusters and event destination are as of {since}, and so are the keys that wrap data keys.",
        "All passwords, sessions and links of the owner's staff end. `polytill people reset EMAIL --owner` makes a new link.",
    ]
    return notes


async def _finish(context: Context, actor: str, found: InstallationAdoption) -> None:
    now, owner = context.world.now(), context.owner
    name = context.settings.installation or (await installations.read(owner)).name
    highest = max((one.practice_id for one in found.unknown), default=0)
    detail = {
        "copied": found.copied,
        "events": found.events,
        "keys": found.keys,
        "unknown": [one.practice_id for one in found.unknown],
    }
    unit = Unit()
    installations.adopt(unit, name, await installations.place_of(owner), highest)
    staff.end_all_access(unit, now)
    leases.hold_all(unit, context.shared_after(-60.0))  # each practice is swept once
    audit.append(unit, now, actor, AuditAction.installation_adopted, "owner", detail)
    await owner.commit(unit)
    await installation.check(context)
    found.is_done = context.installation.copied is None
