"""Commits that find their rows changed."""

from __future__ import annotations

import pytest

from polytill.domain.errors import CheckRefused, Conflict, Duplicate, Stale
from polytill.flows.commits import ANOTHER_WAS_FIRST, TRIES, until_committed


class Decision:
    """Raises these errors one after the other, and then returns how often it was called."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.calls = list(errors), 0

    async def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.calls


async def test_it_decides_again_until_no_other_writer_was_first() -> None:
    assert await until_committed(Decision()) == 1
    assert await until_committed(Decision(Stale(), Stale())) == 3
    lost = Decision(Stale(), CheckRefused("amounts"), Duplicate("key"))
    assert await until_committed(lost, ANOTHER_WAS_FIRST) == 4


@pytest.mark.parametrize("error", [Conflict("Already refunded."), Duplicate("key"), CheckRefused("amounts")])
async def test_another_error_ends_it(error: Exception) -> None:
    decision = Decision(Stale(), error)
    with pytest.raises(type(error)):
        await until_committed(decision)
    assert decision.calls == 2


async def test_it_gives_up_with_stale() -> None:
    decision = Decision(*[Duplicate("key")] * (TRIES + 1))
    with pytest.raises(Stale):
        await until_committed(decision, (Duplicate,))
    assert decision.calls == TRIES
