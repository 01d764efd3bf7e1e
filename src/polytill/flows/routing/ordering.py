"""An order of candidates as sort keys with a meaning for each part of the key.

Two candidates are compared part by part, and the first part in which they differ is the reason for their order. So an
explanation cannot disagree with the decision that it explains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import add, or_
from typing import Any, NamedTuple

from polytill.domain.routing import WhyFirst, WhyLater
from polytill.flows.routing.eligibility import Candidate, rank

Key = tuple[Any, ...]
Numbers = dict[str, Any]  # never changed


class Step(NamedTuple):
    """One part of a key: why the smaller one is first, and why the larger one is later."""

    first: WhyFirst
    later: WhyLater


@dataclass(frozen=True, slots=True)
class Ordering:
    """A key and the numbers behind it for each candidate, in the order of the candidates given; the steps of all keys."""

    keys: tuple[Key, ...]
    steps: tuple[Step, ...]
    numbers: tuple[Numbers, ...]

    def then(self, other: Ordering) -> Ordering:
        """This order; where it leaves candidates equal, the other one."""
        return Ordering(
            tuple(map(add, self.keys, other.keys)),
            self.steps + other.steps,
            tuple(map(or_, other.numbers, self.numbers)),
        )


_RANK_STEPS = (
    Step(WhyFirst.default, WhyLater.not_default),
    Step(WhyFirst.priority, WhyLater.lower_priority),
    Step(WhyFirst.recommended, WhyLater.not_recommended),
    Step(WhyFirst.catalog_priority, WhyLater.lower_catalog_priority),
    Step(WhyFirst.code, WhyLater.later_code),
)
LAST = _RANK_STEPS[-1]


def by_priority(able: Sequence[Candidate]) -> Ordering:
    """The order of ``rank``. It is total, because codes are unique, so every other order ends with it."""
    return Ordering(
        tuple(rank(candidate) for candidate in able),
        _RANK_STEPS,
        tuple({"priority": one.priority, "catalog_priority": one.catalog_priority} for one in able),
    )
