"""The clock of the owner database's server: a second opinion on the time of day, and one that all processes share.

Claims and leases are written by one process and judged by others: by its own clock, one that is ahead would take over
what others still hold, and end what others count on. The server is asked now and then. Between two questions
``World.elapsed_s`` counts on, which never jumps, so that our own clock may be set wrong at any moment. On SQLite, and
before the first answer, our own clock is the only one: a worker claims nothing before it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from polytill.domain.clock import World
from polytill.storage.databases import OwnerDb

# Further apart than this, the two are said to differ: a claim lasts 15 seconds.
MARGIN_S = 5.0
ASKED_EVERY_S = 10.0
# An answer that took longer says too little of when it was given. It counts all the same as long as none is more exact.
LONGEST_QUESTION_S = 1.0
SAID_EVERY_S = 600.0


class ServerClock:
    """What one process knows of it."""

    def __init__(self) -> None:
        self._zero_s: float | None = None  # what it showed when ``elapsed_s`` was zero
        self._took_s = float("inf")  # the answer that we go by
        self._asked_at_s = float("-inf")
        self._said_at_s = float("-inf")
        # By how much the shared time has jumped back, beyond the margin, until somebody has set right what went by it.
        self.back_s = 0.0
        self.jumps = 0

    async def ask(self, owner: OwnerDb, world: World) -> None:
        """Ask the server, if it is time to. ``NotNow`` where it cannot be asked."""
        began_s = world.elapsed_s()
        if not world.asks_servers or began_s - self._asked_at_s < ASKED_EVERY_S:
            return
        shown_s = await owner.server_time_s()
        took_s = world.elapsed_s() - began_s
        if shown_s is None or (took_s > LONGEST_QUESTION_S and took_s >= self._took_s):
            return
        before_s, self._took_s = self.shared_now(world).timestamp(), took_s
        self._zero_s = shown_s - began_s - took_s / 2
        if took_s <= LONGEST_QUESTION_S:
            self._asked_at_s = began_s + took_s
        jump_s = self.shared_now(world).timestamp() - before_s
        if abs(jump_s) > MARGIN_S:
            self.jumps += 1
            self.back_s = max(self.back_s, -jump_s)

    def ahead_s(self, world: World) -> float | None:
        """By how much our own clock is ahead of it, or behind (below zero). None where there is nothing to compare."""
        return None if self._zero_s is None else world.time_s() - self._zero_s - world.elapsed_s()

    def surely_ahead_s(self, world: World) -> float:
        """``ahead_s`` beyond the margin and whatever the answer leaves open, else zero."""
        ahead_s = self.ahead_s(world) or 0.0
        unsure_s = self._took_s / 2 if self._took_s > LONGEST_QUESTION_S else 0.0
        return ahead_s if abs(ahead_s) > MARGIN_S + unsure_s else 0.0

    def shared_now(self, world: World) -> datetime:
        """This moment by the clock that all processes share."""
        if self._zero_s is None:
            return world.now()
        return datetime.fromtimestamp(self._zero_s + world.elapsed_s(), UTC)

    def to_say(self, world: World) -> float | None:
        """By how much our clock is wrong, where that is to be said now: when it is noticed, and then now and then."""
        ahead_s = self.surely_ahead_s(world)
        if not ahead_s:
            self._said_at_s = float("-inf")
            return None
        if world.elapsed_s() - self._said_at_s < SAID_EVERY_S:
            return None
        self._said_at_s = world.elapsed_s()
        return ahead_s
