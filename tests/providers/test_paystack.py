"""Every Paystack fixture, as it is, read to what its index expects; every delivery judged as written."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

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
    PaymentFact,
    ProviderConfig,
    RefundFact,
    RefundLookupParams,
    RefundParams,
    WebhookResult,
)
from polytill.providers.http import Answer, Http, parse_json
from polytill.providers.outcomes import (
    Declined,
    NeedsAction,
    NextKind,
    NotSent,
    Outcome,
    Pending,
    Reason,
    Succeeded,
    Unknown,
)
from polytill.providers.paystack.handler import PaystackProvider
from polytill.providers.paystack.reading import read_list, refund_outcome

FILES = FixtureFiles("paystack")
STATES: dict[Any, str] = {
    Succeeded: "succeeded",
    NeedsAction: "requires_action",
    Pending: "processing",
    Declined: "failed",
}
# What an index says to people, and what is checked for every entry anyway.
PROSE = {"object", "effect"}


class Fixed(scripted.Fixed):
    base = "https://api.paystack.co"


def handler(transport: Any = None, secret: str = "sk_test_0") -> PaystackProvider:
    key = Secret(secret)
    config = ProviderConfig(
        Environment.sandbox, "https://api.paystack.co", "pk_test_12345678", key, (key,) if secret else ()
    )
    return PaystackProvider(config, Http(transport), World())


@each_delivery(FILES)
def test_signed_delivery(path: Path) -> None:
    delivery, body = FILES.delivery(path)
    accepted = handler(secret=delivery["secret"]).validate_webhook(delivery["headers"], body)
    assert accepted is (delivery["expect"] == "accept")
    # Another practice's key does not open the same door.
    assert not handler(secret=delivery["secret"] + "0").validate_webhook(delivery["headers"], body)


# ── Deliveries ──


@named(FILES.webhooks)
def test_delivery_is_read(entry: dict[str, Any]) -> None:
    body = FILES.body(entry)
    assert parse_json(body) == parse_json(FILES.content(entry))
    result, wire, expected = handler().process_webhook(body), json.loads(body)["data"], entry["expected"]
    assert not result.must_fetch
    facts: dict[str, Any] = {type(fact).__name__: fact for fact in result.facts}
    assert len(facts) == len(result.facts) <= 1
    kinds = {"PaymentFact": "payment", "RefundFact": "refund", "DisputeFact": "dispute"}
    if result.facts:
        there = kinds[next(iter(facts))]
        assert there == {"authorization": "payment"}.get(expected["object"], expected["object"])
    else:
        assert expected["action"] in ("ignore", "notify")
    for name, value in expected.items():
        if name not in PROSE:
            assert holds(name, value, result, facts, wire), name


def holds(name: str, value: Any, result: WebhookResult, facts: dict[str, Any], wire: dict[str, Any]) -> bool:
    """Whether one line of ``expected`` is true of a delivery's reading. An unknown line is a ``KeyError``."""
    payment: PaymentFact | None = facts.get("PaymentFact")
    refund: RefundFact | None = facts.get("RefundFact")
    dispute: DisputeFact | None = facts.get("DisputeFact")
    paid: Any = payment and payment.outcome
    fact: Any = payment or refund or dispute
    if name == "payment_state":
        if value == "unchanged":
            return payment is None
        if value == "reversed":
            return dispute is not None and dispute.state == "lost" and dispute.funds_withdrawn
        return bool((STATES[type(paid)] if not paid.authorized_only else "authorized") == value)
    if name == "amount":
        if fact is None:  # a rejected transfer: no currency, so no money, only what is kept
            kept = result.body or {}
            return Decimal(kept["data"]["bank_transfer"]["amount"]) / 100 == Decimal(value)
        return same_amount(paid.amount if paid else fact.amount, value)
    if name == "currency":
        money = paid.amount if paid else (refund or dispute) and (refund or dispute).amount  # type: ignore[union-attr]
        return bool((money.currency if money else None) == value)
    simple: dict[str, Any] = {
        "event_id": result.event_id,
        "event_type": result.event_type,
        "livemode": result.environment is Environment.production,
        "dedupe_key": result.dedupe_key,
        "action": result.action,
        "reason": result.reason,
        "provider_amount": wire.get("amount"),
    }
    if payment:
        simple["provider_payment_id"] = payment.provider_transaction_id
        simple["merchant_reference"] = payment.reference
        simple["merchant_metadata"] = payment.metadata
    if refund:
        simple["refund_state"] = refund.state
        simple["payment_reference"] = refund.payment_reference
        simple["provider_refund_id"] = refund.provider_refund_id
        simple["refund_id"] = (refund.response or {}).get("refund_reference")
    if dispute:
        simple["dispute_id"] = dispute.provider_dispute_id
        simple["dispute_state"] = dispute.provider_state
        simple["payment_reference"] = dispute.payment_reference
        simple["due_at"] = dispute.due_at
    if name in simple:
        return bool(simple[name] == value) and (name != "livemode" or result.environment is not None)
    money = {"fee": paid and paid.fee, "charged": paid and paid.charged, "refund_amount": refund and refund.amount}[
        name
    ]
    return same_amount(money, value)


# ── Answers ──


def create(reference: str = "ref-000001") -> CreatePaymentParams:
    return CreatePaymentParams(reference, "pay-1", Money(10000, "NGN"), Customer("a@example.com"), "https://x.example")


async def outcome_of(entry: dict[str, Any]) -> Outcome:
    """What the verb that makes this call answers; for calls that no verb makes, what the reader says."""
    http, content = entry["http"], FILES.content(entry)
    transport = Fixed((http["status"], content))
    provider, amount = handler(transport), Money(10000, "NGN")
    call = f"{http['method']} {http['path']}"
    if call == "POST /transaction/initialize":
        outcome = await provider.create_payment_intent(create())
    elif call.startswith("GET /transaction/verify/"):
        outcome = await provider.confirm_payment(ConfirmPaymentParams(call.split("/")[-1], None, amount))
    elif call == "POST /refund":
        outcome = await provider.refund_payment(RefundParams("ref-2", "r", "1004723697", amount, True))
    elif call == "GET /refund/1":
        params = RefundLookupParams("ref-2", "r", "1641", "1", amount, True)
        outcome = await provider.lookup_refund(params)
    else:
        assert "/charge" in call, "a call that this test does not know"
        return provider.read_charge(Answer(http["status"], parse_json(content)))
    assert transport.calls == [call]
    return outcome


@named(FILES.responses)
async def test_answer_is_read(entry: dict[str, Any]) -> None:
    expected, http = entry["expected"], entry["http"]
    content = FILES.content(entry)
    if "credential_check" in expected:
        transport = Fixed((http["status"], content))
        test = await handler(transport).test_credentials()
        assert test.ok is (expected["credential_check"] == "ok")
        assert transport.calls == ["GET /balance", "POST /transaction/initialize"][: 2 if test.ok else 1]
        if expected.keys() == {"credential_check"}:
            return
    if "refunds" in expected:
        found = [refund_outcome(item) for item in read_list(Answer(http["status"], parse_json(content)))]
        assert len(found) == len(expected["refunds"])
        for outcome, line in zip(found, expected["refunds"], strict=True):
            assert isinstance(outcome, Succeeded | Pending)
            assert outcome.provider_transaction_id == line["id"]
            assert {"processing": "pending"}.get(STATES[type(outcome)], "succeeded") == line["state"]
            assert same_amount(outcome.amount, line["amount"])
        return
    outcome = await outcome_of(entry)
    for name, value in expected.items():
        if name not in {*PROSE, "credential_check"}:
            assert answers(name, value, outcome, expected, parse_json(content)), name


def answers(name: str, value: Any, outcome: Any, expected: dict[str, Any], wire: dict[str, Any]) -> bool:
    """Whether one line of ``expected`` is true of an answer's outcome. An unknown line is a ``KeyError``."""
    kept = getattr(outcome, "response", None) or {}
    action: Any = getattr(outcome, "action", None)
    amount = getattr(outcome, "amount", None)
    if name == "error":
        assert value["retryable"] is False
        reason: Reason = outcome.reason
        certain = value["category"] != "duplicate"
        return reason == value["category"] and isinstance(outcome, NotSent if certain else Unknown)
    if name == "payment_state":
        return bool(value == "unchanged" if isinstance(outcome, NotSent) else STATES[type(outcome)] == value)
    if name in ("redirect_field", "client_token_field"):
        field = wire["data"][value.removeprefix("data.")]
        return bool(field == (action.url if name == "redirect_field" else action.provider_token.reveal()))
    if name == "next_action":
        if value in ("redirect", "offline_instructions"):
            return bool(action.kind is NextKind(value.removeprefix("offline_")))
        return bool(action.kind is NextKind.input and action.wants == value)
    if name == "terminal":
        return isinstance(outcome, NeedsAction) is not value
    if name == "refund_state":
        return bool(value == {"processing": "pending"}.get(STATES[type(outcome)], "succeeded"))
    if name == "merchant_reference":
        return bool((kept.get("reference") or kept["transaction"]["reference"]) == value)
    if name in ("provider_payment_id", "refund_id"):
        return bool(outcome.provider_transaction_id == value)
    if name == "currency":
        return bool((amount.currency if amount else None) == value)
    if name == "amount" and value is None and "charged" in expected:
        return True  # only what was charged is known; it stands in for what was asked
    if name == "charged":
        return same_amount(outcome.charged or outcome.amount, value)
    return same_amount({"amount": amount, "refund_amount": amount, "fee": getattr(outcome, "fee", None)}[name], value)


async def test_secrets_of_a_fixture_do_not_stay() -> None:
    for entry in FILES.webhooks:
        result = handler().process_webhook(FILES.body(entry))
        assert "AUTH_" not in repr(result)
    for entry in FILES.responses:
        if entry["http"]["path"] != "/balance" and "refunds" not in entry["expected"]:
            outcome = await outcome_of(entry)
            kept = repr(getattr(outcome, "response", None))
            assert "AUTH_" not in kept
            assert "checkout.paystack.com" not in kept
            assert "3ni8kdavz62431k" not in repr(getattr(outcome, "action", None)).replace("com/3ni8kdavz62431k", "")
