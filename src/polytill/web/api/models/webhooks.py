"""Webhooks from providers."""

from __future__ import annotations

from typing import Literal, Self

from polytill.domain.states import Environment, EventState
from polytill.storage import webhook_events
from polytill.web.api.responses import Moment, ResponseBody


class WebhookEvent(ResponseBody):
    """A webhook from a provider."""

    id: str
    provider_code: str
    environment: Environment
    event_type: str
    status: EventState
    reason: str | None
    payment_id: str | None
    tries: int
    received_at: Moment
    applied_at: Moment | None

    @classmethod
    def of(cls, event: webhook_events.WebhookEvent) -> Self:
        """Build it from its row."""
        return cls.from_record(event, status=event.state)


class WebhookReceived(ResponseBody):
    """A webhook was stored."""

    received: Literal[True]
    status: str
