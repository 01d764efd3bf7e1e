"""A search reads few rows, and finds what a search of every row would: issue 18, item 7 (under 100 ms with 100,000 payments).

The search of one row is done again in Python, over random payments, and compared page by page on both engines. Also: a
refund's and a dispute's id at the provider, and an attempt's id as a whole, found nothing or read every row.
"""

from __future__ import annotations

import asyncio
import random
import string
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from zlib import crc32

import pytest

from polytill.domain.identifiers import IdentifierKind, identifier_key
from polytill.domain.search import Leaf, Term, bits_needed, read_query, search_body, signature
from polytill.domain.states import DisputeState, Environment, RefundState
from polytill.flows.worker.search_blocks import close_blocks
from polytill.storage import (
    attempts,
    disputes,
    payment_identifiers,
    payment_lists,
    payment_search,
    payments,
    search_blocks,
)
from polytill.storage import refunds as refund_rows
from polytill.storage.disputes import Dispute
from polytill.storage.payment_lists import Filters
from polytill.storage.payments import Payment
from polytill.storage.units import Unit
from tests.flows import scenes
from tests.flows.conftest import scene
from tests.flows.scenes import Scene

__all__ = ["scene"]

NAMES = [
    "Élodie Ngọzi", "ÇELIK Ọlábísí", "İstanbul Kebabçı", "Jürgen Straße", "名前 太郎", "Zoë 🎉", "שלום כהן", "Ng'ang’a O’Brien",
    "Nguyễn Thị Ánh", "Æsa Øgård", "Eze Ade", "ﬁne Ｆｕｌｌ", "محمد علی", "Ада Лавлейс", "Ⅷ ½ Q", "李 雷", "Musa Bâ",
]  # fmt: skip
MANY = 150
STORED = 2_994_843_566


async def stored(scene: Scene, chance: random.Random) -> list[tuple[Payment, set[str]]]:
    """Random payments, newest first, each with the identifiers that it has."""
    await scene.configure()
    model = await scene.succeeded()
    [attempt] = await scene.attempts(model.id)
    await scene.db.fetch("DELETE FROM payment_search")
    made: list[tuple[Payment, set[str]]] = []
    for number in range(MANY):
        unit = Unit()
        payment_id = "".join(chance.choices(string.ascii_lowercase + string.digits, k=26))
        at = model.created_at + timedelta(seconds=chance.randrange(60))  # many at the same moment
        reference = chance.choice([None, f"INV-{chance.randrange(10_000)}", f"HÔTEL/{number}", "ÅB 12.56"])
        payment = replace(
            model,
            id=payment_id,
            number=str(10_000_000 + chance.randrange(10**7) * 10 + number % 10),
            amount=chance.choice([150_000, 123_456, 1256, 100 * number + 100]),
            reference=reference,
            customer_name=f"{chance.choice(NAMES)} {chance.choice(NAMES)}",
            created_at=at,
            updated_at=at,
            customer_email=f"p{number % 50}@exämple.org",
            idempotency_key=f"k{number}",
            customer_phone=f"+2547{chance.randrange(10**8):08d}",
        )
        own = replace(attempt, id=f"a{payment_id[1:]}", payment_id=payment_id, next_lookup_at=None)
        receipt, last4 = f"RCP{chance.randrange(10**6):06d}", f"{chance.randrange(30):04d}"
        payments.insert(unit, payment)
        attempts.insert(unit, own)
        payment_search.insert(unit, payment_search.row_of(payment))
        called = {IdentifierKind.receipt: (receipt,), IdentifierKind.card_last4: (last4,)}
        payment_identifiers.insert(unit, own, called, at)
        await scene.db.commit(unit)
        made.append((payment, {identifier_key(each) for each in (receipt, last4, own.id, payment.id)}))
    made.sort(key=lambda each: (each[0].created_at, each[0].id), reverse=True)
    return made


def naive(made: list[tuple[Payment, set[str]]], typed: str) -> list[str]:
    """The ids of the payments that are found, by a look at each."""
    terms = read_query(typed)

    def fits(payment: Payment, names: set[str]) -> bool:
        row = payment_search.row_of(payment)

        def has(leaf: Leaf) -> bool:
            in_text = any(part in row.body for part in leaf.parts) or row.major_units in leaf.amounts
            return in_text or any(key in names for key in leaf.identifiers)

        return all(any(all(has(leaf) for leaf in reading) for reading in term) for term in terms)

    return [payment.id for payment, names in made if terms and fits(payment, names)]


def typed_about(made: list[tuple[Payment, set[str]]], chance: random.Random) -> str:
    """Something that staff may type about one of these payments, or about none."""
    payment, names = chance.choice(made)
    name, phone = payment.customer_name or "", payment.customer_phone or ""

    def part(text: str) -> str:
        start = chance.randrange(max(1, len(text) - 1))
        return text[start : start + chance.randrange(2, 9)]

    each = [
        part(name), chance.choice(name.split()), " ".join(reversed(name.split())), payment.number or "", f"#{payment.number}",
        payment.reference or "-", part(payment.reference or "INV"), payment.id, f"a{payment.id[1:]}", payment.id[-8:],
        phone, f"0{phone[4:7]} {phone[7:]}", phone[-4:], f"{payment.amount / 100:,.2f}", f"{payment.amount // 100}",
        chance.choice(sorted(names)), part(payment.customer_email or ""), chance.choice(["zzzz qq", "名", "12.56", "org"]),
    ]  # fmt: skip
    return " ".join(chance.sample(each, chance.choice([1, 1, 1, 2])))


async def pages(scene: Scene, typed: str, size: int) -> list[str]:
    found: list[str] = []
    before = None
    while page := await payment_lists.listed(scene.db, Filters(Environment.sandbox, search=typed, before=before), size):
        found += [row.id for row in page]
        before = (page[-1].created_at, page[-1].id)
    return found


@pytest.mark.parametrize("way", ["blocks", "few identifiers", "walk"])
async def test_an_indexed_search_finds_what_a_look_at_every_payment_finds(
    scene: Scene, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(f"search {way}")
    made = await stored(scene, chance)
    assert await close_blocks(scene.db) == MANY // search_blocks.ROWS
    # One of a block is corrected; its old name is found no more, and its new one before any worker comes by.
    at = MANY - 3
    corrected = replace(made[at][0], customer_name="Wholly Different", customer_email="other@example.org")
    unit = Unit()
    await scene.db.fetch("UPDATE payments SET customer_name = 'Wholly Different' WHERE id = $1", corrected.id)
    payment_search.rewrite(unit, payment_search.row_of(corrected))
    await scene.db.commit(unit)
    made[at] = (corrected, made[at][1])
    if way != "blocks":
        monkeypatch.setattr(payment_lists, "MOST_IDENTIFIED", 3 if way == "few identifiers" else -1)
    if way == "walk":
        monkeypatch.setattr(search_blocks, "WORTH_IT", -1)
    monkeypatch.setattr(payment_lists, "FIRST_BLOCKS", 1)
    monkeypatch.setattr(payment_lists, "MORE_BLOCKS", 2)
    typed = ["Wholly Different", *(typed_about(made, chance) for _ in range(80))]
    wrong = {}
    for text in typed:
        if (found := await pages(scene, text, chance.choice([2, 7, 50]))) != naive(made, text):
            wrong[text] = (found, naive(made, text))
    assert wrong == {}
    assert naive(made, "Wholly Different") == [corrected.id]


async def test_rows_that_come_into_a_block_while_a_search_reads_are_found(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await stored(scene, random.Random("race"))
    real = search_blocks.holding
    closed = []

    async def meanwhile(*args: Any) -> Any:
        found = await real(*args)
        if not closed:
            closed.append(await close_blocks(scene.db, 2))
        return found

    monkeypatch.setattr(search_blocks, "holding", meanwhile)
    monkeypatch.setattr(payment_lists, "LATER_BLOCKS", 1)  # two are made: more than are looked at, so it begins again
    oldest = made[-1][0]
    # Its phone number stands in its row alone: an id or a number would be found by an index of its own.
    assert await pages(scene, oldest.customer_phone or "", 5) == [oldest.id]
    assert closed == [2]


async def test_two_workers_make_no_block_twice(scene: Scene) -> None:
    await stored(scene, random.Random("two"))
    await asyncio.gather(*(close_blocks(scene.db) for _ in range(4)))
    await close_blocks(scene.db)
    rows = await scene.db.fetch("SELECT block, COUNT(*) AS n FROM payment_search GROUP BY block ORDER BY block")
    full = MANY // search_blocks.ROWS
    assert [(row["block"], row["n"]) for row in rows] == [
        (0, MANY - full * search_blocks.ROWS),
        *((number, search_blocks.ROWS) for number in range(1, full + 1)),
    ]


async def test_ids_of_refunds_and_disputes_at_the_provider_are_found(scene: Scene) -> None:
    """In whatever capitals they are typed."""
    await scene.configure()
    payment = await scene.succeeded()
    await scene.succeeded()
    unit = Unit()
    [attempt] = await scene.attempts(payment.id)
    refund = replace(
        scenes.refund_in(RefundState.pending),
        id="r" * 26,
        payment_id=payment.id,
        practice_id=scene.practice_id,
        attempt_id=attempt.id,
    )
    refund_rows.insert(unit, refund)
    dispute = Dispute(
        "d" * 26,
        payment.id,
        scene.practice_id,
        Environment.sandbox,
        "PP-D-4012x",
        DisputeState.open,
        "x",
        5,
        "NGN",
        False,
        None,
        payment.created_at,
        payment.created_at,
        attempt.id,
    )
    disputes.insert(unit, dispute)
    await scene.db.commit(unit)
    done = replace(refund, state=RefundState.succeeded, provider_refund_id="re_3MmlLrLkdIwHu7ix0snN0B15")
    refund_rows.change(unit, RefundState.pending, done)
    await scene.db.commit(unit)
    ids = (refund.id, "d" * 26, "re_3MmlLrLkdIwHu7ix0snN0B15", "PP-D-4012x")
    typed = [*ids, *(each.lower() for each in ids), *(each.upper() for each in ids), "Re_3mmLLRLKDIWHU7IX0SNN0B15"]
    for each in typed:
        assert await pages(scene, each, 5) == [payment.id], each
        filters = Filters(Environment.sandbox, provider_transaction_id=each)
        assert [row.id for row in await payment_lists.listed(scene.db, filters, 5)] == [payment.id], each


def test_signatures_stay_what_they_are_stored_as() -> None:
    found = signature([(" élodie ngozi 名前 inv 2044 ", "1500"), (" zoe ", "0.5")])
    assert [len(part) for part in found] == [240] * 8
    assert sum(int.from_bytes(part, "little").bit_count() for part in found) == 50
    assert crc32(b"".join(found)) == STORED, "change it with a migration that drops the signatures"
    assert found == signature([(" zoe ", "0.5"), (" élodie ngozi 名前 inv 2044 ", "1500")])


def test_an_amount_or_a_phone_number_selects_few_blocks() -> None:
    """The bit of one amount in ten was that of a gram of every block, so its search read every row."""
    blocks = [
        signature(
            (
                search_body(
                    f"Grace Mwangi {number}",
                    "grace.mwangi@example.org",
                    "Consultation and dressing",
                    codes=(f"{10_000_000 + number}", f"INV-2044-{number:06d}"),
                    phones=(f"+254712{number:06d}",),
                ),
                f"{number}.56",
            )
            for number in range(first, first + search_blocks.ROWS)
        )
        for first in range(0, 100_000, 1_999)
    ]

    def selected(terms: tuple[Term, ...]) -> int:
        [readings] = bits_needed(terms)
        return sum(
            any(all(any(has(block, way) for way in leaf) for leaf in each) for each in readings) for block in blocks
        )

    def has(block: tuple[bytes, ...], way: Iterable[tuple[int, int]]) -> bool:
        return all(block[part][bit >> 3] >> (bit & 7) & 1 for part, bit in way)

    amounts = [f"{major}.5" for major in range(1000)]
    many = [each for each in amounts if selected((((Leaf((), (each,)),),),)) > len(blocks) // search_blocks.MOST_OF_ALL]
    assert many == []
    phones = ["0712 054321", "0712 054 321", "712 054 321", "+254 712 054 321", "07 12 05 43 21", "2044 054 321 15"]
    assert [each for each in phones if selected(read_query(each)) > len(blocks) // search_blocks.MOST_OF_ALL] == []


@pytest.mark.parametrize(
    ("typed", "parts", "pieces"),
    [
        ("0712 345 678", ("712345678",), [" 678", " 345", "0712"]),
        ("+254 712 345678", ("254712345678",), ["345678", " 712", " 254"]),
        ("07 00 12 34 56", ("07 00 12 34 56", "700123456"), [" 56 ", " 34 ", " 12 ", " 00 ", " 07 "]),
        ("0712345678", ("712345678",), None),
    ],
)
def test_a_row_is_compared_with_no_text_that_another_implies(
    typed: str, parts: tuple[str, ...], pieces: list[str] | None
) -> None:
    """A walk of every row compared each with seven spellings of one phone number."""
    [[[whole], *others]] = read_query(typed)
    assert whole.parts == parts
    assert [[leaf.parts[0] for leaf in reading] for reading in others] == ([pieces] if pieces else [])
