"""Every Stripe fixture, as it is, read to what its index expects; every signed delivery judged as written."""

import hmac
import json
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import stripe
from tests.providers import scripted
from tests.providers.fixture_files import FixtureFiles, each_delivery, named, same_amount

from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import (
    ConfirmPaymentParams,
    CreatePaymentParams,
    Customer,
    DisputeFact,
    OperationParams,
    PaymentFact,
    ProviderConfig,
    RefundFact,
    WebhookResult,
)
from polytill.providers.http import Http, parse_json
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Outcome, Pending, Succeeded, Unknown
from polytill.providers.stripe.handler import StripeProvider
from polytill.providers.stripe.reading import read_intent, read_refund
from polytill.providers.stripe.terms import wire_amount

FILES = FixtureFiles("stripe")
SECRET = "whsec_test_c0ffee0123456789abcdef0123456789"
SECOND_SECRET = "whsec_another_0123456789"


class Fixed(scripted.Fixed):
    base = "https://api.stripe.com"

    @property
    def calls(self) -> list[str]:
        return [call.partition("?")[0] for call in super().calls]


def handler(transport: Any = None, secrets: tuple[str, ...] = (SECRET,), now: float = 0) -> StripeProvider:
    config = ProviderConfig(
        Environment.sandbox,
        "https://api.stripe.com",
        "pk_test_12345678",
        Secret("sk_test_12345678"),
        tuple(Secret(secret) for secret in secrets),
    )
    return StripeProvider(config, Http(transport), World(time_s=lambda: now))


# ── Signatures ──


@each_delivery(FILES)
def test_signed_delivery(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery, body = FILES.delivery(path)
    headers, now = delivery["headers"], delivery["verify_at"]
    accepted = handler(secrets=(delivery["secret"],), now=now).validate_webhook(headers, body)
    assert accepted is (delivery["expect"] == "accept")
    # While a secret is being replaced both are honoured; without any secret nothing is.
    both = (SECOND_SECRET, delivery["secret"])
    assert handler(secrets=both, now=now).validate_webhook(headers, body) is accepted
    assert not handler(secrets=(SECOND_SECRET,), now=now).validate_webhook(headers, body)
    assert not handler(secrets=(), now=now).validate_webhook(headers, body)
    assert not handler(secrets=("",), now=now).validate_webhook(headers, body)
    # The official library judges the same way (all of these are in the past, where its rule is ours).
    monkeypatch.setattr("stripe._webhook.time", SimpleNamespace(time=lambda: now))
    try:
        stripe.WebhookSignature.verify_header(body, headers.get("Stripe-Signature"), delivery["secret"], tolerance=300)
    except stripe.SignatureVerificationError:
        assert not accepted
    else:
        assert accepted


@pytest.mark.parametrize(("ahead", "accepted"), [(0, True), (299, True), (300, True), (301, False)])
def test_a_signature_from_the_future_is_refused(ahead: int, accepted: bool) -> None:
    header = stripe.WebhookSignature.generate_signature_header("{}", SECRET, timestamp=1_795_378_150 + ahead)
    provider = handler(now=1_795_378_150)
    assert provider.validate_webhook({"stripe-signature": header}, b"{}") is accepted
    assert handler(now=1_795_378_150 + 2 * ahead).validate_webhook({"STRIPE-SIGNATURE": header}, b"{}") is accepted


STRANGE = [
    *["", "t=", "v1=", "t=,v1=", "t=1,v1", "=", ",", "t=-1,v1=a", "t=١,v1=a", "t=" + "9" * 5000 + ",v1=a", "t=\x00"],
    *["t=1795378150,v1=" + "\udcff" * 64, "t=1795378150.0,v1=a", "t= 1795378150,v1=a", "t=0x1,v1=a"],
]


@pytest.mark.parametrize("header", STRANGE)
def test_strange_headers_are_refused(header: str) -> None:
    assert not handler(now=1_795_378_150).validate_webhook({"Stripe-Signature": header}, b"{}")


def test_any_signature_and_any_secret_will_do_but_no_empty_one() -> None:
    def signed(secret: str, time_text: str = "1795378150") -> str:
        return hmac.new(secret.encode(), time_text.encode() + b".{}", "sha256").hexdigest()

    now, wrong = 1_795_378_150, signed("whsec_wrong_0123456789")
    provider = handler(secrets=(SECOND_SECRET, SECRET), now=now)
    for one in (SECRET, SECOND_SECRET):
        for values in ([signed(one), wrong], [wrong, signed(one)], [wrong, signed(one), wrong]):
            header = f"t={now}," + ",".join(f"v1={value}" for value in values)
            assert provider.validate_webhook({"Stripe-Signature": header}, b"{}")
    unsafe = handler(secrets=("", SECRET), now=now)
    assert not unsafe.validate_webhook({"Stripe-Signature": f"t={now},v1={signed('')}"}, b"{}")
    arabic = str(now).translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"))
    assert not provider.validate_webhook({"Stripe-Signature": f"t={arabic},v1={signed(SECRET, arabic)}"}, b"{}")


# ── Deliveries ──


@named(FILES.webhooks)
def test_delivery_is_read(entry: dict[str, Any]) -> None:
    body = FILES.body(entry)
    assert parse_json(body) == parse_json(FILES.content(entry))
    result, expected = handler().process_webhook(body), entry["expected"]
    assert not result.must_fetch
    assert len(result.facts) == (result.action == "apply")
    for name, value in expected.items():
        assert holds(name, value, result, json.loads(body)["data"]["object"]), name


KINDS = {"payment": PaymentFact, "checkout_session": PaymentFact, "refund": RefundFact, "dispute": DisputeFact}


def holds(name: str, value: Any, result: WebhookResult, wire: dict[str, Any]) -> bool:
    """Whether one line of ``expected`` is true of a delivery's reading. An unknown line is a ``KeyError``."""
    fact: Any = result.facts[0] if result.facts else None
    payment = fact if isinstance(fact, PaymentFact) else None
    paid: Any = payment and payment.outcome
    if name == "object":
        return fact is None or isinstance(fact, KINDS[value])
    if name == "action":
        if value == "reject_or_ignore":  # whoever applies it compares this with the practice's environment
            return result.environment is Environment.production
        return bool(result.action == {"ignore_or_same_payment": "ignore"}.get(value, value))
    if name == "payment_state":
        if value == "unchanged" and payment:
            return result.environment is Environment.production
        # A refund leaves its payment as it is.
        return bool(state_of(paid) == value) if payment else value in ("unchanged", "succeeded")
    if name in ("amount", "refund_amount", "refunded_total"):
        if fact is None:  # the same payment once more: there is nothing but what is kept
            return bool(wire["amount"] == int(Decimal(value) * 100))
        if isinstance(paid, Declined):
            return bool(wire["amount"] == int(Decimal(value) * 100))
        money = paid.amount if paid else fact.total if name == "refunded_total" else fact.amount
        return same_amount(money, value)
    if name == "currency":
        if fact is None or isinstance(paid, Declined):
            return bool(wire["currency"].upper() == value)
        return bool((paid or fact).amount.currency == value if paid or fact.amount else fact.total.currency == value)
    if name == "provider_amount":
        if payment and not isinstance(paid, Declined):
            return bool(wire_amount(paid.amount) == value)
        return bool(wire["amount"] == value)
    if name == "provider_payment_id":
        if fact is None:
            return bool(wire["payment_intent"] == value)
        return bool(fact.provider_transaction_id == value)
    if name == "merchant_metadata":
        return payment is not None and payment.metadata == value
    if name == "merchant_reference":
        return payment is not None and payment.reference == value
    if name == "failure_code" and fact is None:
        return bool(wire["failure_code"] == value)
    if name == "failure_code":
        return bool(paid.response["last_payment_error"]["code"] == value)
    simple: dict[str, Any] = {
        "event_id": result.event_id,
        "dedupe_key": result.dedupe_key,
        "event_type": result.event_type,
        "livemode": result.environment is Environment.production if result.environment else None,
        "provider_charge_id": getattr(fact, "provider_charge_id", None) or wire["id"],
        "fully_refunded": isinstance(fact, RefundFact) and fact.response and fact.response.get("refunded"),
        "dispute_id": getattr(fact, "provider_dispute_id", None),
        "dispute_state": getattr(fact, "provider_state", None),
        "funds_withdrawn": getattr(fact, "funds_withdrawn", None),
        "checkout_session_id": getattr(paid, "response", None) and paid.response["id"],
        "decline_code": getattr(paid, "code", None),
        "cancellation_reason": getattr(paid, "code", None),
        "retryable_same_intent": isinstance(paid, Declined) and not paid.final,
        "terminal": isinstance(paid, Declined) and paid.final,
        "refund_id": getattr(fact, "provider_refund_id", None),
        "refund_state": getattr(fact, "state", None),
        "respond": "2xx",
        "reason": value if result.environment is Environment.production else None,
    }
    return bool(simple[name] == value)


def state_of(outcome: Any) -> str:
    if isinstance(outcome, NeedsAction):
        return str((outcome.response or {})["status"])
    if isinstance(outcome, Succeeded):
        return "authorized" if outcome.authorized_only else "succeeded"
    if isinstance(outcome, Declined):
        return "canceled" if outcome.final else "requires_payment_method"
    return {Pending: "processing"}[type(outcome)]


# ── Answers ──


async def outcome_of(entry: dict[str, Any]) -> Outcome:
    """What the verb that makes this call answers."""
    http, content = entry["http"], FILES.content(entry)
    transport = Fixed((http["status"], content))
    provider, amount = handler(transport), Money(2020, "GBP")
    intent_id = str(json.loads(content).get("id", "pi_1"))
    paths = [f"{http['method']} {http['path']}".replace("{id}", intent_id)]
    operation = OperationParams("op-1", "r", intent_id)
    if paths == ["POST /v1/payment_intents"]:
        outcome = await provider.create_payment_intent(
            CreatePaymentParams("r", "pay-1", amount, Customer("a@example.com"), "https://x.example")
        )
    elif paths[0].endswith("/capture"):
        outcome = await provider.capture_payment(operation)
    elif paths[0].endswith("/cancel"):
        outcome = await provider.cancel_payment(operation)
    elif paths[0].endswith("/confirm"):
        outcome = await provider.confirm_payment(ConfirmPaymentParams("r", intent_id, amount, "pm_card_visa"))
    else:
        # The one call that no verb makes is an update; its answer is the same object as a retrieval's.
        assert paths == [f"POST /v1/payment_intents/{intent_id}"]
        paths = [f"GET /v1/payment_intents/{intent_id}"]
        outcome = await provider.confirm_payment(ConfirmPaymentParams("r", intent_id, amount))
    if entry["name"] == "error.cancel_succeeded_intent":
        paths.append(f"GET /v1/payment_intents/{intent_id}")
    assert transport.calls == paths
    return outcome


@named(FILES.responses)
async def test_answer_is_read(entry: dict[str, Any]) -> None:
    expected, content = dict(entry["expected"]), FILES.content(entry)
    if "credential_check" in expected:
        transport = Fixed((entry["http"]["status"], content))
        test = await handler(transport).test_credentials()
        assert transport.calls[0] == "GET /v1/balance"
        assert all(path.startswith("GET ") for path in transport.calls)  # with a secret key nothing is sent
        assert test.ok is (expected.pop("credential_check") == "ok")
        if test.ok:
            assert test.environment is Environment.sandbox
            assert expected.pop("livemode") is False
            assert not expected
            return
        # What the same key is told by every other call.
        entry = {**entry, "http": {**entry["http"], "method": "POST", "path": "/v1/payment_intents"}}
    if "refunds" in expected:
        items = json.loads(content)
        assert (items["has_more"], len(items["data"])) == (True, len(expected["refunds"]))
        for item, line in zip(items["data"], expected["refunds"], strict=True):
            outcome = read_refund(item)
            assert isinstance(outcome, Succeeded | Pending)
            assert isinstance(outcome, Succeeded) is (line["state"] == "succeeded")
            assert same_amount(outcome.amount, line["amount"])
        return
    outcome = await outcome_of(entry)
    for name, value in expected.items():
        assert answers(name, value, outcome, json.loads(content)), name


def answers(name: str, value: Any, outcome: Any, wire: dict[str, Any]) -> bool:
    """Whether one line of ``expected`` is true of an answer's outcome. An unknown line is a ``KeyError``."""
    amount = getattr(outcome, "amount", None)
    if name == "error":
        # "Retryable" is for whoever repeats with the same key; we look it up, or know that nothing happened.
        kind: dict[str, Any] = {"declined": Declined, "conflict": Unknown, "provider_unavailable": Unknown}
        code = value.get("decline_code", value.get("code"))
        return (
            isinstance(outcome, kind.get(value["category"], NotSent))
            and (value["category"] == "declined" or outcome.reason == value["category"])
            and (not isinstance(outcome, Declined) or not outcome.final)
            and (code is None or outcome.code == code)
        )
    if name == "client_secret_must_not_be_logged":
        token = wire["client_secret"]
        return outcome.action.provider_token.reveal() == token and token not in repr(outcome)
    if name == "currency" and isinstance(outcome, Declined):
        return bool(wire["currency"].upper() == value)
    if name == "amount" and isinstance(outcome, Declined):
        return bool(wire["amount"] == int(Decimal(value) * 100))
    if name in ("amount", "capturable"):
        return same_amount(amount, value)
    if name == "next_action":
        url = wire["next_action"][value]["url"]
        return bool(outcome.action.url == url and outcome.action.provider_token.reveal() == wire["client_secret"])
    return bool(
        {
            "object": "payment" if wire["object"] == "payment_intent" else None,
            "provider_payment_id": outcome.provider_transaction_id,
            "payment_state": state_of(outcome),
            "currency": amount and amount.currency,
        }[name]
        == value
    )


async def test_secrets_of_a_fixture_do_not_stay() -> None:
    for entry in FILES.webhooks:
        result = handler().process_webhook(FILES.body(entry))
        kept = [getattr(getattr(fact, "outcome", fact), "response", None) for fact in result.facts]
        assert "_secret_" not in repr([result.body, kept])
    for entry in FILES.responses:
        if entry["http"]["path"] != "/v1/balance" and "refunds" not in entry["expected"]:
            outcome = await outcome_of(entry)
            assert "_secret_" not in repr(getattr(outcome, "response", None))


def test_readers_take_any_json_object() -> None:
    for data in ({}, {"amount": True}, {"amount": "x", "currency": 5}, {"amount": 1.5, "currency": "usd"}):
        assert isinstance(read_intent(data), Unknown)
        assert isinstance(read_refund(data), Unknown)
