"""``polytill neutralize``: make a copy of an installation safe to try things with.

It becomes an installation of its own, which never uses production. Every step may be repeated, so that a run that was
killed is simply started again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, PolytillError
from polytill.flows import installation
from polytill.flows.context import Context
from polytill.storage import anchors, audit, installations, neutralizing, practices
from polytill.storage.units import Unit


@dataclass(slots=True)
class Neutralized:
    """What one run did.

    Args:
        practices: How many practices were neutralized.
        failed: By practice, why it was not; its production credentials are still there.
    """

    practices: int = 0
    failed: dict[int, str] = field(default_factory=dict)


async def neutralize(context: Context, actor: str, named: str | None = None) -> Neutralized:
    """Destroy production credentials and everything that leads outside, and end all access.

    ``Conflict`` if this installation is in use, unless ``named`` is its name; one without a name cannot be named.
    """
    await installation.check(context)
    found, state = await installations.read(context.owner), context.installation
    is_told = bool(named) and named == found.name
    if state.copied is None and not state.is_sandbox_only and not is_told:
        raise Conflict(
            "This installation is in use, and not a copy. Nothing was changed. In a copy set POLYTILL_INSTALLATION to another"
            " name first. To destroy the production credentials here, add --in-use with the installation's name.",
            code="installation_in_use",
        )
    now, name = context.world.now(), context.settings.installation or found.name
    place = await installations.place_of(context.owner)
    async with context.owner.transaction() as tx:
        neutralizing.owner(tx, now)
        installations.neutralize(tx, name, place)
        audit.append(tx, now, actor, AuditAction.installation_neutralized, "owner", {"copied": state.copied})
    await installation.check(context)  # from here on no production is used, by any process
    done = Neutralized()
    for entry in await practices.listed(context.owner):
        if not entry.state.has_database:
            continue
        try:
            await _practice(context, entry.id, actor)
            done.practices += 1
        except PolytillError as error:
            done.failed[entry.id] = error.detail
    return done


async def _practice(context: Context, practice_id: int, actor: str) -> None:
    practice, now = await context.practice(practice_id), context.world.now()
    place, anchor = await practice.db.engine.place(), practice.db.anchor
    async with practice.db.transaction() as tx:
        neutralizing.practice(tx, now)
        anchors.renew(tx, anchor.epoch, place)  # a copy is elsewhere, and there is no money that could be taken twice
        audit.append(tx, now, actor, AuditAction.installation_neutralized, str(practice_id), None)
    unit = Unit()
    practices.set_behind(unit, practice_id, None, now)
    await context.owner.commit(unit)
    context.forget(practice_id)
    await practice.db.engine.verify(anchor)
