"""Customer data, metadata and amounts that somebody hostile or hurried types, at each entry point: the right value or one clear
sentence, nothing written, and the idempotency key stays free (issue 18, items 1 and 2).

Faults: a name with an emoji of a newer Unicode version "contained control characters"; "+1" had "a country code that does not
exist"; two numbers with a line break between them were read as one amount; a top-level domain of one letter was accepted.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from polytill.domain.contacts import InvalidContact, read_email, read_name, read_phone
from polytill.domain.typed_amounts import TypedAmountError
from polytill.web.words import words_for
from tests.installation import Installation
from tests.regressions.test_customer_data import kenyan, link_of, send
from tests.web.browsing import Browser, person
from tests.web.support import Page, Practice, fresh, is_problem, snapshot

EMAILS = [
    "ada", "Ada <ada@example.com>", '"Ada Obi" <ada@example.com>', '"ada obi"@example.com', '"ada"@example.com', "ada@example.com.",
    "ada@example.com..", "ada@@example.com", "ada@example,com", "ada@example.com, eve@example.com", "ada@example.com;eve@x.de",
    "ada @example.com", "ada\n@example.com", "ada@example.com\nBcc: eve@example.com", "ada@example.com\x00", "a..b@example.com",
    ".a@example.com", "a.@example.com", "a" * 65 + "@example.com", "a@" + "b" * 250 + ".com", "ада@example.com", "adé@example.com",
    "ada@localhost", "ada@example.c", "ada@example.123", "ada@123.123.123.123", "ada@[IPv6:::1]", "ada(x)@example.com",
    "mailto:ada@example.com?subject=x", "ada@exam_ple.com", "ada@-example.com", "ada@xn--a.com", "@example.com", "ada@",
    "a" * 300 + "@example.com", "＠example.com",
]  # fmt: skip
PHONES = [
    "call me", "+254712345678;ext=5", "0712345678 ext 12", "0712345678x5", "tel:0712345678;phone-context=+254", "40404", "911",
    "*123#", "0712 345 67O", "++254712345678", "+254+712345678", "0712345678 or 0722000111", "0712345678, 0722000111",
    "0712345678\n0722000111", "1-800-FLOWERS", "9" * 40, "9" * 500, "+999999999999", "+1", "+254", "0", "00", "+", "2.54712E+11",
    "254712345678.0", "=0712345678", "+254712345678 (Mama)", "Ⅷ", "0712345678\x00", "\x00", "-", "2025550123", "07400123456",
]  # fmt: skip
NAMES = [
    "x" * 201,
    "x" * 300,
    "Ada\x00",
    "Ada\tObi",
    "Ada\nObi",
    "\x1b[31mAda",
    "Ada\x7f",
    "Ada\x85",
    "Ada\ufffe",
    "\ufdd0",
]
METADATA: list[Any] = [
    {"a": 0}, {"a": None}, {"a": True}, {"a": {"b": "c"}}, {"a": ["x"]}, {"": "x"}, {" a": "x"}, {"a\x00": "x"}, {"a": "x\x00"},
    {"a": "\n"}, {f"k{n}": "v" for n in range(21)}, {f"k{n}": "v" for n in range(51)}, {"a" * 41: "x"}, {"a": "x" * 501},
    {"Polytill": "x"}, {"ＰＯＬＹＴＩＬＬ": "x"}, {"payment_id": "x"}, {"a[0]": "x"}, {"a\u200b": "x"}, {"a\u202eb": "x"}, [],
    "x", 1,
]  # fmt: skip
AMOUNTS: list[Any] = [1.5, "500000", "5,000", "５００", -1, 0, True, None, 10**18, [], {}]
RAW = [
    b'"amount":NaN',
    b'"amount":5e5',
    b'"amount":500000.0',
    b'"amount":0x10',
    b'"amount":500000,"metadata":{"a":NaN}',
    b'"amount":500000,"metadata":{"a":1e999}',
    b'"amount":500000,"amount":1',
    b'"amount":500000,"metadata":{"a":"1","a":"2"}',
    b'"amount":500000,"customer":{"email":"ada@example.com"}',
    b'"amount":500000,"reference":"\xff"',
    b'"amount":500000,"reference":"\\ud800"',
    b'"amount":500000,"metadata":{"a":"\\ud83d"}',
    b'"amount":1' + b"0" * 400,
]
GOOD = {"amount": 500_000, "currency": "KES", "customer": {"email": "ada@example.com"}}


@pytest.mark.asyncio(loop_scope="module")
async def test_the_api_refuses_it_and_its_key_stays_free(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack", "KES")
    bodies: list[tuple[str, Any]] = [
        *(("/customer/email", {"customer": {"email": one}}) for one in EMAILS),
        *(("/customer/phone", {"customer": {**GOOD["customer"], "phone": one}}) for one in PHONES),  # type: ignore[dict-item]
        *(("/customer/name", {"customer": {**GOOD["customer"], "name": one}}) for one in NAMES),  # type: ignore[dict-item]
        *(("/metadata", {"metadata": one}) for one in METADATA),
        *(("/amount", {"amount": one}) for one in AMOUNTS),
    ]
    key, before = fresh(), await snapshot(shared, practice.id)
    for pointer, wrong in bodies:
        found = is_problem(await practice.call("POST", "/payments", {**GOOD, **wrong}, idempotency=key), 422)
        [error] = found["errors"]
        assert error["pointer"].startswith(pointer), (wrong, found)
        assert 10 < len(error["detail"]) < 200, error
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {practice.key}", "Idempotency-Key": key}
    for raw in RAW:
        body = b'{"currency":"KES","customer":{"email":"ada@example.com"},' + raw + b"}"
        answered = await shared.call("POST", f"{practice.base}/payments", raw=body, headers=headers)
        assert answered.status in (400, 422), (raw, answered.body)
        assert answered.body["detail"]
    assert await snapshot(shared, practice.id) == before
    made = await practice.call("POST", "/payments", GOOD, idempotency=key)
    assert (made.status, made.body["status"]) == (201, "requires_action")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_link_refuses_it(shared: Installation) -> None:
    practice = await kenyan(shared, "mpesa", "paystack")
    path = await link_of(practice, singleUse=False)
    [(_, shown)] = Page((await shared.call("GET", path)).body).forms
    forms = [
        *({"phone": one} for one in [*PHONES, "020 271 2345", "+255754123456", "", "\u200b"]),
        *({"phone": "0712345678", "name": one} for one in NAMES if one.strip("\x85\x00") == one),
        *({"by": "paystack", "email": one} for one in ["", *EMAILS]),
    ]
    before = await snapshot(shared, practice.id)
    for form in forms:
        refused = await send(practice, path, key=shown["key"], **form)
        assert refused.status == 422, form
        assert refused.body.count('aria-invalid="true"') == 1, form
    assert await snapshot(shared, practice.id) == before
    begun = await send(practice, path, key=shown["key"], phone="0712345678")
    assert begun.status == 303
    [held] = await practice.books() if practice.code == "mpesa" else [None]
    [one] = (await practice.call("GET", "/payments")).body["data"]
    assert (one["customer"]["phone"], one["status"]) == ("+254712345678", "processing"), held


@pytest.mark.asyncio(loop_scope="module")
async def test_the_customers_correction_refuses_it(shared: Installation) -> None:
    practice = await kenyan(shared, "mpesa")
    begun = await send(practice, await link_of(practice), phone="0712345678")
    [held] = await practice.books()
    await practice.act(held["reference"], "abandon")
    [one] = (await practice.call("GET", "/payments")).body["data"]
    await practice.settled(one["id"], status="failed")
    path = f"{begun.headers['Location']}/retry"
    before = await snapshot(shared, practice.id)
    for form in (
        *({"phone": one} for one in [*PHONES, "020 271 2345", "+255754123456"]),
        *({"phone": "0712345678", "name": one} for one in NAMES if one.strip("\x85\x00") == one),
    ):
        refused = await send(practice, path, **form)
        assert (refused.status, refused.body.count('aria-invalid="true"')) == (422, 1), form
    assert await snapshot(shared, practice.id) == before
    assert (await send(practice, path, phone="0722 000 111")).status == 303
    assert (await practice.payment(one["id"]))["customer"]["phone"] == "+254722000111"


@pytest.mark.asyncio(loop_scope="module")
async def test_what_can_be_read_is_stored_in_its_normal_form(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack", "KES")
    for email, name, phone, stored in (
        (
            "\u202aAda+x@EXAMPLE.com\u202c",
            "\u202eAda\u202c",
            "+254 (0)712-345 678",
            ("Ada+x@example.com", "Ada", "+254712345678"),
        ),
        (
            "MAILTO:o'brien@example.com",
            "e\u0301 \U0001fae8",
            "\u0660\u0667\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668",
            ("o'brien@example.com", "é \U0001fae8", "+254712345678"),
        ),
        ("ada@münchen.example", "X", "020 271 2345", ("ada@xn--mnchen-3ya.example", "X", "+254202712345")),
        ("ada@example.com", "\u200b", "\u00a0", ("ada@example.com", None, None)),
    ):
        customer = {"email": email, "name": name, "phone": phone}
        made = await practice.create(currency="KES", customer=customer, metadata={"a.b": "ключ 🎉", "__proto__": ""})
        assert made.status == 201, made.body
        assert made.body["customer"] == dict(zip(("email", "name", "phone"), stored, strict=True))
        assert made.body["metadata"] == {"a.b": "ключ 🎉", "__proto__": ""}


@pytest.mark.asyncio(loop_scope="module")
async def test_staffs_form_refuses_amounts_and_writes_nothing(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    form = {"currency": "NGN", "description": "Visit", "days": "7", "use": "many"}
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        for text in (
            "1.000", "1,000", "NGN 1,000", "-1000", "−1000", "(1,000)", "+1000", "1e3", "0x10", "1_000", "1,,000", "1, 000", "½",
            "∞", "NaN", "$1,000", "USD 1000", "1k", "1.234,567.89", "0", "0.00", "0.001", "9" * 15, "9" * 40, "12.34.56", "150\n20",
            "150\r\n20",
        ):  # fmt: skip
            sent = await browser.send(f"{door}/links", f"{door}/links", amount=text, **form)
            assert (sent.status, sent.html.count('aria-invalid="true"')) == (422, 1), text
        assert (await practice.call("GET", "/payment-links")).body["data"] == []


# ── What the readers say ──


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("+1", "too short"),
        ("+254", "too short"),
        ("00254", "too short"),
        ("00", "too short"),
        ("+999 12", "country code that does"),
    ],
)
def test_a_country_code_alone_exists(typed: str, words: str) -> None:
    with pytest.raises(InvalidContact) as refused:
        read_phone(typed, ("KE",))
    assert words in str(refused.value)


def test_a_name_may_have_letters_that_are_newer_than_python() -> None:
    newest = "Zoë \U0001fae8\U0001fadc \U00011f04"  # emoji and a letter of Unicode 15 and 16
    assert read_name(newest) == newest
    for wrong in ("\ufdd0", "\ufffe", "\U0001ffff", "Ada\x00", json.loads('"\\ud83d"')):
        with pytest.raises(InvalidContact):
            read_name(wrong)


def test_a_domain_ends_with_two_letters_at_least() -> None:
    with pytest.raises(InvalidContact):
        read_email("ada@example.c")
    assert read_email("ada@example.co") == "ada@example.co"


@pytest.mark.parametrize("tag", ["en", "fr", "sw", "en-IN", "en-ZA"])
def test_numbers_on_two_lines_are_not_one_amount(tag: str) -> None:
    words = words_for(tag, tag)
    for text in ("150\n20", "1\r\n500", "150\x0b20", "150\x0020", "150\x8520"):
        with pytest.raises(TypedAmountError) as refused:
            words.minor(text, "KES")
        assert refused.value.reason == "amount_unreadable"
    for text in ("1500\r\n", "\t1500 ", "1\u00a0500", "1\u202f500", "1\t500", "15\u200b00"):
        assert words.minor(text, "KES") == 150_000
