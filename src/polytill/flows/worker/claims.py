"""Claims and sweeps: a worker claims practices that are due, sweeps each, and sets the time of the next sweep.

A claim is short and prolonged while its worker lives. The practices of a crashed worker are due again as soon as its
claims have ended: every sweep is repeatable, so nothing needs to be resumed. Any number of workers share the practices
by claims alone. No payment waits for any of this.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from polytill.domain.places import places
from polytill.flows import lease
from polytill.flows.context import Context, log
from polytill.flows.presence import LEASE_S, LIVE_S
from polytill.flows.schedule import CLOCKS_APART_S
from polytill.flows.server_clock import MARGIN_S
from polytill.flows.worker import event_delivery
from polytill.flows.worker.sweep import GRACE_S, sweep_practice
from polytill.storage import leases, nodes
from polytill.storage.units import Unit
from polytill.storage.webhook_relays import Waiting

CLAIM_S = 15.0
PROLONG_S = 5.0
# A practice whose sweep found nothing to do is swept less often.
QUIET_FACTOR = 5
# Slots that wait for a slow provider are replaced, up to this share: a hanging provider may take all slots before it is
# noticed.
REPLACED_SHARE = 0.75
# A turn ends after this time, however much there is to do.
LONGEST_TURN_S = 60.0
LAPSED_EVERY_S = 10.0
MISSED_EVERY_S = 300.0  # several crashes within this time make every practice due only once
EVERY_PRACTICE = 1_000_000
WHENEVER = datetime(9999, 1, 1, tzinfo=UTC)


class Sweeper:
    """The sweeps that one worker is running, and its claims."""

    def __init__(self, context: Context) -> None:
        self._desk = context
        self.worker = context.world.random_bytes(8).hex()
        self._visits: dict[int, asyncio.Task[int]] = {}
        self._in_hand: dict[int, datetime] = {}  # claimed, and not started yet
        self._prolonged_at_s = context.world.time_s()

    @property
    def under_way(self) -> int:
        """The number of practices that are being swept."""
        return len(self._visits)

    async def claim(self, due_before: datetime, limit: int) -> dict[int, datetime]:
        """Claim practices that are due. Return the claimed ones, with the end of the lease of each."""
        if limit < 1:
            return {}  # before a unit is filled: every sweep would inherit an open one, and could not call a provider then
        unit = Unit()
        until, now = self._desk.shared_after(CLAIM_S), self._desk.shared_after(0)
        leases.claim(unit, self.worker, until, now, due_before, limit)
        if not (await self._desk.owner.commit(unit))[0]:
            return {}
        held = await leases.claimed(self._desk.owner, self.worker)
        self._in_hand = {practice_id: until for practice_id, until in held.items() if practice_id not in self._visits}
        return dict(self._in_hand)

    def begin(self, practice_id: int, lease_until: datetime) -> None:
        """Start the sweep of a claimed practice, if the claim has not ended since."""
        if self._in_hand.pop(practice_id, None) is not None:
            self._visits[practice_id] = asyncio.create_task(sweep_practice(self._desk, practice_id, lease_until))

    async def turn(self) -> int:
        """Finish the sweeps that are done and prolong the claims of the others. Return the number of processed items."""
        done = await self._finish()
        await self._keep()
        return done

    async def pause(self, longest_s: float) -> bool:
        """Wait until a sweep is done, or for this time. Return whether one is done."""
        if not self._visits:
            return False
        visits = self._visits.values()
        done, _ = await asyncio.wait(visits, timeout=longest_s, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)

    async def leave(self) -> None:
        """Stop the running sweeps, as a crash would, and release all claims."""
        for task in self._visits.values():
            task.cancel()
        await asyncio.gather(*self._visits.values(), return_exceptions=True)
        self._visits.clear()
        self._in_hand.clear()
        unit = Unit()
        leases.release_all(unit, self.worker)
        await self._desk.owner.commit(unit)

    async def _keep(self) -> None:
        now_s = self._desk.world.time_s()
        if not (self._visits or self._in_hand) or 0 <= now_s - self._prolonged_at_s < PROLONG_S:
            return
        unit = Unit()
        leases.prolong(unit, self.worker, self._desk.shared_after(CLAIM_S))
        await self._desk.owner.commit(unit)
        self._prolonged_at_s = now_s
        held = await leases.claimed(self._desk.owner, self.worker)
        self._in_hand = {practice_id: until for practice_id, until in self._in_hand.items() if practice_id in held}
        for practice_id in self._visits.keys() - held.keys():
            # Its claim ended while the owner database could not be reached, and another worker has it now; or the lease
            # has ended, and the sweep with it. The next sweep continues the work of one that was stopped half-way.
            self._visits[practice_id].cancel()

    async def _finish(self) -> int:
        ended = {practice_id: task for practice_id, task in self._visits.items() if task.done()}
        if not ended:
            return 0
        unit = Unit()
        done = 0
        for practice_id, task in ended.items():
            found = _found(practice_id, task)
            done += found
            pause_s = self._desk.settings.sweep_interval_s * (1 if found else QUIET_FACTOR)
            waiting = self._desk.relays.waiting.get(practice_id, Waiting())
            leases.release(unit, self.worker, practice_id, self._desk.shared_after(pause_s), waiting)
        await self._desk.owner.commit(unit)  # before they are deleted here: a claim that cannot be released is kept
        for practice_id in ended:
            del self._visits[practice_id]
        return done


def _found(practice_id: int, task: asyncio.Task[int]) -> int:
    if task.cancelled():
        return 1
    error = task.exception()
    if error is None:
        return task.result()
    if not isinstance(error, Exception):
        raise error
    log.error("sweep_failed", practice=practice_id, error=type(error).__name__, places=places(error))
    return 0


async def sweep(context: Context, everyone: bool = False) -> int:
    """Sweep each practice with a lease, or every practice, once and now, one after the other."""
    await learn_server_time(context)
    if everyone:
        await lease_all(context)
    rounds, done = Sweeper(context), 0
    try:
        for practice_id, lease_until in (await rounds.claim(WHENEVER, EVERY_PRACTICE)).items():
            rounds.begin(practice_id, lease_until)
            while rounds.under_way:
                await rounds.pause(PROLONG_S)
                done += await rounds.turn()
    finally:
        await rounds.leave()
    return done


async def learn_server_time(context: Context) -> None:
    """Read the time of the owner database's server, if the next read is due, and correct times that were written by
    another clock: a standby that took over may be behind. ``NotNow`` while it is away: claims need a known time."""
    clock = context.server_clock
    jumps = clock.jumps
    await clock.ask(context.owner, context.world)
    if clock.jumps != jumps:
        lease.discard_all(context)
    if clock.back_s:
        unit = Unit()
        # Running workers keep their claims; other claims end when they should.
        leases.cut_claims(unit, context.shared_after(CLAIM_S + MARGIN_S), context.shared_after(CLAIM_S))
        await context.owner.commit(unit)
        _set_right(unit, context, MARGIN_S)
        event_delivery.set_right(unit, context, MARGIN_S)
        await context.owner.commit(unit)
        clock.back_s = 0.0


def _set_right(unit: Unit, context: Context, margin_s: float) -> None:
    longest_s = context.settings.sweep_interval_s * QUIET_FACTOR
    claimed_after, due_after = (context.shared_after(s + margin_s) for s in (CLAIM_S, longest_s))
    leases.set_right(unit, claimed_after, due_after, context.shared_after(0))


async def lease_all(context: Context) -> None:
    """Make every practice due for a sweep, whether it has open work or not, and whatever a wrong clock has put off."""
    await learn_server_time(context)
    unit = Unit()
    _set_right(unit, context, CLOCKS_APART_S)
    event_delivery.set_right(unit, context, CLOCKS_APART_S)
    leases.hold_all(unit, context.shared_after(-GRACE_S))  # no process relies on these leases: one sweep is enough
    await context.owner.commit(unit)


class Lapsed:
    """The crashed processes, as one worker knows them.

    Each may have started payments at any practice while the owner database was away (``flows/lease.py``). So every
    practice is swept once when the process is missed, and once more when its announcement no longer counts as a lease:
    before that time, it may only be cut off and still be running.
    """

    def __init__(self, context: Context) -> None:
        self._desk = context
        self._missed: set[str] = set()
        self._looked_at_s = self._missed_at_s = float("-inf")

    async def look(self) -> bool:
        """Make every practice due if a process has crashed. Return whether one has."""
        context, elapsed_s = self._desk, self._desk.world.elapsed_s()
        if elapsed_s - self._looked_at_s < LAPSED_EVERY_S:
            return False
        lapsed = await nodes.lapsed(context.owner, context.shared_after(0))
        self._looked_at_s = elapsed_s
        self._missed &= lapsed.keys()  # a process that returned is missed again when it crashes
        # By both clocks, as with leases: a clock that jumped ahead must not delete a process that may still be running.
        over = context.surely_past(LEASE_S - LIVE_S + GRACE_S)
        ended = {one for one, until in lapsed.items() if until < over}
        news = ended | (lapsed.keys() - self._missed)
        if not news or (not ended and elapsed_s - self._missed_at_s < MISSED_EVERY_S):
            return False
        unit = Unit()
        leases.hold_all(unit, context.shared_after(-GRACE_S))
        nodes.forget_lapsed(unit, over)
        await context.owner.commit(unit)
        self._missed, self._missed_at_s = set(lapsed), elapsed_s
        log.warning("node_lapsed", nodes=len(news))
        return True


async def turn(rounds: Sweeper, context: Context) -> None:
    """Run one turn of a continuous worker: finish what is done, start what is due, and repeat while all slots are in
    use. Most sweeps are short, and a slot that waited for the next turn would be idle most of the time."""
    pause_s = min(context.settings.sweep_interval_s / 2, PROLONG_S)  # the claims are prolonged meanwhile
    until_s = context.world.elapsed_s() + LONGEST_TURN_S
    while await _is_at_capacity(rounds, context) and context.world.elapsed_s() < until_s:
        if not await rounds.pause(pause_s):
            return


async def _is_at_capacity(rounds: Sweeper, context: Context) -> bool:
    """Finish what is done and start what is due. Return whether no slot is free, so that more may be due."""
    await rounds.turn()
    slots = context.settings.worker_sweeps
    slots += min(context.slow_providers.kept_waiting(context.world.elapsed_s()), max(1, int(slots * REPLACED_SHARE)))
    free = slots - rounds.under_way
    claimed = await rounds.claim(context.shared_after(0), free)
    for practice_id, lease_until in claimed.items():
        rounds.begin(practice_id, lease_until)
    return len(claimed) >= free
