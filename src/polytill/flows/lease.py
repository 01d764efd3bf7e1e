"""A practice that takes payments is known to the worker before its first one: leases, held ahead of need.

A lease is written when this process first needs it and renewed long before it ends, in the background; no write to the
owner database stands in a payment's way. While the owner database is down, payments flow until their lease ends.
"""

from __future__ import annotations

from polytill.domain.errors import NotNow
from polytill.flows import presence
from polytill.flows.desk import Desk, log
from polytill.storage import leases
from polytill.storage.units import Unit

LEASE_S = 900.0
RENEW_BEFORE_S = 600.0  # renewed while two thirds of it are left, so that an outage of ten minutes stops nobody
MARGIN_S = 5.0


async def ensure(desk: Desk, practice_id: int) -> None:
    """A valid lease for this practice, or ``NotNow``: a payment that no worker would ever visit must not exist."""
    until_s = desk.leased_until_s.get(practice_id, 0.0)
    if desk.world.elapsed_s() < until_s - MARGIN_S:
        return
    try:
        await _write(desk, practice_id)
    except NotNow as error:
        raise NotNow("This practice cannot take payments just now; try again in a moment.", code="no_lease") from error


async def _write(desk: Desk, practice_id: int) -> None:
    jumps = None
    while jumps != desk.server_clock.jumps:  # it was written by a time that has jumped meanwhile
        jumps = desk.server_clock.jumps
        unit, until_s = Unit(), desk.world.elapsed_s() + LEASE_S
        leases.hold(unit, practice_id, desk.shared_after(LEASE_S), desk.shared_after(0))
        await desk.owner.commit(unit)
    desk.leased_until_s[practice_id] = until_s  # as it was written, however long that took
    await presence.warn_without_worker(desk)


def doubt(desk: Desk) -> None:
    """The shared time has jumped: each lease of this process is written anew before a payment counts on it."""
    for practice_id in desk.leased_until_s:
        desk.leased_until_s[practice_id] = float("-inf")


async def renew(desk: Desk) -> int:
    """Renew the leases of this process that are used and due, those that end first at first. How many were renewed.

    The first that cannot be written ends it: each further one would wait as long for the same database.
    """
    now_s = desk.world.elapsed_s()
    held = sorted(desk.leased_until_s.items(), key=lambda one: one[1])
    due = [practice_id for practice_id, until_s in held if until_s - now_s < RENEW_BEFORE_S]
    opened = set(desk.opening.opened())
    renewed = 0
    for done, practice_id in enumerate(due):
        if practice_id not in opened:
            if desk.leased_until_s[practice_id] < now_s:
                del desk.leased_until_s[practice_id]
            continue
        try:
            await _write(desk, practice_id)
            renewed += 1
        except NotNow:
            log.warning("lease_not_renewed", practice=practice_id, waiting=len(due) - done)
            break
    return renewed
