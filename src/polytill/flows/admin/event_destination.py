"""The destination of events, the secrets that sign them, and the owner's decisions about abandoned events."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, NotFound, Stale, invalid
from polytill.domain.sealing import Place
from polytill.domain.secret import Secret
from polytill.flows.context import Context
from polytill.flows.installation import must_be_adopted
from polytill.providers.http import origin_of
from polytill.storage import audit, event_deliveries, events, leases
from polytill.storage.event_deliveries import Backlog, Destination
from polytill.storage.units import Unit

PLACE = Place("event_destinations", "1", "secret")
# A destination that has rejected an event for this long is reported as failing.
FAILING = timedelta(hours=1)
BACKLOG_EVERY_S = 10.0

_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


async def current(context: Context) -> Destination | None:
    """Return the destination of events; None if none is set."""
    return await event_deliveries.destination(context.owner, context.shared_after(0))


def secrets_of(context: Context, destination: Destination) -> list[Secret]:
    """Return the secrets that sign now, the current one first."""
    return [context.opening.open_owners(sealed, PLACE) for sealed in destination.sealed_secrets]


async def set_destination(context: Context, url: str, actor: str) -> str:
    """Set the destination of events. Return the new secret to verify them with, which is shown only once.

    Everything pending goes there at once. The replaced secret signs as well for a while.
    """
    must_be_adopted(context)
    origin = origin_of(url)
    if origin is None or (origin.startswith("http://") and urlsplit(origin).hostname not in _THIS_MACHINE):
        raise invalid("/url", "The destination must be an https address (http only on this machine).")
    secret = "whsec_" + base64.b64encode(context.world.random_bytes(32)).decode()
    sealed = context.opening.seal_owners(Secret(secret), PLACE)
    now, due = context.world.now(), context.shared_after(0)
    before = await current(context)
    unit = Unit()
    event_deliveries.forget_previous(unit, due)
    overlap_s = context.settings.event_secret_overlap_s
    if before is not None and overlap_s > 0:
        event_deliveries.keep_previous(unit, before.sealed_secrets[0], context.shared_after(overlap_s))
    event_deliveries.put_destination(unit, url, sealed, now)
    event_deliveries.due_now(unit, due, address_changed=before is None or before.url != url)
    audit.append(unit, now, actor, AuditAction.events_destination_set, "owner", {"origin": origin})
    await context.owner.commit(unit)
    return secret


async def remove_destination(context: Context, actor: str) -> None:
    """Stop all deliveries. Pending events stay in the feed, and are delivered only if they are replayed."""
    unit = Unit()
    event_deliveries.remove_destination(unit)
    audit.append(unit, context.world.now(), actor, AuditAction.events_destination_removed, "owner", None)
    try:
        await context.owner.commit(unit)
    except Stale:
        raise NotFound("No event destination is set.") from None


async def replay(context: Context, position: int, actor: str) -> None:
    """Deliver one event of the feed once more."""
    found = await events.read(context.owner, position - 1, 1)
    if not found or found[0].position != position:
        raise NotFound("There is no such event.")
    unit = Unit()
    event_deliveries.plan(unit, found[0], context.shared_after(0))
    audit.append(unit, context.world.now(), actor, AuditAction.events_replayed, "owner", {"cursor": position})
    await context.owner.commit(unit)


async def replay_abandoned(context: Context, actor: str) -> int:
    """Deliver every abandoned event once more. Return the number of events."""
    unit = Unit()
    event_deliveries.plan_abandoned(unit, context.shared_after(0))
    count = (await context.owner.commit(unit))[0]
    if count:
        audit.append(unit, context.world.now(), actor, AuditAction.events_abandoned_replayed, "owner", {"count": count})
        await context.owner.commit(unit)
    return count


async def resolve(context: Context, position: int, actor: str) -> None:
    """Resolve an abandoned event: the host has read it from the feed, or does not need it."""
    now = context.world.now()
    unit = Unit()
    event_deliveries.resolve(unit, position, now)
    audit.append(unit, now, actor, AuditAction.events_abandoned_resolved, "owner", {"cursor": position})
    try:
        await context.owner.commit(unit)
    except Stale:
        raise Conflict("There is no abandoned delivery of this event.", code="not_abandoned") from None


# ── For the owner's pages ──


async def read_backlog(context: Context) -> Backlog:
    """Read the number of undelivered events, and of webhooks that wait to be relayed, and keep them for this process's
    metrics."""
    context.relays.everywhere = await leases.relays(context.owner)
    context.event_backlog = await event_deliveries.backlog(context.owner)
    return context.event_backlog


def state_of(backlog: Backlog, now: datetime) -> str:
    """Return the state of the destination: none, active, or failing (abandoned events, or one that was rejected for
    long)."""
    if not backlog.has_destination:
        return "none"
    refused = backlog.retrying_since is not None and now - backlog.retrying_since > FAILING
    return "failing" if refused or backlog.abandoned else "active"
