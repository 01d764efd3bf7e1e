"""Flutterwave v4: its signed fixtures, the exact bytes of each call, next steps, repeats under a key."""

import base64
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.providers.scripted import Script

from polytill.domain.clock import World
from polytill.domain.money import Money, to_major
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import (
    ConfirmPaymentParams,
    CreatePaymentParams,
    Customer,
    LookupParams,
    PaymentFact,
    ProviderConfig,
    RefundFact,
    RefundLookupParams,
    RefundParams,
)
from polytill.providers.flutterwave.v4 import FlutterwaveV4Provider
from polytill.providers.http import Http
from polytill.providers.outcomes import Declined, NeedsAction, NextKind, NotSent, Pending, Reason, Succeeded, Unknown

ROOT = Path(__file__).parents[1] / "fixtures" / "providers" / "flutterwave"
ENTRIES = [e for e in json.loads((ROOT / "INDEX.json").read_text())["entries"] if e["name"].startswith("v4.")]
SIGNED = [json.loads(path.read_text()) for path in sorted((ROOT / "signed").glob("v4.*.json"))]
WORDS = [json.loads(path.read_text()) for path in sorted((ROOT / "signed").glob("charge.*.valid.json"))]
BASE = "https://developersandbox-api.flutterwave.com"
TOKEN = (200, {"access_token": "tok-1", "expires_in": 600})
NGN = Money(7_550, "NGN")
REFERENCE = "ref-000001-000002-000003"


def handler(*answers: tuple[int, Any], word: str = "flw-secret-hash", base: str = BASE) -> Any:
    script = Script(TOKEN, *answers)
    config = ProviderConfig(
        Environment.sandbox, base, "client-0123456789", Secret("secret-0123456789"), (Secret(word),)
    )
    return FlutterwaveV4Provider(config, Http(script), World()), script


def create(**changes: Any) -> CreatePaymentParams:
    values: dict[str, Any] = {
        "reference": REFERENCE,
        "payment_id": "pay-1",
        "amount": NGN,
        "return_url": "https://shop.example/back",
        "customer": Customer("ada@example.com", "Ada Obi", "+254 708 374 149"),
    }
    return CreatePaymentParams(**values | changes)


def charge(status: str = "succeeded", **more: Any) -> tuple[int, Any]:
    data = {"id": "chg_1", "amount": 75.5, "currency": "NGN", "reference": REFERENCE, "status": status, **more}
    return 200, {"status": "success", "message": "ok", "data": data}


def refund(**more: Any) -> dict[str, Any]:
    return {"id": "rfd_1", "charge_id": "chg_1", "amount_refunded": 75.5, "currency": "NGN", "status": "new", **more}


def ok(data: Any) -> tuple[int, Any]:
    return 200, {"status": "success", "data": data}


# ── Deliveries ──


@pytest.mark.parametrize("delivery", SIGNED, ids=lambda one: f"{one['fixture']}.{one['variant']}")
def test_signed_delivery(delivery: dict[str, Any]) -> None:
    body = base64.b64decode(delivery["body_b64"])
    accepted = handler(word=delivery["secret"])[0].validate_webhook(delivery["headers"], body)
    assert accepted is (delivery["expect"] == "accept")
    assert not handler(word=delivery["secret"] + "0")[0].validate_webhook(delivery["headers"], body)


def test_the_word_of_v3_opens_nothing() -> None:
    assert len(WORDS) >= 3
    for delivery in WORDS:
        body = base64.b64decode(delivery["body_b64"])
        assert not handler(word=delivery["secret"])[0].validate_webhook(delivery["headers"], body)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["name"]))
def test_delivery_is_read(entry: dict[str, Any]) -> None:
    result, expected = handler()[0].process_webhook((ROOT / entry["body_file"]).read_bytes()), entry["expected"]
    assert (result.event_id, result.must_fetch) == (expected["event_id"], False)
    [fact] = result.facts
    assert fact.provider_transaction_id == expected["provider_payment_id"]
    if isinstance(fact, RefundFact):
        assert fact.state == expected["refund_state"]
        return
    assert isinstance(fact, PaymentFact)
    assert isinstance(fact.outcome, Succeeded)
    money = fact.outcome.amount
    assert to_major(money.minor, money.currency) == Decimal(expected["amount"])


# ── Creating ──


async def test_create_sends_exactly_this() -> None:
    provider, script = handler(charge("pending", next_action={"type": "requires_requery"}))
    params = create(amount=Money(7_550, "KES"), method="mobile_money", method_details={"provider": "mpesa"})
    assert isinstance(await provider.create_payment_intent(params), Pending)
    token, made = script.requests
    assert token[:2] == ("POST", "https://idp.flutterwave.com/realms/flutterwave/protocol/openid-connect/token")
    assert token[3] == b"client_id=client-0123456789&client_secret=secret-0123456789&grant_type=client_credentials"
    assert made[:2] == ("POST", f"{BASE}/orchestration/direct-charges")
    assert made[2] == {
        "Authorization": "Bearer tok-1",
        "Accept": "application/json",
        "Content-Type": "application/json",
        "X-Idempotency-Key": REFERENCE,
        "X-Trace-Id": REFERENCE,
    }
    assert script.sent() == {
        "amount": 75.5,
        "currency": "KES",
        "reference": REFERENCE,
        "redirect_url": "https://shop.example/back",
        "customer": {
            "email": "ada@example.com",
            "name": {"first": "Ada", "last": "Obi"},
            "phone": {"country_code": "254", "number": "708374149"},
        },
        "payment_method": {
            "type": "mobile_money",
            "mobile_money": {"country_code": "254", "phone_number": "708374149", "network": "MPESA"},
        },
        "meta": {"payment_id": "pay-1"},
    }
    assert b'"amount":75.50' in (made[3] or b"")


async def test_whoever_stands_in_for_the_api_gives_tokens() -> None:
    provider, script = handler(charge("pending"), base="http://127.0.0.1:9/flutterwave_v4")
    await provider.create_payment_intent(create())
    assert script.requests[0][1].startswith("http://127.0.0.1:9/flutterwave_v4/realms/")


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "card"},
        {"amount": Money(100, "KES"), "customer": Customer("a@example.com")},
        {"amount": Money(100, "XOF"), "customer": Customer("a@example.com", phone="0708374149")},
    ],
)
async def test_what_is_refused_here_asks_nobody(changed: dict[str, Any]) -> None:
    provider, script = handler()
    outcome = await provider.create_payment_intent(create(**changed))
    assert isinstance(outcome, NotSent)
    assert (outcome.reason, script.requests) == (Reason.validation, [])


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        ({"type": "redirect_url", "redirect_url": {"url": "https://x.example/3ds"}}, NextKind.redirect),
        ({"type": "payment_instruction", "payment_instruction": {"note": "Dial *889#"}}, NextKind.instructions),
        ({"type": "requires_bank_transfer", "requires_bank_transfer": {"note": "To 0123"}}, NextKind.instructions),
    ],
)
async def test_next_steps(step: dict[str, Any], kind: NextKind) -> None:
    provider, _ = handler(charge("pending", next_action=step))
    outcome = await provider.create_payment_intent(create())
    assert isinstance(outcome, NeedsAction)
    assert outcome.action is not None
    assert outcome.action.kind is kind
    assert outcome.provider_transaction_id == "chg_1"


async def test_a_failed_charge_is_over() -> None:
    provider, _ = handler(charge("failed", processor_response={"type": "insufficient_funds"}))
    outcome = await provider.confirm_payment(ConfirmPaymentParams(REFERENCE, "chg_1", NGN))
    assert isinstance(outcome, Declined)
    assert (outcome.final, outcome.reason) == (True, Reason.insufficient_funds)


# ── Lost answers ──


async def test_a_lost_create_is_repeated_under_its_key_for_an_hour() -> None:
    provider, script = handler(charge("pending"))
    assert isinstance(await provider.lookup_payment(LookupParams(REFERENCE, None, NGN, create(), 60.0)), Pending)
    assert script.requests[-1][2]["X-Idempotency-Key"] == REFERENCE
    provider, script = handler()
    late = await provider.lookup_payment(LookupParams(REFERENCE, None, NGN, create(), 3600.0))
    assert isinstance(late, Unknown)
    assert script.requests == []


async def test_refunds() -> None:
    provider, script = handler(ok(refund()))
    outcome = await provider.refund_payment(RefundParams("re-000001-000002", REFERENCE, "chg_1", NGN, True))
    assert isinstance(outcome, Pending)
    assert (outcome.amount, outcome.provider_transaction_id) == (NGN, "rfd_1")
    assert script.requests[-1][2]["X-Idempotency-Key"] == "re-000001-000002"
    assert script.sent() == {
        "charge_id": "chg_1",
        "amount": 75.5,
        "reason": "requested_by_customer",
        "meta": {"polytill_refund": "re-000001-000002"},
    }


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ([refund(meta={"polytill_refund": "re-1"}, status="completed")], Succeeded),
        ([refund(meta={"polytill_refund": "re-2"})], NotSent),
        ([refund()], Unknown),
        ([refund(amount_refunded=1)], NotSent),
        ([refund(charge_id="chg_2")], NotSent),
        ([], NotSent),
    ],
)
async def test_a_lost_refund_is_looked_for(listed: list[Any], expected: type) -> None:
    provider, _ = handler(ok(listed), *([ok([])] if listed else []))
    found = await provider.lookup_refund(RefundLookupParams("re-1", REFERENCE, "chg_1", None, NGN, True))
    assert type(found) is expected, found


async def test_a_question_that_is_refused_is_no_proof_that_there_is_no_refund() -> None:
    """Nothing is repeated here: the "no" is about the list, also where it is about its second page."""
    lost = RefundLookupParams("re-1", REFERENCE, "chg_1", None, NGN, True)
    for status in (400, 404, 429):
        provider, _ = handler((status, {"status": "failed", "error": {"code": "10400", "message": "No."}}))
        assert isinstance(await provider.lookup_refund(lost), Unknown)
    provider, _ = handler(ok([refund(charge_id="chg_2")]), (404, {"status": "failed", "error": {"message": "No."}}))
    assert isinstance(await provider.lookup_refund(lost), Unknown)


@pytest.mark.parametrize("status", [400, 409, 422])
async def test_a_reference_that_is_taken_proves_nothing(status: int) -> None:
    """If the key is forgotten sooner than we count on, the repeat is refused because the first call has worked."""
    provider, _ = handler((status, {"status": "failed", "error": {"code": "10409", "message": "It exists."}}))
    found = await provider.lookup_payment(LookupParams(REFERENCE, None, NGN, create(), 60.0))
    assert (type(found), found.reason) == (Unknown, Reason.conflict)
