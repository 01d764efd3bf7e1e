"""Payment numbers for people: the code that a customer was told could not be found (the review of the pages, D4).

Rows of an earlier version get theirs by the migration, with all else that makes them findable.
"""

from __future__ import annotations

import pytest

from polytill.domain import identifiers
from polytill.domain.identifiers import IdentifierKind
from polytill.domain.states import Environment
from polytill.flows.admin import indexing, staff
from polytill.flows.admin.practices import migrate_practice
from polytill.flows.context import Practice
from polytill.storage import payment_identifiers, payment_lists, saved_methods
from polytill.storage.payment_lists import Filters
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


async def test_rows_of_an_earlier_version_become_findable(scene: Scene) -> None:
    await scene.configure()
    old = [await scene.succeeded(reference=f"ÉT-{number}") for number in range(3)]
    for sql in (
        "DELETE FROM payment_search",
        "DELETE FROM payment_identifiers",
        "UPDATE payments SET number = NULL, customer_email = 'ÉVE@Example.com'",
    ):
        await scene.db.fetch(sql)
    await scene.db.fetch(
        "INSERT INTO users (email, name, role) VALUES ('STRASSE@example.com', '', 'viewer'), ('straße@b.example', '', 'viewer')"
    )
    assert await payment_lists.listed(scene.db, Filters(Environment.sandbox, search="et-1"), 9) == []
    await migrate_practice(scene.context, scene.practice_id, "test")
    [found] = await payment_lists.listed(scene.db, Filters(Environment.sandbox, search="et-1"), 9)
    assert found.id == old[1].id
    fresh = [await scene.payment(payment.id) for payment in old]
    assert len({payment.number for payment in fresh}) == 3
    by_email = await payment_lists.listed(scene.db, Filters(Environment.sandbox, customer_email="éve@example.com"), 9)
    assert {payment.id for payment in by_email} == {payment.id for payment in old}
    [attempt] = await scene.attempts(old[0].id)
    kept = await payment_identifiers.of_payments(scene.db, [old[0].id])
    assert kept[attempt.id][IdentifierKind.transaction] == (old[0].provider_transaction_id,)
    assert (await staff.existing(scene.db, "strasse@EXAMPLE.com")).email == "strasse@example.com"
    assert (await staff.existing(scene.db, "STRAßE@b.example")).email == "straße@b.example"
    assert await indexing.index_all(Practice(scene.context, scene.db)) == 0
    assert await saved_methods.without_keys(scene.db, 9) == []


async def test_a_worker_indexes_what_a_node_of_the_earlier_version_writes(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    await scene.db.fetch("DELETE FROM payment_search")
    await scene.db.fetch("UPDATE payments SET number = NULL")
    await scene.later(5)
    number = (await scene.payment(payment.id)).number
    assert number is not None
    [found] = await payment_lists.listed(scene.db, Filters(Environment.sandbox, search=number), 9)
    assert found.id == payment.id
