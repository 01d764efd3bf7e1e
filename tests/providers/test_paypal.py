"""PayPal: every fixture as it is, the exact bytes of each call, approvals that must be captured once, signatures."""

import base64
import hashlib
import json
from datetime import datetime
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
    ConfirmPaymentParams,
    CreatePaymentParams,
    Customer,
    DisputeFact,
    LookupParams,
    OperationParams,
    PaymentFact,
    ProviderConfig,
    RefundFact,
    RefundLookupParams,
    RefundParams,
)
from polytill.providers.http import Http
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Pending, Reason, Succeeded, Unknown
from polytill.providers.paypal.handler import PayPalProvider

FILES = FixtureFiles("paypal")
SIGNED = json.loads((FILES.root / "signed/PAYMENT.CAPTURE.COMPLETED.valid.json").read_text())
CERTIFICATE = (FILES.root / "certs/cert.pem").read_bytes()

BASE = "https://api-m.sandbox.paypal.com"
TOKEN = (200, {"access_token": "tok-1", "token_type": "Bearer", "expires_in": 32400})
ORDER = "5O190127TN364715T"
USD = Money(10_000, "USD")
SIGNED_AT = datetime.fromisoformat("2026-11-22T20:09:10+00:00").timestamp()


class Script(scripted.Script):
    base = BASE

    @property
    def calls(self) -> list[str]:
        """The calls behind the access tokens."""
        return [call for call in super().calls if "oauth2" not in call]


def handler(*answers: tuple[int, Any], webhook_id: str = "8PT597110X687430LKGECATA") -> tuple[PayPalProvider, Script]:
    script = Script(TOKEN, *answers)
    config = ProviderConfig(
        Environment.sandbox, BASE, "client-0123456789", Secret("secret-0123456789"), (Secret(webhook_id),)
    )
    return PayPalProvider(config, Http(script), World(time_s=lambda: SIGNED_AT)), script


def create(**changes: Any) -> CreatePaymentParams:
    values: dict[str, Any] = {
        "reference": "ref-000001",
        "payment_id": "pay-1",
        "amount": USD,
        "customer": Customer(),
        "return_url": "https://shop.example/back",
    }
    return CreatePaymentParams(**values | changes)


def order(status: str = "COMPLETED", intent: str = "CAPTURE", **payments: Any) -> dict[str, Any]:
    unit = {"custom_id": "ref-000001", "amount": {"currency_code": "USD", "value": "100.00"}, "payments": payments}
    link = {"rel": "payer-action", "href": f"https://www.sandbox.paypal.com/checkoutnow?token={ORDER}"}
    return {"id": ORDER, "status": status, "intent": intent, "purchase_units": [unit], "links": [link]}


def part(status: str, part_id: str = "CAP1", value: str = "100.00", **more: Any) -> dict[str, Any]:
    return {"id": part_id, "status": status, "amount": {"currency_code": "USD", "value": value}, **more}


def refused(issue: str, status: int = 422) -> tuple[int, Any]:
    return status, {"name": "UNPROCESSABLE_ENTITY", "details": [{"issue": issue}], "message": "no"}


ASK = ConfirmPaymentParams("ref-000001", ORDER, USD)
PAID, HELD = order(captures=[part("COMPLETED")]), order(authorizations=[part("CREATED", "AUTH1")])


# ── Signatures ──


@pytest.mark.parametrize(
    "delivery", [json.loads(p.read_text()) for p in FILES.signed], ids=[p.stem for p in FILES.signed]
)
async def test_signed_delivery(delivery: dict[str, Any]) -> None:
    body = base64.b64decode(delivery["body_b64"])
    assert hashlib.sha256(body).hexdigest() == delivery["body_sha256"]
    provider, script = handler(webhook_id=delivery["webhook_id"])
    script.answers = [(200, (FILES.root / delivery["cert_file"]).read_bytes())]
    assert not provider.validate_webhook(delivery["headers"], body), "without a certificate nothing is believed"
    await provider.fetch_webhook_key(delivery["headers"])
    assert provider.validate_webhook(delivery["headers"], body) is (delivery["expect"] == "accept")
    foreign = delivery["variant"] in ("attacker_cert_host", "http_cert_url")
    assert len(script.requests) == (0 if foreign else 1), "a certificate is fetched from PayPal over https only"
    assert all("Authorization" not in headers for _, _, headers, _ in script.requests)
    other, script = handler(webhook_id="OTHERWEBHOOKID00")
    script.answers = [(200, (FILES.root / delivery["cert_file"]).read_bytes())]
    await other.fetch_webhook_key(delivery["headers"])
    assert not other.validate_webhook(delivery["headers"], body)


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({}, (404, b"")),
        ({}, (200, b"<html>")),
        ({}, (200, b"")),
        ({"PAYPAL-AUTH-ALGO": "none"}, None),
        ({"PAYPAL-TRANSMISSION-TIME": "2026-11-22T20:09:11Z"}, None),
        ({"PAYPAL-TRANSMISSION-SIG": "%%"}, None),
    ],
)
async def test_a_bad_certificate_or_header_is_refused(changed: dict[str, str], answer: Any) -> None:
    headers, provider = {**SIGNED["headers"], **changed}, handler()[0]
    provider.http = Http(Script(answer or (200, CERTIFICATE)))
    await provider.fetch_webhook_key(headers)
    assert not provider.validate_webhook(headers, base64.b64decode(SIGNED["body_b64"]))


@pytest.mark.parametrize(
    "url",
    [
        "https://community.paypal.com/v1/notifications/certs/CERT-1",  # where others may write
        "https://www.paypal.com/logout?x=1",
        "https://api.paypal.com/v1/notifications/certs/CERT-1?x=1",
        "https://api.paypal.com/v1/notifications/certs/../../oauth2/token",
        "https://api.paypal.com/v1/notifications/webhooks",
        "https://api.paypal.com:8443/v1/notifications/certs/CERT-1",
        "https://api.paypal.com@evil.example/v1/notifications/certs/CERT-1",
        "https://a..paypal.com/v1/notifications/certs/CERT-1",
        f"https://{'a' * 70}.paypal.com/v1/notifications/certs/CERT-1",
    ],
)
async def test_nobody_is_asked_for_a_certificate_elsewhere(url: str) -> None:
    headers, (provider, script) = {**SIGNED["headers"], "PAYPAL-CERT-URL": url}, handler()
    script.answers = [(200, CERTIFICATE)]
    await provider.fetch_webhook_key(headers)
    assert script.requests == []
    assert not provider.validate_webhook(headers, base64.b64decode(SIGNED["body_b64"]))


async def test_a_certificate_in_a_page_is_none() -> None:
    provider, script = handler(webhook_id=SIGNED["webhook_id"])
    script.answers = [(200, b"<p>No results for " + CERTIFICATE)]
    await provider.fetch_webhook_key(SIGNED["headers"])
    assert not provider.validate_webhook(SIGNED["headers"], base64.b64decode(SIGNED["body_b64"]))


async def test_a_certificate_is_asked_for_once_and_only_for_what_can_be_signed() -> None:
    first, script = handler(webhook_id=SIGNED["webhook_id"])
    script.answers = [(200, CERTIFICATE)]
    for missing in ("ID", "TIME", "SIG"):
        rest = {name: value for name, value in SIGNED["headers"].items() if name != f"PAYPAL-TRANSMISSION-{missing}"}
        await first.fetch_webhook_key(rest)
    assert script.requests == []
    await first.fetch_webhook_key(SIGNED["headers"])
    again = PayPalProvider(first.config, first.http, first.world)
    await again.fetch_webhook_key(SIGNED["headers"])
    assert again.validate_webhook(SIGNED["headers"], base64.b64decode(SIGNED["body_b64"]))
    assert len(script.requests) == 1


async def test_an_expired_certificate_is_refused() -> None:
    provider, script = handler()
    script.answers, provider.world = ([(200, CERTIFICATE)], World(time_s=lambda: 2_100_000_000))
    await provider.fetch_webhook_key(SIGNED["headers"])
    assert not provider.validate_webhook(SIGNED["headers"], base64.b64decode(SIGNED["body_b64"]))


# ── Deliveries ──


@named(FILES.webhooks)
def test_delivery_is_read(entry: dict[str, Any]) -> None:
    body, expected = FILES.body(entry), entry["expected"]
    result = handler()[0].process_webhook(body)
    assert (result.event_id, result.dedupe_key, result.event_type) == (
        expected["event_id"],
        expected["dedupe_key"],
        expected["event_type"],
    )
    [fact] = result.facts
    assert isinstance(fact, PaymentFact)
    outcome: Any = fact.outcome
    assert to_major(outcome.amount.minor, outcome.amount.currency) == Decimal(expected["amount"])
    if expected["action"] == "capture_now":
        # Asking how the order stands is what captures it.
        assert (type(outcome), result.must_fetch) == (NeedsAction, True)
        assert fact.provider_transaction_id == expected["order_id"]
        return
    assert (type(outcome), result.must_fetch, result.action) == (Succeeded, False, "apply")
    assert to_major(outcome.fee.minor, "USD") == Decimal(expected["fee"])
    assert fact.provider_transaction_id == expected["provider_payment_id"]


def told(kind: str, resource: dict[str, Any]) -> Any:
    body = json.dumps({"id": "WH-1", "event_type": kind, "resource": resource}).encode()
    result = handler()[0].process_webhook(body)
    return result.facts[0] if result.facts else result


def test_a_capture_is_told_under_its_order() -> None:
    named = {"supplementary_data": {"related_ids": {"order_id": ORDER}}, "custom_id": "ref-000001"}
    fact = told("PAYMENT.CAPTURE.COMPLETED", part("COMPLETED", **named))
    assert (fact.reference, fact.provider_transaction_id, fact.outcome.provider_transaction_id) == (
        "ref-000001",
        ORDER,
        ORDER,
    )
    # Without the order, the capture's own id must not take the place of the order's.
    fact = told("PAYMENT.CAPTURE.COMPLETED", part("COMPLETED", custom_id="ref-000001"))
    assert (fact.reference, fact.provider_transaction_id, fact.outcome.provider_transaction_id) == (
        "ref-000001",
        None,
        None,
    )


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("PAYMENT.CAPTURE.PENDING", "PENDING", Pending),
        ("PAYMENT.CAPTURE.DENIED", "DECLINED", Declined),
        ("PAYMENT.AUTHORIZATION.CREATED", "CREATED", Succeeded),
        ("PAYMENT.AUTHORIZATION.VOIDED", "VOIDED", Declined),
    ],
)
def test_payments_are_told(kind: str, status: str, expected: type) -> None:
    fact = told(kind, part(status, custom_id="ref-000001"))
    assert isinstance(fact, PaymentFact)
    assert type(fact.outcome) is expected
    assert getattr(fact.outcome, "authorized_only", None) in (None, "AUTHORIZATION" in kind)


def test_a_refund_names_its_capture_in_a_link() -> None:
    links = [{"rel": "up", "href": f"{BASE}/v2/payments/captures/CAP1"}]
    fact = told("PAYMENT.CAPTURE.REFUNDED", part("COMPLETED", "REF1", "40.00", invoice_id="re-1", links=links))
    assert isinstance(fact, RefundFact)
    assert (fact.state, fact.reference, fact.provider_refund_id, fact.provider_charge_id, fact.amount) == (
        "succeeded",
        "re-1",
        "REF1",
        "CAP1",
        Money(4_000, "USD"),
    )


def test_disputes_and_the_rest() -> None:
    about = [{"seller_transaction_id": "CAP1", "custom": "ref-000001"}]
    resource = {
        "dispute_id": "PP-D-1",
        "status": "RESOLVED",
        "disputed_transactions": about,
        "dispute_outcome": {"outcome_code": "RESOLVED_BUYER_FAVOUR"},
    }
    fact = told("CUSTOMER.DISPUTE.RESOLVED", resource)
    assert isinstance(fact, DisputeFact)
    assert (fact.state, fact.payment_reference, fact.provider_charge_id) == ("lost", "ref-000001", "CAP1")
    assert told("BILLING.PLAN.CREATED", {"id": "P-1"}).action == "ignore"


@pytest.mark.parametrize(
    ("end", "given", "state", "amount"),
    [
        ("RESOLVED_BUYER_FAVOUR", "40.00", "lost", 4_000),
        ("RESOLVED_BUYER_FAVOUR", None, "lost", 10_000),
        ("RESOLVED_SELLER_FAVOUR", "40.00", "won", 10_000),
        (None, None, "open", 10_000),
        ("NONE", None, "open", 10_000),
    ],
)
def test_a_lost_dispute_costs_what_was_given_back(end: str | None, given: str | None, state: str, amount: int) -> None:
    resource: dict[str, Any] = {
        "dispute_id": "PP-D-1",
        "status": "UNDER_REVIEW" if state == "open" else "RESOLVED",
        "dispute_amount": {"value": "100.00", "currency_code": "USD"},
        "dispute_outcome": {},
    }
    if end:
        resource["dispute_outcome"]["outcome_code"] = end
    if given:
        resource["dispute_outcome"]["amount_refunded"] = {"value": given, "currency_code": "USD"}
    fact = told("CUSTOMER.DISPUTE.RESOLVED", resource)
    assert isinstance(fact, DisputeFact)
    assert (fact.state, fact.amount) == (state, Money(amount, "USD"))


# ── Creating ──


async def test_create_sends_exactly_this() -> None:
    made = json.loads((FILES.root / "responses/orders.create.payer_action_required.json").read_text())
    provider, script = handler((200, made))
    outcome = await provider.create_payment_intent(create(merchant_name="Boston Dental", description="Visit"))
    assert isinstance(outcome, NeedsAction)
    assert outcome.provider_transaction_id == ORDER
    assert outcome.action is not None
    assert outcome.action.url == f"https://www.sandbox.paypal.com/checkoutnow?token={ORDER}"
    (method, path, headers, body), (_, there, create_headers, _) = script.requests
    assert (method, path, body) == ("POST", "/v1/oauth2/token", b"grant_type=client_credentials")
    shown = base64.b64encode(b"client-0123456789:secret-0123456789").decode()
    assert headers["Authorization"] == f"Basic {shown}"
    assert there == "/v2/checkout/orders"
    assert create_headers == {
        "Authorization": "Bearer tok-1",
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Prefer": "return=representation",
        "PayPal-Request-Id": "ref-000001",
    }
    page = {
        "return_url": "https://shop.example/back",
        "cancel_url": "https://shop.example/back",
        "user_action": "PAY_NOW",
        "brand_name": "Boston Dental",
    }
    assert script.sent() == {
        "intent": "CAPTURE",
        "purchase_units": [
            {
                "reference_id": "ref-000001",
                "custom_id": "ref-000001",
                "description": "Visit",
                "amount": {"currency_code": "USD", "value": "100.00"},
            }
        ],
        "payment_source": {"paypal": {"experience_context": page}},
    }


@pytest.mark.parametrize(
    ("money", "value"),
    [
        (Money(1, "USD"), "0.01"),
        (Money(500, "JPY"), "500"),
        (Money(50_000, "HUF"), "500"),
        (Money(50_000, "TWD"), "500"),
        (Money(50_050, "HUF"), None),
        (Money(1, "TWD"), None),
    ],
)
async def test_decimals_are_paypals(money: Money, value: str | None) -> None:
    provider, script = handler((200, order("CREATED")))
    outcome = await provider.create_payment_intent(create(amount=money))
    if value is None:
        assert isinstance(outcome, NotSent)
        assert script.requests == []
    else:
        assert script.sent()["purchase_units"][0]["amount"]["value"] == value


async def test_bad_keys() -> None:
    provider, script = handler()
    body = json.loads((FILES.root / "responses/error.invalid_client.json").read_text())
    script.answers = [(401, body), (401, body)]
    assert not (await provider.test_credentials()).ok
    outcome = await provider.create_payment_intent(create())
    assert isinstance(outcome, NotSent)
    assert outcome.reason is Reason.config


# ── Asking, and capturing what was approved ──


async def test_an_approved_order_is_captured_once() -> None:
    captured = json.loads((FILES.root / "responses/orders.capture.completed.json").read_text())
    provider, script = handler((200, order("APPROVED")), (201, captured))
    outcome = await provider.confirm_payment(ASK)
    assert isinstance(outcome, Succeeded)
    assert (outcome.amount, outcome.fee, outcome.provider_transaction_id) == (USD, Money(300, "USD"), ORDER)
    assert script.calls == [f"GET /v2/checkout/orders/{ORDER}", f"POST /v2/checkout/orders/{ORDER}/capture"]
    assert "PayPal-Request-Id" not in script.requests[-1][2], "the first decline would be replayed"


async def test_somebody_else_was_faster() -> None:
    body = json.loads((FILES.root / "responses/error.already_captured.json").read_text())
    provider, script = handler((200, order("APPROVED")), (422, body), (200, PAID))
    assert isinstance(await provider.confirm_payment(ASK), Succeeded)
    assert len(script.calls) == 3


async def test_a_declined_instrument_may_be_changed() -> None:
    provider, _ = handler((200, order("APPROVED")), refused("INSTRUMENT_DECLINED"))
    outcome = await provider.confirm_payment(ASK)
    assert isinstance(outcome, Declined)
    assert not outcome.final
    provider, _ = handler((200, order("APPROVED")), refused("PAYER_ACTION_REQUIRED"))
    again = await provider.confirm_payment(ASK)
    assert isinstance(again, NeedsAction)
    assert again.action is not None


async def test_manual_capture_holds_then_takes() -> None:
    provider, script = handler((200, order("APPROVED", "AUTHORIZE")), (201, HELD))
    outcome = await provider.confirm_payment(ASK)
    assert isinstance(outcome, Succeeded)
    assert outcome.authorized_only
    assert script.calls[-1].endswith("/authorize")
    provider, script = handler((200, HELD), (201, part("COMPLETED", "CAP1", "40.00")))
    taken = await provider.capture_payment(OperationParams("op-1", "ref-000001", ORDER, Money(4_000, "USD")))
    assert isinstance(taken, Succeeded)
    assert (taken.amount, taken.provider_transaction_id) == (Money(4_000, "USD"), ORDER)
    assert script.calls[-1] == "POST /v2/payments/authorizations/AUTH1/capture"
    assert script.sent() == {"final_capture": True, "amount": {"currency_code": "USD", "value": "40.00"}}
    provider, script = handler((200, HELD), (200, part("VOIDED", "AUTH1")))
    void = await provider.cancel_payment(OperationParams("op-2", "ref-000001", ORDER))
    assert isinstance(void, Declined)
    assert (void.final, void.reason) == (True, Reason.canceled)
    provider, script = handler((200, order("PAYER_ACTION_REQUIRED")))
    assert isinstance(await provider.cancel_payment(OperationParams("op-2", "ref-000001", ORDER)), NotSent)


async def test_a_completed_order_can_hold_a_pending_capture() -> None:
    provider, _ = handler((200, order(captures=[part("PENDING", status_details={"reason": "ECHECK"})])))
    assert isinstance(await provider.confirm_payment(ASK), Pending)


async def test_another_payments_order_is_not_ours() -> None:
    other = PAID | {"purchase_units": [{**PAID["purchase_units"][0], "custom_id": "ref-000002"}]}
    provider, _ = handler((200, other))
    assert isinstance(await provider.confirm_payment(ASK), Unknown)


async def test_a_lost_create_is_repeated_under_its_request_id() -> None:
    provider, script = handler((200, order("PAYER_ACTION_REQUIRED")))
    outcome = await provider.lookup_payment(LookupParams("ref-000001", None, USD, create(), 60.0))
    assert isinstance(outcome, NeedsAction)
    assert script.requests[-1][2]["PayPal-Request-Id"] == "ref-000001"
    provider, script = handler()
    late = await provider.lookup_payment(LookupParams("ref-000001", None, USD, create(), 6 * 3600.0))
    assert isinstance(late, NotSent)
    assert (late.reason, script.requests) == (Reason.not_found, [])


# ── Refunds ──


async def test_a_refund_is_of_the_capture() -> None:
    provider, script = handler((200, PAID), (201, part("COMPLETED", "REF1", "40.00")))
    params = RefundParams("re-1", "ref-000001", ORDER, Money(4_000, "USD"), False)
    outcome = await provider.refund_payment(params)
    assert isinstance(outcome, Succeeded)
    assert (outcome.provider_transaction_id, outcome.amount) == ("REF1", Money(4_000, "USD"))
    assert script.calls[-1] == "POST /v2/payments/captures/CAP1/refund"
    assert script.requests[-1][2]["PayPal-Request-Id"] == "re-1"
    assert script.sent() == {
        "amount": {"currency_code": "USD", "value": "40.00"},
        "custom_id": "ref-000001",
        "invoice_id": "re-1",
    }


@pytest.mark.parametrize(
    ("unmarked", "known", "expected"),
    [
        (part("COMPLETED", "REF9"), (), Unknown),
        (part("COMPLETED", "REF9", value="x"), (), Unknown),
        (part("COMPLETED", "REF9"), ("REF9",), NotSent),
        (part("COMPLETED", "REF9", value="1.00"), (), NotSent),
    ],
)
async def test_a_refund_without_our_mark_may_be_the_lost_one(unmarked: Any, known: Any, expected: type) -> None:
    provider, _ = handler((200, order(captures=[part("COMPLETED")], refunds=[unmarked])))
    params = RefundLookupParams("re-1", "ref-000001", ORDER, None, USD, True, known=frozenset(known))
    assert type(await provider.lookup_refund(params)) is expected


async def test_a_lost_refund_is_read_from_the_order() -> None:
    refunds = [part("COMPLETED", "REF0", invoice_id="re-0"), part("FAILED", "REF1", invoice_id="re-1")]
    params = RefundLookupParams("re-1", "ref-000001", ORDER, None, USD, True)
    provider, _ = handler((200, order(captures=[part("COMPLETED")], refunds=refunds)))
    found = await provider.lookup_refund(params)
    assert isinstance(found, Declined)
    assert found.provider_transaction_id == "REF1"
    provider, _ = handler((200, order(captures=[part("COMPLETED")], refunds=refunds[:1])))
    missing = await provider.lookup_refund(params)
    assert isinstance(missing, NotSent)
    assert missing.reason is Reason.not_found
    provider, _ = handler((404, {"name": "RESOURCE_NOT_FOUND"}))
    assert isinstance(await provider.lookup_refund(params), Unknown), "a missing order proves nothing of a refund"
