"""The slow-provider limiter: how many sweeps of this process may call one slow provider at a time.

Without it, each sweep of a practice with open work at a slow provider would hold one of a worker's few slots for a
whole time limit, while lost answers of other providers wait for a slot.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from polytill.domain.states import Environment

# This many sweeps still call a slow provider: they detect that it answers again.
FEW = 2
# Longer than it takes to see that the next call waits too, with the longest time limit.
REMEMBERED_S = 90.0


class Target(NamedTuple):
    """Which provider is called, and in which environment. ``is_told``: to apply a webhook that needs no lookup; such
    work seldom calls the provider, so it is counted separately."""

    provider: str
    environment: Environment
    is_told: bool


@dataclass(slots=True)
class _Seen:
    # For each sweep that calls it now: from when on the sweep counts as waiting.
    slow_from_s: list[float] = field(default_factory=list)
    waited_at_s: float = float("-inf")
    answers: int = 0  # answers in time since then


class SlowProviderLimiter:
    """What one process has observed of the providers it calls. All times are ``World.elapsed_s``."""

    def __init__(self) -> None:
        self._seen: dict[Target, _Seen] = {}

    def is_slow(self, target: Target, now_s: float) -> bool:
        """Whether the provider keeps sweeps waiting now, or did within ``REMEMBERED_S``."""
        seen = self._seen.get(target)
        if seen is None:
            return False
        return now_s - seen.waited_at_s < REMEMBERED_S or any(from_s <= now_s for from_s in seen.slow_from_s)

    def kept_waiting(self, now_s: float) -> int:
        """The number of sweeps that wait for any provider now."""
        return sum(from_s <= now_s for seen in self._seen.values() for from_s in seen.slow_from_s)

    def has_room(self, target: Target, now_s: float, slots: int) -> bool:
        """Whether one more sweep may call the provider. Each answer in time adds one slot: all sweeps may call again
        within seconds of its return, and a provider that answers now and then is not trusted at once."""
        if not self.is_slow(target, now_s):
            return True
        seen = self._seen[target]
        return len(seen.slow_from_s) < min(FEW, max(1, slots // 2)) + seen.answers

    def begin(self, target: Target, slow_from_s: float) -> None:
        """Record that a sweep calls the provider, and counts as waiting from ``slow_from_s`` on."""
        self._seen.setdefault(target, _Seen()).slow_from_s.append(slow_from_s)

    def end(self, target: Target, slow_from_s: float, now_s: float, waited: bool | None) -> None:
        """Record that the call ended. ``waited``: whether the sweep had to wait; None if that is unknown."""
        seen = self._seen[target]
        seen.slow_from_s.remove(slow_from_s)
        if waited:
            seen.waited_at_s, seen.answers = now_s, 0
        elif waited is False:
            seen.answers = seen.answers + 1 if self.is_slow(target, now_s) else 0
