"""Every verb of the Paystack handler: the exact bytes that it sends, and what it makes of the answers."""

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
    LookupParams,
    Page,
    PaymentFact,
    ProviderConfig,
    RefundFact,
    RefundLookupParams,
    RefundParams,
)
from polytill.providers.http import Http
from polytill.providers.outcomes import Declined, NeedsAction, NextKind, NotSent, Pending, Reason, Succeeded, Unknown
from polytill.providers.paystack.handler import PaystackProvider

KEY = "sk_test_0123456789abcdef0123456789abcdef01234567"
READ = {"Authorization": f"Bearer {KEY}", "Accept": "application/json"}
WRITE = {**READ, "Content-Type": "application/json"}
NGN = Money(7550, "NGN")


class Script(scripted.Script):
    base = "https://api.paystack.co"


def handler(script: Script) -> PaystackProvider:
    config = ProviderConfig(
        Environment.sandbox, "https://api.paystack.co/", "pk_test_12345678", Secret(KEY), (Secret(KEY),)
    )
    return PaystackProvider(config, Http(script), World())


def ok(data: Any) -> tuple[int, Any]:
    return 200, {"status": True, "message": "ok", "data": data}


def transaction(**changes: Any) -> dict[str, Any]:
    return {
        "id": 4099260516,
        "reference": "ref-000001",
        "status": "success",
        "amount": 7550,
        "requested_amount": 7550,
        "currency": "NGN",
        "fees": 113,
    } | changes


def create(**changes: Any) -> CreatePaymentParams:
    values: dict[str, Any] = {
        "reference": "ref-000001",
        "payment_id": "pay-1",
        "amount": NGN,
        "customer": Customer("ada@example.com", "Ada", "0800"),
        "return_url": "https://shop.example/back?x=1&y=2",
    }
    return CreatePaymentParams(**values | changes)


CONFIRM = ConfirmPaymentParams("ref-000001", None, NGN)


async def confirmed(*answers: tuple[int, Any]) -> Any:
    """What becomes of a payment with these answers."""
    return await handler(Script(*answers)).confirm_payment(CONFIRM)


# ── Payments ──


async def test_create_sends_exactly_this() -> None:
    script = Script(ok({"authorization_url": "https://checkout.paystack.com/abc", "access_code": "abc"}))
    params = create(method="card", metadata={"order": "7", "payment_id": "forged"})
    outcome = await handler(script).create_payment_intent(params)
    assert script.requests == [
        (
            "POST",
            "/transaction/initialize",
            WRITE,
            b'{"email":"ada@example.com","amount":7550,"currency":"NGN","reference":"ref-000001",'
            b'"callback_url":"https://shop.example/back?x=1&y=2","metadata":{"order":"7","payment_id":"pay-1",'
            b'"cancel_action":"https://shop.example/back?x=1&y=2"},"channels":["card"]}',
        )
    ]
    assert isinstance(outcome, NeedsAction)
    assert outcome.action is not None
    assert (outcome.action.kind, outcome.action.url) == (NextKind.redirect, "https://checkout.paystack.com/abc")
    assert outcome.action.provider_token == Secret("abc")
    assert outcome.response == {"authorization_url": "[removed]", "access_code": "[removed]"}


@pytest.mark.parametrize(
    ("amount", "wire"),
    [(Money(1000, "XOF"), 100000), (Money(1, "RWF"), 100), (Money(5, "NGN"), 5), (Money(10**15, "NGN"), 10**15)],
)
async def test_every_amount_is_times_a_hundred(amount: Money, wire: int) -> None:
    script = Script(ok({"authorization_url": "https://x"}), ok({"id": 1, "amount": wire, "status": "pending"}))
    provider = handler(script)
    await provider.create_payment_intent(create(amount=amount))
    await provider.refund_payment(RefundParams("re-1", "ref-1", "5", amount, True))
    for _, _, _, body in script.requests:
        assert f'"amount":{wire},"currency":"{amount.currency}"'.encode() in (body or b"")


async def test_an_amount_finer_than_the_wire_is_never_sent() -> None:
    script = Script()
    fine = Money(1234, "KWD")
    outcomes = [
        await handler(script).create_payment_intent(create(amount=fine)),
        await handler(script).refund_payment(RefundParams("re-1", "ref-1", "5", fine, True)),
    ]
    assert not script.requests
    for outcome in outcomes:
        assert isinstance(outcome, NotSent)
        assert outcome.reason is Reason.validation
        assert "1.234 KWD" in (outcome.detail or "")


async def test_verify_is_confirm_and_lookup() -> None:
    script = Script(ok(transaction()), ok(transaction(status="abandoned")))
    paid = await handler(script).confirm_payment(CONFIRM)
    open_ = await handler(script).lookup_payment(LookupParams("ref-000001", None, NGN))
    assert script.requests == [("GET", "/transaction/verify/ref-000001", READ, None)] * 2
    assert isinstance(paid, Succeeded)
    assert (paid.amount, paid.fee, paid.charged) == (NGN, Money(113, "NGN"), None)
    assert paid.provider_transaction_id == "4099260516"
    assert isinstance(open_, NeedsAction)
    assert open_.action is None


async def test_a_reference_cannot_leave_its_place_in_the_path() -> None:
    script = Script((404, {"status": False, "message": "Transaction reference not found"}))
    await handler(script).lookup_payment(LookupParams("../balance?x=1#", None, NGN))
    assert script.requests[0][1] == "/transaction/verify/..%2Fbalance%3Fx%3D1%23"


async def test_an_answer_about_another_reference_is_not_believed() -> None:
    outcome = await confirmed(ok(transaction(reference="ref-000002")))
    assert outcome == Unknown(Reason.unreadable, None, "Paystack answered about another reference.")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("success", Succeeded),
        ("reversed", Succeeded),
        ("abandoned", NeedsAction),
        ("ongoing", Pending),
        ("pending", Pending),
        ("processing", Pending),
        ("queued", Pending),
        ("failed", Declined),
        ("Success", Unknown),
        ("", Unknown),
        (None, Unknown),
    ],
)
async def test_statuses(status: Any, kind: type) -> None:
    outcome = await confirmed(ok(transaction(status=status)))
    assert type(outcome) is kind


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Insufficient Funds", Reason.insufficient_funds),
        ("Expired Card", Reason.expired_card),
        ("Incorrect PIN", Reason.incorrect_details),
        ("Declined", Reason.declined),
    ],
)
async def test_a_decline_leaves_the_link_open(text: str, reason: Reason) -> None:
    outcome = await confirmed(ok(transaction(status="failed", gateway_response=text)))
    assert isinstance(outcome, Declined)
    assert (outcome.reason, outcome.final, outcome.code) == (reason, False, text)


@pytest.mark.parametrize("amount", [75.5, "75.5", None, [], {}, True, "x", ""])
async def test_a_success_without_a_readable_amount_is_unknown(amount: Any) -> None:
    outcome = await confirmed(ok(transaction(amount=amount, requested_amount=None)))
    assert isinstance(outcome, Unknown)


# ── Refunds ──


def refund(**changes: Any) -> dict[str, Any]:
    return {"id": 3018284, "transaction": 4099260516, "status": "pending", "amount": 5000, "currency": "NGN"} | changes


LOST = RefundLookupParams("re-1", "ref-000001", "4099260516", None, Money(5000, "NGN"), False)


async def test_refund_sends_exactly_this() -> None:
    script = Script(ok(refund()))
    params = RefundParams("re-1", "ref-000001", "4099260516", Money(5000, "NGN"), False, "Out of stock")
    outcome = await handler(script).refund_payment(params)
    assert script.requests == [
        (
            "POST",
            "/refund",
            WRITE,
            b'{"transaction":"4099260516","amount":5000,"currency":"NGN",'
            b'"merchant_note":"polytill refund re-1","customer_note":"Out of stock"}',
        )
    ]
    assert isinstance(outcome, Pending)
    assert (outcome.amount, outcome.provider_transaction_id) == (Money(5000, "NGN"), "3018284")


async def test_refund_without_a_number_names_the_reference() -> None:
    script = Script(ok(refund()))
    await handler(script).refund_payment(RefundParams("re-1", "ref-000001", None, NGN, True))
    assert b'"transaction":"ref-000001"' in (script.requests[0][3] or b"")


async def test_a_refund_whose_number_is_known_is_asked_for() -> None:
    script = Script(ok(refund(status="processed")))
    params = RefundLookupParams("re-1", "ref-000001", None, "3018284", NGN, False)
    outcome = await handler(script).lookup_refund(params)
    assert script.requests == [("GET", "/refund/3018284", READ, None)]
    assert isinstance(outcome, Succeeded)


async def test_a_lost_refund_is_found_by_its_whole_note() -> None:
    others = [
        refund(id=1, merchant_note="polytill refund re-10"),
        refund(id=2, merchant_note=None),
        refund(id=3, merchant_note="Refund for transaction X by test@me.com"),
        "not an object",
    ]
    ours = refund(id=4, status="failed", merchant_note="polytill refund re-1")
    script = Script(ok(others), ok([*others, ours]))
    missing = await handler(script).lookup_refund(LOST)
    found = await handler(script).lookup_refund(LOST)
    assert script.requests == [("GET", "/refund?transaction=4099260516&perPage=100&page=1", READ, None)] * 2
    assert missing == NotSent(Reason.not_found, None, "The transaction has no such refund.")
    assert isinstance(found, Declined)
    assert found.provider_transaction_id == "4"


async def test_a_lost_refund_of_a_transaction_without_number_stays_unknown() -> None:
    script = Script()
    params = RefundLookupParams("re-1", "ref-000001", None, None, NGN, False)
    assert isinstance(await handler(script).lookup_refund(params), Unknown)
    assert not script.requests


async def test_a_refund_on_a_later_page_is_found() -> None:
    """Pages may be shorter than was asked for; how many there are is told."""
    ours = refund(id=4, merchant_note="polytill refund re-1")
    first, second = ({"status": True, "data": [row], "meta": {"pageCount": 2}} for row in (refund(id=1), ours))
    script = Script((200, first), (200, second))
    outcome = await handler(script).lookup_refund(LOST)
    assert isinstance(outcome, Pending)
    assert outcome.provider_transaction_id == "4"
    assert [path for _, path, _, _ in script.requests][1].endswith("&page=2")
    script = Script((200, first), (200, {**second, "data": [refund(id=2)]}))
    assert isinstance(await handler(script).lookup_refund(LOST), NotSent)
    endless = Script(*[(200, {**first, "meta": {"pageCount": 10**6}})] * 60)
    assert isinstance(await handler(endless).lookup_refund(LOST), Unknown)


@pytest.mark.parametrize("named", [7, {"id": 7}])
async def test_a_refund_of_another_transaction_is_not_ours(named: Any) -> None:
    other = refund(id=4, merchant_note="polytill refund re-1", transaction=named)
    assert isinstance(await handler(Script(ok([other]))).lookup_refund(LOST), NotSent)
    ours = {**other, "transaction": {"id": 4099260516} if isinstance(named, dict) else 4099260516}
    assert isinstance(await handler(Script(ok([ours]))).lookup_refund(LOST), Pending)


async def test_an_answer_about_another_refund_is_not_believed() -> None:
    params = RefundLookupParams("re-1", "ref-000001", None, "3018285", NGN, False)
    outcome = await handler(Script(ok(refund(status="processed")))).lookup_refund(params)
    assert outcome == Unknown(Reason.unreadable, detail="Paystack answered about another refund.")


async def test_a_refund_that_paid_a_dispute_names_it() -> None:
    """It is the same money as the lost dispute, and booked once; a refund that anybody may have made is another one."""
    rows = [refund(id=1, dispute=20, status="processed"), refund(id=2, dispute=None, status="processed")]
    page = await handler(Script(ok(rows))).list_refunds(1, 2)
    assert isinstance(page, Page)
    assert [(fact.provider_refund_id, fact.provider_dispute_id) for fact in page.facts] == [("1", "20"), ("2", None)]
    anyones = RefundLookupParams("", "ref-000001", "4099260516", None, Money(5000, "NGN"), False)
    found = await handler(Script(ok(rows))).lookup_refund(anyones)
    assert isinstance(found, Succeeded)
    assert found.provider_transaction_id == "2"


@pytest.mark.parametrize(
    "answer", [(500, {}), (502, {"status": False}), (200, {"status": True}), (200, {"status": True, "data": {}})]
)
async def test_a_refund_list_that_cannot_be_read_proves_nothing(answer: tuple[int, Any]) -> None:
    assert isinstance(await handler(Script(answer)).lookup_refund(LOST), Unknown)


# ── Listing, keys, errors ──


async def test_list_transactions() -> None:
    script = Script(ok([transaction(metadata='{"payment_id":"pay-1"}'), 7, transaction(id=2, metadata=0)]))
    facts = await handler(script).list_transactions(1795378150, 1795464550, "3")
    assert script.requests == [
        ("GET", "/transaction?from=2026-11-22T20%3A09%3A10Z&to=2026-11-23T20%3A09%3A10Z&perPage=100&page=3", READ, None)
    ]
    assert isinstance(facts, Page)
    assert [(fact.reference, fact.provider_transaction_id, fact.metadata) for fact in facts.facts] == [
        ("ref-000001", "4099260516", {"payment_id": "pay-1"}),
        ("ref-000001", "2", None),
    ]


async def test_credentials() -> None:
    needed = (400, {"status": False, "message": "Invalid Email Address Passed"})
    script = Script(
        ok([{"currency": "NGN"}, {"currency": "USD"}]), needed, (401, {"message": "Invalid key"}), ok(5), needed
    )
    right = await handler(script).test_credentials()
    wrong = await handler(script).test_credentials()
    odd = await handler(script).test_credentials()
    # The initialize has none of the parameters that Paystack requires: nothing can come of it.
    asked, sent = ("GET", "/balance", READ, None), ("POST", "/transaction/initialize", WRITE, b"{}")
    assert script.requests == [asked, sent, asked, asked, sent]
    assert (right.ok, right.environment) == (True, Environment.sandbox)
    assert "NGN, USD" in right.detail
    assert (wrong.ok, wrong.environment) == (False, None)
    assert odd.ok


@pytest.mark.parametrize(
    ("status", "data", "kind", "reason"),
    [
        (401, {"message": "Invalid key", "code": "invalid_Key"}, NotSent, Reason.config),
        (403, {"message": "Currency not supported by merchant"}, NotSent, Reason.currency_not_supported),
        (403, {"message": "No"}, NotSent, Reason.config),
        (400, {"status": False, "message": "Invalid email"}, NotSent, Reason.validation),
        (400, {"message": "Transaction reference not found"}, NotSent, Reason.not_found),
        (404, {"code": "transaction_not_found"}, NotSent, Reason.not_found),
        (404, {"message": "Transaction not found"}, NotSent, Reason.not_found),
        (400, {"status": False, "data": {"id": 1, "status": "pending"}}, NotSent, Reason.validation),
        (422, {"message": "Refund is not in needs-attention"}, NotSent, Reason.invalid_state),
        (400, {"code": "duplicate_reference"}, Unknown, Reason.duplicate),
        (500, {"status": False, "message": "Internal"}, Unknown, Reason.provider_unavailable),
        (503, {}, Unknown, Reason.provider_unavailable),
        (200, {}, Unknown, Reason.unreadable),
        (302, {}, Unknown, Reason.unreadable),
    ],
)
async def test_errors(status: int, data: Any, kind: type, reason: Reason) -> None:
    script = Script((status, data), (status, data), (status, data))
    provider = handler(script)
    for outcome in (
        await provider.create_payment_intent(create()),
        await provider.confirm_payment(CONFIRM),
        await provider.refund_payment(RefundParams("re-1", "ref-000001", "1", NGN, True)),
    ):
        assert type(outcome) is kind
        assert outcome.reason is reason  # type: ignore[union-attr]


# ── Deliveries, and what is declared ──


def body(event: str, **data: Any) -> bytes:
    return json.dumps({"event": event, "data": data}).encode()


def test_a_refund_event_carries_our_reference_back() -> None:
    note = "polytill refund re-1 by staff@example.com"
    delivery = body(
        "refund.processed", amount="5000", currency="NGN", transaction_reference="ref-000001", merchant_note=note
    )
    (fact,) = handler(Script()).process_webhook(delivery).facts
    assert isinstance(fact, RefundFact)
    assert (fact.reference, fact.payment_reference, fact.state) == ("re-1", "ref-000001", "succeeded")


@pytest.mark.parametrize(
    "delivery",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"\xff",
        b'{"event":7,"data":{}}',
        b'{"event":"charge.success"}',
        b'{"event":"charge.success","data":[]}',
        body("charge.success", amount=1, currency="NGN", status="success"),
        body("refund.failed", amount=True, currency="NGN"),
        body("refund.failed", amount=1, currency="XXX"),
        body("charge.dispute.create", currency="NGN", refund_amount=100),
    ],
)
def test_a_delivery_that_cannot_be_read_is_a_value_error(delivery: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        handler(Script()).process_webhook(delivery)


@pytest.mark.parametrize("customer", [None, "x", 7, ["domain"], {"domain": ["live"]}])
def test_a_strange_customer_does_not_stand_in_the_way(customer: Any) -> None:
    delivery = body("charge.success", id=1, amount=1, currency="NGN", status="success", customer=customer)
    assert handler(Script()).process_webhook(delivery).environment is None


@pytest.mark.parametrize("value", [None, True, "", [], {"a": 1}, 1.5])
def test_what_names_nothing_is_no_name(value: Any) -> None:
    provider, money = handler(Script()), {"amount": 100, "currency": "NGN"}
    paid = body("charge.success", **money, id=value, reference="ref-1", status="success", metadata="{not json")
    (fact,) = provider.process_webhook(paid).facts
    assert isinstance(fact, PaymentFact)
    assert (fact.provider_transaction_id, fact.reference, fact.metadata) == (None, "ref-1", None)
    named = body("charge.success", **money, id=1, reference=value, status="success")
    (fact,) = provider.process_webhook(named).facts
    assert isinstance(fact, PaymentFact)
    assert (fact.provider_transaction_id, fact.reference) == ("1", None)
    returned = body("refund.processed", **money, id=value, transaction_reference=value)
    (refunded,) = provider.process_webhook(returned).facts
    assert isinstance(refunded, RefundFact)
    assert (refunded.provider_refund_id, refunded.payment_reference) == (None, None)


def test_a_capture_is_worth_what_was_captured() -> None:
    delivery = body(
        "preauthorization.capture.success", id=1, amount=1000, captured_amount="700", currency="ZAR", reference="r"
    )
    (fact,) = handler(Script()).process_webhook(delivery).facts
    assert isinstance(fact, PaymentFact)
    assert isinstance(fact.outcome, Succeeded)
    assert fact.outcome.amount == Money(700, "ZAR")


def test_later_states_of_one_refund_have_their_own_keys() -> None:
    keys = {
        handler(Script())
        .process_webhook(body(f"refund.{state}", amount=100, currency="NGN", transaction_reference="r"))
        .dedupe_key
        for state in ("pending", "processing", "processed", "failed", "needs-attention")
    }
    assert len(keys) == 5


def test_a_previous_key_still_opens_during_rotation() -> None:
    delivery = body("charge.success", id=1)
    from polytill.providers.signing import hex_hmac

    headers = {"X-PAYSTACK-SIGNATURE": hex_hmac("sk_test_old", delivery, "sha512")}
    config = ProviderConfig(
        Environment.sandbox, "https://api.paystack.co", webhook_secrets=(Secret(KEY), Secret("sk_test_old"))
    )
    provider = PaystackProvider(config, Http(Script()), World())
    assert provider.validate_webhook(headers, delivery)
    assert not provider.validate_webhook(headers, delivery + b" ")
    assert not handler(Script()).validate_webhook(headers, delivery)
    nobody = ProviderConfig(Environment.sandbox, "https://api.paystack.co", webhook_secrets=(Secret(""),))
    empty = {"x-paystack-signature": hex_hmac("", delivery, "sha512")}
    assert not PaystackProvider(nobody, Http(Script()), World()).validate_webhook(empty, delivery)


def test_what_is_declared() -> None:
    assert PaystackProvider.idempotency == "reference"
    provider = handler(Script())
    assert provider.get_public_config() == {"publicKey": "pk_test_12345678"}
    assert KEY not in repr(provider)
    assert KEY not in repr(provider.config)
