"""Whether a practice's configurations may be changed here, which its phase in a rollout decides.

A copy of the phase is in the practice's own database. Each change of a configuration locks that copy in its own
transaction, and so does each step of a rollout: a change is either before a step, and part of what the step compares,
or after it, and judged by the new phase. The owner database is needed only to note that the field has to follow. That
is noted before the change, so a comparison may come in between: it counts the changes that it has seen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from polytill.domain.errors import Conflict, Stale
from polytill.domain.event_types import EventType
from polytill.domain.ids import new_id
from polytill.domain.rollout import FIELD_DECIDES, RolloutPhase
from polytill.domain.states import Environment
from polytill.flows.context import Context, Practice
from polytill.flows.installation import must_be_adopted
from polytill.storage import events, practice_profile, practice_rollouts
from polytill.storage.databases import Tx
from polytill.storage.events import Event
from polytill.storage.units import Unit

# What may change a configuration: returns the phase in which it may, or raises.
Guard = Callable[[Practice], Awaitable[RolloutPhase | None]]


class FieldDecides(Conflict):
    """In the rollout phases legacy and shadow, the old field decides about the providers of a practice."""

    code = "field_decides"

    def __init__(self, phase: RolloutPhase) -> None:
        super().__init__(
            f"This practice is in the rollout phase {phase}, so its providers follow the host application's field. Change"
            " them in the host application, or move the practice to live first.",
            phase=phase.value,
        )


class OursDecide(Conflict):
    """Outside of the rollout phases legacy and shadow, our configurations decide, and do not follow the field."""

    code = "ours_decide"

    def __init__(self, phase: RolloutPhase | None) -> None:
        where = "is not in a rollout" if phase is None else f"is in the rollout phase {phase}"
        super().__init__(
            f"This practice {where}, so polytill does not follow the field. Change its providers in polytill.",
            phase=phase.value if phase else "",
        )


class StepMade(Stale):
    """A step of the practice's rollout was made at the same time. Try again."""


async def announce_change(practice: Practice) -> RolloutPhase | None:
    """Before a change of a configuration: return the phase. ``FieldDecides`` if only the field may change it.

    In ``live``, this records in the owner database that the field has to follow, so that a crash right after the change
    loses nothing: the worker compares both, whether the change was made or not. A comparison that comes before the change
    is made does not count afterwards, because the change is counted (``hold``).
    """
    must_be_adopted(practice.context)
    await practice.context.opening.must_be_current(practice.id)
    phase = await practice_profile.rollout_phase(practice.db)
    if phase in FIELD_DECIDES:
        raise FieldDecides(phase)
    if phase is RolloutPhase.live:
        unit = Unit()
        practice_rollouts.field_is_due(unit, practice.id, practice.context.shared_after(0))
        await practice.context.owner.commit(unit)
    return phase


async def hold(practice: Practice, tx: Tx, announced: RolloutPhase | None) -> None:
    """In the transaction of the change: it is counted, and no step of the rollout is made until it ends. In ``live``, the
    host application gets an event if the field cannot be written from here.

    ``StepMade`` if a step was made since the change was announced; ``PracticeBehind`` if the database is older than what
    the owner database knows of it, so that no keys are saved that a newer copy has replaced.
    """
    await practice.db.must_be_current(tx)
    if await practice_profile.change_providers(tx, practice.id) is not announced:
        raise StepMade
    if announced is RolloutPhase.live and getattr(practice.context.host_field, "host", None) is None:
        # Nothing here can write the field, so the host application is told to do it.
        data = {"practiceId": practice.id}
        event_id, kind = new_id(practice.context.world), EventType.rollout_field_due
        events.append(tx, Event(event_id, practice.id, Environment.production, kind, None, data, practice.now()))


async def announce_following(practice: Practice) -> RolloutPhase | None:
    """Before our configurations follow the field: return the phase. ``OursDecide`` if they do not follow it."""
    must_be_adopted(practice.context)
    await practice.context.opening.must_be_current(practice.id)
    phase = await practice_profile.rollout_phase(practice.db)
    if phase not in FIELD_DECIDES:
        raise OursDecide(phase)
    return phase


async def phase_of(context: Context, practice_id: int) -> RolloutPhase | None:
    """A practice's phase, from its own database: at most a second old, and known while the owner database is unavailable."""
    practice = await context.practice(practice_id)
    return (await context.configured(practice.db)).rollout
