"""Payment numbers for people: the code that a customer was told could not be found (the review of the pages, D4)."""

from __future__ import annotations

import pytest

from polytill.domain import identifiers
from tests.flows.conftest import scene
from tests.flows.scenes import Scene

__all__ = ["scene"]


async def test_each_payment_has_a_short_number_of_its_own(scene: Scene) -> None:
    await scene.configure()
    numbers = [(await scene.succeeded()).number for _ in range(20)]
    assert len(set(numbers)) == 20
    assert all(
        number is not None and number.isdecimal() and len(number) == 6 and number[0] != "0" for number in numbers
    )


async def test_a_number_that_is_taken_is_drawn_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.configure()
    first = await scene.succeeded()
    drawn: list[int] = []

    def same(world: object, digits: int) -> str:
        drawn.append(digits)
        return first.number or "" if digits == 6 else "7654321"

    monkeypatch.setattr("polytill.flows.payments.create.new_number", same)
    second = await scene.succeeded()
    assert (second.number, drawn) == ("7654321", [6, 7])
    assert second.id != first.id
    assert scene.context.numbers.digits(scene.practice_id) == 7
    assert identifiers.FEWEST_DIGITS == 6
