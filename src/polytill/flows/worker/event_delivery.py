"""Event deliveries to the host: many at once, signed, in order for each payment, and no practice delays another.

A worker claims due deliveries for a little longer than one try takes; the claims of a crashed worker expire. The slots
of a worker are shared: a practice has at most a part of them, a practice with failing deliveries only a few, and a slow
delivery makes room for others. Signatures follow https://www.standardwebhooks.com.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from math import ceil

import msgspec
from standardwebhooks import Webhook

from polytill.domain.states import DeliveryState
from polytill.flows.admin.event_destination import current, secrets_of
from polytill.flows.context import Context, log
from polytill.flows.events import event_view
from polytill.providers.http import AnswerLost, ConnectionNotMade
from polytill.storage import event_deliveries
from polytill.storage.event_deliveries import Claim, Claimed, Destination, FreeSlots, Tried
from polytill.storage.events import Event
from polytill.storage.units import Unit

# Pauses before the next try, from seconds (a deployment of the host) to a day: ten further tries in about three days.
RETRY_S = (5, 30, 120, 600, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 24 * 3600)
JITTER = 0.2  # of a pause, up or down: a recovered host must not get everything at the same time
CLAIM_MARGIN_S = 20.0
# One practice takes at most this part of the slots that other practices leave; after a failed try, this number.
SHARE = 0.75
FAILING_PRACTICE = 4
# A delivery that has taken this long makes room for another one, up to this many times the slots.
SLOW_S = 2.0
REPLACED = 4
DESTINATION_READ_S = 0.5
PAUSE_S = 0.25
CLAIMS_A_ROUND = 10  # a claim waits until this part of the slots is free, or for the pause
GATHER_S = 0.02  # tries that end within this time are written together
WRITTEN_AT_ONCE = 20
LONGEST_S = 60.0  # of one turn, however much there is to do


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A delivery that is being sent."""

    claim_id: str
    claimed: Claimed
    began_s: float


class EventSender:
    """The deliveries that one worker is sending."""

    def __init__(self, context: Context) -> None:
        self._desk = context
        self._worker = context.world.random_bytes(8).hex()
        self._claims = 0
        self._tasks: dict[asyncio.Task[Tried], _UnderWay] = {}
        self._failing: set[int] = set()  # practices whose last try failed
        self._destination: Destination | None = None
        self._read_at_s = self._claimed_at_s = float("-inf")
        self._signers: list[Webhook] = []

    @property
    def under_way(self) -> int:
        """The number of deliveries that are being sent."""
        return len(self._tasks)

    async def turn(self) -> int:
        """Write the results of finished tries, and start due deliveries in free slots. Return the number of finished
        tries."""
        ended = await self._finish()
        if await self._changed():
            await self._leave_address()
        if self._destination is not None:
            await self._begin(self._destination)
        return ended

    async def pause(self, longest_s: float = PAUSE_S) -> None:
        """Wait until a try has finished, or for this time."""
        if self._tasks:
            done, _ = await asyncio.wait(self._tasks, timeout=longest_s, return_when=asyncio.FIRST_COMPLETED)
            if done and len(self._tasks) > len(done):
                await asyncio.wait(self._tasks, timeout=GATHER_S)

    async def leave(self) -> None:
        """Stop the running tries, as a crash would, and end their claims so that another worker can continue at once."""
        tasks, self._tasks = self._tasks, {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        unit = Unit()
        for one in tasks.values():
            event_deliveries.release(unit, one.claim_id, one.claimed.event.position)
        await self._desk.owner.commit(unit)

    # ── The destination ──

    async def _changed(self) -> bool:
        """Read the destination if the read is due. Return whether the running tries go to another address."""
        now_s = self._desk.world.elapsed_s()
        if now_s - self._read_at_s < DESTINATION_READ_S:
            return False
        found, before = await current(self._desk), self._destination
        self._read_at_s = now_s
        if before is None or found is None or found.sealed_secrets != before.sealed_secrets:
            secrets = secrets_of(self._desk, found) if found else []
            self._signers = [Webhook(secret.reveal()) for secret in secrets]
        self._destination = found
        return before is not None and (found is None or found.url != before.url)

    async def _leave_address(self) -> None:
        # The change of the address has made the rows due for the new one, or deleted them.
        await self.leave()
        self._failing.clear()

    # ── Starting ──

    def _free(self) -> int:
        slots, now_s = self._desk.settings.event_deliveries_at_once, self._desk.world.elapsed_s()
        quick = sum(now_s - one.began_s < SLOW_S for one in self._tasks.values())
        return min(slots - quick, REPLACED * slots - len(self._tasks))

    def _rooms(self) -> dict[int, int]:
        """Return how many more deliveries may start, for each practice with running ones or whose last one failed."""
        sent = Counter(one.claimed.event.practice_id for one in self._tasks.values())
        slots, total = self._desk.settings.event_deliveries_at_once, len(self._tasks)
        rooms = {}
        for practice_id in sent.keys() | self._failing:
            others = total - sent[practice_id]
            most = FAILING_PRACTICE if practice_id in self._failing else ceil(max(slots - others, 1) * SHARE)
            rooms[practice_id] = max(most - sent[practice_id], 0)
        return rooms

    async def _begin(self, to: Destination) -> None:
        free, context, now_s = self._free(), self._desk, self._desk.world.elapsed_s()
        slots = context.settings.event_deliveries_at_once
        if free < 1 or (free < slots / CLAIMS_A_ROUND and now_s - self._claimed_at_s < PAUSE_S):
            return
        self._claims += 1
        self._claimed_at_s = now_s
        claim_id = f"{self._worker}-{self._claims}"
        claim = Claim(claim_id, to.url, context.shared_after(context.settings.event_timeout_s + CLAIM_MARGIN_S))
        room = FreeSlots(free, self._rooms(), ceil(max(slots - len(self._tasks), 1) * SHARE))
        async with context.owner.transaction() as tx:
            any_due = await event_deliveries.claim(
                tx, context.owner.engine.dialect, claim, room, context.shared_after(0)
            )
        if not any_due:
            return
        for claimed in await event_deliveries.claimed(context.owner, claim_id):
            task = asyncio.create_task(self._send(to.url, claim_id, claimed))
            self._tasks[task] = _UnderWay(claim_id, claimed, now_s)

    # ── One try ──

    async def _send(self, url: str, claim_id: str, claimed: Claimed) -> Tried:
        context, event, tries = self._desk, claimed.event, claimed.tries + 1
        body = msgspec.json.encode(event_view(event))
        status: int | None = None
        error: str | None = None
        try:
            async with asyncio.timeout(context.settings.event_timeout_s):
                transport = context.host_transport or context.http.transport
                status, _, _ = await transport.send("POST", url, self._headers(event, body), body)
        except (ConnectionNotMade, AnswerLost) as failure:
            error = str(failure) or type(failure).__name__
        except TimeoutError:
            error = "TimeoutError"
        except Exception as failure:  # a fault of one event must not stop the others
            error = type(failure).__name__
        if status is not None and 200 <= status < 300:
            return Tried(claim_id, event.position, DeliveryState.delivered, status, None, None)
        log.warning(
            "event_not_delivered",
            event_id=event.event_id,
            practice=event.practice_id,
            status=status,
            error=error,
            tries=tries,
        )
        if tries > len(RETRY_S):
            return Tried(claim_id, event.position, DeliveryState.abandoned, status, error, None)
        pause_s = RETRY_S[tries - 1] * (1 - JITTER + 2 * JITTER * context.world.random_bytes(1)[0] / 255)
        return Tried(claim_id, event.position, DeliveryState.pending, status, error, context.shared_after(pause_s))

    def _headers(self, event: Event, body: bytes) -> dict[str, str]:
        # By the clock that all processes share: receivers reject a timestamp that is minutes off, and our clock may be
        # wrong.
        now = self._desk.shared_after(0)
        return {
            "Content-Type": "application/json",
            "webhook-id": event.event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(event.event_id, now, body.decode()) for signer in self._signers),
        }

    # ── Finishing ──

    async def _finish(self) -> int:
        ended = [task for task in self._tasks if task.done()]
        now = self._desk.world.now()
        for first in range(0, len(ended), WRITTEN_AT_ONCE):
            some = ended[first : first + WRITTEN_AT_ONCE]
            unit = Unit()
            for task in some:
                self._note(unit, task, now)
            await self._desk.owner.commit(unit)  # before they are deleted here: results that cannot be written are kept
            for task in some:
                del self._tasks[task]
        return len(ended)

    def _note(self, unit: Unit, task: asyncio.Task[Tried], now: datetime) -> None:
        practice_id = self._tasks[task].claimed.event.practice_id
        tried = task.result()
        event_deliveries.finish(unit, tried, now)
        (self._failing.discard if tried.state is DeliveryState.delivered else self._failing.add)(practice_id)


async def turn(going: EventSender, context: Context) -> int:
    """Run one turn of continuous deliveries: repeat while any delivery is being sent."""
    until_s = context.world.elapsed_s() + LONGEST_S
    done = await going.turn()
    while going.under_way and context.world.elapsed_s() < until_s:
        await going.pause()
        done += await going.turn()
    return done


async def deliver(context: Context) -> int:
    """Send everything that is due now, and wait for the answers. Return the number of tries."""
    going = EventSender(context)
    try:
        return await turn(going, context)
    finally:
        await going.leave()


def set_right(unit: Unit, context: Context, margin_s: float) -> None:
    """Make due what a clock that ran ahead has put off beyond any pause, and shorten the claims that it made."""
    claim_s = context.settings.event_timeout_s + CLAIM_MARGIN_S
    due_after = [context.shared_after(pause_s * (1 + JITTER) + margin_s) for pause_s in (0, *RETRY_S)]
    event_deliveries.set_right(
        unit,
        due_after,
        context.shared_after(0),
        context.shared_after(claim_s + margin_s),
        context.shared_after(claim_s),
    )
