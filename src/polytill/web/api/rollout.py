"""The gradual rollout: phases and differences for the owner, and what the old code calls."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from fastapi import Query, Response

from polytill.domain.clock import wire_time
from polytill.domain.errors import NotFound
from polytill.domain.rollout import DifferenceReason, FieldState, RolloutPhase
from polytill.flows.context import Context
from polytill.flows.rollout import conflicts, decisions, hand_over, moves, overview, readers, sync
from polytill.flows.rollout.batches import batch_of
from polytill.storage import practice_rollouts, rollout_differences
from polytill.storage.practice_rollouts import Rollout
from polytill.web.api.auth import Configures, Owner, Pays, PracticeId
from polytill.web.api.bodies import strict_router
from polytill.web.api.models.rollout import (
    AskedPayment,
    ComparedDecision,
    FieldInStep,
    FieldReader,
    FieldToWrite,
    MovedPractices,
    MovePractices,
    OldField,
    PracticeRollout,
    RefusedMove,
    ReportedDecision,
    ReportFieldReads,
    ResolveConflict,
    RolloutChoice,
    RolloutDifference,
    RolloutStatus,
)
from polytill.web.api.responses import respond
from polytill.web.api.values import After, Before, Limit

router = strict_router("rollout")

OWNER, PRACTICE = "/api/owner/rollout", "/api/practices/{practiceId}/rollout"
# What one request moves at most, so that it ends before a proxy gives up.
MOVED_AT_ONCE = 100
AnyPractice = Annotated[int | None, Query(alias="practiceId", ge=1, le=2**31 - 1)]


# ── The owner ──


@router.get(OWNER, response_model=RolloutStatus)
async def get_rollout(caller: Owner) -> Response:
    """Get the state of the rollout."""
    found = await overview.overview(caller.context)
    reports = found.readers.reports
    body = RolloutStatus.from_record(
        found,
        readers=[FieldReader.from_record(one) for one in found.readers.callers],
        reads_reported_since=wire_time(reports.first_at if reports else None),
        reads_reported_at=wire_time(reports.last_at if reports else None),
    )
    return respond(body)


@router.get(f"{OWNER}/practices", response_model=list[PracticeRollout])
async def list_practice_rollouts(
    caller: Owner,
    phase: RolloutPhase | None = None,
    field_state: Annotated[FieldState | None, Query(alias="fieldState")] = None,
    practice_id: AnyPractice = None,
    after: After = 0,
    limit: Limit = 100,
) -> Response:
    """List practices in the rollout by id.

    Starts after the id `after`. With `practiceId`: only this practice, also if it is not in the rollout.
    """
    owner = caller.context.owner
    if practice_id is None:
        found = await practice_rollouts.listed(owner, phase, field_state, after, limit)
    else:
        one = await practice_rollouts.of_practice(owner, practice_id)
        found = [] if one is None else [one]
    return respond(await _shown(caller.context, found))


async def _shown(context: Context, found: list[Rollout]) -> list[PracticeRollout]:
    counts = await rollout_differences.count_by_practice(context.owner, [one.practice_id for one in found])
    return [PracticeRollout.of(one, counts.get(one.practice_id, 0)) for one in found]


@router.post(f"{OWNER}/moves", response_model=MovedPractices)
async def move_practices(caller: Owner, body: MovePractices) -> Response:
    """Move practices one step.

    Practices are checked and moved one by one. At most 100 are tried by one request, by their ids: `left` counts the
    others. If `next` is not null, send the same request with it as `after`, to continue after those that were refused.
    """
    chosen = await moves.chosen(caller.context, body.selection(), body.to)
    batch = batch_of(chosen, body.to, body.after, MOVED_AT_ONCE)
    unchanged, moved, refused = [one.practice_id for one in batch.unchanged], list[int](), list[RefusedMove]()
    async for one in moves.move_all(caller.context, batch.now, body.to, caller.actor):
        if one.refused is not None:
            refused.append(RefusedMove.of(one))
        else:
            (moved if one.changed else unchanged).append(one.rollout.practice_id)
    refused.sort(key=lambda one: one.practice_id)
    return respond(MovedPractices(sorted(moved), sorted(unchanged), refused, batch.left, batch.next_after))


@router.post(f"{OWNER}/practices/{{practiceId}}/back", response_model=PracticeRollout)
async def move_practice_back(caller: Owner, practice_id: PracticeId) -> Response:
    """Move a practice one step back.

    From live to shadow, or from shadow to legacy. 409 with the reason if the field does not have all of polytill's changes yet.
    """
    known = await practice_rollouts.of_practice(caller.context.owner, practice_id)
    if known is None:
        raise NotFound("There is no such practice.")
    moved = await moves.move(caller.context, practice_id, moves.back_from(known), caller.actor)
    [shown] = await _shown(caller.context, [moved.rollout])
    return respond(shown)


@router.post(f"{OWNER}/practices/{{practiceId}}/sync", response_model=FieldInStep)
async def sync_practice_field(caller: Owner, practice_id: PracticeId) -> Response:
    """Compare a practice's field with its configurations now.

    In legacy and shadow, the configurations follow the field. In live, pending changes are written into the field.
    Needs the host application's database in the settings.
    """
    return respond(FieldInStep.from_record(await sync.sync(caller.context, practice_id, caller.actor)))


@router.post(f"{OWNER}/practices/{{practiceId}}/resolve", response_model=FieldInStep)
async def resolve_field_conflict(caller: Owner, practice_id: PracticeId, body: ResolveConflict) -> Response:
    """Resolve a conflict of a field.

    Somebody changed the field while polytill decides. `keep` says which side stays; the other one is overwritten.
    409 `field_needed`: polytill cannot read the field, so send it in `paymentProviders`. With `keep: polytill` it is
    `pending` then, until you have written polytill's configurations into it.
    """
    found = await conflicts.resolve(caller.context, practice_id, body.keep, caller.actor, body.field())
    return respond(FieldInStep.from_record(found))


@router.get(f"{OWNER}/practices/{{practiceId}}/field", response_model=FieldToWrite)
async def get_practice_field(caller: Owner, practice_id: PracticeId) -> Response:
    """Get a practice's configurations as a field.

    For a host application whose database polytill cannot reach: 409 if POLYTILL_HOST_DATABASE_URL is set. The response
    contains keys in plain text, and each call is in the audit log. Only in the phase live, and in closed, where the
    field is empty.
    """
    return respond(await _field(caller, practice_id, None))


@router.post(f"{OWNER}/practices/{{practiceId}}/field", response_model=FieldToWrite)
async def convert_practice_field(caller: Owner, practice_id: PracticeId, body: OldField) -> Response:
    """Write a practice's configurations into its field.

    Send the field as it is now: the response has the same field in its own shape, with polytill's changes. Contains keys in
    plain text, as for the call without a body. 409 if somebody else has changed the field, or if polytill writes it
    itself.
    """
    return respond(await _field(caller, practice_id, body))


async def _field(caller: Owner, practice_id: int, body: OldField | None) -> FieldToWrite:
    given = ... if body is None else body.payment_providers
    value, state = await hand_over.field_to_write(caller.context, practice_id, given, caller.actor)
    return FieldToWrite(value, state)


@router.get(f"{OWNER}/differences", response_model=list[RolloutDifference])
async def list_rollout_differences(
    caller: Owner,
    practice_id: AnyPractice = None,
    reason: DifferenceReason | None = None,
    before: Before = None,
    limit: Limit = 100,
) -> Response:
    """List differences between the old code and polytill, newest first."""
    found = await rollout_differences.listed(caller.context.owner, practice_id, reason, before, limit)
    return respond([RolloutDifference.from_record(one) for one in found])


# ── The old code ──


@router.post(f"{PRACTICE}/decisions", response_model=ComparedDecision)
async def compare_decision(caller: Pays, practice_id: PracticeId, body: ReportedDecision) -> Response:
    """Compare a decision of the old code with polytill's.

    In the phase shadow, a difference is recorded once for each `reference`. No payment is created.
    """
    found = await decisions.compare(caller.context, practice_id, body.asked(), body.provider_code, body.reference)
    return respond(ComparedDecision.of(found))


@router.post(f"{PRACTICE}/choice", response_model=RolloutChoice)
async def ask_for_choice(caller: Pays, practice_id: PracticeId, body: AskedPayment) -> Response:
    """Ask whose choice counts for a payment, and for polytill's choice.

    `use` is `legacy` until the practice is live. No payment is created.
    """
    return respond(RolloutChoice.of(await decisions.choose(caller.context, practice_id, body.asked())))


@router.put(f"{PRACTICE}/field", response_model=FieldInStep)
async def write_field_through(caller: Configures, practice_id: PracticeId, body: OldField) -> Response:
    """Send a practice's field after it was written.

    In legacy and shadow, the configurations follow it at once. In live and closed it is compared: 409 if it was changed,
    because polytill decides then.
    """
    found = await hand_over.written(caller.context, practice_id, body.payment_providers, caller.actor)
    return respond(FieldInStep.from_record(found))


@router.post(f"{PRACTICE}/field-reads", status_code=204)
async def report_field_reads(caller: Pays, practice_id: PracticeId, body: ReportFieldReads) -> Response:
    """Report reads of the field by caller.

    The reads of all practices, with the key of any one of them, so that the old code needs no owner key. Send it every
    minute, also with an empty list: only reported silence shows that nobody reads the field.
    """
    counts: Counter[str] = Counter()
    for one in body.reads:
        counts[one.caller] += one.count
    await readers.count(caller.context, counts)
    return Response(status_code=204)
