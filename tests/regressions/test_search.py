"""Staff search, the same on both engines: https://github.com/open-webui/open-webui/issues/29102 (8/2026) and
https://github.com/Donkie/Spoolman/pull/1078 (8/2026): on SQLite a name with an accent was not found, not even as it is written.

Also: the second transaction of a payment, an attempt's reference and a phone number were not found at all.
"""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest

from polytill.domain.identifiers import IdentifierKind
from polytill.domain.money import Money
from polytill.domain.states import Environment
from polytill.flows.command import Command
from polytill.flows.payments.create import create_payment
from polytill.flows.payments.request import PaymentRequest
from polytill.providers.contract import Customer
from polytill.storage import payment_identifiers, payment_lists
from polytill.storage.payment_lists import Filters
from polytill.storage.payments import Payment
from polytill.storage.units import Unit
from tests.flows import scenes
from tests.flows.conftest import scene
from tests.flows.scenes import Scene

__all__ = ["scene"]

PEOPLE: dict[str, dict[str, Any]] = {
    "elodie": {"name": "Élodie Ngọzi", "email": "Elodie@Example.com", "phone": "+254712345678"},
    "celik": {"name": "ÇELIK Ọlábísí", "reference": "INV-2044", "amount": 150_000},
    "ebun": {"name": unicodedata.normalize("NFD", "ẸBUN ADÉ"), "reference": "HÔTEL/7"},
    "istanbul": {"name": "İstanbul Kebabçı", "phone": "0801 234 5678"},
    "strasse": {"name": "Jürgen Straße", "amount": 123_456},
    "namae": {"name": "名前 太郎", "description": "Zahnärztliche Beratung"},
    "emoji": {"name": "Zoë 🎉"},
    "rtl": {"name": "\u202bשלום כהן\u202c"},
    "apostrophe": {"name": "Ng'ang’a O’Brien"},
}
SEARCHES = [
    ("Élodie", "elodie"), ("élodie", "elodie"), ("ELODIE", "elodie"), ("ngozi elodie", "elodie"),
    ("Ngọzi Élo", "elodie"), (unicodedata.normalize("NFD", "Ngọzi"), "elodie"), ("elodie@example", "elodie"),
    ("ELODIE@EXAMPLE.COM", "elodie"), ("0712 345 678", "elodie"), ("+254 712-345-678", "elodie"),
    ("00254712345678", "elodie"), ("5678 elodie", "elodie"), ("(0)712 345678", "elodie"),
    ("ÇELIK", "celik"), ("çelik", "celik"), ("Ọlábísí", "celik"), ("olabisi celik", "celik"), ("inv-2044", "celik"),
    ("INV2044", "celik"), ("2044", "celik"), ("nv-20", "celik"), ("1,500.00", "celik"), ("1500", "celik"),
    ("1 500,00", "celik"), ("1.500,00", "celik"), ("NGN 1,500.00", "celik"), ("₦1,500.00", "celik"),
    ("ADÉ", "ebun"), ("ade ẹbun", "ebun"), ("hotel", "ebun"), ("hôtel/7", "ebun"),
    ("istanbul", "istanbul"), ("ISTANBUL", "istanbul"), ("ıstanbul", "istanbul"), ("kebabci", "istanbul"),
    ("08012345678", "istanbul"), ("0801-234-5678", "istanbul"),
    ("STRASSE", "strasse"), ("straße", "strasse"), ("jurgen", "strasse"), ("1234.56", "strasse"),
    ("名前", "namae"), ("太郎", "namae"), ("zahnarzt", "namae"),
    ("zoe", "emoji"), ("🎉", "emoji"), ("שלום", "rtl"), ("כהן שלום", "rtl"),
    ("nganga", "apostrophe"), ("Ng'ang'a", "apostrophe"), ("o'brien", "apostrophe"), ("obrien ng’ang", "apostrophe"),
]  # fmt: skip
FOUND_NOWHERE = ["%", "_", "'", "--", "zzzz", "elodie celik", "1500.01", "99999999", "\\", "!", "elodie@example.org"]


async def made(scene: Scene) -> dict[str, Payment]:
    await scene.configure()
    found = {}
    for key, told in PEOPLE.items():
        scene.wire.says("create", scenes.LINK)
        customer = Customer(told.get("email"), told["name"], told.get("phone"))
        request = PaymentRequest(
            Money(told.get("amount", 4_321), "NGN"),
            customer=customer,
            reference=told.get("reference"),
            description=told.get("description"),
        )
        scene.clock.at_s += 1
        found[key] = (await create_payment(scene.context, scene.practice_id, request, Command(key, "test"))).payment
    return found


async def searched(scene: Scene, text: str, **more: Any) -> list[str]:
    rows = await payment_lists.listed(scene.db, Filters(Environment.sandbox, search=text, **more), 50)
    return [row.idempotency_key for row in rows]


async def test_both_engines_find_the_same(scene: Scene) -> None:
    people = await made(scene)
    wrong = {(text, who): found for text, who in SEARCHES if (found := await searched(scene, text)) != [who]}
    assert wrong == {}
    assert {text: await searched(scene, text) for text in FOUND_NOWHERE} == {text: [] for text in FOUND_NOWHERE}
    everyone = [key for key in reversed(PEOPLE)]
    assert await searched(scene, "ngn") == everyone, "newest first"
    assert await searched(scene, "43.21") == [key for key in everyone if people[key].amount == 4_321]


async def test_numbers_ids_and_identifiers_are_found(scene: Scene) -> None:
    people = await made(scene)
    one = people["celik"]
    assert one.number is not None
    half = len(one.number) // 2
    typed = [
        one.number,
        f"#{one.number}",
        f"{one.number[:half]} {one.number[half:]}",
        f"{one.number[:half]}-{one.number[half:]}",
        one.id,
        one.id[-10:],
    ]
    [attempt] = await scene.attempts(one.id)
    unit = Unit()
    found = {IdentifierKind.receipt: ("NLJ7RT61SV",), IdentifierKind.card_last4: ("4081",)}
    payment_identifiers.insert(unit, attempt, found, attempt.created_at)
    await scene.db.commit(unit)
    typed += [attempt.id, "NLJ7RT61SV", "nlj7rt61sv", "4081", "celik 4081"]
    assert {text: await searched(scene, text) for text in typed} == {text: ["celik"] for text in typed}
    by_filter = [
        Filters(Environment.sandbox, number=f"# {one.number}"),
        Filters(Environment.sandbox, reference="inv-2044"),
        Filters(Environment.sandbox, provider_transaction_id="nlj7rt61sv"),
    ]
    for filters in by_filter:
        assert [row.id for row in await payment_lists.listed(scene.db, filters, 9)] == [one.id]
    filters = Filters(Environment.sandbox, customer_email="ELODIE@example.COM")
    assert [row.id for row in await payment_lists.listed(scene.db, filters, 9)] == [people["elodie"].id]
    assert await searched(scene, "nlj7rt61sv elodie") == []


async def test_pages_of_a_search_leave_nothing_out(scene: Scene) -> None:
    people = await made(scene)
    found, before = [], None
    while page := await payment_lists.listed(scene.db, Filters(Environment.sandbox, search="ngn", before=before), 2):
        found += [row.id for row in page]
        before = (page[-1].created_at, page[-1].id)
    assert found == [payment.id for payment in reversed(people.values())]


@pytest.mark.parametrize("environment", [Environment.production])
async def test_the_other_environment_is_never_searched(scene: Scene, environment: Environment) -> None:
    await made(scene)
    assert await payment_lists.listed(scene.db, Filters(environment, search="elodie"), 9) == []
