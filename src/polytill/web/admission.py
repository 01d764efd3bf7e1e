"""Admission of requests: under overload, what cannot be answered in time is refused at once, with ``Retry-After``.

A process that accepts more requests than it can answer queues them: each waits longer than the one before, callers give
up and repeat, and work is done for nobody. Two limits prevent that:

* **Work.** Two delays grow only while this process or its databases have too much to do: the event loop's lag, which is
  how much later a timer ran than it was due, and the own time of requests, which is what they took without their waits
  for providers. As long as the least lag of a quarter of a second stays above ``TARGET_S``, or the least own time above
  ``OWN_TARGET_S``, fewer requests are admitted than were lately answered, and more again once both fall below. The
  least, not the mean, because one long step or one slow database is no queue (K. Nichols, V. Jacobson, "Controlling
  Queue Delay", ACM Queue 10(5), 2012).
* **Number.** At most ``most`` requests are in progress at once, and at most a quarter of them for one practice, so a
  provider that does not answer fills neither the memory nor the other practices' places.

While the rate is limited, a practice that asks for no more than its equal part of it is admitted before all others.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from enum import StrEnum

TICK_S = 0.05
WINDOW_S = 0.25
TARGET_S, OWN_TARGET_S = 0.02, 0.2
FEW = 32  # with fewer in progress nothing is refused: a lag then comes from other processes, or from a stall
LEAST_PER_S = 10.0  # some requests are always admitted: without them nobody would learn that the overload has ended
BACK_OFF, RECOVER = 0.95, 1.08
NO_QUEUE, RECOVER_FAST = 0.1, 1.2  # with less than this part of a target, there is no queue at all
DRAINED = 15.0  # a queue of this many times the target is worked off within about a window
OVERDRAFT_S = 0.1  # what small practices may take beyond the rate, as a time of it
PART_OF_ONE = 4  # one practice may have this part of the requests in progress: a quarter


class Refused(StrEnum):
    """Why a request was refused."""

    overloaded = "overloaded"  # the CPU is short
    server_full = "server_full"  # too many requests are in progress
    practice_full = "practice_full"  # too many requests of this practice are in progress


class Admission:
    """Decides which requests a process takes. Pure but for ``watch``: time comes only by ``tick``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.rate = math.inf  # requests per second that are admitted; infinite while there is no overload
        self.lag_s = self.own_s = 0.0  # the least of the last window
        self.in_progress = 0
        self.refused: Counter[Refused] = Counter()
        self._of: Counter[str] = Counter()  # in progress, by practice
        self._answered = 0
        self._room = 0.0  # requests that may still be admitted now
        self._asked: Counter[str] = Counter()  # admitted in this second, by practice
        self._active = 1  # practices of the second before
        self._least_lag_s = self._least_own_s = math.inf
        self._window_s = 0.0
        self._second_s = 0.0

    def admit(self, practice: str) -> Refused | None:
        """Take a request, or say why not. ``practice``: whose it is, empty for nobody's. ``end`` must follow if taken."""
        reason = self._reason(practice)
        if reason is not None:
            self.refused[reason] += 1
            return reason
        if self.rate < math.inf:
            self._room -= 1
            self._asked[practice] += 1
        self.in_progress += 1
        self._of[practice] += 1
        return None

    def _reason(self, practice: str) -> Refused | None:
        if self.in_progress < FEW:
            return None
        if self.in_progress >= self._most:
            return Refused.server_full
        if practice and self._of[practice] >= max(1, self._most // PART_OF_ONE):
            return Refused.practice_full
        if self._room < 1 and self.rate < math.inf and not self._is_small(practice):
            return Refused.overloaded
        return None

    def _is_small(self, practice: str) -> bool:
        """Whether a practice has had less than its equal part of this second, and small ones have not overdrawn yet."""
        part = self.rate * (self._second_s + WINDOW_S) / self._active
        return self._asked[practice] < part and self._room > -self.rate * OVERDRAFT_S

    def end(self, practice: str, own_s: float) -> None:
        """Record that an admitted request is over, and what it took without its waits for providers."""
        self._least_own_s = min(self._least_own_s, own_s)
        self.in_progress -= 1
        self._answered += 1
        self._of[practice] -= 1
        if self._of[practice] <= 0:
            del self._of[practice]

    def tick(self, lag_s: float) -> None:
        """Learn the loop's lag now. Called ``TICK_S + lag_s`` after the call before it."""
        took_s = TICK_S + lag_s
        if self.rate < math.inf:
            # What practices with less than their part took beyond the rate is taken off what follows.
            self._room = min(self._room + self.rate * took_s, max(1.0, self.rate * WINDOW_S))
        self._second_s += took_s
        if self._second_s >= 1:
            self._active, self._asked, self._second_s = max(1, len(self._asked)), Counter(), 0.0
        self._least_lag_s = min(self._least_lag_s, lag_s)
        self._window_s += took_s
        if self._window_s >= WINDOW_S:
            self._adjust()

    def _adjust(self) -> None:
        """End a window: limit the rate, or let it grow."""
        answered_per_s, self.lag_s = self._answered / self._window_s, self._least_lag_s
        self.own_s = self._least_own_s if self._answered else 0.0
        queue = max(self.lag_s / TARGET_S, self.own_s / OWN_TARGET_S)
        if queue > 1:
            self.rate = max(LEAST_PER_S, answered_per_s * (BACK_OFF - min(0.8, queue / DRAINED)))
        elif self.rate < math.inf:
            self.rate *= RECOVER_FAST if queue < NO_QUEUE else RECOVER
            if self.rate > 4 * max(answered_per_s, LEAST_PER_S):
                self.rate = math.inf
        self._answered, self._window_s = 0, 0.0
        self._least_lag_s = self._least_own_s = math.inf

    async def watch(self) -> None:
        """Measure the loop's lag for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            self.tick(max(0.0, loop.time() - due_s))
