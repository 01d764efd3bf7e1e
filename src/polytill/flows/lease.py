"""Leases, taken before they are needed: a worker knows of a practice before its first payment is created.

A lease is written when this process first needs it and renewed long before it ends, in the background. A payment never
waits for a write to the owner database.

While the owner database is unavailable, the process's announcement among the nodes (``flows/presence.py``) counts as a lease
on every practice, for as long as a lease lasts. It was committed earlier, so that database records that this process
may have created payments anywhere. A practice that relies on it is owed its own lease, which is written as soon as
possible. If the process dies earlier, its row lapses, and a worker sweeps every practice (``flows/worker/claims.py``).
"""

from __future__ import annotations

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import NotNow, PracticeBehind
from polytill.domain.states import Environment
from polytill.flows import installation, presence
from polytill.flows.context import Context, log
from polytill.flows.presence import LEASE_S as LEASE_S
from polytill.storage import audit, leases, practices
from polytill.storage.units import Unit

RENEW_BEFORE_S = 600.0  # renewed while two thirds of it are left, so that an outage of ten minutes stops no payment
MARGIN_S = 5.0


async def ensure(context: Context, practice_id: int) -> None:
    """Hold a valid lease for this practice, so that a worker can reach its payments. ``NotNow`` if that is impossible."""
    now_s = context.world.elapsed_s()
    context.lease_used_s[practice_id] = now_s
    if now_s < context.leased_until_s.get(practice_id, 0.0) - MARGIN_S:
        return
    announced = now_s < context.announced_until_s - MARGIN_S
    if announced and (practice_id in context.owed_leases or context.opening.watch.away):
        context.owed_leases.add(practice_id)
        return  # written in the background: a request now might take as long as a connection timeout
    try:
        await _write(context, practice_id)
    except NotNow as error:
        if context.world.elapsed_s() < context.announced_until_s - MARGIN_S:
            context.owed_leases.add(practice_id)
            return
        raise NotNow("This practice cannot take payments just now; try again in a moment.", code="no_lease") from error


async def may_begin(context: Context, practice_id: int, environment: Environment) -> None:
    """Before money is taken, returned or decided about: the practice's database is current, and a worker can reach it.

    ``PracticeBehind`` if the database is older than what the owner database knows of it; ``InstallationCopied`` in a copy,
    except for the sandbox of a copied database; ``NotNow`` without a lease.
    """
    installation.may_use(context, environment)
    try:
        await context.opening.must_be_current(practice_id)
    except PracticeBehind:
        await note_behind(context, practice_id)
        raise
    if context.installation.copied is not None:
        installation.may_write(await context.practice(practice_id), environment)
    await ensure(context, practice_id)


async def note_behind(context: Context, practice_id: int) -> None:
    """Write into the directory, once, that a practice's database is behind, or that it no longer is."""
    try:
        entry = await context.opening.entry(practice_id)
        reason = context.opening.behind().get(practice_id)
        if entry.behind is reason:
            return
        unit, now = Unit(), context.world.now()
        practices.set_behind(unit, practice_id, reason, now)
        action = AuditAction.practice_current if reason is None else AuditAction.practice_behind
        audit.append(unit, now, "polytill", action, f"practice:{practice_id}", {"reason": reason})
        await context.owner.commit(unit)
    except NotNow:
        return  # the refusal does not depend on it
    context.opening.forget(practice_id)
    if reason is not None:
        log.error("practice_behind", practice=practice_id, reason=reason)


async def _write(context: Context, practice_id: int) -> None:
    jumps = None
    while jumps != context.server_clock.jumps:  # the shared time jumped during the write
        jumps = context.server_clock.jumps
        unit, until_s = Unit(), context.world.elapsed_s() + LEASE_S
        leases.hold(unit, practice_id, context.shared_after(LEASE_S), context.shared_after(0))
        await context.owner.commit(unit)
    context.leased_until_s[practice_id] = until_s  # counted from before the write, however long the write took
    context.owed_leases.discard(practice_id)
    await presence.warn_without_worker(context)


def discard_all(context: Context) -> None:
    """Discard all leases of this process after the shared time jumped. Each is written again before it is relied on."""
    for practice_id in context.leased_until_s:
        context.leased_until_s[practice_id] = float("-inf")
    context.announced_until_s = float("-inf")


def servable(context: Context) -> int:
    """The number of practices that can take payments here while the owner database is unavailable."""
    now_s = context.world.elapsed_s()
    known = context.opening.directory.known()
    if now_s < context.announced_until_s - MARGIN_S:
        return len(known)
    return sum(now_s < context.leased_until_s.get(entry.id, 0.0) - MARGIN_S for entry in known)


async def renew(context: Context) -> int:
    """Write the leases that are owed, then renew those that are due and were used within the time of a lease, earliest end
    first. Returns their number.

    A practice that is not used any more needs none: a lapsed one stays until a worker has found nothing open there.

    Stops at the first that cannot be written: each further one would wait as long for the same database.
    """
    now_s = context.world.elapsed_s()
    held = sorted(context.leased_until_s.items(), key=lambda one: one[1])
    due = [practice_id for practice_id, until_s in held if until_s - now_s < RENEW_BEFORE_S]
    due = [*context.owed_leases, *(one for one in due if one not in context.owed_leases)]
    used = {practice_id for practice_id, at_s in context.lease_used_s.items() if now_s - at_s < LEASE_S}
    renewed = 0
    for done, practice_id in enumerate(due):
        if practice_id not in used and practice_id not in context.owed_leases:
            if context.leased_until_s[practice_id] < now_s:
                del context.leased_until_s[practice_id]
                context.lease_used_s.pop(practice_id, None)
            continue
        try:
            await _write(context, practice_id)
            renewed += 1
        except NotNow:
            log.warning("lease_not_renewed", practice=practice_id, waiting=len(due) - done)
            break
    return renewed
