"""Events for the host application: one feed to read in order, and signed deliveries to one destination."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Response

from polytill.domain.clock import wire_time
from polytill.domain.errors import NotFound
from polytill.domain.states import DeliveryState
from polytill.flows.admin import event_destination
from polytill.storage import event_deliveries, events
from polytill.web.api.auth import Owner
from polytill.web.api.bodies import strict_router
from polytill.web.api.models import events as models
from polytill.web.api.responses import respond
from polytill.web.api.values import Before, Limit

router = strict_router("events", "/api/owner")

Cursor = Annotated[int, Query(ge=0, le=2**53)]
Position = Annotated[int, Path(alias="cursor", ge=1, le=2**53)]


@router.get("/events", response_model=models.EventPage)
async def read_events(caller: Owner, after: Cursor = 0, limit: Limit = 100) -> Response:
    """Read the feed of events.

    The events of all practices, in order, after the given cursor.
    """
    found = await events.read(caller.context.owner, after, limit)
    return respond(models.EventPage([models.Event.of(one) for one in found], found[-1].position if found else after))


@router.post("/events/{cursor}/replay", status_code=202, response_model=models.ReplayedEvent)
async def replay_event(caller: Owner, cursor: Position) -> Response:
    """Send one event again."""
    await event_destination.replay(caller.context, cursor, caller.actor)
    return respond(models.ReplayedEvent(cursor), 202)


# ── The destination ──


@router.get("/event-destination", response_model=models.EventDestination)
async def get_event_destination(caller: Owner) -> Response:
    """Get the event destination.

    Includes the events that it has not received. The signing secret is not shown again.
    """
    context = caller.context
    found = await event_destination.current(context)
    if found is None:
        raise NotFound("No event destination is set.")
    secret = event_destination.secrets_of(context, found)[0]
    backlog = await event_destination.read_backlog(context)
    body = models.EventDestination.of(
        backlog,
        context.world.now(),
        url=found.url,
        secret_last4=secret.reveal()[-4:],
        previous_secret_until=wire_time(found.previous_until),
        created_at=wire_time(found.created_at),
        updated_at=wire_time(found.updated_at),
    )
    return respond(body)


@router.put("/event-destination", response_model=models.NewEventDestination)
async def set_event_destination(caller: Owner, body: models.SetEventDestination) -> Response:
    """Set the event destination.

    The response contains the signing secret, which is shown only once.
    """
    secret = await event_destination.set_destination(caller.context, body.url, caller.actor)
    return respond(models.NewEventDestination(body.url, secret))


@router.delete("/event-destination", status_code=204)
async def remove_event_destination(caller: Owner) -> Response:
    """Remove the event destination.

    Deliveries stop. Pending events stay in the feed.
    """
    await event_destination.remove_destination(caller.context, caller.actor)
    return Response(status_code=204)


# ── Event deliveries ──


@router.get("/event-deliveries", response_model=models.EventDeliveryPage)
async def list_event_deliveries(
    caller: Owner,
    state: DeliveryState | None = None,
    practice_id: Annotated[int | None, Query(alias="practiceId", ge=1, le=2**31 - 1)] = None,
    before: Before = None,
    limit: Limit = 100,
) -> Response:
    """List event deliveries, newest event first."""
    found = await event_deliveries.listed(caller.context.owner, state, practice_id, before, limit + 1)
    following = found[limit - 1].event.position if len(found) > limit else None
    return respond(models.EventDeliveryPage([models.EventDelivery.of(one) for one in found[:limit]], following))


@router.post("/event-deliveries/replay", status_code=202, response_model=models.ReplayedEvents)
async def replay_abandoned_events(caller: Owner) -> Response:
    """Send every abandoned event again."""
    count = await event_destination.replay_abandoned(caller.context, caller.actor)
    return respond(models.ReplayedEvents(count), 202)


@router.post("/event-deliveries/{cursor}/resolve", status_code=204)
async def resolve_event_delivery(caller: Owner, cursor: Position) -> Response:
    """Resolve the review case of an abandoned event without sending the event."""
    await event_destination.resolve(caller.context, cursor, caller.actor)
    return Response(status_code=204)
