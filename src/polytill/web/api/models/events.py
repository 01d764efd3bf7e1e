"""Events for the host application, their destination and their deliveries: requests and responses."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from polytill.domain.clock import wire_time
from polytill.domain.event_types import EventType
from polytill.domain.states import DeliveryState, Environment
from polytill.flows.admin.event_destination import state_of
from polytill.storage import event_deliveries, events
from polytill.web.api.requests import RequestBody
from polytill.web.api.responses import Moment, ResponseBody
from polytill.web.api.values import Url


class SetEventDestination(RequestBody):
    """A destination for events."""

    url: Url


class Event(ResponseBody):
    """An event for the host application; ``cursor`` is its position in the feed."""

    cursor: int
    id: str
    type: EventType
    timestamp: Moment
    practice_id: int
    environment: Environment
    data: Annotated[
        dict[str, Any], Field(description="The payment, refund, dispute or review case that the event is about")
    ]

    @classmethod
    def of(cls, event: events.Event) -> Self:
        """Build it from its row in the feed."""
        return cls.from_record(event, cursor=event.position, id=event.event_id, timestamp=wire_time(event.created_at))


class EventPage(ResponseBody):
    """Events in order."""

    data: list[Event]
    next_cursor: Annotated[int, Field(description="Send it as `after`; unchanged if there are no new events")]


class ReplayedEvent(ResponseBody):
    """An event that is sent again."""

    cursor: int


class ReplayedEvents(ResponseBody):
    """The number of events that are sent again."""

    count: int


class NewEventDestination(ResponseBody):
    """A new destination with its signing secret, which is shown only once."""

    url: str
    secret: str


class EventBacklog(ResponseBody):
    """Events that the host application has not received. ``abandoned`` ones used up all tries and are review cases."""

    destination: Literal["none", "active", "failing"]
    pending: int
    oldest_pending_at: Moment | None
    retrying: int
    retrying_since: Moment | None
    abandoned: int

    @classmethod
    def of(cls, backlog: event_deliveries.Backlog, now: datetime, /, **more: Any) -> Self:
        """Build it from the totals. ``more`` are the fields that only a subclass has."""
        return cls.from_record(backlog, destination=state_of(backlog, now), **more)


class EventDestination(EventBacklog):
    """A destination, and the events that it has not received."""

    destination: Literal["active", "failing"]
    url: str
    secret_last4: str
    previous_secret_until: Annotated[
        Moment | None, Field(description="The replaced secret also signs until this time; null if there is none")
    ]
    created_at: Moment
    updated_at: Moment


class EventDelivery(ResponseBody):
    """The delivery of one event."""

    cursor: int
    id: str
    type: EventType
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

    @classmethod
    def of(cls, delivery: event_deliveries.Delivery) -> Self:
        """Build it from its row and its event."""
        event = delivery.event
        return cls.from_record(
            delivery,
            cursor=event.position,
            id=event.event_id,
            type=event.type,
            practice_id=event.practice_id,
            payment_id=event.payment_id,
            state=delivery.state,
            next_try_at=wire_time(delivery.next_try_at) if delivery.state is DeliveryState.pending else None,
            abandoned_at=wire_time(delivery.abandoned_at),
            created_at=wire_time(event.created_at),
        )


class EventDeliveryPage(ResponseBody):
    """A page of event deliveries. ``nextBefore`` is null on the last page."""

    data: list[EventDelivery]
    next_before: int | None
