"""One-time messages after a form.

The text key travels in a cookie to the next address only, and is deleted when it is read. No address can make a page
show a message, and a reload or a bookmark shows none.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import quote, unquote

from fastapi import Request, Response

from polytill.domain.states import EventState, OperationState, RefundState

COOKIE = "polytill_done"
LASTS_S = 60


class Outcome(StrEnum):
    """The outcome of a form, which alone decides the tone of the banner."""

    succeeded = "succeeded"
    submitted = "submitted"  # in progress, or prepared for a later step
    unknown = "unknown"
    unchanged = "unchanged"  # there was nothing to do, or nothing could be done
    refused = "refused"


# Green is only for success.
TONES = {
    Outcome.succeeded: "good",
    Outcome.submitted: "info",
    Outcome.unknown: "warn",
    Outcome.unchanged: "warn",
    Outcome.refused: "bad",
}


class Done(StrEnum):
    """All banners after a form: a key of the texts ``done``, with its outcome."""

    outcome: Outcome

    def __new__(cls, name: str, outcome: Outcome) -> Done:
        """A member from its name and outcome."""
        made = str.__new__(cls, name)
        made._value_ = name
        made.outcome = outcome
        return made

    marked_paid = "marked_paid", Outcome.succeeded
    marked_done = "marked_done", Outcome.succeeded
    marked_not_done = "marked_not_done", Outcome.succeeded
    counted_separate = "counted_separate", Outcome.succeeded
    counted_same = "counted_same", Outcome.succeeded
    event_resolved = "event_resolved", Outcome.succeeded
    link_closed = "link_closed", Outcome.succeeded
    saved = "saved", Outcome.succeeded
    policy_published = "policy_published", Outcome.succeeded
    policy_published_warned = "policy_published_warned", Outcome.unknown
    password = "password", Outcome.succeeded
    signed_out = "signed_out", Outcome.succeeded
    provider_added = "provider_added", Outcome.succeeded
    migrated = "migrated", Outcome.succeeded
    applied = "applied", Outcome.succeeded
    webhooks_dismissed = "webhooks_dismissed", Outcome.succeeded
    asked = "asked", Outcome.succeeded
    order = "order", Outcome.succeeded
    keys_saved = "keys_saved", Outcome.succeeded
    enable = "enable", Outcome.succeeded
    disable = "disable", Outcome.succeeded
    default = "default", Outcome.succeeded
    no_default = "no_default", Outcome.succeeded
    removed = "removed", Outcome.succeeded
    production = "production", Outcome.succeeded
    sandbox = "sandbox", Outcome.succeeded
    refunded = "refunded", Outcome.succeeded
    resolved = "resolved", Outcome.succeeded
    marked_not_paid = "marked_not_paid", Outcome.succeeded
    sessions_ended = "sessions_ended", Outcome.succeeded
    look = "look", Outcome.succeeded
    rollout_moved = "rollout_moved", Outcome.succeeded
    rollout_in_sync = "rollout_in_sync", Outcome.succeeded
    rollout_not_in_sync = "rollout_not_in_sync", Outcome.unchanged
    booked = "booked", Outcome.succeeded
    captured = "captured", Outcome.succeeded
    canceled = "canceled", Outcome.succeeded
    events_replayed = "events_replayed", Outcome.submitted
    migration_begun = "migration_begun", Outcome.submitted
    job_paused = "job_paused", Outcome.succeeded
    job_started = "job_started", Outcome.submitted
    job_resumed = "job_resumed", Outcome.submitted
    job_canceled = "job_canceled", Outcome.succeeded
    practice_closed = "practice_closed", Outcome.succeeded
    practice_reopened = "practice_reopened", Outcome.succeeded
    prepared = "prepared", Outcome.submitted
    manual_payment_created = "manual_payment_created", Outcome.submitted
    refund_submitted = "refund_submitted", Outcome.submitted
    capture_submitted = "capture_submitted", Outcome.submitted
    cancel_submitted = "cancel_submitted", Outcome.submitted
    replay_waits = "replay_waits", Outcome.submitted
    not_answered = "not_answered", Outcome.unknown
    refund_unknown = "refund_unknown", Outcome.unknown
    production_unchecked = "production_unchecked", Outcome.unknown
    capture_unknown = "capture_unknown", Outcome.unknown
    cancel_unknown = "cancel_unknown", Outcome.unknown
    migration_goes_on = "migration_goes_on", Outcome.unchanged
    still_parked = "still_parked", Outcome.unchanged
    replay_elsewhere = "replay_elsewhere", Outcome.unchanged
    nothing_left = "nothing_left", Outcome.unchanged
    nothing_asked = "nothing_asked", Outcome.unchanged
    nothing_to_change = "nothing_to_change", Outcome.unchanged
    relay_refused = "relay_refused", Outcome.refused
    refused = "refused", Outcome.refused
    capture_refused = "capture_refused", Outcome.refused
    cancel_refused = "cancel_refused", Outcome.refused
    refund_not_sent = "refund_not_sent", Outcome.refused
    capture_not_sent = "capture_not_sent", Outcome.refused
    cancel_not_sent = "cancel_not_sent", Outcome.refused

    @property
    def tone(self) -> str:
        """The tone of its banner."""
        return TONES[self.outcome]


# The message about money for each state that the provider confirmed. Without that confirmation no message says
# refunded, captured or canceled.
REFUNDS: Mapping[RefundState, Done] = {
    RefundState.sent: Done.refund_submitted,
    RefundState.pending: Done.refund_submitted,
    RefundState.unknown: Done.refund_unknown,
    RefundState.succeeded: Done.refunded,
    RefundState.declined: Done.refused,
    RefundState.not_sent: Done.refund_not_sent,
    RefundState.failed: Done.refused,
}
CAPTURES: Mapping[OperationState, Done] = {
    OperationState.sent: Done.capture_submitted,
    OperationState.pending: Done.capture_submitted,
    OperationState.unknown: Done.capture_unknown,
    OperationState.succeeded: Done.captured,
    OperationState.declined: Done.capture_refused,
    OperationState.not_sent: Done.capture_not_sent,
}
CANCELS: Mapping[OperationState, Done] = {
    OperationState.sent: Done.cancel_submitted,
    OperationState.pending: Done.cancel_submitted,
    OperationState.unknown: Done.cancel_unknown,
    OperationState.succeeded: Done.canceled,
    OperationState.declined: Done.cancel_refused,
    OperationState.not_sent: Done.cancel_not_sent,
}
REPLAYS: Mapping[EventState, Done] = {
    EventState.applied: Done.applied,
    EventState.ignored: Done.applied,
    EventState.parked: Done.still_parked,
    EventState.received: Done.replay_waits,
    EventState.relaying: Done.replay_elsewhere,
    EventState.relayed: Done.replay_elsewhere,
    EventState.dismissed: Done.replay_elsewhere,
}


def leave(response: Response, address: str, done: Done) -> None:
    """Show the message on the page at ``address`` only."""
    path = address.partition("#")[0].partition("?")[0]
    value = f"{done.value}|{quote(path, safe='')}"
    response.set_cookie(COOKIE, value, max_age=LASTS_S, path="/", httponly=True, samesite="lax")


def read(request: Request) -> Done | None:
    """The message for this page; None for a fragment that refreshes itself."""
    name, _, path = request.cookies.get(COOKIE, "").partition("|")
    here = unquote(path) == request.url.path and not request.headers.get("hx-request")
    return Done.__members__.get(name) if here else None


def forget(response: Response, flash: Done | None) -> None:
    """Delete the message after it was shown."""
    if flash is not None:
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
