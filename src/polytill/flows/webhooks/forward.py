"""Forwards relayed webhooks to the old address of their account: at once after they are stored, and by the worker.

A try is claimed for a little longer than it takes, so that a crashed process delays a webhook and never loses it: the
old address gets each at least once, and may get one twice. A failed try is repeated after growing pauses, and the
forwarding of a practice ends for the moment, so that an address that is down gets a few requests and not all of them.
None of this is awaited by the provider's request or by the sweep.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum

from polytill.domain.errors import PolytillError, Stale
from polytill.domain.places import places
from polytill.domain.states import EventState, RelayState
from polytill.flows.context import Context, Practice, log
from polytill.flows.webhooks import receive as receiving
from polytill.flows.webhooks import relay as relays
from polytill.flows.webhooks.apply import record_parked
from polytill.providers.http import AnswerLost, ConnectionNotMade, may_be_relayed_to
from polytill.storage import webhook_events, webhook_relays
from polytill.storage.units import Unit
from polytill.storage.webhook_events import RELAY_GAVE_UP, WebhookEvent
from polytill.storage.webhook_relays import Relay

# Pauses before the next try, from seconds (a deployment of the old code) to a day; then the relay is given up, as it is
# when it is this old.
RETRY_S = (10, 30, 120, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600)
LONGEST = timedelta(days=3)
CLAIM_MARGIN_S = 20.0
# Webhooks of one practice that are sent at once, and how long one run of a practice may take.
AT_ONCE, LONGEST_RUN_S = 8, 30.0
# Practices whose webhooks one process forwards at once.
MOST_PRACTICES = 50
# What the old code answers if a webhook is not its own: one of these statuses, or this header with this value.
NOT_THEIRS_STATUSES = frozenset({404, 410})
ANSWER, NOT_MINE = "polytill-relay", "not-mine"


class Tried(StrEnum):
    """The result of one try."""

    forwarded = "forwarded"
    not_theirs = "not_theirs"
    failed = "failed"


def read_answer(status: int | None, headers: Mapping[str, str]) -> Tried:
    """What the old address said. Redirects are not followed: they are failures."""
    if status is None:
        return Tried.failed
    if status in NOT_THEIRS_STATUSES or headers.get(ANSWER, "").strip().lower() == NOT_MINE:
        return Tried.not_theirs
    return Tried.forwarded if 200 <= status < 300 else Tried.failed


async def receive(
    context: Context, token: str, headers: Mapping[str, str], body: bytes, reference: str | None = None
) -> WebhookEvent | None:
    """Receive a webhook (``flows/webhooks/receive.py``). One that is to be relayed is forwarded in the background."""
    event = await receiving.receive(context, token, headers, body, reference)
    if event is not None and event.state is EventState.relaying:
        begin(await context.practice(event.practice_id))
    return event


def begin(practice: Practice) -> None:
    """Forward what is due in a practice, in the background. Does nothing while this process does so already."""
    forwarding = practice.context.relays
    if forwarding.transport is None or practice.context.installation.is_silent:
        return
    if practice.id in forwarding.tasks:
        forwarding.again.add(practice.id)
    elif len(forwarding.tasks) < MOST_PRACTICES:  # the others are due at a later sweep
        forwarding.tasks[practice.id] = asyncio.create_task(_run(practice))


async def finish(context: Context) -> int:
    """Wait until this process has forwarded what it is forwarding. Return the number of tries."""
    return sum([await task for task in list(context.relays.tasks.values())])


async def leave(context: Context) -> None:
    """Stop, as a crash would. What was being sent is sent again when its claim has ended."""
    tasks = list(context.relays.tasks.values())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _run(practice: Practice) -> int:
    context, done = practice.context, 0
    until_s = context.world.elapsed_s() + LONGEST_RUN_S
    try:
        while context.world.elapsed_s() < until_s:
            context.relays.again.discard(practice.id)
            due = await webhook_relays.due(practice.db, context.shared_after(0), AT_ONCE)
            tried = await asyncio.gather(*(_tried(practice, one) for one in due))
            done += len(tried)
            if Tried.failed in tried or (not due and practice.id not in context.relays.again):
                break
        context.relays.note(practice.id, await webhook_relays.waiting(practice.db))
    except PolytillError as error:
        log.warning("relay_waits", practice=practice.id, reason=error.code)
    except Exception as error:
        log.error("relay_failed", practice=practice.id, error=type(error).__name__, places=places(error))
    finally:
        context.relays.tasks.pop(practice.id, None)
    return done


async def _tried(practice: Practice, relay: Relay) -> Tried | None:
    """Make one try. None if there was nothing to send."""
    try:
        event = await _claimed(practice, relay)
        if event is None:
            return None
        claimed = replace(relay)  # what the try changes in memory before it fails is not stored
        try:
            return await _forward(practice, relay, event)
        except Exception as error:  # such as a fault in what reads the webhook: it counts, so that the tries end
            log.error("relay_failed", practice=practice.id, webhook=relay.event_id, error=type(error).__name__)
            practice.context.relays.results[Tried.failed] += 1
            claimed.last_status, claimed.last_error = None, type(error).__name__
            await _failed(practice, claimed, event)
    except Exception as error:  # a fault of one webhook must not stop the others; its claim ends
        log.error("relay_failed", practice=practice.id, webhook=relay.event_id, error=type(error).__name__)
    return Tried.failed


async def _claimed(practice: Practice, relay: Relay) -> WebhookEvent | None:
    """Claim a relay for one try. Returns its webhook; None if there is nothing to do."""
    context = practice.context
    event = await webhook_events.by_id(practice.db, relay.event_id)
    if event is None:  # it became ours meanwhile, and is deleted: it was one of many unsigned ones
        return None
    unit = Unit()
    webhook_relays.claim(unit, relay, context.shared_after(context.settings.event_timeout_s + CLAIM_MARGIN_S))
    try:
        await practice.db.commit(unit)
    except Stale:  # another process is sending it
        return None
    relay.tries += 1
    return event


async def _forward(practice: Practice, relay: Relay, event: WebhookEvent) -> Tried | None:
    """Send a claimed webhook. None if there was nothing to send."""
    context = practice.context
    if event.state is not EventState.relaying or await _is_ours_by_now(practice, event):
        await _end(practice, relay, RelayState.ours)
        return None
    configurations = (await context.configured(practice.db)).configurations.values()
    url = next((one.relay_urls.get(relay.environment) for one in configurations if one.id == relay.config_id), None)
    if url is None:
        await _end(practice, relay, RelayState.turned_off, event)
        return None
    status, error, answered = await _sent(practice, relay, url)
    tried = read_answer(status, answered)
    context.relays.results[tried] += 1
    relay.last_status, relay.last_error = status, error
    if tried is Tried.failed:
        log.warning("webhook_not_relayed", practice=practice.id, webhook=relay.event_id, status=status, error=error)
        await _failed(practice, relay, event)
    else:
        await _end(practice, relay, RelayState(tried), event)
    return tried


async def _is_ours_by_now(practice: Practice, event: WebhookEvent) -> bool:
    """Apply a webhook whose payment has become known since it was stored. Return whether it was."""
    if event.reason == webhook_events.UNKNOWN_REFERENCE and event.body is not None:
        await receiving.apply_stored(practice, event)
    return event.state is not EventState.relaying


async def _sent(practice: Practice, relay: Relay, url: str) -> tuple[int | None, str | None, Mapping[str, str]]:
    context = practice.context
    if not may_be_relayed_to(url, context.settings.allowed_relay_origins):  # the settings have changed
        return None, "address_not_allowed", {}
    assert context.relays.transport is not None
    headers, body = relays.opened(practice, relay)
    try:
        async with asyncio.timeout(context.settings.event_timeout_s):
            status, answered, _ = await context.relays.transport.send("POST", url, headers, body)
            return status, None, answered
    except (ConnectionNotMade, AnswerLost) as failure:
        return None, str(failure) or type(failure).__name__, {}
    except Exception as failure:  # a fault of one webhook must not stop the others
        return None, type(failure).__name__, {}


async def _failed(practice: Practice, relay: Relay, event: WebhookEvent) -> None:
    now = practice.context.shared_after(0)
    if relay.tries > len(RETRY_S) or now - relay.created_at >= LONGEST:
        practice.context.relays.results[RelayState.gave_up] += 1
        await _end(practice, relay, RelayState.gave_up, event)
        return
    relay.next_try_at = now + timedelta(seconds=RETRY_S[relay.tries - 1])
    unit = Unit()
    webhook_relays.try_later(unit, relay)
    try:
        await practice.db.commit(unit)
    except Stale:  # it has ended, or the claim had, and another process is sending it now
        return


# The state and the reason of a webhook after its relay. None: the state that it has without a relay.
_AFTER: dict[RelayState, tuple[EventState | None, str | None]] = {
    RelayState.forwarded: (EventState.relayed, None),
    RelayState.not_theirs: (None, None),
    RelayState.turned_off: (None, None),
    RelayState.gave_up: (EventState.parked, RELAY_GAVE_UP),
}


async def _end(practice: Practice, relay: Relay, state: RelayState, event: WebhookEvent | None = None) -> None:
    """End a relay and delete its sealed request; ``event``: the webhook, if it is still to be relayed."""
    relay.state, relay.sealed_request, relay.next_try_at = state, None, None
    relay.ended_at = practice.context.shared_after(0)
    unit = Unit()
    webhook_relays.end(unit, relay)
    if event is not None:
        becomes, reason = _AFTER[state]
        becomes, reason = becomes or relay.otherwise, reason or event.reason
        webhook_events.end_relay(unit, event, becomes, reason, practice.now())
        if becomes is EventState.parked:
            record_parked(practice, unit, event, reason)
    try:
        await practice.db.commit(unit)
    except Stale:  # it was applied meanwhile, or another process has ended it
        if event is not None:
            await _end(practice, relay, RelayState.ours)
