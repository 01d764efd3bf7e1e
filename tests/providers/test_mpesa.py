"""M-Pesa: every fixture as it is, the exact bytes of each call, and the traps: running, lost, busy, not whole."""

import base64
import json
from decimal import Decimal
from typing import Any

import pytest
from tests.providers import scripted
from tests.providers.fixture_files import FixtureFiles, named

from polytill.domain.clock import World
from polytill.domain.money import Money, to_major
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import (
    ADDRESS_REFERENCE,
    ConfirmPaymentParams,
    CreatePaymentParams,
    Customer,
    LookupParams,
    PaymentFact,
    ProviderConfig,
)
from polytill.providers.http import AnswerLost, ConnectionNotMade, Http
from polytill.providers.mpesa.handler import MpesaProvider
from polytill.providers.outcomes import Declined, NotSent, Outcome, Pending, Reason, Succeeded, Unknown

FILES = FixtureFiles("mpesa")

BASE = "https://sandbox.safaricom.co.ke"
TOKEN = (200, {"access_token": "tok-1", "expires_in": "3599"})
PASSKEY = "bfb279f9aa9bdbcf158e97dd71a467cd"
NOW = 1795378150  # 2026-11-22T20:09:10Z, 23:09:10 in Nairobi
KES = Money(150_000, "KES")
PROMPT = "ws_CO_191220191020363925"
ACCEPTED = (200, json.loads((FILES.root / "responses/stkpush.accepted.json").read_text()))
RUNNING = (500, {"requestId": "1", "errorCode": "500.001.1001", "errorMessage": "The transaction is being processed"})


class Script(scripted.Script):
    base = BASE


def handler(*answers: Any, **config: Any) -> tuple[MpesaProvider, Script]:
    script = Script(*answers)
    told = {"shortCode": "174379", "passkey": Secret(PASSKEY), **config}
    settings = ProviderConfig(
        Environment.sandbox,
        BASE,
        "consumerkey0123456",
        Secret("consumersecret0123"),
        config=told,
        webhook_url="https://till.example/hooks/abc",
    )
    return MpesaProvider(settings, Http(script), World(time_s=lambda: float(NOW))), script


def create(**changes: Any) -> CreatePaymentParams:
    values: dict[str, Any] = {
        "reference": "01jdq3k5-attempt-000001",
        "payment_id": "pay-1",
        "amount": KES,
        "customer": Customer(phone="+254 708 374 149"),
        "return_url": "https://shop.example/back",
    }
    return CreatePaymentParams(**values | changes)


def state_of(outcome: Outcome) -> str:
    if isinstance(outcome, Declined):
        assert outcome.final, "a prompt that ended can be answered no more"
        return "canceled" if outcome.reason in (Reason.canceled, Reason.expired) else "failed"
    return {Succeeded: "succeeded", Pending: "processing"}[type(outcome)]


# ── Callbacks ──


@named(FILES.webhooks)
def test_callback_is_a_hint(entry: dict[str, Any]) -> None:
    body, expected = FILES.body(entry), dict(entry["expected"])
    [path] = entry["signed"]
    delivery = json.loads((FILES.root / path).read_text())
    assert base64.b64decode(delivery["body_b64"]) == body
    provider, script = handler()
    assert provider.validate_webhook(delivery["headers"], body)
    result = provider.process_webhook(body)
    assert script.requests == []
    assert (result.must_fetch, result.action, result.event_id) == (True, "apply", expected.pop("event_id"))
    assert expected.pop("action") == "verify_then_apply"
    assert result.dedupe_key.startswith(expected.pop("dedupe_key") + ":")
    assert provider.webhook_answer == expected.pop("respond")
    [fact] = result.facts
    assert isinstance(fact, PaymentFact)
    assert (fact.provider_transaction_id, fact.reference) == (expected.pop("provider_payment_id"), None)
    assert expected.pop("object") == "payment"
    assert state_of(fact.outcome) == expected.pop("payment_state")
    if isinstance(fact.outcome, Succeeded):
        amount, kept = fact.outcome.amount, json.dumps(result.body, default=str)
        assert to_major(amount.minor, amount.currency) == Decimal(expected.pop("amount"))
        assert expected.pop("receipt") in kept
        assert expected.pop("paid_at") == "2019-12-19T10:21:15+03:00"
        assert "20191219102115" in kept
    else:
        assert isinstance(fact.outcome, Declined)
        assert fact.outcome.code == expected.pop("reason")
    assert expected == {"currency": "KES"}


def test_a_callback_carries_the_reference_of_its_address() -> None:
    event = json.loads((FILES.root / "webhooks/stk.success.json").read_text()) | {ADDRESS_REFERENCE: "ours-1"}
    result = handler()[0].process_webhook(json.dumps(event).encode())
    [fact] = result.facts
    assert isinstance(fact, PaymentFact)
    assert fact.reference == "ours-1"
    assert (result.body or {})[ADDRESS_REFERENCE] == "ours-1"


# ── Answers ──


@named(FILES.responses)
async def test_answer_is_read(entry: dict[str, Any]) -> None:
    content, http, expected = FILES.content(entry), entry["http"], entry["expected"]
    provider, script = handler(TOKEN, (http["status"], content))
    if entry["name"] == "query.cancelled":
        prompt = json.loads(content)["CheckoutRequestID"]
        outcome = await provider.confirm_payment(ConfirmPaymentParams("r", prompt, KES))
    else:
        outcome = await provider.create_payment_intent(create())
    assert f"{script.requests[1][0]} {script.requests[1][1]}" == f"{http['method']} {http['path']}"
    if "error" in expected:
        assert isinstance(outcome, NotSent)
        assert (outcome.reason, outcome.code) == (Reason.config, "404.001.03")
        return
    assert state_of(outcome) == expected["payment_state"]
    if "provider_payment_id" in expected:
        assert getattr(outcome, "provider_transaction_id", None) == expected["provider_payment_id"]


async def test_create_sends_exactly_this() -> None:
    provider, script = handler(TOKEN, ACCEPTED)
    outcome = await provider.create_payment_intent(create(description="Dr. Achieng's check-up"))
    assert outcome == Pending(KES, PROMPT, ACCEPTED[1])
    token, push = script.requests
    shown = base64.b64encode(b"consumerkey0123456:consumersecret0123").decode()
    assert token[:2] == ("GET", "/oauth/v1/generate?grant_type=client_credentials")
    assert token[2] == {"Authorization": f"Basic {shown}", "Accept": "application/json"}
    assert push[:2] == ("POST", "/mpesa/stkpush/v1/processrequest")
    assert push[2]["Authorization"] == "Bearer tok-1"
    assert json.loads(push[3] or b"") == {
        "BusinessShortCode": "174379",
        "Password": base64.b64encode(f"174379{PASSKEY}20261122230910".encode()).decode(),
        "Timestamp": "20261122230910",
        "TransactionType": "CustomerPayBillOnline",
        "Amount": 1500,
        "PartyA": "254708374149",
        "PartyB": "174379",
        "PhoneNumber": "254708374149",
        "CallBackURL": "https://till.example/hooks/abc?reference=01jdq3k5-attempt-000001",
        "AccountReference": "tempt-000001",
        "TransactionDesc": "Dr Achiengs c",
    }


async def test_a_till_is_paid_for_goods() -> None:
    provider, script = handler(TOKEN, ACCEPTED, transactionType="CustomerBuyGoodsOnline", tillNumber="5550001")
    await provider.create_payment_intent(create())
    sent = json.loads(script.requests[1][3] or b"")
    assert (sent["TransactionType"], sent["PartyB"], sent["BusinessShortCode"]) == (
        "CustomerBuyGoodsOnline",
        "5550001",
        "174379",
    )
    assert sent["TransactionDesc"] == "Payment"


@pytest.mark.parametrize("phone", ["254208374149", "07083741", "+1 212 555 0100", "", None, "2547083741490"])
async def test_a_number_that_no_prompt_reaches_asks_nobody(phone: str | None) -> None:
    provider, script = handler()
    outcome = await provider.create_payment_intent(create(customer=Customer(phone=phone)))
    assert (isinstance(outcome, NotSent), script.requests) == (True, [])


async def test_what_is_refused_here_asks_nobody() -> None:
    provider, script = handler()
    for params in (create(amount=Money(150_050, "KES")), create(customer=Customer("a@example.com"))):
        outcome = await provider.create_payment_intent(params)
        assert isinstance(outcome, NotSent)
        assert outcome.reason is Reason.validation
    lost = await provider.lookup_payment(LookupParams("r", None, KES, create()))
    assert isinstance(lost, Unknown)
    assert script.requests == []


# ── The query ──


async def test_running_is_pending_although_the_status_is_500() -> None:
    provider, _ = handler(TOKEN, RUNNING)
    assert isinstance(await provider.confirm_payment(ConfirmPaymentParams("r", PROMPT, KES)), Pending)


@pytest.mark.parametrize("text", ["Wrong credentials", "The transaction does not exist", ""])
async def test_the_same_code_with_other_words_is_unknown(text: str) -> None:
    provider, _ = handler(TOKEN, (500, {"errorCode": "500.001.1001", "errorMessage": text}))
    outcome = await provider.confirm_payment(ConfirmPaymentParams("r", PROMPT, KES))
    assert isinstance(outcome, Unknown)
    assert outcome.code == "500.001.1001"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("1", Reason.insufficient_funds),
        ("1019", Reason.expired),
        ("1032", Reason.canceled),
        ("1037", Reason.declined),
        ("2001", Reason.incorrect_details),
        ("1001", Reason.declined),
    ],
)
@pytest.mark.parametrize("as_number", [True, False])
async def test_codes_are_text_or_numbers(code: str, reason: Reason, as_number: bool) -> None:
    data = {"CheckoutRequestID": PROMPT, "ResultCode": int(code) if as_number else code, "ResultDesc": "words"}
    provider, _ = handler(TOKEN, (200, data))
    outcome = await provider.confirm_payment(ConfirmPaymentParams("r", PROMPT, KES))
    assert isinstance(outcome, Declined)
    assert (outcome.reason, outcome.final, outcome.code) == (reason, True, code)


async def test_paid_is_the_amount_of_the_prompt() -> None:
    data = {"CheckoutRequestID": PROMPT, "ResultCode": "0", "ResultDesc": "ok"}
    provider, script = handler(TOKEN, (200, data))
    assert await provider.lookup_payment(LookupParams("r", PROMPT, KES)) == Succeeded(KES, PROMPT, response=data)
    assert json.loads(script.requests[1][3] or b"")["CheckoutRequestID"] == PROMPT


# ── Faults ──


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ((401, {}), Reason.config),
        ((400, {"errorCode": "400.008.01"}), Reason.config),
        ((500, {}), Reason.provider_unavailable),
        ((200, {}), Reason.provider_unavailable),
        ((200, {"access_token": 5}), Reason.provider_unavailable),
        ((200, {"access_token": "a\r\nb"}), Reason.provider_unavailable),
        ((503, b"<html>"), Reason.provider_unavailable),
        (AnswerLost("TimeoutError"), Reason.provider_unavailable),
        (ConnectionNotMade("x"), Reason.unreachable),
        ((429, {}), Reason.rate_limited),
    ],
)
async def test_without_a_token_nothing_was_sent(token: Any, reason: Reason) -> None:
    provider, script = handler(token)
    outcome = await provider.create_payment_intent(create())
    assert isinstance(outcome, NotSent)
    assert outcome.reason is reason
    assert len(script.requests) == 1


async def test_spike_arrest_is_slow_down() -> None:
    provider, _ = handler(TOKEN, (500, {"errorCode": "500.003.02", "errorMessage": "Spike Arrest"}))
    outcome = await provider.create_payment_intent(create())
    assert isinstance(outcome, NotSent)
    assert outcome.reason is Reason.rate_limited


def test_what_it_can_do() -> None:
    assert MpesaProvider.create_moves_money
    assert handler()[0].get_public_config() == {}
