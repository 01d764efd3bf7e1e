"""How the platform learns what happened: one feed to read in order, and signed deliveries to one destination."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from polytill.flows import notify
from polytill.storage import events
from polytill.web import answers, shapes
from polytill.web.auth import Owner
from polytill.web.bodies import StrictRoute
from polytill.web.views import answer

router = APIRouter(prefix="/api/owner", tags=["events"], route_class=StrictRoute)

Cursor = Annotated[int, Query(ge=0, le=2**53)]


class DestinationShape(shapes.Shape):
    """Where events are delivered."""

    url: shapes.Url


@router.get("/events", response_model=answers.EventPage)
async def read_events(caller: Owner, after: Cursor = 0, limit: Annotated[int, Query(ge=1, le=500)] = 100) -> Response:
    """What happened in all practices, in order, from after a cursor on."""
    found = await events.read(caller.desk.owner, after, limit)
    return answer(
        {
            "data": [{"cursor": event.position, **notify.event_view(event)} for event in found],
            "nextCursor": found[-1].position if found else after,
        }
    )


@router.post("/events/{cursor}/replay", status_code=202, response_model=answers.Replayed)
async def replay_event(caller: Owner, cursor: Annotated[int, Path(ge=1, le=2**53)]) -> Response:
    """Deliver one event once more."""
    await notify.replay(caller.desk, cursor, caller.actor)
    return answer({"cursor": cursor}, 202)


@router.put("/event-destination", response_model=answers.Destination)
async def set_destination(caller: Owner, body: DestinationShape) -> Response:
    """Set where events are delivered. The secret to verify them with is shown this once."""
    secret = await notify.set_destination(caller.desk, body.url, caller.actor)
    return answer({"url": body.url, "secret": secret})
