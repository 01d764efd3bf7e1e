"""Variations of what providers write, across all of them: what is not as documented is never guessed.

What a provider says in its usual words stands in its own tests; here are the words, numbers and gaps between them.
"""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest
from tests.providers import scripted

from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import (
    ConfirmPaymentParams,
    CreatePaymentParams,
    Customer,
    OperationParams,
    ProviderConfig,
    RefundParams,
)
from polytill.providers.facts import RefundFact
from polytill.providers.http import Http
from polytill.providers.outcomes import Declined, NotSent, Outcome, Pending, Reason, Succeeded, Unknown
from polytill.providers.registry import BUILT_IN

Json = dict[str, Any]
REFERENCE = "ref-000001"
TOKEN = {"access_token": "tok-1", "expires_in": 3600}


class Script(scripted.Script):
    """Gives an access token to whoever asks, and prepared answers to all else, the last one for ever."""

    repeats = True

    async def send(self, method: str, url: str, headers: Any, body: bytes | None) -> Any:
        if "oauth" in url or "openid-connect" in url:
            return 200, {}, json.dumps(TOKEN).encode()
        return await super().send(method, f"/{url.split('/', 3)[3]}", headers, body)


def made(code: str, *answers: tuple[Any, ...]) -> tuple[Any, Script]:
    """A provider's handler over prepared answers, and what it asks for."""
    cls, script = BUILT_IN[code], Script(*answers)
    config = ProviderConfig(
        Environment.sandbox,
        cls.catalog.sandbox_api_base_url,
        "pk_test_0123456789",
        Secret("sk_test_0123456789abcdef"),
        (Secret("whsec_0123456789"),),
        {"shortCode": "174379", "passkey": Secret("0123456789abcdef")},
        "https://till.example/hooks/abc",
    )
    return cls(config, Http(script), World()), script


async def asked(code: str, data: Json, amount: Money, transaction: str | None = "1001") -> Outcome:
    """What a handler makes of the provider's word about a payment."""
    found = await made(code, (200, data))[0].confirm_payment(ConfirmPaymentParams(REFERENCE, transaction, amount))
    assert isinstance(found, Outcome)
    return found


def told(code: str, event: Any) -> Any:
    return made(code, (500, {}))[0].process_webhook(json.dumps(event).encode())


# ── What is paid ──


def paystack(**changes: Any) -> Json:
    data = {"id": 1001, "reference": REFERENCE, "status": "success", "amount": 7550, "currency": "NGN"} | changes
    return {"status": True, "message": "ok", "data": data}


@pytest.mark.parametrize(
    ("amount", "requested", "booked", "charged"),
    [
        (7550, 7550, 7550, None),
        (40333, 30050, 30050, 40333),  # the payer bears the fee
        ("7550", None, 7550, None),
        (7550, 0, 7550, None),
        (7000, 7550, 7000, 7000),  # underpaid: what came is what counts, and will not fit the payment
        ("0", "7550", 0, 0),
    ],
)
async def test_paystack_books_no_more_than_came(amount: Any, requested: Any, booked: int, charged: int | None) -> None:
    found = await asked("paystack", paystack(amount=amount, requested_amount=requested), Money(7550, "NGN"))
    assert isinstance(found, Succeeded)
    assert found.amount == Money(booked, "NGN")
    assert found.charged == (None if charged is None else Money(charged, "NGN"))


def stripe(**changes: Any) -> Json:
    whole = {"id": "1001", "object": "payment_intent", "amount": 7550, "currency": "usd", "status": "succeeded"}
    return whole | changes


def flutterwave(**changes: Any) -> Json:
    data = {"id": 1001, "tx_ref": REFERENCE, "status": "successful", "amount": 75.5, "currency": "NGN"} | changes
    return {"status": "success", "message": "ok", "data": data}


def flutterwave_v4(**changes: Any) -> Json:
    data = {"id": "1001", "reference": REFERENCE, "status": "succeeded", "amount": 75.5, "currency": "NGN"} | changes
    return {"status": "success", "message": "ok", "data": data}


def paypal(value: Any = "75.50", currency: Any = "USD", status: Any = "COMPLETED") -> Json:
    capture = {"id": "CAP1", "status": status, "amount": {"value": value, "currency_code": currency}}
    unit = {"custom_id": REFERENCE, "payments": {"captures": [capture]}}
    return {"id": "1001", "status": "COMPLETED", "intent": "CAPTURE", "purchase_units": [unit]}


# Each currency as each provider writes it: (handler, answer, money).
WRITTEN: list[tuple[str, Json, Money]] = [
    ("stripe", stripe(amount=500, currency="jpy"), Money(500, "JPY")),
    ("stripe", stripe(amount=500, currency="rwf"), Money(500, "RWF")),
    ("stripe", stripe(amount=500, currency="xof"), Money(500, "XOF")),
    ("stripe", stripe(amount=50000, currency="ugx"), Money(500, "UGX")),
    ("stripe", stripe(amount=50000, currency="isk"), Money(500, "ISK")),
    ("stripe", stripe(amount=5, currency="mga"), Money(500, "MGA")),
    ("stripe", stripe(amount=5120, currency="kwd"), Money(5120, "KWD")),
    ("stripe", stripe(amount="7550", currency="USD"), Money(7550, "USD")),
    ("stripe", stripe(amount=7550, amount_received=7000), Money(7000, "USD")),
    ("stripe", stripe(amount=7550, amount_received=None), Money(7550, "USD")),
    ("paystack", paystack(amount=100000, currency="XOF"), Money(1000, "XOF")),
    ("paystack", paystack(amount="100000", currency="RWF"), Money(1000, "RWF")),
    ("paystack", paystack(amount=100000.0, currency="KES"), Money(100000, "KES")),
    ("flutterwave", flutterwave(amount="75.50"), Money(7550, "NGN")),
    ("flutterwave", flutterwave(amount=3100.0, currency="UGX"), Money(3100, "UGX")),
    ("flutterwave", flutterwave(amount="1000", currency="XOF"), Money(1000, "XOF")),
    ("flutterwave", flutterwave(amount=500, currency="RWF"), Money(500, "RWF")),
    ("flutterwave", flutterwave(amount=500, currency="JPY"), Money(500, "JPY")),
    ("flutterwave_v4", flutterwave_v4(amount="75.50"), Money(7550, "NGN")),
    ("flutterwave_v4", flutterwave_v4(amount=200, currency="UGX"), Money(200, "UGX")),
    ("paypal", paypal("500", "JPY"), Money(500, "JPY")),
    ("paypal", paypal("500", "HUF"), Money(50_000, "HUF")),
    ("paypal", paypal("2.5"), Money(250, "USD")),
]


@pytest.mark.parametrize(("code", "answer", "money"), WRITTEN, ids=[f"{c}-{m}" for c, _, m in WRITTEN])
async def test_money_is_read_by_the_providers_own_decimals(code: str, answer: Json, money: Money) -> None:
    found = await asked(code, answer, money)
    assert isinstance(found, Succeeded), found
    assert found.amount == money


# What is no exact amount of its currency, and whatever else stands where one was expected.
NO_AMOUNTS = [None, True, [], {}, "", "x", "1_000", " 75", "-75", -75, "NaN", "1e999999", 1e300, "７５", "75,50"]
NO_CURRENCIES = [None, 5, "", "XXX", "US", [], {"code": "USD"}]
ANSWERS: dict[str, Any] = {"stripe": stripe, "paystack": paystack, "flutterwave": flutterwave, "paypal": paypal}
ANSWERS["flutterwave_v4"] = flutterwave_v4
FINER: list[tuple[str, Json]] = [
    ("stripe", stripe(amount=50, currency="ugx")),
    ("stripe", stripe(amount=550, currency="isk")),
    ("stripe", stripe(amount=75.5)),
    ("paystack", paystack(amount=50, currency="XOF")),
    ("paystack", paystack(amount=75.5)),
    ("flutterwave", flutterwave(amount=75.5, currency="UGX")),
    ("flutterwave", flutterwave(amount="75.505")),
    ("flutterwave_v4", flutterwave_v4(amount=0.5, currency="RWF")),
    ("paypal", paypal("75.505")),
    ("paypal", paypal("0.5", "JPY")),
]


@pytest.mark.parametrize("code", ANSWERS)
async def test_what_is_no_amount_is_unknown(code: str) -> None:
    field = "value" if code == "paypal" else "amount"
    wrong = [ANSWERS[code](**{field: value}) for value in NO_AMOUNTS]
    wrong += [ANSWERS[code](currency=value) for value in NO_CURRENCIES]
    wrong += [answer for other, answer in FINER if other == code]
    for answer in wrong:
        found = await asked(code, answer, Money(7550, "NGN"))
        assert isinstance(found, Unknown), answer


# ── Words that nobody knows ──


@pytest.mark.parametrize("code", ANSWERS)
@pytest.mark.parametrize("word", ["", None, 5, [], {}, "new_word", "SUCCESS", "Failed", "success ", "not_failed"])
async def test_a_status_that_is_not_known_is_unknown(code: str, word: Any) -> None:
    found = await asked(code, ANSWERS[code](status=word), Money(7550, "NGN"))
    assert isinstance(found, Unknown), found


# Deliveries about money in words that nobody knows: (handler, event). A person hears of them; nothing is booked.
REFUND = {"id": "REF1", "status": "REVIEWED", "amount": {"value": "1.00", "currency_code": "USD"}}
PAID_BACK = {"transaction_reference": REFERENCE, "amount": "100", "currency": "NGN"}


def paypal_dispute(end: str) -> Json:
    return {"dispute_id": "PP-D-1", "status": "RESOLVED", "dispute_outcome": {"outcome_code": end}}


UNHEARD_OF: list[tuple[str, Json]] = [
    ("paystack", {"event": "refund.reviewed", "data": PAID_BACK}),
    ("paypal", {"id": "WH-1", "event_type": "PAYMENT.CAPTURE.REFUNDED", "resource": REFUND}),
    ("paypal", {"id": "WH-1", "event_type": "PAYMENT.REFUND.REVIEWED", "resource": REFUND}),
    ("paypal", {"id": "WH-1", "event_type": "CUSTOMER.DISPUTE.CREATED", "resource": {}}),
    (
        "paypal",
        {"id": "WH-1", "event_type": "CUSTOMER.DISPUTE.RESOLVED", "resource": paypal_dispute("RESOLVED_WITH_PAYOUT")},
    ),
    # As the capture itself: it does not name the refund by which money was returned.
    ("paypal", {"id": "WH-1", "event_type": "PAYMENT.CAPTURE.REVERSED", "resource": {**REFUND, "status": "COMPLETED"}}),
    ("flutterwave_v4", {"id": "w1", "type": "refund.completed", "data": {"charge_id": "1", "status": "reviewed"}}),
    ("flutterwave_v4", {"id": "w1", "type": "charge.completed", "data": {"status": "succeeded"}}),
    ("stripe", {"id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": stripe(status="reviewed")}}),
]
UNREAD: list[tuple[str, Json]] = [
    ("paystack", {"event": "charge.success", "data": paystack(status="reviewed")["data"]}),
    ("flutterwave", {"event": "charge.completed", "data": flutterwave(status="reviewed")["data"]}),
    ("flutterwave_v4", {"id": "w1", "type": "charge.completed", "data": flutterwave_v4(status="reviewed")["data"]}),
    ("paypal", {"id": "WH-1", "event_type": "PAYMENT.CAPTURE.COMPLETED", "resource": {**REFUND, "custom_id": "x"}}),
    ("mpesa", {"Body": {"stkCallback": {"CheckoutRequestID": "c", "ResultCode": "00", "ResultDesc": "under way"}}}),
]
NOT_OURS: list[tuple[str, Json]] = [
    ("stripe", {"id": "evt_1", "type": "payment_intent.reviewed", "data": {"object": stripe()}}),
    ("paystack", {"event": "charge.failed", "data": paystack(status="failed")["data"]}),
    ("paystack", {"event": "transfer.success", "data": paystack()["data"]}),
    ("flutterwave", {"event": "transfer.completed", "data": flutterwave()["data"]}),
    ("flutterwave_v4", {"id": "w1", "type": "transfer.completed", "data": flutterwave_v4()["data"]}),
    ("paypal", {"id": "WH-1", "event_type": "PAYMENT.SALE.COMPLETED", "resource": {"id": "1"}}),
    ("mpesa", {"Result": {"ResultCode": 0}}),
]


@pytest.mark.parametrize(("code", "event"), UNHEARD_OF, ids=lambda value: value if isinstance(value, str) else "")
def test_news_of_money_that_nobody_understands_are_asked_about_or_go_to_a_person(code: str, event: Json) -> None:
    result = told(code, event)
    if result.action == "apply":  # it names a payment or a refund, about which the provider is asked
        [fact] = result.facts
        unknown = fact.state == "unknown" if isinstance(fact, RefundFact) else isinstance(fact.outcome, Unknown)  # type: ignore[union-attr]
        assert unknown
        return
    assert (result.action, result.facts) == ("notify", ())
    assert result.reason


@pytest.mark.parametrize(("code", "event"), UNREAD, ids=lambda value: value if isinstance(value, str) else "")
def test_a_told_status_that_is_not_known_is_unknown(code: str, event: Json) -> None:
    [fact] = told(code, event).facts
    assert isinstance(fact.outcome, Unknown)


@pytest.mark.parametrize(("code", "event"), NOT_OURS, ids=lambda value: value if isinstance(value, str) else "")
def test_what_looks_like_a_payment_and_is_none_is_ignored(code: str, event: Json) -> None:
    result = told(code, event)
    assert (result.action, result.facts) == ("ignore", ())


@pytest.mark.parametrize("code", ["4999", "2", "1033", "00", "0.0", "-1", "", "500.001.1001", "success", "99999"])
async def test_a_prompt_of_mpesa_that_is_still_open_is_not_over(code: str) -> None:
    answer = {
        "CheckoutRequestID": "1001",
        "ResultCode": code,
        "ResultDesc": "The transaction is still under processing",
    }
    assert isinstance(await asked("mpesa", answer, Money(100, "KES")), Pending | Unknown)


@pytest.mark.parametrize("code", ["00", "0.0", "", "success", "0"])
async def test_a_result_of_mpesa_that_contradicts_itself_is_no_decline(code: str) -> None:
    answer = {"CheckoutRequestID": "1001", "ResultCode": code, "ResultDesc": "Nothing known"}
    assert not isinstance(await asked("mpesa", answer, Money(100, "KES")), Declined)


# ── A call that was refused, or not ──


@pytest.mark.parametrize("code", [code for code in BUILT_IN if code != "manual"])
@pytest.mark.parametrize(
    ("headers", "waits_s"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Mon, 23 Nov 2026 09:00:30 GMT", "date": "Mon, 23 Nov 2026 09:00:00 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 08:00:00 GMT", "date": "Mon, 23 Nov 2026 09:00:00 GMT"}, 0.0),
        ({"retry-after": "Mon, 30 Nov 2026 09:00:00 GMT", "date": "Mon, 23 Nov 2026 09:00:00 GMT"}, 3600.0),
        ({"retry-after": "Mon, 23 Nov 2026 09:00:30 GMT"}, None),
        ({"retry-after": "soon", "date": "Mon, 23 Nov 2026 09:00:00 GMT"}, None),
        ({}, None),
    ],
)
async def test_slow_down_says_how_long(code: str, headers: dict[str, str], waits_s: float | None) -> None:
    handler, _ = made(code, (429, {"message": "x"}, headers))
    found = await handler.create_payment_intent(creation(code))
    assert isinstance(found, NotSent)
    assert (found.reason, found.retry_after_s) == (Reason.rate_limited, waits_s)


def creation(code: str) -> CreatePaymentParams:
    currency = "KES" if code == "mpesa" else "NGN"
    return CreatePaymentParams(
        REFERENCE,
        "pay-1",
        Money(10_000, currency),
        Customer("a@example.com", phone="254708374149"),
        "https://shop.example/back",
    )


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Invalid authorization key", Reason.config),
        ("Authorization required", Reason.config),
        ("The bank declined the authorization", Reason.validation),  # of a charge, not of our keys
    ],
)
async def test_whose_authorization_flutterwave_means(message: str, reason: Reason) -> None:
    handler, _ = made("flutterwave", (400, {"status": "error", "message": message, "data": None}))
    found = await handler.create_payment_intent(creation("flutterwave"))
    assert isinstance(found, NotSent)
    assert found.reason is reason


HELD = {"custom_id": REFERENCE, "payments": {"authorizations": [{"id": "A1", "status": "CREATED"}]}}
ORDER = {"id": "1001", "status": "COMPLETED", "intent": "AUTHORIZE"}


@pytest.mark.parametrize(
    ("verb", "issue", "part", "kind"),
    [
        ("capture_payment", "AUTHORIZATION_ALREADY_CAPTURED", {"captures": "COMPLETED"}, Succeeded),
        ("capture_payment", "AUTHORIZATION_VOIDED", {"authorizations": "VOIDED"}, Declined),
        ("cancel_payment", "PREVIOUSLY_CAPTURED", {"captures": "COMPLETED"}, Succeeded),
        ("cancel_payment", "PREVIOUSLY_VOIDED", {"authorizations": "VOIDED"}, Declined),
    ],
)
async def test_a_hold_that_is_not_as_we_believe_is_read_again(
    verb: str, issue: str, part: dict[str, str], kind: type
) -> None:
    [(name, status)] = part.items()
    now = {"id": "P1", "status": status, "amount": {"value": "75.50", "currency_code": "USD"}}
    again = {**ORDER, "purchase_units": [{"custom_id": REFERENCE, "payments": {name: [now]}}]}
    handler, script = made(
        "paypal", (200, {**ORDER, "purchase_units": [HELD]}), (422, {"details": [{"issue": issue}]}), (200, again)
    )
    found = await getattr(handler, verb)(OperationParams("op-1", REFERENCE, "1001", Money(7550, "USD")))
    assert type(found) is kind
    assert [call.split()[0] for call in script.calls] == ["GET", "POST", "GET"]


async def test_a_paypal_refund_whose_name_is_known_already_is_unknown() -> None:
    paid = {"id": "1001", "purchase_units": [{"payments": {"captures": [{"id": "CAP1", "status": "COMPLETED"}]}}]}
    handler, _ = made("paypal", (200, paid), (422, {"details": [{"issue": "DUPLICATE_INVOICE_ID"}]}))
    found = await handler.refund_payment(RefundParams("re-1", REFERENCE, "1001", Money(100, "USD"), False))
    assert isinstance(found, Unknown)
    assert found.reason is Reason.duplicate


@pytest.mark.parametrize("said", [False, None, "success", 1])
async def test_a_no_of_paystack_with_something_in_it_proves_nothing(said: Any) -> None:
    """The link of a hosted try that failed can still be paid, and a refund that is there may be paid out."""
    amount = Money(7550, "NGN")
    failed = {**paystack(status="failed", gateway_response="Declined"), "status": said}
    assert isinstance(await asked("paystack", failed, amount), Unknown)
    refund = {
        "status": said,
        "message": "No",
        "data": {"id": 5, "status": "pending", "amount": 7550, "currency": "NGN"},
    }
    handler, _ = made("paystack", (200, refund))
    assert isinstance(await handler.refund_payment(RefundParams("re-1", REFERENCE, "1001", amount, True)), Unknown)


# ── Signatures over odd bytes ──

WORD, AT = "whsec_0123456789", 1_795_378_150
ODD_BODIES = [
    b' \r\n\t{"a" : "\xc3\xa9\xe2\x80\xa8" ,\n"b":1.50}\n\n',
    b'{"b":1.5e0,"a":"\\u00e9","a":"twice"}',
    b"",
    b"\xff\xfe not JSON",
    b'{"a":"' + "ß😀".encode() * 5_000 + b'"}',
]


def signed(code: str, body: bytes) -> dict[str, str]:
    """The header of a delivery of these very bytes."""
    if code == "stripe":
        tag = hmac.new(WORD.encode(), f"{AT}.".encode() + body, "sha256").hexdigest()
        return {"Stripe-Signature": f"t={AT},v1={'0' * 64},v0={tag},v1={tag}"}
    if code == "paystack":
        return {"x-paystack-signature": hmac.new(WORD.encode(), body, "sha512").hexdigest()}
    tag = base64.b64encode(hmac.new(WORD.encode(), body, "sha256").digest()).decode()
    return {"flutterwave-signature": tag}


@pytest.mark.parametrize("code", ["stripe", "paystack", "flutterwave", "flutterwave_v4"])
@pytest.mark.parametrize("body", ODD_BODIES, ids=range(len(ODD_BODIES)))
def test_the_very_bytes_are_what_is_signed(code: str, body: bytes) -> None:
    handler, _ = made(code, (500, {}))
    handler.world = World(time_s=lambda: float(AT + 200))
    [(name, tag)] = signed(code, body).items()
    for spelt in (name, name.upper(), name.lower(), name.title()):
        assert handler.validate_webhook({"Host": "x", spelt: tag}, body), spelt
    for altered in (body + b"\n", b" " + body, body.replace(b"a", b"A"), body.strip() + b" "):
        if altered != body:
            assert not handler.validate_webhook({name: tag}, altered)
    for wrong in (tag.upper(), tag[:-1], f"{tag}0", f" {tag}" if code != "stripe" else tag.replace("t=", "t=9"), ""):
        if wrong != tag:
            assert not handler.validate_webhook({name: wrong}, body), wrong
    # v3's word does not open what came with a signature that is wrong.
    assert not handler.validate_webhook({name: tag + "x", "verif-hash": WORD}, body)
