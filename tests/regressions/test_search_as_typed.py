"""What staff type or paste into the search, and what somebody hostile would: each text finds the same payments on SQLite and
on PostgreSQL, and the right ones (issue 18, item 7).

What found nothing, or too much: the first digits of a national number ("0712"), phone numbers with dots ("07.00.12.34.56")
or beside a label, amounts as a page shows them in another currency ("F CFA 1 234"), a date or fraction that a description
holds, a name with a hyphen typed without it, an e-mail with an international domain, every word behind the eighth.
"""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from polytill.domain.contacts import email_key, read_email, read_name, read_phone
from polytill.domain.currencies import CURRENCIES
from polytill.domain.money import Money
from polytill.domain.search import amount_key, read_query
from polytill.domain.states import Environment
from polytill.flows.admin import staff
from polytill.flows.command import Command
from polytill.flows.payments.create import create_payment
from polytill.flows.payments.request import PaymentRequest
from polytill.providers.contract import Customer
from polytill.storage import payment_lists, payment_search
from polytill.storage.databases import PracticeDb
from polytill.storage.payment_lists import Filters
from polytill.storage.payments import PAYMENTS
from polytill.web.words import words_for
from tests.flows import scenes
from tests.flows.scenes import Scene

PEOPLE: dict[str, dict[str, Any]] = {
    "wanjiru": {
        "name": "Wanjirũ Ng'ang’a-O’Brien",
        "phone": "+254712345678",
        "email": "w.nganga+x@example.com",
        "amount": 123_450,
        "reference": "INV/2044-b_7",
    },
    "konan": {
        "name": "Kouamé N’Guessan",
        "phone": "+2250700123456",
        "email": "konan@münchen.example",
        "amount": 500_000,
        "description": "Visite du 12/11/2026, 1/2 tarif",
    },
    "deva": {"name": "देवदत्त İstanbul ﬁne", "phone": "+919876543210", "amount": 700, "description": "100%_off \\ sale"},
    "mariam": {"name": "مريم Straße 🎉 名前", "amount": 150, "reference": "Ⅷ-ñandú"},
}
NB, NNB, ZW, RLM = "\u00a0", "\u202f", "\u200b", "\u200f"
WANJIRU, KONAN, DEVA, MARIAM, NOBODY = ["wanjiru"], ["konan"], ["deva"], ["mariam"], list[str]()
CASES: list[tuple[list[str], list[str]]] = [
    # Phone numbers
    (
        [
            "0712", "071", "07123", "0712 345", "+254 712", "254712", "+254712345678", "00254712345678", "00254 712 345 678",
            "0712345678", "712 345 678", "(0712) 345-678", "[0712] 345/678", f"0712{NB}345{NNB}678", "0712.345.678",
            "0712–345–678", f"\u202a+254{ZW}712345678\u202c", "+254 (0)712 345678", "tel:+254712345678", "Tel. 0712 345 678",
            "Phone: 0712345678", "'0712345678", "٠٧١٢٣٤٥٦٧٨", "०७१२३४५६७८", "０７１２３４５６７８", "345678", "5678", "345-678",
        ],
        WANJIRU,
    ),
    (["07.00.12.34.56", "07 00 12 34 56", "0700 12", "+225 07 00"], KONAN),
    (["098765", "98765 43210"], DEVA),
    (["07"], ["konan", "wanjiru", "deva"]),  # the last one by its amount
    # Amounts
    (
        [
            "1234.5", "1234.50", "1,234.50", "1.234,50", f"1{NB}234,50", f"1{NNB}234,50", "1 234,50", "1'234.50", "1’234.50",
            "NGN 1,234.50", f"NGN{NB}1,234.50", "₦1,234.50", "N1,234.50", "₦1 234,50", "1,234.50 NGN", "１２３４.５０", "١٬٢٣٤٫٥٠",
            "+1234.50", "1234,5",
        ],
        WANJIRU,
    ),
    (["5 000", "5,000", "5000.00", "F 5 000", f"F{NNB}CFA{NB}5,000"], KONAN),
    (["1.50", "1,5"], MARIAM),
    (["1234.51", "12345.0"], NOBODY),
    # Names
    (
        [
            "o'brien", "obrien", "O’BRIEN", "o`brien", "nganga", "Ng'ang'a", "NG’ANG’A", "nganga-obrien", "ngangaobrien",
            "wanjiru", "WANJIRŨ", unicodedata.normalize("NFD", "Wanjirũ"), "obrien wanj", "brien wanjiru", "wanjiru\tobrien",
            ZW.join("wanjiru"), f"{RLM}wanjiru", "ｗａｎｊｉｒｕ", "\ufeffwanjiru", '"wanjiru"', "wanjiru, o", "w",
        ],
        WANJIRU,
    ),
    (["kouame", "nguessan", "N'GUESSAN", "n’guessan kou", "12/11/2026", "12.11.2026", "1/2", "1/2 tarif"], KONAN),
    (["देवदत्त", "देव", "दत्त", "istanbul", "ISTANBUL", "İSTANBUL", "ıstanbul", "fine", "FINE", "100%", "%_off", "sale"], DEVA),
    (["مريم", "م\u064eريم", "strasse", "STRASSE", "straße", "🎉", "名前", "nandu", "viii", "VIII-Ñ"], MARIAM),
    (["n"], ["konan", "wanjiru", "mariam", "deva"]),
    # References and e-mails
    (
        [
            "inv/2044-b_7", "INV2044B7", "inv 2044", "2044-B", "2044", "nv/20", "w.nganga", "W.NGANGA+X@EXAMPLE.COM",
            "mailto:w.nganga+x@example.com",
        ],
        WANJIRU,
    ),
    (["konan@münchen.example", "munchen", "@MÜNCHEN", "xn--mnchen-3ya", "konan@xn--mnchen-3ya.example"], KONAN),
    # What nothing can be found by, and what nobody has
    (
        [
            "%", "_", "\\", "'", '"', "--", "\\%", "%%", "__", "!", "...", "\u0301", "(", "+", "#", "' OR '1'='1", "*",
            "?", "[a-z]", "a%b", "wanjiru kouame", "999999999999999999999999", "x" * 500, "%wanjiru_obrien%%x", "zz",
        ],
        NOBODY,
    ),
    # Nothing at all: the whole list
    (["   ", ZW, f" {RLM}{NB}\t", "", "\ufeff", "\x00", "\ud800"], [*PEOPLE]),
    # Each of many words counts
    (["wanjiru nganga obrien w nganga x example com inv 2044", "wanjiru " * 20], WANJIRU),
    (["wanjiru nganga obrien w nganga x example com inv nobody"], NOBODY),
    ([f"{ZW * 300}kouame"], KONAN),
]  # fmt: skip


@pytest.fixture
async def both(tmp_path: Path, postgres_url: str) -> AsyncIterator[list[Scene]]:
    """The same payments on SQLite and on PostgreSQL."""
    async with AsyncExitStack() as stack:
        found = []
        for name, url in (("sqlite", None), ("postgresql", postgres_url)):
            (tmp_path / name).mkdir()
            made = await stack.enter_async_context(scenes.scene(tmp_path / name, url))
            await made.configure()
            for key, told in PEOPLE.items():
                made.wire.says("create", scenes.LINK)
                customer = Customer(
                    read_email(told.get("email")), read_name(told["name"]), read_phone(told.get("phone"))
                )
                request = PaymentRequest(
                    Money(told["amount"], "NGN"),
                    customer=customer,
                    reference=told.get("reference"),
                    description=told.get("description"),
                )
                made.clock.at_s += 1
                payment = (await create_payment(made.context, made.practice_id, request, Command(key, "test"))).payment
                # Random ones could hold what is typed here; the row is made again from the payment below.
                number = f"88{PEOPLE[key]['amount'] % 7}999"
                await made.db.fetch("UPDATE payments SET number = $2 WHERE id = $1", payment.id, number)
            await make_search_rows_again(made.db)
            # The ends of ids are random as well.
            await made.db.fetch(
                "UPDATE payment_search SET body = replace(body, substr(payment_id, 15), 'qqqqqqqqqqqq')"
            )
            found.append(made)
        yield found


async def make_search_rows_again(db: PracticeDb) -> None:
    async with db.transaction() as tx:
        await tx.fetch("DELETE FROM payment_search")
        for row in await tx.fetch("SELECT * FROM payments"):
            columns = {name: row[name] for name in PAYMENTS.columns.split(", ")}
            payment_search.insert(tx, payment_search.row_of(PAYMENTS.read(columns)))


async def searched(scene: Scene, text: str) -> list[str]:
    rows = await payment_lists.listed(scene.db, Filters(Environment.sandbox, search=text), 50)
    return [row.idempotency_key for row in rows]


@pytest.mark.postgres
async def test_both_engines_find_the_same_whatever_is_typed(both: list[Scene]) -> None:
    wrong = {}
    for text, right in [(text, right) for texts, right in CASES for text in texts]:
        on_sqlite, on_postgres = [await searched(scene, text) for scene in both]
        assert on_sqlite == on_postgres, text
        if sorted(on_sqlite) != sorted(right):
            wrong[text] = on_sqlite, read_query(text)
    assert wrong == {}


@pytest.mark.postgres
async def test_a_payment_is_found_by_its_own_name_however_that_is_written(both: list[Scene]) -> None:
    for key, told in PEOPLE.items():
        name = told["name"]
        for text in (
            name,
            name.upper(),
            name.lower(),
            name.casefold(),
            name.title(),
            *(unicodedata.normalize(form, name) for form in ("NFC", "NFD", "NFKC", "NFKD")),
            ZW.join(name),
            f"{RLM}{name}\u202c",
        ):
            assert [await searched(scene, text) for scene in both] == [[key], [key]], text


@pytest.mark.parametrize("tag", ["en", "fr", "sw", "en-IN", "en-ZA", "fr-CH", "fr-CA", "fr-CI", "sw-KE", "en-CH"])
def test_every_amount_that_a_page_shows_is_found_in_each_language(tag: str) -> None:
    words = words_for(tag, tag)
    missing = [
        shown
        for currency in CURRENCIES
        for minor in (123_456_789, 150_000, 1_200, 5)
        for shown in (words.money(minor, currency), words.major(minor, currency))
        if not any(
            len(read_query(shown)) <= 2 and amount_key(minor, currency) in leaf.amounts
            for term in read_query(shown)
            for reading in term
            for leaf in reading
        )
    ]
    assert missing == []


# ── Addresses that are compared ──


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Ada.Obi@Example.com", "ada.obi@EXAMPLE.COM", True),
        ("ÉVE@example.com", "e\u0301ve@example.com", True),
        ("pat@münchen.example", "pat@XN--MNCHEN-3YA.example", True),
        ("pat@b.example\u200b", " pat@b.example", True),
        ("straße@b.example", "strasse@b.example", False),
        ("pat@straße.example", "pat@strasse.example", False),
        ("ſam@b.example", "sam@b.example", False),
        ("ﬁ@b.example", "fi@b.example", False),
        ("ılk@b.example", "ilk@b.example", False),
        ("eve@b.example", "éve@b.example", False),
    ],
)
async def test_two_mailboxes_are_two_people(scene: Scene, one: str, other: str, same: bool) -> None:
    """Case folding made one person of "straße@" and "strasse@": the second could not be invited, and signed in as the first."""
    assert (email_key(one) == email_key(other)) is same
    assert email_key(email_key(one)) == email_key(one)
    await staff.invite(scene.context, scene.db, one.strip("\u200b "), "", "admin", "test")
    first = await staff.existing(scene.db, other if same else one)
    if not same:
        await staff.invite(scene.context, scene.db, other, "", "viewer", "test")
        second = await staff.existing(scene.db, other)
        assert (first.role, second.role) == ("admin", "viewer")


async def test_a_filter_by_e_mail_finds_one_mailbox(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    other = await scene.succeeded()
    for one, address in ((payment, "straße@b.example"), (other, "pat@xn--mnchen-3ya.example")):
        await scene.db.fetch("UPDATE payments SET customer_email = $2 WHERE id = $1", one.id, address)
    await make_search_rows_again(scene.db)
    for typed, right in (
        ("straße@b.example", [payment.id]),
        ("STRAßE@B.example", [payment.id]),
        ("strasse@b.example", []),
        ("Pat@münchen.example", [other.id]),
        ("pat@xn--mnchen-3ya.example", [other.id]),
    ):
        found = await payment_lists.listed(scene.db, Filters(Environment.sandbox, customer_email=typed), 9)
        assert [one.id for one in found] == right, typed
