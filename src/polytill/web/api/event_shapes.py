"""JSON of events and their deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from polytill.domain.clock import wire_time
from polytill.flows.admin.event_destination import state_of
from polytill.storage.event_deliveries import Backlog, Delivery
from polytill.web.api import shapes
from polytill.web.api.answering import Answer, Environment, Moment
from polytill.web.api.answers import EventBacklog

DeliveryState = Literal["pending", "delivered", "abandoned"]
STORED: dict[str | None, str | None] = {"pending": "pending", "delivered": "delivered", "abandoned": "given_up"}
_SHOWN = {stored: shown for shown, stored in STORED.items()}


class DestinationShape(shapes.Shape):
    """A destination for events."""

    url: shapes.Url


class Event(Answer):
    """An event for the host application; ``cursor`` is its position in the feed."""

    cursor: int
    id: str
    type: str
    timestamp: Moment
    practice_id: int
    environment: Environment
    data: Annotated[
        dict[str, Any], Field(description="The payment, refund, dispute or review case that the event is about")
    ]


class EventPage(Answer):
    """Events in order."""

    data: list[Event]
    next_cursor: Annotated[int, Field(description="Send it as `after`; unchanged if there are no new events")]


class Replayed(Answer):
    """An event that is sent again."""

    cursor: int


class NewDestination(Answer):
    """A new destination with its signing secret, which is shown only once."""

    url: str
    secret: str


class Destination(EventBacklog):
    """A destination, and the events that it has not received."""

    destination: Literal["active", "failing"]
    url: str
    secret_last4: str
    previous_secret_until: Annotated[
        Moment | None, Field(description="The replaced secret also signs until this time; null if there is none")
    ]
    created_at: Moment
    updated_at: Moment


class EventDelivery(Answer):
    """The delivery of one event."""

    cursor: int
    id: str
    type: str
    practice_id: int
    payment_id: str | None
    state: DeliveryState
    tries: int
    last_status: int | None
    last_error: str | None
    next_try_at: Moment | None
    delivered_at: Moment | None
    abandoned_at: Moment | None
    resolved_at: Moment | None
    created_at: Moment


class EventDeliveryPage(Answer):
    """A page of event deliveries. ``nextBefore`` is null on the last page."""

    data: list[EventDelivery]
    next_before: int | None


class ReplayedAll(Answer):
    """The number of events that are sent again."""

    count: int


def backlog_view(backlog: Backlog, now: datetime) -> dict[str, Any]:
    """The events that the host application has not received, as JSON."""
    return {
        "destination": state_of(backlog, now),
        "pending": backlog.pending,
        "oldestPendingAt": wire_time(backlog.oldest_pending_at),
        "retrying": backlog.retrying,
        "retryingSince": wire_time(backlog.retrying_since),
        "abandoned": backlog.abandoned,
    }


def delivery_view(delivery: Delivery) -> dict[str, Any]:
    """One event delivery as JSON."""
    event = delivery.event
    return {
        "cursor": event.position,
        "id": event.event_id,
        "type": event.type,
        "practiceId": event.practice_id,
        "paymentId": event.payment_id,
        "state": _SHOWN.get(delivery.state, delivery.state),
        "tries": delivery.tries,
        "lastStatus": delivery.last_status,
        "lastError": delivery.last_error,
        "nextTryAt": wire_time(delivery.next_try_at) if delivery.state == "pending" else None,
        "deliveredAt": wire_time(delivery.delivered_at),
        "abandonedAt": wire_time(delivery.given_up_at),
        "resolvedAt": wire_time(delivery.resolved_at),
        "createdAt": wire_time(event.created_at),
    }
