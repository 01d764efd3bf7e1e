"""Events and their deliveries on the wire."""

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
    """Where events are delivered."""

    url: shapes.Url


class Event(Answer):
    """Something that the host is told; ``cursor`` is its place in the feed."""

    cursor: int
    id: str
    type: str
    timestamp: Moment
    practice_id: int
    environment: Environment
    data: Annotated[dict[str, Any], Field(description="The payment, refund, dispute or case that it is about")]


class EventPage(Answer):
    """Events in order."""

    data: list[Event]
    next_cursor: Annotated[int, Field(description="To be sent as `after`; the same again where nothing is new")]


class Replayed(Answer):
    """An event that is delivered once more."""

    cursor: int


class NewDestination(Answer):
    """Where events go; the secret to verify them with is shown this once."""

    url: str
    secret: str


class Destination(EventBacklog):
    """Where events go, and what has not arrived there."""

    destination: Literal["active", "failing"]
    url: str
    secret_last4: str
    previous_secret_until: Annotated[
        Moment | None, Field(description="Until then the replaced secret signs as well; null where none does")
    ]
    created_at: Moment
    updated_at: Moment


class EventDelivery(Answer):
    """How the delivery of one event stands."""

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
    """A page of deliveries. ``nextBefore`` null: the last one."""

    data: list[EventDelivery]
    next_before: int | None


class ReplayedAll(Answer):
    """How many events are delivered once more."""

    count: int


def backlog_view(backlog: Backlog, now: datetime) -> dict[str, Any]:
    """What the host has not received."""
    return {
        "destination": state_of(backlog, now), "pending": backlog.pending,
        "oldestPendingAt": wire_time(backlog.oldest_pending_at), "retrying": backlog.retrying,
        "retryingSince": wire_time(backlog.retrying_since), "abandoned": backlog.abandoned,
    }  # fmt: skip


def delivery_view(delivery: Delivery) -> dict[str, Any]:
    """One delivery."""
    event = delivery.event
    return {
        "cursor": event.position, "id": event.event_id, "type": event.type, "practiceId": event.practice_id,
        "paymentId": event.payment_id, "state": _SHOWN.get(delivery.state, delivery.state), "tries": delivery.tries,
        "lastStatus": delivery.last_status, "lastError": delivery.last_error,
        "nextTryAt": wire_time(delivery.next_try_at) if delivery.state == "pending" else None,
        "deliveredAt": wire_time(delivery.delivered_at), "abandonedAt": wire_time(delivery.given_up_at),
        "resolvedAt": wire_time(delivery.resolved_at), "createdAt": wire_time(event.created_at),
    }  # fmt: skip
