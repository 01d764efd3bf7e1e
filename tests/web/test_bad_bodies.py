"""Bodies that nobody should send: each is refused with a clear problem, and nothing at all is written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.installation import Installation
from tests.web.support import Json, Practice, fresh, is_problem, snapshot

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD: Json = {"amount": 500_000, "currency": "NGN", "customer": {"email": "ada@example.com"}}


def but(**changes: Any) -> bytes:
    """A good body with some members changed; None takes one out."""
    body = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return json.dumps(body).encode()


def deep(levels: int, inner: str = "1") -> bytes:
    return b'{"metadata": ' + b'{"a": ' * levels + inner.encode() + b"}" * levels + b"}"


UNREADABLE: dict[str, bytes] = {
    "nothing closed": b'{"amount": 500000, "currency": "NGN"',
    "no JSON": b"amount=500000&currency=NGN",
    "single quotes": b"{'amount': 500000}",
    "trailing comma": b'{"amount": 500000, "currency": "NGN",}',
    "two documents": b'{"amount": 1}{"amount": 2}',
    "latin-1": '{"amount": 500000, "currency": "NGN", "description": "café"}'.encode("latin-1"),
    "utf-16": json.dumps(GOOD).encode("utf-16"),
    "utf-8 with BOM": b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
    "overlong utf-8": b'{"amount": 1, "currency": "\xc0\xae"}',
    "lone surrogate": b'{"amount": 500000, "currency": "NGN", "description": "\\ud800"}',
    "surrogate as a name": b'{"amount": 500000, "currency": "NGN", "\\udc00": 1}',
    "encoded surrogate": b'{"amount": 1, "currency": "NGN", "description": "\xed\xa0\x80"}',
    "duplicate amount": b'{"amount": 1, "currency": "NGN", "amount": 500000}',
    "duplicate deep inside": b'{"amount": 500000, "currency": "NGN", "customer": {"email": "a@b.example", "email": "d@e.f"}}',
    "duplicate by escape": b'{"amount": 1, "\\u0061mount": 500000, "currency": "NGN"}',
    "NaN": b'{"amount": NaN, "currency": "NGN"}',
    "Infinity": b'{"amount": Infinity, "currency": "NGN"}',
    "a float beyond all": b'{"amount": 1e999, "currency": "NGN"}',
    "a whole number beyond 64 bits": b'{"amount": 9223372036854775808, "currency": "NGN"}',
    "ten thousand digits": b'{"amount": ' + b"9" * 10_000 + b', "currency": "NGN"}',
    "nested 40 deep": deep(40),
    "nested 100000 deep": deep(100_000),
    "brackets only": b"[" * 200_000,
    "NUL byte": b'{"amount": 500000, "currency": "N\x00N"}',
    "raw newline in a string": b'{"amount": 500000, "currency": "NGN", "description": "a\nb"}',
}

INVALID: dict[str, tuple[bytes, str]] = {
    "empty object": (b"{}", "/amount"),
    "an array": (b"[]", "/"),
    "null": (b"null", "/"),
    "a string": (b'"500000"', "/"),
    "a number": (b"500000", "/"),
    "negative": (but(amount=-500_000), "/amount"),
    "zero": (but(amount=0), "/amount"),
    "minus zero": (b'{"amount": -0, "currency": "NGN"}', "/amount"),
    "fraction": (but(amount=10.5), "/amount"),
    "fraction of nothing": (but(amount=10.0), "/amount"),
    "exponent": (b'{"amount": 1e3, "currency": "NGN"}', "/amount"),
    "amount as a string": (but(amount="500000"), "/amount"),
    "amount true": (but(amount=True), "/amount"),
    "amount null": (b'{"amount": null, "currency": "NGN"}', "/amount"),
    "amount as a list": (but(amount=[500_000]), "/amount"),
    "amount as an object": (but(amount={"minor": 500_000}), "/amount"),
    "huge amount": (but(amount=9_223_372_036_854_775_807), "/amount"),
    "just too large": (but(amount=10**15 + 1), "/amount"),
    "currency missing": (but(currency=None), "/currency"),
    "currency unknown": (but(currency="XXQ"), "/currency"),
    "currency in lower case": (but(currency="ngn"), "/currency"),
    "currency by number": (but(currency=566), "/currency"),
    "currency with a space": (but(currency="NGN "), "/currency"),
    "unknown field": (but(amountMinor=5), "/amountMinor"),
    "snake_case field": (but(provider_code="paystack"), "/provider_code"),
    "unknown field inside": (but(customer={"email": "a@b.example", "iban": "x"}), "/customer/iban"),
    "e-mail without @": (but(customer={"email": "ada"}), "/customer/email"),
    "e-mail with a newline": (but(customer={"email": "ada@example.com\nBcc: x@y.z"}), "/customer/email"),
    "e-mail too long": (but(customer={"email": "a" * 251 + "@b.c"}), "/customer/email"),
    "phone with words": (but(customer={"email": "a@b.example", "phone": "call me"}), "/customer/phone"),
    "NUL in a description": (but(description="a\x00b"), "/description"),
    "control character": (but(description="a\x1bb"), "/description"),
    "10000 characters": (but(description="x" * 10_000), "/description"),
    "10000 characters of reference": (but(reference="x" * 10_000), "/reference"),
    "metadata of numbers": (but(metadata={"a": 1}), "/metadata/a"),
    "metadata nested": (but(metadata={"a": {"b": "c"}}), "/metadata/a"),
    "too much metadata": (but(metadata={f"n{i}": "x" for i in range(21)}), "/metadata"),
    "NUL in metadata": (but(metadata={"a": "x\x00"}), "/metadata/a"),
    "our own metadata": (but(metadata={"polytill_attempt": "x"}), "/metadata/polytill_attempt"),
    "brackets in metadata": (but(metadata={"order[0]": "x"}), "/metadata/order[0]"),
    "a reserved name in metadata": (but(metadata={"payment_id": "x"}), "/metadata/payment_id"),
    "a phone that is too short": (but(customer={"email": "a@b.de", "phone": "0803"}), "/customer/phone"),
    "capture by another word": (but(capture="later"), "/capture"),
    "provider in upper case": (but(providerCode="Paystack"), "/providerCode"),
    "method with a space": (but(paymentMethod="bank transfer"), "/paymentMethod"),
    "another scheme": (but(returnUrl="javascript:alert(1)"), "/returnUrl"),
    "half an address": (but(returnUrl="http://["), "/returnUrl"),
    "no host": (but(returnUrl="https:///x"), "/returnUrl"),
    "a port beyond all": (but(returnUrl="https://shop.example:99999/"), "/returnUrl"),
    "somebody else's name": (but(returnUrl="https://shop.example@evil.example/"), "/returnUrl"),
    "an address with a newline": (but(returnUrl="https://shop.example/\r\nSet-Cookie: a=b"), "/returnUrl"),
    "unknown environment": (but(environment="test"), "/environment"),
}

REFUSED: dict[str, tuple[bytes, str]] = {
    "under the provider's minimum": (but(amount=4_999), "/amount"),
    "no e-mail for Paystack": (but(customer=None), "/customer/email"),
    "a name instead of the e-mail": (but(customer={"name": "Ada"}), "/customer/email"),
    "a currency that nobody here takes": (but(currency="JPY"), "/currency"),
    "a currency that Paystack takes, but not here": (but(currency="GHS"), "/currency"),
    "a provider that is not configured": (but(providerCode="stripe"), "/providerCode"),
    "a method that the provider lacks": (but(paymentMethod="sepa_debit"), "/paymentMethod"),
    "to be held, which Paystack cannot": (but(capture="manual"), "/capture"),
}


@pytest.fixture(scope="module")
def practices() -> dict[str, Practice]:
    return {}


async def _practice(shared: Installation, practices: dict[str, Practice]) -> Practice:
    if shared.url not in practices:
        practices[shared.url] = await Practice.make(shared, "paystack")
    return practices[shared.url]


async def _refused(shared: Installation, practice: Practice, body: bytes, status: int) -> Json:
    before, books = await snapshot(shared, practice.id), await practice.books()
    found = await practice.call("POST", "/payments", raw=body, idempotency=fresh())
    problem = is_problem(found, status)
    assert await snapshot(shared, practice.id) == before
    assert await practice.books() == books
    return problem


@pytest.mark.parametrize("name", UNREADABLE)
async def test_unreadable(shared: Installation, practices: dict[str, Practice], name: str) -> None:
    problem = await _refused(shared, await _practice(shared, practices), UNREADABLE[name], 400)
    assert problem["code"] == "unreadable"


@pytest.mark.parametrize("name", INVALID)
async def test_invalid(shared: Installation, practices: dict[str, Practice], name: str) -> None:
    body, pointer = INVALID[name]
    problem = await _refused(shared, await _practice(shared, practices), body, 422)
    assert problem["code"] == "invalid"
    pointers = [error["pointer"] for error in problem["errors"]]
    assert pointer in pointers, problem
    if name not in ("empty object", "minus zero", "exponent", "amount null"):
        assert len(pointers) == 1, problem


@pytest.mark.parametrize("name", REFUSED)
async def test_nobody_can_take_it(shared: Installation, practices: dict[str, Practice], name: str) -> None:
    body, pointer = REFUSED[name]
    problem = await _refused(shared, await _practice(shared, practices), body, 422)
    assert problem["code"] == "no_provider_for_currency"
    [error] = problem["errors"]
    assert error["pointer"] == pointer
    assert error["detail"].startswith("paystack: ")


async def test_all_errors_at_once(shared: Installation, practices: dict[str, Practice]) -> None:
    body = but(amount=-1, currency="ngn", customer={"email": "x", "phone": "y"}, capture="later", extra=1)
    problem = await _refused(shared, await _practice(shared, practices), body, 422)
    assert sorted(error["pointer"] for error in problem["errors"]) == [
        "/amount",
        "/capture",
        "/currency",
        "/customer/email",
        "/customer/phone",
        "/extra",
    ]


async def test_a_hint_for_lower_case(shared: Installation, practices: dict[str, Practice]) -> None:
    problem = await _refused(shared, await _practice(shared, practices), but(currency="ngn"), 422)
    assert "upper case" in problem["detail"]


@pytest.mark.parametrize(
    ("key", "status"),
    [
        (None, 400),
        ("", 422),
        ("two words", 422),
        ("tab\tin it", 422),
        ("naïve", 422),
        ("日本", 422),
        ("x" * 201, 422),
        ("x" * 10_000, 422),
    ],
)
async def test_idempotency_keys(
    shared: Installation, practices: dict[str, Practice], key: str | None, status: int
) -> None:
    practice = await _practice(shared, practices)
    before = await snapshot(shared, practice.id)
    headers = {} if key is None else {"Idempotency-Key": key}
    for path in ("/payments", "/payments/none/capture", "/payments/none/cancel", "/payments/none/refunds"):
        raw = json.dumps(GOOD).encode() if path == "/payments" else b"{}"
        problem = is_problem(await practice.call("POST", path, raw=raw, headers=headers), status)
        assert "header:idempotency-key" in [error["pointer"].lower() for error in problem["errors"]]
        assert problem["code"] == ("idempotency_key_missing" if status == 400 else "invalid")
    # A missing key is said first, with all else that is wrong.
    if key is None:
        problem = is_problem(await practice.call("POST", "/payments", {"amount": 0}), 400, "idempotency_key_missing")
        assert {error["pointer"] for error in problem["errors"]} > {"/amount", "/currency"}
    assert await snapshot(shared, practice.id) == before


async def test_two_idempotency_keys(shared: Installation, practices: dict[str, Practice]) -> None:
    """A client's and a proxy's, say: nobody could tell which of them counts."""
    practice = await _practice(shared, practices)
    before = await snapshot(shared, practice.id)
    twice = [("Idempotency-Key", fresh()), ("Idempotency-Key", fresh())]
    for path in ("/payments", "/payments/none/capture", "/payments/none/cancel", "/payments/none/refunds"):
        raw = json.dumps(GOOD).encode() if path == "/payments" else b"{}"
        problem = is_problem(await practice.call("POST", path, raw=raw, headers=twice), 422, "invalid")
        assert [error["pointer"] for error in problem["errors"]] == ["header:Idempotency-Key"]
    assert await snapshot(shared, practice.id) == before


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded"])
async def test_another_content_type(shared: Installation, practices: dict[str, Practice], kind: str) -> None:
    practice = await _practice(shared, practices)
    before = await snapshot(shared, practice.id)
    raw = json.dumps(GOOD).encode()
    found = await practice.call("POST", "/payments", raw=raw, headers={"Content-Type": kind}, idempotency=fresh())
    is_problem(found, 422, "invalid")
    assert await snapshot(shared, practice.id) == before


async def test_the_same_body_good_is_taken(shared: Installation, practices: dict[str, Practice]) -> None:
    """The body that all the bad ones are made of is right: it is the change that is refused."""
    practice = await Practice.make(shared, "paystack")
    found = await practice.call("POST", "/payments", raw=json.dumps(GOOD).encode(), idempotency=fresh())
    assert found.status == 201
    extremes = but(amount=10**11, description="é" * 500, metadata={"a" * 40: "x" * 500}, reference="日本")
    found = await practice.call("POST", "/payments", raw=extremes, idempotency="!" * 200)
    assert found.status == 201, found.body
    assert found.body["description"] == "é" * 500
