"""The gradual rollout in the owner's console: phases, fields, differences and readers, and the steps."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Response

from polytill.domain.errors import invalid
from polytill.domain.rollout import BACK, FORWARD, DifferenceReason, FieldState, RolloutPhase
from polytill.flows.rollout import conflicts, moves, overview, sync
from polytill.flows.rollout.batches import batch_of
from polytill.flows.rollout.conflicts import Keep
from polytill.flows.rollout.moves import Moved, Selection
from polytill.storage import practice_rollouts, rollout_differences
from polytill.web.api.values import After, Before
from polytill.web.console.flashes import Done
from polytill.web.console.pages import EXPECTED, page_router
from polytill.web.console.sessions import OwnerAdmin, OwnerViewer, PracticeId

router = page_router("/owner/rollout")

PER_PAGE = 50
MOVED_AT_ONCE = 200  # by one form; a larger rollout is for the command line
TONES = {
    FieldState.in_sync: "good",
    FieldState.pending: "info",
    FieldState.conflict: "bad",
    FieldState.blocked: "bad",
    FieldState.unknown: "",
}
PHASE_TONES = {RolloutPhase.live: "good", RolloutPhase.shadow: "info", RolloutPhase.closed: "good"}
AnyPhase = Annotated[RolloutPhase | None, Query()]
AnyReason = Annotated[DifferenceReason | None, Query()]


async def _page(visitor: OwnerViewer, phase: RolloutPhase | None = None, after: int = 0, **more: Any) -> Response:
    owner = visitor.context.owner
    found = await practice_rollouts.listed(owner, phase, None, after, PER_PAGE + 1)
    shown = found[:PER_PAGE]
    return visitor.page(
        "owner/rollout.html",
        overview=await overview.overview(visitor.context),
        rollouts=shown,
        differences=await rollout_differences.count_by_practice(owner, [one.practice_id for one in shown]),
        phase=phase,
        following=shown[-1].practice_id if len(found) > PER_PAGE else None,
        phases=list(RolloutPhase),
        forward=FORWARD,
        back_to=BACK,
        tones=TONES,
        phase_tones=PHASE_TONES,
        **{"given": {}, "refused": [], "batch": None, **more},
    )


@router.get("")
async def show_rollout(visitor: OwnerViewer, phase: AnyPhase = None, after: After = 0) -> Response:
    """Show the phases, and the practices in the rollout."""
    return await _page(visitor, phase, after)


@router.post("")
async def move_practices(visitor: OwnerAdmin) -> Response:
    """Move practices one step: by their external ids, or a percentage of all."""
    form = visitor.form
    given = {name: form.text(name) for name in ("to", "percent", "externalIds")}
    try:
        to = _phase(given["to"])
        percent = int(given["percent"]) if given["percent"].isdecimal() and len(given["percent"]) < 4 else None
        if given["percent"] and percent is None:
            raise invalid("/percent", "A percentage is from 1 to 100.", reason="rollout_percent")
        selection = Selection((), tuple(given["externalIds"].split()), percent)
        chosen = await moves.chosen(visitor.context, selection, to)
    except EXPECTED as error:
        return await _page(visitor, error=error, given=given)
    after = form.text("after")
    start = int(after) if after.isdecimal() and len(after) < 11 else 0
    batch = batch_of(chosen, to, start, MOVED_AT_ONCE)
    done: list[Moved] = [one async for one in moves.move_all(visitor.context, batch.now, to, visitor.actor)]
    refused = [one for one in done if one.refused is not None]
    if refused or batch.left:
        return await _page(visitor, refused=refused, given=given, batch=batch)
    return visitor.see("/rollout", Done.rollout_moved if done else Done.nothing_to_change)


def _phase(name: str) -> RolloutPhase:
    if name not in RolloutPhase.__members__:
        raise invalid("/to", "Choose a phase.", reason="rollout_phase")
    return RolloutPhase(name)


@router.post("/{practice_id}")
async def change_one(visitor: OwnerAdmin, practice_id: PracticeId) -> Response:
    """Move one practice a step, compare its field now, or decide a conflict."""
    context, actor, form = visitor.context, visitor.actor, visitor.form
    try:
        match form.text("action"):
            case "sync":
                found = await sync.sync(context, practice_id, actor)
                done = Done.rollout_in_sync if found.state is FieldState.in_sync else Done.rollout_not_in_sync
            case "keep":
                keep = Keep.field if form.text("keep") == Keep.field else Keep.polytill
                await conflicts.resolve(context, practice_id, keep, actor)
                done = Done.rollout_in_sync
            case _:
                await moves.move(context, practice_id, _phase(form.text("to")), actor)
                done = Done.rollout_moved
    except EXPECTED as error:
        return await _page(visitor, error=error)
    return visitor.see("/rollout", done)


@router.get("/differences")
async def show_differences(visitor: OwnerViewer, reason: AnyReason = None, before: Before = None) -> Response:
    """Show payments for which the old code and polytill chose differently."""
    found = await rollout_differences.listed(visitor.context.owner, None, reason, before, PER_PAGE + 1)
    return visitor.page(
        "owner/rollout_differences.html",
        differences=found[:PER_PAGE],
        counts=await rollout_differences.count_by_reason(visitor.context.owner),
        reason=reason,
        reasons=list(DifferenceReason),
        following=found[PER_PAGE - 1].id if len(found) > PER_PAGE else None,
        names=await visitor.provider_names(),
    )
