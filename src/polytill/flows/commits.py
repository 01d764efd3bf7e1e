"""Commits that find their rows changed: read and decide again, on what another writer left.

A unit is written compare-and-set. If another writer was first, nothing of the unit is stored, and its decision may be
wrong by now. So the whole decision is repeated, never the write alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from polytill.domain.errors import CheckRefused, Duplicate, Stale

T = TypeVar("T")
TRIES = 8
# Another writer was first, as a commit can notice it: a row has changed, an invariant no longer allows the change, or a
# unique key is taken.
ANOTHER_WAS_FIRST: tuple[type[Exception], ...] = (Stale, CheckRefused, Duplicate)


async def until_committed(
    decide: Callable[[], Awaitable[T]], again_after: tuple[type[Exception], ...] = (Stale,), tries: int = TRIES
) -> T:
    """Call ``decide`` until it does not raise one of ``again_after``, and return its result. ``Stale`` after ``tries``
    calls; any other exception ends the calls.

    ``decide`` must read everything that it decides by, and commit at most once: what it did before its refused commit
    is done again. A provider is called by it only after the commit.
    """
    for _ in range(tries):
        try:
            return await decide()
        except again_after:
            continue
    raise Stale
