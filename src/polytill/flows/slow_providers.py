"""Providers that keep us waiting: how many visits of this process may ask one of them at a time.

Without this each visit to a practice with something open at such a provider would hold one of a worker's few hands for
a whole time limit, while the lost answers of those that answer wait for a hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from polytill.domain.states import Environment

# So many visits go on asking one that keeps us waiting: by them we learn that it answers again.
FEW = 2
# Longer than it takes to see that the next question waits, too, with the longest time limit that there is.
REMEMBERED_S = 90.0


class Asked(NamedTuple):
    """Who is asked. What a provider has told us already is apart from it: that may ask it too, but seldom does."""

    provider: str
    environment: Environment
    is_told: bool


@dataclass(slots=True)
class _Seen:
    # Of each visit that asks it now: from when on it is kept waiting.
    slow_from_s: list[float] = field(default_factory=list)
    waited_at_s: float = float("-inf")
    answers: int = 0  # that came in time since then


class Patience:
    """What one process has seen of those whom it asks. All times are of ``World.elapsed_s``."""

    def __init__(self) -> None:
        self._seen: dict[Asked, _Seen] = {}

    def is_slow(self, asked: Asked, now_s: float) -> bool:
        """Whether it keeps us waiting at this moment, or did a short while ago."""
        seen = self._seen.get(asked)
        if seen is None:
            return False
        return now_s - seen.waited_at_s < REMEMBERED_S or any(from_s <= now_s for from_s in seen.slow_from_s)

    def kept_waiting(self, now_s: float) -> int:
        """How many visits are kept waiting at this moment, by whomever."""
        return sum(from_s <= now_s for seen in self._seen.values() for from_s in seen.slow_from_s)

    def has_room(self, asked: Asked, now_s: float, hands: int) -> bool:
        """Whether one more visit may ask it. With each answer that comes in time there is room for one more: all may ask
        again within seconds of its return, and one that answers now and then is not trusted at once."""
        if not self.is_slow(asked, now_s):
            return True
        seen = self._seen[asked]
        return len(seen.slow_from_s) < min(FEW, max(1, hands // 2)) + seen.answers

    def begin(self, asked: Asked, slow_from_s: float) -> None:
        """A visit asks it, and is kept waiting if that has no end by then."""
        self._seen.setdefault(asked, _Seen()).slow_from_s.append(slow_from_s)

    def end(self, asked: Asked, slow_from_s: float, now_s: float, waited: bool | None) -> None:
        """The visit has asked. ``waited``: whether it was kept waiting; None where it has not learnt that."""
        seen = self._seen[asked]
        seen.slow_from_s.remove(slow_from_s)
        if waited:
            seen.waited_at_s, seen.answers = now_s, 0
        elif waited is False:
            seen.answers = seen.answers + 1 if self.is_slow(asked, now_s) else 0
