"""The destination of events, the secrets that sign them, and the owner's decisions about abandoned events."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from polytill.domain.errors import Conflict, NotFound, Stale, invalid
from polytill.domain.sealing import Place
from polytill.domain.secret import Secret
from polytill.flows.context import Desk
from polytill.providers.http import origin_of
from polytill.storage import audit, event_deliveries, events
from polytill.storage.event_deliveries import Backlog, Destination
from polytill.storage.units import Unit

PLACE = Place("event_destinations", "1", "secret")
# A destination that has rejected an event for this long is reported as failing.
FAILING = timedelta(hours=1)
BACKLOG_EVERY_S = 10.0

_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


async def current(desk: Desk) -> Destination | None:
    """Return the destination of events; None if none is set."""
    return await event_deliveries.destination(desk.owner, desk.shared_after(0))


def secrets_of(desk: Desk, destination: Destination) -> list[Secret]:
    """Return the secrets that sign now, the current one first."""
    return [desk.opening.open_owners(sealed, PLACE) for sealed in destination.sealed_secrets]


async def set_destination(desk: Desk, url: str, actor: str) -> str:
    """Set the destination of events. Return the new secret to verify them with, which is shown only once.

    Everything pending goes there at once. The replaced secret signs as well for a while.
    """
    origin = origin_of(url)
    if origin is None or (origin.startswith("http://") and urlsplit(origin).hostname not in _THIS_MACHINE):
        raise invalid("/url", "The destination must be an https address (http only on this machine).")
    secret = "whsec_" + base64.b64encode(desk.world.random_bytes(32)).decode()
    sealed = desk.opening.seal_owners(Secret(secret), PLACE)
    now, due = desk.world.now(), desk.shared_after(0)
    before = await current(desk)
    unit = Unit()
    event_deliveries.forget_previous(unit, due)
    overlap_s = desk.settings.event_secret_overlap_s
    if before is not None and overlap_s > 0:
        event_deliveries.keep_previous(unit, before.sealed_secrets[0], desk.shared_after(overlap_s))
    event_deliveries.put_destination(unit, url, sealed, now)
    event_deliveries.due_now(unit, due, address_changed=before is None or before.url != url)
    audit.append(unit, now, actor, "events.destination_set", "owner", {"origin": origin})
    await desk.owner.commit(unit)
    return secret


async def remove_destination(desk: Desk, actor: str) -> None:
    """Stop all deliveries. Pending events stay in the feed, and are delivered only if they are replayed."""
    unit = Unit()
    event_deliveries.remove_destination(unit)
    audit.append(unit, desk.world.now(), actor, "events.destination_removed", "owner", None)
    try:
        await desk.owner.commit(unit)
    except Stale:
        raise NotFound("No event destination is set.") from None


async def replay(desk: Desk, position: int, actor: str) -> None:
    """Deliver one event of the feed once more."""
    found = await events.read(desk.owner, position - 1, 1)
    if not found or found[0].position != position:
        raise NotFound("There is no such event.")
    unit = Unit()
    event_deliveries.plan(unit, found[0], desk.shared_after(0))
    audit.append(unit, desk.world.now(), actor, "events.replayed", "owner", {"cursor": position})
    await desk.owner.commit(unit)


async def replay_abandoned(desk: Desk, actor: str) -> int:
    """Deliver every abandoned event once more. Return the number of events."""
    unit = Unit()
    event_deliveries.plan_abandoned(unit, desk.shared_after(0))
    count = (await desk.owner.commit(unit))[0]
    if count:
        audit.append(unit, desk.world.now(), actor, "events.abandoned_replayed", "owner", {"count": count})
        await desk.owner.commit(unit)
    return count


async def resolve(desk: Desk, position: int, actor: str) -> None:
    """Resolve an abandoned event: the host has read it from the feed, or does not need it."""
    now = desk.world.now()
    unit = Unit()
    event_deliveries.resolve(unit, position, now)
    audit.append(unit, now, actor, "events.abandoned_resolved", "owner", {"cursor": position})
    try:
        await desk.owner.commit(unit)
    except Stale:
        raise Conflict("There is no abandoned delivery of this event.", code="not_abandoned") from None


# ── For the owner's pages ──


async def read_backlog(desk: Desk) -> Backlog:
    """Read the number of undelivered events, and keep it for this process's metrics."""
    desk.event_backlog = await event_deliveries.backlog(desk.owner)
    return desk.event_backlog


def state_of(backlog: Backlog, now: datetime) -> str:
    """Return the state of the destination: none, active, or failing (abandoned events, or one that was rejected for
    long)."""
    if not backlog.has_destination:
        return "none"
    refused = backlog.retrying_since is not None and now - backlog.retrying_since > FAILING
    return "failing" if refused or backlog.abandoned else "active"
