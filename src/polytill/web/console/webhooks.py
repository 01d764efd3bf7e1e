"""Webhooks from providers that were not applied: parked, relayed and dismissed ones, and the dismissal in bulk."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Response

from polytill.domain.states import Environment, EventState
from polytill.flows.admin import webhook_relay
from polytill.flows.webhooks import dismiss as dismissing
from polytill.flows.webhooks import receive
from polytill.storage import webhook_events, webhook_relays
from polytill.storage.webhook_events import Which
from polytill.web.api.values import BeforeId
from polytill.web.console.flashes import REPLAYS, Done
from polytill.web.console.pages import EXPECTED, page_router
from polytill.web.console.sessions import PracticeAdmin, PracticeViewer, PracticeVisitor

router = page_router("/practice/{practice_id}/webhooks")

SHOWN = 50
# The states that the page lists.
STATES = (EventState.parked, EventState.relaying, EventState.relayed, EventState.dismissed)
Chosen = Annotated[str, Query(max_length=200)]


async def _page(visitor: PracticeVisitor, state: EventState, which: Which, before: str | None, **more: Any) -> Response:
    if state is EventState.parked:
        in_all = await webhook_events.count_parked(visitor.db, which)
        rows = await webhook_events.parked(visitor.db, which, SHOWN)
    else:
        in_all = 0
        rows = await webhook_events.listed(visitor.db, state.value, before=before, limit=SHOWN)
    kinds = await webhook_events.parked_kinds(visitor.db)
    return visitor.page(
        "practice/webhooks.html",
        state=state,
        states=STATES,
        rows=rows,
        relays=await webhook_relays.of_events(visitor.db, [event.id for event in rows]),
        which=which,
        in_all=in_all,
        up_to=rows[0].id if rows else "",
        following=rows[-1].id if state is not EventState.parked and len(rows) == SHOWN else None,
        providers=sorted({provider for provider, _, _ in kinds}),
        types=sorted({event_type for _, event_type, _ in kinds}),
        reasons=sorted({reason for _, _, reason in kinds if reason}),
        names=await visitor.provider_names(),
        **{"note": "", **more},
    )


def _which(provider: str, event_type: str, reason: str, up_to: str | None = None) -> Which:
    return Which(provider_code=provider or None, event_type=event_type or None, reason=reason or None, up_to=up_to)


@router.get("")
async def show(
    visitor: PracticeViewer,
    state: EventState = EventState.parked,
    provider: Chosen = "",
    event_type: Annotated[str, Query(alias="type", max_length=200)] = "",
    reason: Chosen = "",
    before: BeforeId = None,
) -> Response:
    """List webhooks in one state, newest first; parked ones by provider, type and reason."""
    shown = state if state in STATES else EventState.parked
    return await _page(visitor, shown, _which(provider, event_type, reason), before)


@router.post("")
async def dismiss(visitor: PracticeAdmin) -> Response:
    """Dismiss, with a reason, the parked webhooks that match the filter and had arrived when the page was opened."""
    form = visitor.form
    which = _which(form.text("provider"), form.text("type"), form.text("reason"), form.text("upTo") or None)
    if which.up_to is None or not form.has("sure"):
        errors = {"sure": visitor.words("webhooks.tick_box")}
        return await _page(visitor, EventState.parked, which, None, errors=errors, note=form.text("note"), status=422)
    try:
        await dismissing.dismiss(visitor.context, visitor.practice_id, which, form.text("note"), visitor.actor)
    except EXPECTED as error:
        return await _page(visitor, EventState.parked, which, None, error=error, note=form.text("note"))
    return visitor.see("/webhooks", Done.webhooks_dismissed)


@router.post("/{event_id}")
async def replay(visitor: PracticeAdmin, event_id: Annotated[str, Path(max_length=40)]) -> Response:
    """Process a webhook again."""
    event = await receive.replay(visitor.context, visitor.practice_id, event_id)
    return visitor.see("/webhooks", REPLAYS[event.state])


@router.post("/relay/{code}/{environment}")
async def set_relay(visitor: PracticeAdmin, code: str, environment: Environment) -> Response:
    """Set or remove the relay address of one environment of a provider."""
    url = visitor.form.text("url") or None
    try:
        await webhook_relay.set_relay(visitor.context, visitor.practice_id, code, environment, url, visitor.actor)
    except EXPECTED:
        return visitor.see(f"/providers/{code}", Done.relay_refused)
    return visitor.see(f"/providers/{code}", Done.saved)
