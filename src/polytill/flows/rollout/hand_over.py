"""The field over the API: for a host application whose database polytill cannot reach."""

from __future__ import annotations

import json
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, Stale
from polytill.domain.rollout import FIELD_DECIDES, FieldState, RolloutPhase
from polytill.flows.commits import until_committed
from polytill.flows.context import Context
from polytill.flows.legacy.model import Unwritable
from polytill.flows.rollout import host, keeping, sync
from polytill.flows.rollout.field import hash_of, is_blank, wanted
from polytill.flows.rollout.keeping import CONFLICT, FieldResult, sides
from polytill.flows.rollout.sync import rollout_of
from polytill.flows.rollout_phase import FieldDecides
from polytill.storage import audit, practice_rollouts
from polytill.storage.practice_rollouts import FieldFound, Rollout, Writing
from polytill.storage.units import Unit

HAS_HOST = (
    "POLYTILL_HOST_DATABASE_URL is set, so polytill writes the field itself: `polytill rollout sync`. Its keys are not"
    " given out."
)


class FieldChanged(Conflict):
    """The field was changed while polytill decides. Write the field of `POST …/rollout/practices/{id}/field`."""

    code = "field_changed"


async def written(context: Context, practice_id: int, value: Any, actor: str) -> FieldResult:
    """The host has written the field: follow it, or in live and closed, compare it.

    ``FieldChanged`` if somebody has changed it while polytill decides.
    """
    known = await rollout_of(context, practice_id)
    if known.phase in FIELD_DECIDES:
        return await sync.follow(context, practice_id, value, actor)
    found = await keeping.check(context, practice_id, actor, value)
    if found.state is FieldState.conflict:
        raise FieldChanged(f"{found.problems[0]} Different: {'; '.join(found.problems[1:6])}.")
    return found


async def _is_ours(context: Context, known: Rollout, value: Any) -> bool:
    """Whether a field holds nothing, or what it held when both were equal."""
    practice = await context.practice(known.practice_id)
    return is_blank(value) or hash_of(practice.db.data_key, value) in (known.field_hash, known.writing_hash)


async def field_to_write(context: Context, practice_id: int, value: Any, actor: str) -> tuple[Any, FieldState]:
    """The field that the host has to write: polytill's configurations in the shape of ``value``, which is the field as it is
    now (``...``: in a shape of our own); in closed, an empty one. ``FieldDecides`` while the field decides;
    ``FieldChanged`` if somebody else has changed it. ``Conflict`` if polytill can write it itself: then
    nobody needs these keys in plain text.
    """
    if host.of(context).host is not None:
        raise Conflict(HAS_HOST, code="host_database")

    async def decide() -> tuple[Any, FieldState]:
        return await _to_write(context, practice_id, value, actor)

    return await until_committed(decide, (Stale,), tries=4)


async def _to_write(context: Context, practice_id: int, value: Any, actor: str) -> tuple[Any, FieldState]:
    known = await rollout_of(context, practice_id)
    if known.phase is not None and known.phase in FIELD_DECIDES:
        raise FieldDecides(known.phase)
    if value is ... and known.field_state is FieldState.conflict:
        raise FieldChanged(CONFLICT)  # in a shape of our own, it would replace what somebody has written
    if known.phase is RolloutPhase.closed:
        if value is not ... and not await _is_ours(context, known, value):
            raise FieldChanged(CONFLICT)  # emptying it would lose what somebody has written
        blank = host.of(context).blank
        return None if blank is None else json.loads(blank), known.field_state
    both = await sides(context, practice_id, None if value is ... else value)
    is_known = value is ... or known.field_hash is None or await _is_ours(context, known, value)
    if not is_known and both.differ():
        raise FieldChanged(CONFLICT)
    try:
        shaped = await host.written_field(both.value, wanted(both.field, both.mine, both.reading), both.reading)
    except Unwritable as error:
        unit, found = Unit(), FieldFound(FieldState.blocked, both.basis, None, str(error)[: keeping.MOST_SAID])
        practice_rollouts.field_found(unit, known, found, context.world.now())
        await context.owner.commit(unit)  # so that a person can decide
        raise Conflict(f"The field cannot be written: {error}", code="field_not_writable") from None
    # What came as text goes back as text; what came as JSON, or from nothing, as JSON.
    is_text = isinstance(value, str)
    after = json.loads(shaped) if isinstance(shaped, str) and not is_text else shaped
    # The host reports it as what is in the field now, maybe after we have changed something again.
    before = (known.field_hash or both.hash) if value is ... else both.hash
    now, unit = context.world.now(), Unit()
    write = Writing(before, hash_of(both.practice.db.data_key, after), both.basis)
    practice_rollouts.writing(unit, known, write)
    audit.append(unit, now, actor, AuditAction.rollout_field_read, f"practice:{practice_id}")
    await context.owner.commit(unit)
    return after, known.field_state
