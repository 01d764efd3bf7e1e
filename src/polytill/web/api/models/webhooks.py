"""Webhooks from providers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

from pydantic import AwareDatetime, Field, StrictBool

from polytill.domain.errors import invalid
from polytill.domain.states import Environment, EventState, RelayState
from polytill.storage import webhook_events, webhook_relays
from polytill.storage.webhook_events import Which
from polytill.web.api.requests import RequestBody
from polytill.web.api.responses import Moment, ResponseBody
from polytill.web.api.values import Code, Text, Url, Word


class WebhookRelay(ResponseBody):
    """The relay of a webhook to the old address of its account. ``lastStatus``: the HTTP status of its last answer;
    ``lastError``: why there was none."""

    state: RelayState
    tries: int
    next_try_at: Moment | None
    last_status: int | None
    last_error: str | None
    ended_at: Moment | None


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
    dismissed_note: str | None
    relay: WebhookRelay | None

    @classmethod
    def of(cls, event: webhook_events.WebhookEvent, relay: webhook_relays.Relay | None) -> Self:
        """Build it from its row and that of its relay."""
        its = WebhookRelay.from_record(relay) if relay is not None else None
        return cls.from_record(event, status=event.state, relay=its)


class DismissWebhooks(RequestBody):
    """Which parked webhooks to dismiss, and why. At least one member besides ``note`` and ``dryRun`` selects them;
    ``all`` selects every one."""

    note: Text
    ids: list[Word] | None = Field(None, min_length=1, max_length=500)
    provider_code: Code | None = None
    environment: Environment | None = None
    event_type: Word | None = None
    reason: Word | None = None
    received_before: AwareDatetime | None = None
    all: StrictBool = False
    dry_run: StrictBool = False

    def which(self) -> Which:
        """The selection. ``Invalid`` if nothing selects."""
        before: datetime | None = self.received_before
        which = Which(
            tuple(self.ids) if self.ids is not None else None,
            self.provider_code,
            self.environment,
            self.event_type,
            self.reason,
            before,
        )
        if not which.named() and not self.all:
            raise invalid("/", "Select the webhooks, or send all: true.", code="nothing_selected")
        return which


class WebhooksDismissed(ResponseBody):
    """How many webhooks were dismissed, or would be (``dryRun``)."""

    count: int
    dry_run: bool


class SetWebhookRelay(RequestBody):
    """The address to which webhooks go that are not about anything here."""

    url: Url


class WebhookReceived(ResponseBody):
    """A webhook was stored."""

    received: Literal[True]
    status: str
