"""Every Flutterwave fixture, as it is, read to what its index expects; every delivery judged as written."""

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
    Page,
    PaymentFact,
    ProviderConfig,
    RefundFact,
    RefundParams,
    WebhookResult,
)
from polytill.providers.flutterwave.reading import read_charge
from polytill.providers.flutterwave.v3 import FlutterwaveProvider
from polytill.providers.http import Answer, Http, parse_json
from polytill.providers.outcomes import Declined, NeedsAction, NextKind, NotSent, Pending, Succeeded, Unknown
from polytill.providers.wire_amounts import fee_from_wire

FILES = FixtureFiles("flutterwave")
STATES: dict[Any, str] = {
    Succeeded: "succeeded",
    NeedsAction: "requires_action",
    Pending: "processing",
    Declined: "failed",
}
KEY = "FLWSECK_TEST-0123456789abcdef-X"


class Fixed(scripted.Fixed):
    base = "https://api.flutterwave.com"


def handler(
    transport: Any = None, words: tuple[str, ...] = ("flw-secret-hash-9f8e7d6c5b4a",), version: str = "v3"
) -> FlutterwaveProvider:
    config = ProviderConfig(
        Environment.sandbox,
        "https://api.flutterwave.com/v3",
        "FLWPUBK_TEST-0123456789abcdef-X",
        Secret(KEY),
        tuple(Secret(word) for word in words),
        {"webhookVersion": version},
    )
    return FlutterwaveProvider(config, Http(transport), World())


@each_delivery(FILES)
def test_signed_delivery(path: Path) -> None:
    delivery, body = FILES.delivery(path)
    headers, word = delivery["headers"], delivery["secret"]
    accepted = handler(words=(word,)).validate_webhook(headers, body)
    assert accepted is (delivery["expect"] == "accept")
    # Where only signatures count, the word alone opens nothing; and another practice's word never does.
    signed = "flutterwave-signature" in headers
    assert handler(words=(word,), version="v4").validate_webhook(headers, body) is (accepted and signed)
    assert not handler(words=(word + "0",)).validate_webhook(headers, body)
    # A word that is still honoured, next to the present one, opens.
    assert handler(words=("new-word", word)).validate_webhook(headers, body) is accepted


# ── Deliveries ──


@named(FILES.webhooks)
def test_delivery_is_read(entry: dict[str, Any]) -> None:
    body, expected = FILES.body(entry), entry["expected"]
    assert parse_json(body) == parse_json(FILES.content(entry))
    delivery = json.loads((FILES.root / f"signed/{entry['name']}.valid.json").read_text())
    provider = handler()
    assert provider.validate_webhook(delivery["headers"], body)
    result = provider.process_webhook(body)
    assert result.environment is None
    assert result.must_fetch is (expected.get("must_verify_by_api", False))
    facts: dict[str, Any] = {type(fact).__name__: fact for fact in result.facts}
    assert len(facts) == len(result.facts) <= 1
    kinds = {"PaymentFact": "payment", "RefundFact": "refund"}
    assert expected["object"] == (kinds[next(iter(facts))] if facts else "none")
    for name, value in expected.items():
        if name not in ("object", "must_verify_by_api"):
            assert holds(name, value, result, facts), name


def holds(name: str, value: Any, result: WebhookResult, facts: dict[str, Any]) -> bool:
    """Whether one line of ``expected`` is true of a delivery's reading. An unknown line is a ``KeyError``."""
    payment: PaymentFact | None = facts.get("PaymentFact")
    refund: RefundFact | None = facts.get("RefundFact")
    paid: Any = payment and payment.outcome
    if name == "payment_state":
        return payment is None if value == "unchanged" else STATES[type(paid)] == value
    if name == "action":
        return bool(result.action == {"verify_then_apply": "apply"}.get(value, value))
    if name == "event_type" and value is None:
        return result.event_type == "refund"  # our own name: this delivery has none
    if name == "refund_amount":
        assert refund is not None
        if refund.amount is None:  # no currency in the delivery, so no money: only what is kept
            return Decimal((refund.response or {})["AmountRefunded"]) == Decimal(value)
        return same_amount(refund.amount, value)
    simple: dict[str, Any] = {
        "event_id": result.event_id,
        "event_type": result.event_type,
        "dedupe_key": result.dedupe_key,
    }
    if payment:
        simple["provider_payment_id"] = payment.provider_transaction_id
        simple["merchant_reference"] = payment.reference
    if refund:
        simple["provider_payment_id"] = refund.provider_transaction_id
        simple["refund_state"] = refund.state
        simple["refund_id"] = refund.provider_refund_id
    if name in simple:
        return bool(simple[name] == value)
    if isinstance(paid, Declined | Pending):
        # No fee of money that did not move, no money of a decline; what the delivery said of them is kept.
        said = (paid.response or {})[{"fee": "app_fee"}.get(name, name)]
        return said == value if name == "currency" or value is None else Decimal(said) == Decimal(value)
    amount = paid.amount if paid else refund and refund.amount
    if name == "currency":
        return bool((amount.currency if amount else None) == value)
    return same_amount({"amount": amount, "fee": paid and paid.fee, "charged": paid and paid.charged}[name], value)


# ── Answers ──


@named(FILES.responses)
async def test_answer_is_read(entry: dict[str, Any]) -> None:
    expected, http, content = entry["expected"], entry["http"], FILES.content(entry)
    transport = Fixed((http["status"], content))
    provider, wire = handler(transport), parse_json(content)
    path = http["path"].removeprefix("/v3")
    call = f"{http['method']} {http['path']}"
    outcome: Any
    if "credential_check" in expected:
        test = await provider.test_credentials()
        assert test.ok is (expected["credential_check"] == "ok")
        assert test.environment is (Environment.sandbox if test.ok else None)
        assert transport.calls == ["GET /v3/balances", "POST /v3/payments"][: 2 if test.ok else 1]
        if test.ok:
            return
        transport.requests.clear()
        outcome = await provider.refund_payment(RefundParams("r-1", "p-1", "1", Money(100, "NGN"), True))
    elif path.startswith("/transactions/fee"):
        # No verb asks for a fee; the handler's arithmetic must read one.
        assert same_amount(fee_from_wire(wire["data"]["fee"], "NGN", 0), expected["fee"])
        assert same_amount(fee_from_wire(wire["data"]["stamp_duty_fee"], "NGN", 0), expected["stamp_duty"])
        assert wire["data"]["currency"] == expected["currency"]
        return
    elif path == "/transactions":
        listed = await provider.list_transactions(1577836800, 1588636800)
        assert isinstance(listed, Page)
        assert len(listed.facts) == expected["count"] == 10
        assert [STATES[type(fact.outcome)] for fact in listed.facts] == expected["states"]
        assert all(isinstance(fact.provider_transaction_id, str) and fact.reference for fact in listed.facts)
        assert wire["meta"]["page_info"]["total_pages"] == expected["total_pages"]
        assert transport.calls == ["GET /v3/transactions?from=2020-01-01&to=2020-05-05&page=1"]
        return
    elif path == "/payments":
        params = CreatePaymentParams(
            "ref-1", "pay-1", Money(7550, "NGN"), Customer("a@example.com"), "https://x.example"
        )
        outcome = await provider.create_payment_intent(params)
    elif path.endswith("/verify"):
        number, reference = path.split("/")[2], expected.get("merchant_reference", "ref-1")
        outcome = await provider.confirm_payment(ConfirmPaymentParams(reference, number, Money(1, "NGN")))
    elif path.startswith("/transactions/verify_by_reference"):
        reference = path.partition("tx_ref=")[2]
        outcome = await provider.confirm_payment(ConfirmPaymentParams(reference, None, Money(1, "NGN")))
    elif path == "/transactions/5708/refund":
        params2 = RefundParams("r-1", "p-1", "5708", Money(500000, "NGN"), True)
        outcome = await provider.refund_payment(params2)
    else:
        assert path.startswith("/charges?type="), "a call that this test does not know"
        outcome = read_charge(Answer(http["status"], wire))
    if transport.calls and "credential_check" not in expected:
        assert transport.calls[0] == call
    for name, value in expected.items():
        if name not in ("object", "credential_check"):
            assert answers(name, value, outcome, wire), name


def answers(name: str, value: Any, outcome: Any, wire: dict[str, Any]) -> bool:
    """Whether one line of ``expected`` is true of an answer's outcome. An unknown line is a ``KeyError``."""
    kept = getattr(outcome, "response", None) or {}
    kept = kept.get("data", kept)
    amount = getattr(outcome, "amount", None)
    if name == "error":
        assert value["retryable"] is False
        unknown = value.get("outcome") == "unknown"
        return outcome.reason == value["category"] and isinstance(outcome, Unknown if unknown else NotSent)
    if name == "payment_state":
        return bool(STATES[type(outcome)] == value)
    if name == "redirect_field":
        return bool(outcome.action.url == wire["data"][value.removeprefix("data.")])
    if name == "next_action":
        action, kind = outcome.action, value.removeprefix("ussd_")
        text = wire["meta"]["authorization"]["redirect" if kind == "redirect" else "note"]
        return bool(action.kind is NextKind(kind) and (action.url or action.instructions) == text)
    if name == "merchant_reference":
        return bool(kept.get("tx_ref") == value)
    if name == "refund_state":
        return bool(STATES[type(outcome)] == value)
    if name in ("provider_payment_id", "refund_id"):
        if value is not None and name == "provider_payment_id" and "tx_id" in kept:
            return bool(str(kept["tx_id"]) == value)
        return bool(outcome.provider_transaction_id == value)
    if name == "currency":
        return bool((amount.currency if amount else None) == value)
    if name == "fee" and not isinstance(outcome, Succeeded):
        # Only money that moved has had a fee taken; what was said of one is kept.
        return value is None or Decimal(str(kept["app_fee"])) == Decimal(value)
    return same_amount({"amount": amount, "refund_amount": amount, "fee": getattr(outcome, "fee", None)}[name], value)


def test_secrets_of_a_fixture_do_not_stay() -> None:
    for entry in FILES.responses:
        outcome = read_charge(Answer(200, parse_json(FILES.content(entry))))
        kept = repr(getattr(outcome, "response", None))
        assert "flw-t1nf" not in kept
        assert "hosted/pay" not in kept
        assert "captcha/verify" not in kept
