"""Saving a payer's method and charging it again, and charges that ask the payer for something: over HTTP, whole way.

The provider's own books are the judge of every amount.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
import pytest_asyncio

from polytill.background import sweep
from polytill.storage.saved_methods import by_id, open_token
from tests.installation import Installation
from tests.web.support import (
    CURRENCY,
    PROVIDERS,
    Clock,
    Json,
    Page,
    Practice,
    books_balance,
    contents,
    fresh,
    is_problem,
)
from tests.wording import to_payer

pytestmark = pytest.mark.asyncio(loop_scope="module")

AMOUNT = 500_000


@pytest.fixture(autouse=True)
def real_time(clock: Clock) -> Iterator[None]:
    yield
    clock.offset_s = 0.0


async def saved(practice: Practice, email: str = "ada@example.com") -> Json:
    """A payment that saved its method, once the method is known."""
    made = await practice.create(AMOUNT, saveMethod=True, customer={"email": email})
    assert made.status == 201, made.body
    assert made.body["savedMethod"] is None
    await practice.act(made.body["attempts"][-1]["reference"])
    payment = await practice.settled(made.body["id"], status="succeeded")
    if payment["savedMethod"] is None:  # a delivery does not tell it; asking does
        payment = (await practice.call("POST", f"/payments/{payment['id']}/confirm")).body
    assert payment["savedMethod"] is not None
    return dict(payment)


async def charge(practice: Practice, method_id: str, key: str | None = None, **more: object) -> Json:
    body = {"amount": 7_000, "currency": CURRENCY[practice.code], "savedMethod": method_id, **more}
    made = await practice.call("POST", "/payments", body, idempotency=key or fresh())
    assert made.status == 201, made.body
    return dict(made.body)


@pytest.mark.parametrize("code", PROVIDERS)
async def test_a_method_is_saved_charged_again_and_removed(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    first = await saved(practice)
    method = first["savedMethod"]
    assert (method["provider"], method["kind"], len(method["last4"])) == (code, "card", 4)
    key = fresh()
    again = await charge(practice, method["id"], key)
    assert (again["status"], again["amountCaptured"], again["savedMethod"]) == ("succeeded", 7_000, method)
    assert again["customer"]["email"] == "ada@example.com"
    assert again["nextAction"] is None
    assert (await charge(practice, method["id"], key))["id"] == again["id"]  # and nobody is charged twice
    assert sorted(row["captured"] for row in await practice.books()) == [7_000, AMOUNT]
    refund = await practice.refund(again["id"], 1_000)
    assert refund.status == 201, refund.body
    if again["providerFee"] is None:
        await practice.call("POST", f"/payments/{again['id']}/confirm")
    await practice.settled(again["id"], amountRefunded=1_000)
    books_balance(await practice.ledger(), await practice.books(), code)

    listed = (await practice.call("GET", "/saved-methods?environment=sandbox&customerEmail=ada@example.com")).body
    assert [(row["id"], row["paymentId"]) for row in listed["data"]] == [(method["id"], first["id"])]
    assert (await practice.call("GET", "/saved-methods?environment=production")).body["data"] == []
    assert (await practice.call("DELETE", f"/saved-methods/{method['id']}")).status == 204
    assert (await practice.call("GET", "/saved-methods?environment=sandbox")).body["data"] == []
    is_problem(await practice.call("DELETE", f"/saved-methods/{method['id']}"), 404)
    gone = await practice.call(
        "POST", "/payments", {"amount": 1, "currency": CURRENCY[code], "savedMethod": method["id"]}, idempotency=fresh()
    )
    assert is_problem(gone, 422)["errors"][0]["pointer"] == "/savedMethod"
    assert (await charge(practice, method["id"], key))["id"] == again["id"]  # the same key still answers
    kept = await by_id(await practice.db, method["id"])
    assert kept is not None
    assert kept.sealed_token is None


@pytest.mark.parametrize("code", PROVIDERS)
async def test_the_token_is_nowhere_in_the_clear(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    payment = await saved(practice)
    await charge(practice, payment["savedMethod"]["id"])
    db = await practice.db
    kept = await by_id(db, payment["savedMethod"]["id"])
    assert kept is not None
    token = open_token(db.data_key, kept)
    assert token is not None
    assert len(token.reveal()) > 10
    everything = repr(await contents(db)) + repr(await contents(shared.till.context.owner))
    assert token.reveal() not in everything
    answers = [
        (await practice.call("GET", path)).body
        for path in ("/saved-methods?environment=sandbox", f"/payments/{payment['id']}", "/audit-log")
    ]
    assert token.reveal() not in repr(answers)


@pytest.mark.parametrize("code", PROVIDERS)
@pytest.mark.parametrize("kind", ["lose_answer", "error_500_after", "error_500", "truncate", "refuse"])
async def test_a_charge_whose_answer_is_lost_is_looked_up(
    shared: Installation, code: str, kind: str, clock: Clock
) -> None:
    practice = await Practice.make(shared, code)
    method = (await saved(practice))["savedMethod"]["id"]
    # The provider's own news of it may overtake the answer that is lost; here only the lookup may learn of it.
    await practice.fault("webhook", "drop", count=None)
    await practice.fault("create", kind)
    made = await charge(practice, method)
    assert (made["status"], made["attempts"][-1]["status"]) == ("processing", "unknown")
    for _ in range(3):
        clock.advance(200)  # beyond every horizon
        await sweep(shared.till.context, everyone=True)
    taken = [row for row in await practice.books() if row["amount"] == 7_000 and row["captured"]]
    acted = kind in ("lose_answer", "error_500_after", "truncate")
    assert len(taken) == (1 if acted else 0)
    payment = await practice.payment(made["id"])
    assert payment["status"] == ("succeeded" if acted else "failed")
    assert len(payment["attempts"]) == 1  # never charged by a second attempt


@pytest.mark.parametrize("code", ["paystack", "flutterwave"])
async def test_a_bank_that_wants_the_payer_gets_them(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    method = (await saved(practice, "ada+2fa@example.com"))["savedMethod"]["id"]
    made = await charge(practice, method)
    assert made["status"] == "requires_action"
    assert made["nextAction"]["url"].startswith(shared.simulator.url)
    await practice.act(made["attempts"][-1]["reference"])
    paid = await practice.settled(made["id"], status="succeeded")
    assert paid["amountCaptured"] == 7_000


@pytest.mark.parametrize("code", ["paystack", "flutterwave"])
async def test_a_declined_charge_fails_for_good(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    method = (await saved(practice, "ada+nofunds@example.com"))["savedMethod"]["id"]
    made = await charge(practice, method)
    assert (made["status"], made["failureReason"]) == ("failed", "insufficient_funds")
    assert (await practice.call("POST", f"/payments/{made['id']}/confirm")).body["status"] == "failed"


async def test_stripe_brings_the_payer_back_where_the_bank_wants_them(shared: Installation) -> None:
    practice = await Practice.make(shared, "stripe")
    method = (await saved(practice))["savedMethod"]["id"]
    account = shared.simulator.network.account("stripe", practice.keys["secretKey"])
    db = await practice.db
    kept = await by_id(db, method)
    assert kept is not None
    token = open_token(db.data_key, kept)
    assert token is not None
    account.things[token.reveal()].behavior = "authenticate"
    made = await charge(practice, method)
    assert (made["status"], made["failureReason"]) == ("requires_action", "authentication_required")
    assert made["nextAction"]["type"] == "client_token"
    assert "_secret_" in made["nextAction"]["providerToken"]
    assert not [row for row in await practice.books() if row["amount"] == 7_000 and row["captured"]]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"savedMethod": "01aaaaaaaaaaaaaaaaaaaaaaaa"}, "/savedMethod"),
        ({"saveMethod": True, "providerCode": "manual"}, None),
        ({"paymentMethod": "mobile_money", "methodDetails": {"provider": "mtn"}}, "/methodDetails"),
        ({"paymentMethod": "bank", "methodDetails": {"code": "057"}}, "/methodDetails/account_number"),
    ],
)
async def test_what_cannot_be_is_refused_and_writes_nothing(
    shared: Installation, body: Json, pointer: str | None
) -> None:
    practice = await Practice.make(shared, "paystack")
    before = await contents(await practice.db)
    problem = is_problem(await practice.create(5_000, **body), 422)
    if pointer is not None:
        assert pointer in [error["pointer"] for error in problem["errors"]]
    after = await contents(await practice.db)
    assert before["payments"] == after["payments"] == []


async def test_anothers_method_is_not_found(shared: Installation) -> None:
    one, two = await Practice.make(shared, "paystack"), await Practice.make(shared, "paystack")
    method = (await saved(one))["savedMethod"]["id"]
    body = {"amount": 7_000, "currency": "NGN", "savedMethod": method}
    is_problem(await two.call("POST", "/payments", body, idempotency=fresh()), 422)
    is_problem(await two.call("DELETE", f"/saved-methods/{method}"), 404)
    stranger = {**body, "customer": {"email": "bob@example.com"}}
    problem = is_problem(await one.call("POST", "/payments", stranger, idempotency=fresh()), 422)
    assert problem["errors"][0]["pointer"] == "/customer/email"


async def test_nothing_is_saved_that_was_not_asked_for(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    payment = await practice.paid()
    assert payment["savedMethod"] is None
    assert (await contents(await practice.db))["saved_methods"] == []


# ── Charges that ask the payer for something ──


WALLETS = {  # that ask their owner for a one-time password
    "paystack": ("GHS", {"provider": "vod"}),
    "flutterwave": ("XOF", {"provider": "orange", "country": "CI"}),
}


PHONES = {"GHS": "0551234987", "XOF": "+225 07 08 09 10 11", "KES": "+254 712 345 678"}


async def begun(practice: Practice, currency: str | None = None, provider: str | None = None) -> Json:
    usual, details = WALLETS[practice.code]
    made = await practice.create(
        5_000,
        currency=currency or usual,
        paymentMethod="mobile_money",
        methodDetails={"provider": provider} if provider else details,
        customer={"email": "ada@example.com", "phone": PHONES[currency or usual]},
    )
    assert made.status == 201, made.body
    return dict(made.body)


@pytest_asyncio.fixture(loop_scope="module")
async def accra(shared: Installation) -> Practice:
    practice = await Practice.make(shared, None, "GHS")
    await practice.configure("paystack", ["GHS", "NGN", "KES"])
    return practice


@pytest_asyncio.fixture(loop_scope="module", params=list(WALLETS))
async def asking(shared: Installation, request: pytest.FixtureRequest) -> Practice:
    """A practice whose provider asks the owners of some wallets for a password."""
    currency, _ = WALLETS[request.param]
    practice = await Practice.make(shared, None, currency)
    await practice.configure(request.param, [currency])
    return practice


async def test_a_payer_is_asked_and_pays(asking: Practice, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    made = await begun(asking)
    assert (made["status"], made["nextAction"]["type"], made["nextAction"]["wants"]) == (
        "requires_action",
        "input",
        "otp",
    )
    paid = await asking.call("POST", f"/payments/{made['id']}/continue", {"values": {"otp": "123456"}})
    assert (paid.status, paid.body["status"], paid.body["amountCaptured"]) == (200, "succeeded", 5_000)
    assert "123456" not in repr(await contents(await asking.db)).replace(made["id"], "")
    assert "123456" not in caplog.text
    actions = [line["action"] for line in (await asking.call("GET", "/audit-log")).body]
    assert "payment.continued" in actions
    late = await asking.call("POST", f"/payments/{made['id']}/continue", {"values": {"otp": "123456"}})
    is_problem(late, 409, "nothing_wanted")


async def test_every_step_of_a_bank_charge(accra: Practice) -> None:
    made = await accra.create(
        AMOUNT, paymentMethod="bank", methodDetails={"code": "057", "account_number": "0000000000"}
    )
    assert made.body["nextAction"]["wants"] == "birthday"
    path = f"/payments/{made.body['id']}/continue"
    wrong = is_problem(await accra.call("POST", path, {"values": {"otp": "123456"}}), 422)
    assert {error["pointer"] for error in wrong["errors"]} == {"/values/birthday", "/values/otp"}
    then = await accra.call("POST", path, {"values": {"birthday": "1995-12-23"}})
    assert (then.body["status"], then.body["nextAction"]["wants"]) == ("requires_action", "otp")
    paid = await accra.call("POST", path, {"values": {"otp": "123456"}})
    assert paid.body["status"] == "succeeded"
    assert [row["captured"] for row in await accra.books()] == [AMOUNT]


async def test_a_wrong_answer_ends_the_charge(asking: Practice) -> None:
    made = await begun(asking)
    failed = await asking.call("POST", f"/payments/{made['id']}/continue", {"values": {"otp": "918273"}})
    assert (failed.status, failed.body["status"]) == (200, "failed")
    assert failed.body["failureReason"] == "incorrect_details"
    assert "918273" not in repr(await contents(await asking.db))


async def test_an_answer_that_is_lost_is_asked_about_not_sent_again(asking: Practice) -> None:
    made = await begun(asking)
    await asking.fault("confirm", "lose_answer")
    paid = await asking.call("POST", f"/payments/{made['id']}/continue", {"values": {"otp": "123456"}})
    assert (paid.status, paid.body["status"]) == (200, "succeeded")
    assert [row["captured"] for row in await asking.books()] == [5_000]


async def test_two_answers_at_once_pay_once(asking: Practice) -> None:
    made = await begun(asking)
    path, body = f"/payments/{made['id']}/continue", {"values": {"otp": "123456"}}
    both = await asyncio.gather(asking.call("POST", path, body), asking.call("POST", path, body))
    assert {one.status for one in both} <= {200, 409}
    await asking.settled(made["id"], status="succeeded")
    assert [row["captured"] for row in await asking.books()] == [5_000]


async def test_a_question_waits_for_its_answer_whatever_the_provider_calls_that(asking: Practice) -> None:
    made = await begun(asking)
    for _ in range(2):
        asked = await asking.call("POST", f"/payments/{made['id']}/confirm")
        assert (asked.body["status"], asked.body["nextAction"]["wants"]) == ("requires_action", "otp")
    paid = await asking.call("POST", f"/payments/{made['id']}/continue", {"values": {"otp": "123456"}})
    assert paid.body["status"] == "succeeded"


async def test_a_prompt_keeps_its_words_until_it_is_answered(accra: Practice) -> None:
    made = await begun(accra, "KES", "mpesa")
    words = made["nextAction"]["instructions"]
    asked = await accra.call("POST", f"/payments/{made['id']}/confirm")
    assert (asked.body["status"], asked.body["nextAction"]["instructions"]) == ("requires_action", words)
    await accra.act(made["attempts"][-1]["reference"])
    assert (await accra.settled(made["id"], status="succeeded"))["amountCaptured"] == 5_000


async def test_a_way_to_the_wallet_is_shown_until_it_is_gone(shared: Installation) -> None:
    """Flutterwave calls a charge pending from its first moment on."""
    practice = await Practice.make(shared, None, "GHS")
    await practice.configure("flutterwave", ["GHS"])
    made = await begun(practice, "GHS", "mtn")
    assert made["nextAction"]["url"] is not None
    asked = (await practice.call("POST", f"/payments/{made['id']}/confirm")).body
    assert (asked["status"], asked["nextAction"]) == ("requires_action", made["nextAction"])
    await practice.act(made["attempts"][-1]["reference"])
    assert (await practice.settled(made["id"], status="succeeded"))["amountCaptured"] == 5_000


async def test_the_way_to_a_bank_that_wants_the_payer_is_shown_until_it_is_gone(shared: Installation) -> None:
    practice = await Practice.make(shared, "flutterwave")
    made = await charge(practice, (await saved(practice, "ada+2fa@example.com"))["savedMethod"]["id"])
    asked = (await practice.call("POST", f"/payments/{made['id']}/confirm")).body
    assert (asked["status"], asked["nextAction"]) == ("requires_action", made["nextAction"])
    await practice.act(made["attempts"][-1]["reference"])
    assert (await practice.settled(made["id"], status="succeeded"))["amountCaptured"] == 7_000


async def test_a_charge_that_waits_for_a_password_can_be_called_off(shared: Installation) -> None:
    practice = await Practice.make(shared, None, "XOF")
    await practice.configure("flutterwave", ["XOF"])
    made = await begun(practice)
    assert made["nextAction"]["wants"] == "otp"
    off = await practice.call("POST", f"/payments/{made['id']}/cancel", {}, idempotency=fresh())
    assert (off.status, off.body["status"], off.body["nextAction"]) == (200, "canceled", None)
    await practice.act(made["attempts"][-1]["reference"])  # booked all the same
    assert (await practice.settled(made["id"], status="succeeded"))["amountCaptured"] == 5_000


@pytest.mark.parametrize("values", [{}, {"otp": ""}, {"otp": 123456}, {"otp": "1\n2"}, {"o-t-p": "1"}, [], None])
async def test_unreadable_answers_are_refused_without_quoting_them(accra: Practice, values: object) -> None:
    made = await begun(accra)
    refused = await accra.call("POST", f"/payments/{made['id']}/continue", {"values": values})
    assert refused.status in (400, 422)
    assert "123456" not in repr(refused.body)


async def test_the_payers_page_asks_and_passes_on(accra: Practice) -> None:
    house = accra.house
    made = await accra.create(
        AMOUNT, paymentMethod="bank", methodDetails={"code": "057", "account_number": "0000000000"}
    )
    page = f"/pay/{made.body['clientToken']}"
    shown = await house.call("GET", page, headers={"Accept": "text/html"})
    [(form, fields)] = Page(str(shown.body)).forms
    assert (form["action"], list(fields)) == (f"{page}/continue", ["birthday"])

    async def send(text: str) -> str:
        form_type = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
        sent = await house.call("POST", f"{page}/continue", raw=text.encode(), headers=form_type)
        assert sent.status == 303, sent.body
        return str(sent.headers["Location"])

    assert await send("birthday=") == f"{page}?incomplete=1"
    assert to_payer("input.incomplete") in str((await house.call("GET", f"{page}?incomplete=1")).body)
    assert await send("birthday=1995-12-23") == page
    [(_, fields)] = Page(str((await house.call("GET", page)).body)).forms
    assert list(fields) == ["otp"]
    assert await send("otp=123456") == page
    assert (await accra.payment(made.body["id"]))["status"] == "succeeded"
    assert await send("otp=123456") == page  # pressed twice
    assert [row["captured"] for row in await accra.books()] == [AMOUNT]
