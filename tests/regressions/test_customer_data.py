"""Customer data that providers refused after we had taken it, and forms that did not ask for what a payment needs.

Sources: faults of public trackers, cases 1 (erpnext#44945), 3 (odoo#256315, blink-mobile#4208, sarafu.network#153), 9
(wordcamp.org#1271) and 33 (keygen-api#305); page review D2; provider review D7 and D8.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from polytill.providers.http import Http
from polytill.providers.mpesa.handler import MpesaProvider
from polytill.providers.outcomes import NotSent, Reason
from tests.installation import Answered, Installation
from tests.web.support import Json, Page, Practice, fresh, is_problem, snapshot
from tests.web.test_saved_methods import begun, saved
from tests.wording import to_payer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MPESA = {"shortCode": "174379", "passkey": "passkey0123456789abcdef"}
ASKED = {"amount": 150_000, "currency": "KES", "description": "Consultation"}
SPELLINGS = (
    "+254 712 345 678",
    "+254 0712 345 678",
    "+254(0)712345678",
    "00254712345678",
    "712345678",
    "0712.345.678",
    "\u202a+254712345678\u202c",
    "0712-345-678",
    "[0712] 345/678",
    "\uff10712345678",
)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def kenyan(house: Installation, *codes: str, currency: str = "KES") -> Practice:
    practice = await Practice.make(house, currency=currency)
    for code in codes:
        await practice.configure(code, ["KES"], **({"config": MPESA} if code == "mpesa" else {}))
    return practice


async def link_of(practice: Practice, **more: Any) -> str:
    made = await practice.call("POST", "/payment-links", {**ASKED, **more})
    assert made.status == 201, made.body
    return str(made.body["url"]).removeprefix(practice.house.url)


async def send(practice: Practice, path: str, **fields: str) -> Answered:
    return await practice.house.call("POST", path, raw=urlencode(fields).encode(), headers=FORM)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Json]]:
    """The JSON bodies that go to providers from now on, with their addresses."""
    found: list[tuple[str, Json]] = []
    original = Http.send

    async def recorded(self: Http, method: str, url: str, headers: Any, body: bytes | None = None) -> Any:
        if body and body[:1] == b"{":
            found.append((url, json.loads(body)))
        return await original(self, method, url, headers, body)

    monkeypatch.setattr(Http, "send", recorded)
    return found


# ── Case 1, D2: links ──


async def test_a_link_for_mpesa_asks_for_the_phone_and_nothing_else(shared: Installation) -> None:
    practice = await kenyan(shared, "mpesa")
    path = await link_of(practice)
    [(_, fields)] = Page((await shared.call("GET", path)).body).forms
    assert set(fields) == {"key", "phone", "name"}
    begun = await send(practice, path, phone="0712 345 678", key=fields["key"])
    assert begun.status == 303
    [held] = await practice.books()
    assert held["amount"] == 150_000
    one = (await practice.call("GET", "/payments")).body["data"][0]
    payment = await practice.payment(one["id"])
    assert payment["customer"] == {"email": None, "name": None, "phone": "+254712345678"}


async def test_a_wrong_phone_stays_on_the_form(shared: Installation) -> None:
    practice = await kenyan(shared, "mpesa")
    path = await link_of(practice)
    before = await snapshot(shared, practice.id)
    for phone in ("", "0712", "call me", "+33 6 12 34 56 78", "+254 20 271 2345", "  \u200b "):
        found = await send(practice, path, phone=phone, name="Ada Obi")
        assert found.status == 422, phone
        [(_, fields)] = Page(found.body).forms
        assert (fields["phone"], fields["name"]) == (phone.strip(), "Ada Obi")
        assert 'aria-invalid="true"' in found.body
        assert "+254 712 123456" in Page(found.body).text
    assert await snapshot(shared, practice.id) == before
    assert (await send(practice, path, phone="0712345678")).status == 303


async def test_the_recommended_provider_is_asked_first_and_another_can_be_chosen(shared: Installation) -> None:
    practice = await kenyan(shared, "paystack", "flutterwave", "mpesa")
    path = await link_of(practice, singleUse=False)
    first = Page((await shared.call("GET", path)).body)
    assert set(first.forms[0][1]) == {"key", "phone", "name"}
    assert [way.partition("?")[2] for way in first.ways] == ["by=paystack"]  # Flutterwave needs the same as Paystack
    other = Page((await shared.call("GET", f"{path}?by=paystack")).body)
    assert set(other.forms[0][1]) == {"key", "by", "email", "name"}
    assert (await send(practice, path, email="ada@example.com")).status == 422, "M-Pesa is not skipped in silence"
    assert (await send(practice, path, phone="0712345678")).status == 303
    assert (await send(practice, path, email="ada@example.com", by="paystack")).status == 303
    codes = [one["providerCode"] for one in (await practice.call("GET", "/payments")).body["data"]]
    assert codes == ["paystack", "mpesa"]


async def test_a_link_says_so_when_nobody_can_take_it_any_more(shared: Installation) -> None:
    practice = await kenyan(shared, "mpesa")
    path = await link_of(practice)
    await practice.call("PATCH", "/payment-providers/mpesa", {"isEnabled": False})
    for found in (await shared.call("GET", path), await send(practice, path, phone="0712345678")):
        assert 'data-state="link-unavailable"' in found.body
        assert to_payer("page.problem") not in Page(found.body).text
    await practice.call("PATCH", "/payment-providers/mpesa", {"isEnabled": True})
    assert (await send(practice, path, phone="0712345678")).status == 303


async def test_flutterwave_v4_alone_in_kenya(shared: Installation, sent: list[tuple[str, Json]]) -> None:
    practice = await kenyan(shared, "flutterwave_v4")
    path = await link_of(practice)
    assert {"phone", "email"} <= set(Page((await shared.call("GET", path)).body).forms[0][1])
    assert (await send(practice, path, email="ada@example.com")).status == 422
    assert (await send(practice, path, email="ada@example.com", phone="+254 0712 345678")).status == 303
    body = next(body for url, body in sent if "direct-charges" in url)
    assert body["payment_method"]["mobile_money"] == {"country_code": "254", "phone_number": "712345678"}
    preview = (await practice.call("GET", "/payment-providers/for-currency/KES")).body
    assert preview["customerFields"] == {"required": ["phone", "email"], "oneOf": [], "phoneCountries": ["KE"]}
    lacking = await practice.call("GET", "/payment-providers/for-currency/KES?customerFields=email")
    assert is_problem(lacking, 404)["errors"][0]["pointer"] == "/customer/phone"


# ── Case 3, D8: one reading of a number, and the digits that each provider wants ──


@pytest.mark.parametrize("typed", SPELLINGS)
async def test_every_spelling_reaches_mpesa(shared: Installation, typed: str, sent: list[tuple[str, Json]]) -> None:
    practice = await kenyan(shared, "mpesa")
    made = await practice.create(150_000, currency="KES", customer={"phone": typed})
    assert (made.status, made.body["status"]) == (201, "processing"), made.body
    assert made.body["customer"]["phone"] == "+254712345678"
    [push] = [body for url, body in sent if "processrequest" in url]
    assert (push["PhoneNumber"], push["PartyA"]) == ("254712345678", "254712345678")


@pytest.mark.parametrize(
    ("code", "more", "place", "digits"),
    [
        (
            "flutterwave_v4",
            {"paymentMethod": "mobile_money"},
            ("customer", "phone"),
            {"country_code": "254", "number": "712345678"},
        ),
        ("flutterwave", {}, ("customer", "phonenumber"), "254712345678"),
        ("flutterwave", {"paymentMethod": "mpesa", "methodDetails": {}}, ("phone_number",), "254712345678"),
        (
            "paystack",
            {"paymentMethod": "mobile_money", "methodDetails": {"provider": "mpesa"}},
            ("mobile_money", "phone"),
            "+254712345678",
        ),
    ],
)
async def test_each_provider_gets_its_digits(
    shared: Installation, code: str, more: Json, place: tuple[str, ...], digits: Any, sent: list[tuple[str, Json]]
) -> None:
    practice = await kenyan(shared, code)
    customer = {"email": "ada@example.com", "phone": "+254 (0)712 345-678"}
    made = await practice.create(150_000, currency="KES", customer=customer, **more)
    assert (made.status, made.body["failureReason"]) == (201, None), made.body
    found: Any = sent[-1][1]
    for name in place:
        found = found[name]
    assert found == digits
    if "methodDetails" in more:  # a number among the details is read alike, and charged instead
        details = {**more["methodDetails"], "phone": "0722 000 111"}
        made = await practice.create(150_000, currency="KES", customer=customer, **{**more, "methodDetails": details})
        assert made.status == 201, made.body
        assert "254722000111" in json.dumps(sent[-1][1])


async def test_blank_is_absent_everywhere(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    made = await practice.create(customer={"email": "ada@example.com", "phone": "", "name": " "})
    assert made.body["customer"] == {"email": "ada@example.com", "name": None, "phone": None}
    found = is_problem(await practice.create(customer={"email": "", "phone": ""}), 422)
    assert [error["pointer"] for error in found["errors"]] == ["/customer/email"]


async def test_a_number_that_no_prompt_can_reach_is_refused_before_anything_is_written(shared: Installation) -> None:
    practice = await kenyan(shared, "mpesa")
    before = await snapshot(shared, practice.id)
    for phone in ("+33612345678", "0712", "+254 20 271 2345", ""):
        found = is_problem(await practice.create(150_000, currency="KES", customer={"phone": phone}), 422)
        assert [error["pointer"] for error in found["errors"]] == ["/customer/phone"]
    assert await snapshot(shared, practice.id) == before


# ── Case 9: metadata ──


@pytest.mark.parametrize("name", ["order[0]", "a]", "payment_id", "cancel_action", "polytill_x", "a\u202eb"])
async def test_metadata_that_a_provider_refuses_is_refused_here(shared: Installation, name: str) -> None:
    practice = await Practice.make(shared, "stripe")
    key = fresh()
    found = is_problem(await practice.create(metadata={name: "x"}, idempotency=key), 422)
    assert [error["pointer"] for error in found["errors"]] == [f"/metadata/{name}"]
    made = await practice.create(metadata={"order.0 & more": "x=1"}, idempotency=key)
    assert (made.status, made.body["status"]) == (201, "requires_action"), made.body


# ── Case 33: what we refuse leaves its key free ──


async def test_a_refused_request_leaves_its_key_free(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    for wrong in (
        {"customer": {"email": "ada"}},
        {"customer": {}},
        {"customer": {"email": "a@b.de", "phone": "12"}},
        {"metadata": {"a[0]": "x"}},
        {"amount": 1},
        {"currency": "EUR"},
        {"savedMethod": "0" * 26},
        {"paymentMethod": "ussd", "methodDetails": {}},
        {"providerCode": "stripe"},
        {"capture": "manual"},
    ):
        key = fresh()
        is_problem(await practice.create(**{"amount": 500_000, **wrong}, idempotency=key), 422)  # type: ignore[arg-type]
        assert (await practice.create(idempotency=key)).status == 201, wrong
    payment = (await practice.paid(500_000))["id"]
    key = fresh()
    refund = {"amount": 600_000}
    assert (await practice.call("POST", f"/payments/{payment}/refunds", refund, idempotency=key)).status in (409, 422)
    assert (
        await practice.call("POST", f"/payments/{payment}/refunds", {"amount": 1_000}, idempotency=key)
    ).status == 201
    for action, body in (("capture", {"amount": 1}), ("cancel", None)):
        key = fresh()
        refused = await practice.call("POST", f"/payments/{payment}/{action}", body, idempotency=key)
        assert refused.status == 409, refused.body
        opened = (await practice.create()).body["id"]
        again = await practice.call("POST", f"/payments/{opened}/{action}", body, idempotency=key)
        assert again.body.get("code") != "idempotency_key_reused", again.body


async def test_what_is_refused_later_leaves_its_key_free(shared: Installation) -> None:
    """The same for charges of saved methods, for links, and for what a customer types while a payment is open."""
    practice = await Practice.make(shared, "paystack")
    method = (await saved(practice))["savedMethod"]["id"]
    charge = {"amount": 7_000, "currency": "NGN", "savedMethod": method}
    for wrong in (
        {"customer": {"email": "bisi@example.com"}},
        {"customer": {"email": "ada"}},
        {"savedMethod": "0" * 26},
        {"capture": "manual"},
        {"paymentMethod": "card"},
        {"saveMethod": True},
        {"currency": "EUR"},
        {"amount": 1},
    ):
        key = fresh()
        is_problem(await practice.call("POST", "/payments", {**charge, **wrong}, idempotency=key), 422)
        made = await practice.call("POST", "/payments", charge, idempotency=key)
        assert (made.status, made.body["status"]) == (201, "succeeded"), (wrong, made.body)
    path = await link_of(practice, currency="NGN")
    key = Page((await shared.call("GET", path)).body).forms[0][1]["key"]
    before = len(await practice.books())
    for email in ("", "ada", "ada@@example.com"):
        assert (await send(practice, path, key=key, email=email)).status == 422
    assert len(await practice.books()) == before
    assert (await send(practice, path, key=key, email="ada@example.com")).status == 303
    assert len(await practice.books()) == before + 1


async def test_a_refused_answer_leaves_its_question_open(shared: Installation) -> None:
    """``continue`` has no key: a refused answer changes nothing, and the right one is taken afterwards, once."""
    practice = await Practice.make(shared, None, "GHS")
    await practice.configure("paystack", ["GHS"])
    made = await begun(practice)
    path = f"/payments/{made['id']}/continue"
    before = await snapshot(shared, practice.id)
    for wrong in ({}, {"otp": " "}, {"otp": "\u200b"}, {"pin": "1234"}, {"otp": "123456", "phone": "0551234987"}):
        is_problem(await practice.call("POST", path, {"values": wrong}), 422)
    assert await snapshot(shared, practice.id) == before
    paid = await practice.call("POST", path, {"values": {"otp": "123 456"}})
    assert (paid.status, paid.body["status"]) == (200, "succeeded")
    assert [row["captured"] for row in await practice.books()] == [5_000]


async def test_the_question_for_a_phone_has_an_example_of_its_country(shared: Installation) -> None:
    for currency, example in (("GHS", "+233"), ("NGN", "+234")):
        practice = await Practice.make(shared, None, currency)
        await practice.configure("paystack", [currency])
        if currency == "GHS":
            made = await begun(practice)
        else:
            bank = {"code": "057", "account_number": "0000000000"}
            made = (await practice.create(paymentMethod="bank", methodDetails=bank)).body
        shown = Page((await shared.call("GET", f"/pay/{made['clientToken']}?incomplete=phone")).body).text
        assert [code for code in ("+254", "+234", "+233") if code in shown] == [example]


# ── Data that a provider refuses can be corrected ──


@pytest.fixture
def refuses(monkeypatch: pytest.MonkeyPatch) -> str:
    """A number that looks right, and that M-Pesa refuses."""
    number, sound = "254712000000", MpesaProvider.create_payment_intent

    async def picky(self: MpesaProvider, params: Any) -> Any:
        if params.phone is not None and params.phone.digits == number:
            return NotSent(Reason.validation, "400.002.02", "Bad Request - Invalid PhoneNumber")
        return await sound(self, params)

    monkeypatch.setattr(MpesaProvider, "create_payment_intent", picky)
    return number


async def test_a_customer_corrects_what_the_provider_refused(shared: Installation, refuses: str) -> None:
    practice = await kenyan(shared, "mpesa")
    path = await link_of(practice)
    begun = await send(practice, path, phone=refuses)
    page = Page((await shared.call("GET", begun.headers["Location"])).body)
    [(form, fields)] = page.forms
    assert (form["action"], set(fields)) == (f"{begun.headers['Location']}/retry", {"phone", "name"})
    assert fields["phone"] == "", "whoever opens the link does not see another's number"
    assert (await shared.call("GET", path)).headers["Location"] == begun.headers["Location"]
    wrong = await send(practice, form["action"], phone="0712")
    assert (wrong.status, Page(wrong.body).forms[0][1]["phone"]) == (422, "0712")
    assert (await send(practice, form["action"], phone="0722 000 111")).status == 303
    [one] = (await practice.call("GET", "/payments")).body["data"]
    payment = await practice.payment(one["id"])
    assert (payment["status"], payment["customer"]["phone"]) == ("processing", "+254722000111")
    assert [attempt["status"] for attempt in payment["attempts"]] == ["not_sent", "pending"]
    lines = (await practice.call("GET", f"/audit-log?subject={one['id']}")).body
    [line] = [line for line in lines if line["action"] == "payment.customer_corrected"]
    assert "254" not in json.dumps(line["detail"])


async def test_a_prompt_that_was_canceled_on_the_phone_can_be_had_again(shared: Installation) -> None:
    practice = await kenyan(shared, "mpesa")
    path = await link_of(practice)
    begun = await send(practice, path, phone="0712345678")
    [held] = await practice.books()
    await practice.act(held["reference"], "abandon")
    [one] = (await practice.call("GET", "/payments")).body["data"]
    await practice.settled(one["id"], status="failed")
    page = Page((await shared.call("GET", begun.headers["Location"])).body)
    assert [form["action"] for form, _ in page.forms] == [f"{begun.headers['Location']}/retry"]
    assert (await send(practice, page.forms[0][0]["action"])).status == 303
    assert len(await practice.books()) == 2


async def test_an_open_single_use_link_begins_anew_where_its_payment_failed_for_good(
    shared: Installation, refuses: str
) -> None:
    practice = await kenyan(shared, "mpesa")
    path = await link_of(practice)
    first = (await send(practice, path, phone=refuses)).headers["Location"]
    for _ in range(9):  # ten attempts are the limit of one payment
        await send(practice, f"{first}/retry")
    page = Page((await shared.call("GET", first)).body)
    assert (page.forms, page.ways) == ([], [path])
    [(_, fields)] = Page((await shared.call("GET", path)).body).forms
    second = (await send(practice, path, phone="0712345678", key=fields["key"])).headers["Location"]
    assert second != first
    assert (await send(practice, path, phone="0733345678")).headers["Location"] == second, "there is only one"
    assert len(await practice.books()) == 1


async def test_a_link_whose_payment_was_canceled_is_not_open(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    made = (await practice.call("POST", "/payment-links", {**ASKED, "currency": "NGN", "amount": 500_000})).body
    path = str(made["url"]).removeprefix(shared.url)
    await send(practice, path, email="ada@example.com")
    [one] = (await practice.call("GET", "/payments")).body["data"]
    assert (await practice.call("POST", f"/payments/{one['id']}/cancel", idempotency=fresh())).status == 200
    assert (await practice.call("GET", f"/payment-links/{made['id']}")).body["status"] == "closed"
