"""The clock of the owner database's server: it checks our own clock, and all processes share it.

One process writes claims and leases, and others check whether they have ended. A process whose own clock is ahead would
take over live claims and end live leases. The server's time is read every few seconds. Between two readings
``World.elapsed_s``, which never jumps, counts on, so that a change of our own clock does no harm. On SQLite, and before
the first reading, our own clock is the only one; a worker claims nothing before the first reading.
"""

from __future__ import annotations

from datetime import UTC, datetime

from polytill.domain.clock import World
from polytill.storage.databases import OwnerDb

# The two clocks count as different above this: a claim lasts 15 seconds.
MARGIN_S = 5.0
ASKED_EVERY_S = 10.0
# A slower answer does not tell exactly when the time was read. It is used only while no more exact one is known.
LONGEST_QUESTION_S = 1.0
SAID_EVERY_S = 600.0


class ServerClock:
    """What one process knows of the server's clock."""

    def __init__(self) -> None:
        self._zero_s: float | None = None  # the server's time when ``elapsed_s`` was zero
        self._took_s = float("inf")  # duration of the request whose answer is used
        self._asked_at_s = float("-inf")
        self._said_at_s = float("-inf")
        # By how much the shared time has jumped back beyond the margin, until the times written by it are corrected.
        self.back_s = 0.0
        self.jumps = 0

    async def ask(self, owner: OwnerDb, world: World) -> None:
        """Read the server's time if that is due. ``NotNow`` if the database is unavailable."""
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
        """Seconds by which our own clock is ahead of the server's (negative: behind). None if no time was read."""
        return None if self._zero_s is None else world.time_s() - self._zero_s - world.elapsed_s()

    def surely_ahead_s(self, world: World) -> float:
        """``ahead_s`` if it exceeds the margin and the uncertainty of the answer, else zero."""
        ahead_s = self.ahead_s(world) or 0.0
        unsure_s = self._took_s / 2 if self._took_s > LONGEST_QUESTION_S else 0.0
        return ahead_s if abs(ahead_s) > MARGIN_S + unsure_s else 0.0

    def shared_now(self, world: World) -> datetime:
        """The current time by the clock that all processes share."""
        if self._zero_s is None:
            return world.now()
        return datetime.fromtimestamp(self._zero_s + world.elapsed_s(), UTC)

    def to_say(self, world: World) -> float | None:
        """Seconds by which our clock is wrong, if it is time to log that: when first detected, then every ten minutes."""
        ahead_s = self.surely_ahead_s(world)
        if not ahead_s:
            self._said_at_s = float("-inf")
            return None
        if world.elapsed_s() - self._said_at_s < SAID_EVERY_S:
            return None
        self._said_at_s = world.elapsed_s()
        return ahead_s
