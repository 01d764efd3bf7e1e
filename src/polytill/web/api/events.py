"""Events for the host application: one feed to read in order, and signed deliveries to one destination."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from polytill.domain.clock import wire_time
from polytill.domain.errors import NotFound
from polytill.flows import events as outbox
from polytill.flows.admin import event_destination
from polytill.storage import event_deliveries, events
from polytill.web.api import event_shapes
from polytill.web.api.auth import Owner
from polytill.web.api.bodies import StrictRoute
from polytill.web.api.views import answer

router = APIRouter(prefix="/api/owner", tags=["events"], route_class=StrictRoute)

Cursor = Annotated[int, Query(ge=0, le=2**53)]
Position = Annotated[int, Path(alias="cursor", ge=1, le=2**53)]


@router.get("/events", response_model=event_shapes.EventPage)
async def read_events(caller: Owner, after: Cursor = 0, limit: Annotated[int, Query(ge=1, le=500)] = 100) -> Response:
    """Read the feed of events.

    The events of all practices, in order, after the given cursor.
    """
    found = await events.read(caller.context.owner, after, limit)
    return answer(
        {
            "data": [{"cursor": event.position, **outbox.event_view(event)} for event in found],
            "nextCursor": found[-1].position if found else after,
        }
    )


@router.post("/events/{cursor}/replay", status_code=202, response_model=event_shapes.Replayed)
async def replay_event(caller: Owner, cursor: Position) -> Response:
    """Send one event again."""
    await event_destination.replay(caller.context, cursor, caller.actor)
    return answer({"cursor": cursor}, 202)


# ── The destination ──


@router.get("/event-destination", response_model=event_shapes.Destination)
async def get_destination(caller: Owner) -> Response:
    """Get the event destination.

    Includes the events that it has not received. The signing secret is not shown again.
    """
    context = caller.context
    found = await event_destination.current(context)
    if found is None:
        raise NotFound("No event destination is set.")
    secret = event_destination.secrets_of(context, found)[0]
    backlog = await event_destination.read_backlog(context)
    return answer(
        {
            **event_shapes.backlog_view(backlog, context.world.now()),
            "url": found.url,
            "secretLast4": secret.reveal()[-4:],
            "previousSecretUntil": wire_time(found.previous_until),
            "createdAt": wire_time(found.created_at),
            "updatedAt": wire_time(found.updated_at),
        }
    )


@router.put("/event-destination", response_model=event_shapes.NewDestination)
async def set_destination(caller: Owner, body: event_shapes.DestinationShape) -> Response:
    """Set the event destination.

    The response contains the signing secret, which is shown only once.
    """
    secret = await event_destination.set_destination(caller.context, body.url, caller.actor)
    return answer({"url": body.url, "secret": secret})


@router.delete("/event-destination", status_code=204)
async def remove_destination(caller: Owner) -> Response:
    """Remove the event destination.

    Deliveries stop. Pending events stay in the feed.
    """
    await event_destination.remove_destination(caller.context, caller.actor)
    return Response(status_code=204)


# ── Event deliveries ──


@router.get("/event-deliveries", response_model=event_shapes.EventDeliveryPage)
async def list_deliveries(
    caller: Owner,
    state: event_shapes.DeliveryState | None = None,
    practice_id: Annotated[int | None, Query(alias="practiceId", ge=1, le=2**31 - 1)] = None,
    before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """List event deliveries, newest event first."""
    stored = event_shapes.STORED[state] if state else None
    found = await event_deliveries.listed(caller.context.owner, stored, practice_id, before, limit + 1)
    following = found[limit - 1].event.position if len(found) > limit else None
    return answer({"data": [event_shapes.delivery_view(one) for one in found[:limit]], "nextBefore": following})


@router.post("/event-deliveries/replay", status_code=202, response_model=event_shapes.ReplayedAll)
async def replay_abandoned(caller: Owner) -> Response:
    """Send every abandoned event again."""
    return answer({"count": await event_destination.replay_abandoned(caller.context, caller.actor)}, 202)


@router.post("/event-deliveries/{cursor}/resolve", status_code=204)
async def resolve_delivery(caller: Owner, cursor: Position) -> Response:
    """Resolve the review case of an abandoned event without sending the event."""
    await event_destination.resolve(caller.context, cursor, caller.actor)
    return Response(status_code=204)
