"""A field that somebody changed while polytill's configurations decide: a person decides which side stays."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, FieldError, Invalid
from polytill.domain.rollout import FIELD_DECIDES, FieldState, RolloutPhase
from polytill.flows.context import Context
from polytill.flows.rollout import host, keeping
from polytill.flows.rollout.keeping import FieldResult, row_of, sides
from polytill.flows.rollout.sync import make_equal, rollout_of
from polytill.flows.rollout_phase import FieldDecides, announce_change
from polytill.storage import audit, practice_rollouts
from polytill.storage.practice_rollouts import FieldFound
from polytill.storage.units import Unit

FIELD_NEEDED = (
    "The host application's database is not configured, so polytill cannot read the field. Send it with the decision:"
    " `polytill rollout resolve PRACTICE --keep … --field FILE`, or `paymentProviders` over the API."
)
READ_HERE = "POLYTILL_HOST_DATABASE_URL is set, so polytill reads the field itself. Leave the field out."


class Keep(StrEnum):
    """Which side of a conflict stays."""

    field = "field"
    polytill = "polytill"


async def resolve(context: Context, practice_id: int, keep: Keep, actor: str, value: Any = ...) -> FieldResult:
    """Decide a conflict: write polytill's configurations into the field, or take the field over. The other side is lost, so
    only a person decides it. ``Conflict`` if there is no conflict; ``FieldDecides`` in the phases in which the field
    decides, and nothing of it is ever overwritten.

    ``value``: the field as it is now, if the host's database cannot be reached from here. What the host then has to
    write is `pending`.
    """
    known = await rollout_of(context, practice_id)
    if known.phase is not None and known.phase in FIELD_DECIDES:
        raise FieldDecides(known.phase)
    if known.field_state not in (FieldState.conflict, FieldState.blocked):
        raise Conflict("The field of this practice is in no conflict.", code="no_conflict")
    if known.phase is RolloutPhase.closed and keep is Keep.field:
        raise Conflict("The practice is closed, so its field cannot decide. Keep polytill.", code="ours_decide")
    if (host.of(context).host is None) is (value is ...):
        raise Conflict(FIELD_NEEDED, code="field_needed") if value is ... else Conflict(READ_HERE, code="host_database")
    both = await sides(context, practice_id, (await row_of(context, known)).value if value is ... else value)
    if keep is Keep.field:
        wrong = [one for one in both.field.findings if one.severity != "note"]
        if wrong:
            raise Invalid([FieldError(one.pointer or "/", one.detail) for one in wrong])
        _, problems = await make_equal(both.practice, both.field, both.reading, actor, announce_change)
        if problems:
            raise Invalid([FieldError("/", one) for one in problems])
        known = await practice_rollouts.of_practice(context.owner, practice_id) or known
    now, unit = context.world.now(), Unit()
    # The field as the person has seen it counts as known: from here on, only our own changes are missing in it.
    found = FieldFound(FieldState.pending, both.basis, both.hash, None, context.shared_after(0))
    practice_rollouts.field_found(unit, known, found, now)
    about = {"kept": keep.value}
    audit.append(unit, now, actor, AuditAction.rollout_conflict_resolved, f"practice:{practice_id}", about)
    await context.owner.commit(unit)
    return await keeping.check(context, practice_id, actor, value)
