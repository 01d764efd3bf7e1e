"""The clock of the owner database's server: a second opinion on the time of day, and one that all processes share.

Claims and leases are written by one process and judged by others: by its own clock, one that is ahead would take over
what others still hold, and end what others count on. The server is asked now and then. Between two questions
``World.elapsed_s`` counts on, which never jumps, so that our own clock may be set wrong at any moment. On SQLite, and
before the first answer, our own clock is the only one.
"""

from __future__ import annotations

from datetime import UTC, datetime

from polytill.domain.clock import World
from polytill.storage.databases import OwnerDb

# Further apart than this, the two are said to differ: a claim lasts 15 seconds.
MARGIN_S = 5.0
ASKED_EVERY_S = 10.0
# An answer that took longer says too little of when it was given.
LONGEST_QUESTION_S = 1.0
SAID_EVERY_S = 600.0


class ServerClock:
    """What one process knows of it."""

    def __init__(self) -> None:
        self._zero_s: float | None = None  # what it showed when ``elapsed_s`` was zero
        self._asked_at_s = float("-inf")
        self._said_at_s = float("-inf")

    async def ask(self, owner: OwnerDb, world: World) -> None:
        """Ask the server, if it is time to."""
        began_s = world.elapsed_s()
        if began_s - self._asked_at_s < ASKED_EVERY_S:
            return
        shown_s = await owner.server_time_s()
        ended_s = world.elapsed_s()
        if ended_s - began_s > LONGEST_QUESTION_S:
            return
        self._asked_at_s = ended_s
        self._zero_s = None if shown_s is None else shown_s - (began_s + ended_s) / 2

    def ahead_s(self, world: World) -> float | None:
        """By how much our own clock is ahead of it, or behind (below zero). None where there is nothing to compare."""
        return None if self._zero_s is None else world.time_s() - self._zero_s - world.elapsed_s()

    def shared_now(self, world: World) -> datetime:
        """This moment by the clock that all processes share."""
        if self._zero_s is None:
            return world.now()
        return datetime.fromtimestamp(self._zero_s + world.elapsed_s(), UTC)

    def to_say(self, world: World) -> float | None:
        """By how much our clock is wrong, where that is to be said now: when it is noticed, and then now and then."""
        ahead_s = self.ahead_s(world) or 0.0
        if abs(ahead_s) <= MARGIN_S:
            self._said_at_s = float("-inf")
            return None
        if world.elapsed_s() - self._said_at_s < SAID_EVERY_S:
            return None
        self._said_at_s = world.elapsed_s()
        return ahead_s
