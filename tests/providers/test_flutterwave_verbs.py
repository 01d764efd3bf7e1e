"""Every verb of the Flutterwave handler: the exact bytes that it sends, and what it makes of the answers."""

import base64
import hashlib
import hmac
import json
import re
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
from polytill.providers.flutterwave.reading import read_charge
from polytill.providers.flutterwave.v3 import FlutterwaveProvider
from polytill.providers.http import Answer, Http
from polytill.providers.outcomes import Declined, NeedsAction, NextKind, NotSent, Pending, Reason, Succeeded, Unknown

KEY = "FLWSECK_TEST-0123456789abcdef-X"
WORD = "flw-secret-hash-9f8e7d6c5b4a"
BASE = "https://api.flutterwave.com/v3"
READ = {"Authorization": f"Bearer {KEY}", "Accept": "application/json"}
WRITE = {**READ, "Content-Type": "application/json"}
NGN = Money(7550, "NGN")
NOW = 1795378150  # 2026-11-22T20:09:10Z


class Script(scripted.Script):
    base = BASE

    def paths(self) -> list[str]:
        return [path for _, path, _, _ in self.requests]


def handler(script: Script, base: str = BASE, words: tuple[str, ...] = (WORD,), **config: Any) -> FlutterwaveProvider:
    secrets = tuple(Secret(word) for word in words)
    settings = ProviderConfig(
        Environment.sandbox, base, "FLWPUBK_TEST-0123456789abcdef-X", Secret(KEY), secrets, config
    )
    return FlutterwaveProvider(settings, Http(script), World(time_s=lambda: float(NOW)))


def ok(data: Any, **more: Any) -> tuple[int, Any]:
    return 200, {"status": "success", "message": "ok", "data": data} | more


def error(status: int, message: str) -> tuple[int, Any]:
    return status, {"status": "error", "message": message, "data": None}


NO_TRANSACTION = error(400, "No transaction was found for this id")


def transaction(**changes: Any) -> dict[str, Any]:
    return {
        "id": 288200108,
        "tx_ref": "ref-000001",
        "status": "successful",
        "amount": 75.5,
        "charged_amount": 76.56,
        "app_fee": 1.06,
        "currency": "NGN",
        "processor_response": "Approved",
    } | changes


def create(**changes: Any) -> CreatePaymentParams:
    values: dict[str, Any] = {
        "reference": "ref-000001",
        "payment_id": "pay-1",
        "amount": NGN,
        "customer": Customer("ada@example.com"),
        "return_url": "https://shop.example/back?x=1&y=2",
    }
    return CreatePaymentParams(**values | changes)


LINK = ok({"link": "https://checkout.flutterwave.com/v3/hosted/pay/abc"})

CONFIRM = ConfirmPaymentParams("ref-000001", None, NGN)


async def confirmed(*answers: tuple[int, Any]) -> Any:
    """What becomes of a payment with these answers."""
    return await handler(Script(*answers)).confirm_payment(CONFIRM)


# ── Payments ──


async def test_create_sends_exactly_this() -> None:
    script = Script(LINK)
    params = create(
        method="card",
        customer=Customer("ada@example.com", "Ada Lovelace", "+234 802 123 4567"),
        merchant_name="Clinic",
        metadata={"order": "7", "payment_id": "forged"},
        expires_in_s=1830,
    )
    outcome = await handler(script).create_payment_intent(params)
    assert script.requests == [
        (
            "POST",
            "/payments",
            WRITE,
            b'{"tx_ref":"ref-000001","amount":"75.50","currency":"NGN",'
            b'"redirect_url":"https://shop.example/back?x=1&y=2",'
            b'"customer":{"email":"ada@example.com","name":"Ada Lovelace","phonenumber":"2348021234567"},'
            b'"meta":{"order":"7","payment_id":"pay-1","attempt_id":"ref-000001"},'
            b'"customizations":{"title":"Clinic"},"payment_options":"card",'
            b'"configurations":{"session_duration":30}}',
        )
    ]
    assert isinstance(outcome, NeedsAction)
    assert outcome.action is not None
    assert (outcome.action.kind, outcome.action.url) == (
        NextKind.redirect,
        "https://checkout.flutterwave.com/v3/hosted/pay/abc",
    )
    assert outcome.provider_transaction_id is None
    assert outcome.response is not None
    assert "hosted/pay" not in repr(outcome.response)


async def test_create_with_nothing_optional() -> None:
    script = Script(LINK)
    await handler(script).create_payment_intent(create())
    assert script.requests[0][3] == (
        b'{"tx_ref":"ref-000001","amount":"75.50","currency":"NGN",'
        b'"redirect_url":"https://shop.example/back?x=1&y=2","customer":{"email":"ada@example.com"},'
        b'"meta":{"payment_id":"pay-1","attempt_id":"ref-000001"}}'
    )


@pytest.mark.parametrize(
    ("amount", "wire"),
    [
        (Money(7550, "NGN"), "75.50"),
        (Money(1, "NGN"), "0.01"),
        (Money(10000, "KES"), "100.00"),
        (Money(1000, "UGX"), "1000"),
        (Money(5, "XAF"), "5"),
        (Money(1230, "KWD"), "1.23"),
        (Money(10**15, "NGN"), "10000000000000.00"),
        (Money(10**15, "RWF"), "1000000000000000"),
    ],
)
async def test_amounts_are_exact_major_units(amount: Money, wire: str) -> None:
    script = Script(LINK, ok({"id": 1, "tx_id": 5, "amount_refunded": 1, "status": "completed"}))
    provider = handler(script)
    await provider.create_payment_intent(create(amount=amount))
    await provider.refund_payment(RefundParams("re-1", "ref-1", "5", amount, True))
    for _, _, _, body in script.requests:
        assert f'"amount":"{wire}"'.encode() in (body or b"")


async def test_an_amount_finer_than_the_wire_is_never_sent() -> None:
    script, fine = Script(), Money(1234, "KWD")
    outcomes = [
        await handler(script).create_payment_intent(create(amount=fine)),
        await handler(script).refund_payment(RefundParams("re-1", "ref-1", None, fine, True)),
    ]
    assert not script.requests
    for outcome in outcomes:
        assert isinstance(outcome, NotSent)
        assert outcome.reason is Reason.validation


@pytest.mark.parametrize(
    ("method", "currency", "option"),
    [
        ("card", "EUR", "card"),
        ("bank_transfer", "NGN", "banktransfer"),
        ("ussd", "NGN", "ussd"),
        ("mpesa", "KES", "mpesa"),
        ("mobile_money", "KES", "mpesa"),
        ("mobile_money", "GHS", "mobilemoneyghana"),
        ("mobile_money", "UGX", "mobilemoneyuganda"),
        ("mobile_money", "RWF", "mobilemoneyrwanda"),
        ("mobile_money", "ZMW", "mobilemoneyzambia"),
        ("mobile_money", "TZS", "mobilemoneytanzania"),
        ("mobile_money", "XAF", "mobilemoneyfranco"),
        ("mobile_money", "XOF", "mobilemoneyfranco"),
        ("opay", "NGN", "opay"),
        ("ussd", "GHS", None),
        ("mpesa", "UGX", None),
        ("mobile_money", "NGN", None),
    ],
)
async def test_methods_by_currency(method: str, currency: str, option: str | None) -> None:
    script = Script(LINK)
    outcome = await handler(script).create_payment_intent(create(method=method, amount=Money(100, currency)))
    if option is None:
        assert outcome == NotSent(Reason.validation, None, f"Flutterwave has no {method} in {currency}.")
        assert not script.requests
    else:
        assert f'"payment_options":"{option}"'.encode() in (script.requests[0][3] or b"")


@pytest.mark.parametrize(("seconds", "minutes"), [(None, None), (59, None), (60, 1), (3600, 60), (10**6, 1440)])
async def test_session_duration(seconds: int | None, minutes: int | None) -> None:
    script = Script(LINK)
    await handler(script).create_payment_intent(create(expires_in_s=seconds))
    sent = json.loads(script.requests[0][3] or b"")
    assert sent.get("configurations") == (minutes and {"session_duration": minutes})


@pytest.mark.parametrize(
    "base",
    [
        "https://api.flutterwave.com/v3",
        "https://api.flutterwave.com/v3/",
        "https://api.flutterwave.com",
        "https://api.flutterwave.com/",
    ],
)
async def test_the_address_ends_in_v3_once(base: str) -> None:
    script = Script(LINK)
    await handler(script, base).create_payment_intent(create())
    assert script.paths() == ["/payments"]


async def test_a_simulator_s_address_keeps_its_path() -> None:
    script = Script(LINK)
    await handler(script, "http://127.0.0.1:8429/flutterwave").create_payment_intent(create())
    assert script.paths() == ["http://127.0.0.1:8429/flutterwave/v3/payments"]


async def test_confirm_by_number_or_by_reference() -> None:
    script = Script(ok(transaction()), ok(transaction()), ok(transaction()))
    provider = handler(script)
    by_number = await provider.confirm_payment(ConfirmPaymentParams("ref-000001", "288200108", NGN))
    by_reference = await provider.confirm_payment(CONFIRM)
    looked_up = await provider.lookup_payment(LookupParams("ref-000001", "chg_9Xk2LmQ7aB", NGN))
    assert script.requests == [
        ("GET", "/transactions/288200108/verify", READ, None),
        ("GET", "/transactions/verify_by_reference?tx_ref=ref-000001", READ, None),
        ("GET", "/transactions/verify_by_reference?tx_ref=ref-000001", READ, None),
    ]
    assert isinstance(by_number, Succeeded)
    assert by_number == by_reference == looked_up
    assert (by_number.amount, by_number.fee, by_number.charged, by_number.provider_transaction_id) == (
        NGN,
        Money(106, "NGN"),
        Money(7656, "NGN"),
        "288200108",
    )


@pytest.mark.parametrize("number", ["../balances", "１２", "12/refund", "-1", "", "²"])
async def test_only_a_number_goes_into_a_path(number: str) -> None:
    script = Script(ok(transaction()))
    await handler(script).confirm_payment(ConfirmPaymentParams("ref-000001", number, NGN))
    assert script.paths() == ["/transactions/verify_by_reference?tx_ref=ref-000001"]


async def test_a_reference_stays_in_its_place() -> None:
    script = Script(NO_TRANSACTION)
    await handler(script).lookup_payment(LookupParams("a&b=c#/..", None, NGN))
    assert script.paths() == ["/transactions/verify_by_reference?tx_ref=a%26b%3Dc%23%2F.."]


@pytest.mark.parametrize("tx_ref", ["ref-000002", "", None, 1, ["ref-000001"]])
async def test_an_answer_about_another_reference_is_not_believed(tx_ref: Any) -> None:
    script = Script(ok(transaction(tx_ref=tx_ref)))
    outcome = await handler(script).confirm_payment(ConfirmPaymentParams("ref-000001", "288200108", NGN))
    assert outcome == Unknown(Reason.unreadable, None, "Flutterwave answered about another reference.")


async def test_a_link_that_nobody_paid_is_not_found() -> None:
    script = Script(NO_TRANSACTION, NO_TRANSACTION, NO_TRANSACTION, NO_TRANSACTION)
    provider = handler(script)
    for outcome in (
        await provider.confirm_payment(CONFIRM),
        await provider.lookup_payment(LookupParams("ref-000001", None, NGN)),
        await provider.lookup_payment(LookupParams("ref-000001", "5", NGN)),
    ):
        assert isinstance(outcome, NotSent)
        assert outcome.reason is Reason.not_found
    # A number that is not theirs says nothing about our reference: that is asked too.
    assert script.paths()[2:] == ["/transactions/5/verify", "/transactions/verify_by_reference?tx_ref=ref-000001"]


FAILED = transaction(id=1, status="failed", processor_response="Do Not Honour")


@pytest.mark.parametrize("first", [FAILED, FAILED | {"status": "pending"}])
@pytest.mark.parametrize("number", [None, "1"])
async def test_a_later_success_on_the_same_link_wins(first: dict[str, Any], number: str | None) -> None:
    others = [
        transaction(id="9", tx_ref="ref-000010"),
        transaction(id="3"),
        transaction(id="2"),
        FAILED,
        5,
        {"tx_ref": "ref-000001"},
        transaction(id="0", tx_ref="ref-000000"),
    ]
    script = Script(ok(first), ok(others))
    outcome = await handler(script).confirm_payment(ConfirmPaymentParams("ref-000001", number, NGN))
    assert script.paths()[1:] == ["/transactions?tx_ref=ref-000001"]
    assert isinstance(outcome, Succeeded)
    assert outcome.provider_transaction_id == "2"  # the earlier of two: the later one is the duplicate


@pytest.mark.parametrize("listing", [ok({}), error(500, "x"), (503, {}), (200, {}), error(404, "No such address")])
async def test_without_the_list_nobody_knows_of_a_second_try(listing: tuple[int, Any]) -> None:
    outcome = await confirmed(ok(FAILED), listing)
    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize("listing", [ok([FAILED]), ok([])])
async def test_without_a_success_the_first_answer_stands(listing: tuple[int, Any]) -> None:
    outcome = await confirmed(ok(FAILED), listing)
    assert isinstance(outcome, Declined)
    assert (outcome.reason, outcome.final, outcome.code) == (Reason.declined, False, "Do Not Honour")
    assert outcome.provider_transaction_id == "1"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("successful", Succeeded),
        ("failed", Declined),
        ("pending", Pending),
        ("success-pending-validation", Pending),
        ("succeeded", Unknown),
        ("success", Unknown),
        ("completed", Unknown),
        ("", Unknown),
        (None, Unknown),
    ],
)
async def test_statuses(status: Any, kind: type) -> None:
    changed = transaction(status=status, processor_response="Successful")
    outcome = await confirmed(ok(changed), ok([]))
    assert type(outcome) is kind


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Insufficient funds", Reason.insufficient_funds),
        ("Expired card", Reason.expired_card),
        ("Incorrect PIN", Reason.incorrect_details),
        ("Wrong OTP", Reason.incorrect_details),
        (None, Reason.declined),
    ],
)
async def test_a_decline_leaves_the_link_open(text: str | None, reason: Reason) -> None:
    changed = transaction(status="failed", processor_response=text)
    outcome = await confirmed(ok(changed), ok([]))
    assert isinstance(outcome, Declined)
    assert (outcome.reason, outcome.final, outcome.code) == (reason, False, text or "failed")


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 75.555},
        {"amount": None},
        {"amount": "x"},
        {"amount": True},
        {"currency": "XXX"},
        {"currency": None},
        {"currency": "UGX"},
    ],
)
async def test_a_success_without_a_readable_amount_is_unknown(changes: dict[str, Any]) -> None:
    outcome = await confirmed(ok(transaction(**changes)))
    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize("odd", [None, "x", True, [], {}, 75.5])
async def test_strange_fees_do_not_stand_in_the_way(odd: Any) -> None:
    outcome = await confirmed(ok(transaction(app_fee=None if odd == 75.5 else odd, charged_amount=odd)))
    assert isinstance(outcome, Succeeded)
    assert (outcome.amount, outcome.fee, outcome.charged) == (NGN, None, None)


@pytest.mark.parametrize(("mode", "wants"), [("pin", "pin"), ("otp", "otp"), ("avs_noauth", "address")])
def test_a_charge_that_wants_something_more(mode: str, wants: str) -> None:
    answer = {"status": "success", "data": transaction(status="pending"), "meta": {"authorization": {"mode": mode}}}
    outcome = read_charge(Answer(200, answer))
    assert isinstance(outcome, NeedsAction)
    assert outcome.action is not None
    assert (outcome.action.kind, outcome.action.wants) == (NextKind.input, wants)


# ── Refunds ──


def refund(**changes: Any) -> dict[str, Any]:
    return {"id": 8612, "tx_id": 288200108, "amount_refunded": 50, "status": "completed"} | changes


FIFTY = Money(5000, "NGN")
ASK = RefundParams("re-1", "ref-000001", "288200108", FIFTY, False, "Out of stock")
LOST = RefundLookupParams(
    "re-1", "ref-000001", "288200108", None, FIFTY, False, known=frozenset({"7"}), created_at_s=NOW
)


async def test_refund_sends_exactly_this() -> None:
    script = Script(ok(refund()))
    outcome = await handler(script).refund_payment(ASK)
    assert script.requests == [
        (
            "POST",
            "/transactions/288200108/refund",
            WRITE,
            b'{"amount":"50.00","comments":"polytill refund re-1 Out of stock"}',
        )
    ]
    assert isinstance(outcome, Succeeded)
    assert (outcome.amount, outcome.provider_transaction_id) == (FIFTY, "8612")


async def test_refund_without_a_number_verifies_first() -> None:
    script = Script(ok(transaction()), ok(refund()))
    params = RefundParams("re-1", "ref-000001", None, FIFTY, False)
    outcome = await handler(script).refund_payment(params)
    assert script.requests == [
        ("GET", "/transactions/verify_by_reference?tx_ref=ref-000001", READ, None),
        ("POST", "/transactions/288200108/refund", WRITE, b'{"amount":"50.00","comments":"polytill refund re-1"}'),
    ]
    assert isinstance(outcome, Succeeded)


@pytest.mark.parametrize(
    ("answers", "kind", "reason"),
    [
        ((NO_TRANSACTION,), NotSent, Reason.not_found),
        ((error(401, "Invalid authorization key"),), NotSent, Reason.config),
        ((error(503, "x"),), Unknown, Reason.provider_unavailable),
        ((ok(FAILED), ok([])), NotSent, Reason.invalid_state),
        ((ok(transaction(status="pending")), ok([])), NotSent, Reason.invalid_state),
        ((ok(transaction(tx_ref="other")),), Unknown, Reason.unreadable),
        ((ok(transaction(id="chg_1/refund")),), Unknown, Reason.unreadable),
        ((ok(transaction(id=None)),), Unknown, Reason.unreadable),
    ],
)
async def test_nothing_is_refunded_before_the_number_is_known(answers: Any, kind: type, reason: Reason) -> None:
    script = Script(*answers)
    outcome = await handler(script).refund_payment(RefundParams("re-1", "ref-000001", None, FIFTY, False))
    assert type(outcome) is kind
    assert outcome.reason is reason  # type: ignore[union-attr]
    assert {method for method, _, _, _ in script.requests} == {"GET"}


@pytest.mark.parametrize(
    ("status", "meta", "kind"),
    [
        ("completed", {}, Succeeded),
        ("completed-mpgs", None, Succeeded),
        ("completed-bank-transfer", "x", Succeeded),
        ("pending", {}, Pending),
        ("pending-momo", {}, Pending),
        ("processing", [], Pending),
        ("new", {}, Pending),
        ("failed", {}, Declined),
        ("completed", {"disburse_status": "FAILED"}, Declined),
        ("completed", '{"disburse_status":"failed"}', Declined),
        ("completed", '{"source":"availablebalance"}', Succeeded),
        ("complicated", {}, Unknown),
        (None, {}, Unknown),
    ],
)
async def test_refund_states(status: Any, meta: Any, kind: type) -> None:
    outcome = await handler(Script(ok(refund(status=status, meta=meta)))).refund_payment(ASK)
    assert type(outcome) is kind


@pytest.mark.parametrize(
    "changes",
    [{"tx_id": 5}, {"amount_refunded": None}, {"amount_refunded": 50.555}, {"currency": "UGX", "amount_refunded": 1.5}],
)
async def test_a_refund_answer_that_does_not_fit_is_unknown(changes: dict[str, Any]) -> None:
    assert isinstance(await handler(Script(ok(refund(**changes)))).refund_payment(ASK), Unknown)


async def test_a_refund_whose_number_is_known_is_asked_for() -> None:
    script = Script(ok(refund(status="failed")), ok(refund()))
    known = RefundLookupParams("re-1", "ref-000001", "288200108", "8612", FIFTY, False)
    failed = await handler(script).lookup_refund(known)
    # The transaction's number is not needed for that.
    bare = RefundLookupParams("re-1", "ref-000001", None, "8612", FIFTY, False)
    done = await handler(script).lookup_refund(bare)
    assert script.requests == [("GET", "/refunds/8612", READ, None)] * 2
    assert isinstance(failed, Declined)
    assert failed.final
    assert isinstance(done, Succeeded)


def pages(*lists: list[Any]) -> list[tuple[int, Any]]:
    total = len(lists)
    return [
        ok(items, meta={"page_info": {"total_pages": total, "current_page": page}})
        for page, items in enumerate(lists, 1)
    ]


async def test_a_lost_refund_is_found_by_its_whole_note_on_any_page() -> None:
    others = [
        refund(id=1, comments="polytill refund re-10"),
        refund(id=2, tx_id=5, comments="polytill refund re-1"),
        "not an object",
    ]
    ours = refund(id=3, status="processing", comments="polytill refund re-1 Out of stock", amount_refunded=1)
    script = Script(*pages(others, [ours]))
    outcome = await handler(script).lookup_refund(LOST)
    assert script.requests == [
        ("GET", f"/refunds?from=2026-11-21&to=2026-11-23&page={page}", READ, None) for page in (1, 2)
    ]
    assert isinstance(outcome, Pending)
    assert (outcome.provider_transaction_id, outcome.amount) == ("3", Money(100, "NGN"))


@pytest.mark.parametrize(
    ("items", "found"),
    [
        ([refund(id=4)], "4"),
        ([refund(id=4, comments="Product out of stock.")], "4"),
        ([{"id": 4, "TransactionId": 288200108, "AmountRefunded": 50, "status": "completed"}], "4"),
        ([refund(id=4), refund(id=7)], "4"),
        ([refund(id=4), refund(id=5, amount_refunded=49.99)], "4"),
        ([refund(id=4), refund(id=5, comments="polytill refund re-2")], "4"),
        ([refund(id=4), refund(id=5, tx_id=1)], "4"),
        ([refund(id=4), refund(id=5)], "several"),
        ([refund(id=4, tx_id=None)], "several"),
        ([refund(id=7)], None),
        ([refund(id=4, amount_refunded=49.99)], None),
        ([refund(id=4, currency="KES")], None),
        ([], None),
    ],
)
async def test_a_lost_refund_without_note_is_found_by_its_amount(items: list[Any], found: str | None) -> None:
    outcome = await handler(Script(*pages(items))).lookup_refund(LOST)
    if found is None:
        assert outcome == NotSent(Reason.not_found, None, "The transaction has no such refund.")
    elif found == "several":
        assert outcome == Unknown(Reason.conflict, None, "Several refunds could be this one.")
    else:
        assert isinstance(outcome, Succeeded)
        assert outcome.provider_transaction_id == found


async def test_not_found_needs_every_page() -> None:
    first, second = pages([refund(id=1, amount_refunded=1)], [])
    broken = await handler(Script(first, *[error(500, "x")] * 3)).lookup_refund(LOST)
    assert isinstance(broken, Unknown)
    asked_again = Script(first, error(500, "x"), error(500, "x"), second)
    assert isinstance(await handler(asked_again).lookup_refund(LOST), NotSent)
    unreachable = Script(error(500, "x"), first, second)
    assert isinstance(await handler(unreachable).lookup_refund(LOST), Unknown)
    assert len(unreachable.answers) == 2, "a provider that does not answer is not asked again at once"
    slowed = await handler(Script(first, (429, {}))).lookup_refund(LOST)
    assert isinstance(slowed, NotSent)
    assert slowed.reason is Reason.rate_limited
    assert isinstance(await handler(Script(first, second)).lookup_refund(LOST), NotSent)
    # A list that says nothing of pages is read until it brings nothing new.
    bare = [ok([refund(id=n, amount_refunded=1)]) for n in (1, 2, 2)]
    script = Script(*bare)
    assert isinstance(await handler(script).lookup_refund(LOST), NotSent)
    assert not script.answers
    endless = Script(*[ok([refund(id=n, amount_refunded=1)]) for n in range(300)])
    outcome = await handler(endless).lookup_refund(LOST)
    assert outcome == Unknown(Reason.unreadable, None, "There are too many refunds to look through.")
    assert len(endless.answers) == 100


async def test_a_refund_with_our_note_ends_the_reading() -> None:
    noted = refund(id=3, comments="polytill refund re-1")
    script = Script(*pages([refund(id=1, amount_refunded=1)], [noted], [refund(id=9)]))
    outcome = await handler(script).lookup_refund(LOST)
    assert outcome.provider_transaction_id == "3"
    assert len(script.answers) == 1


async def test_a_refund_number_that_is_not_found_leads_to_the_list() -> None:
    params = RefundLookupParams("re-1", "ref-000001", "288200108", "8612", FIFTY, False, created_at_s=0)
    mine = refund(comments="polytill refund re-1")
    script = Script(error(404, "Refund not found"), *pages([mine]))
    outcome = await handler(script).lookup_refund(params)
    assert script.paths() == ["/refunds/8612", "/refunds?page=1"]
    assert isinstance(outcome, Succeeded)


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ((NO_TRANSACTION,), Unknown),
        ((ok(FAILED), ok([])), Unknown),
        ((error(503, "x"),), Unknown),
        (((429, {}),), NotSent),
    ],
)
async def test_a_payment_that_is_not_found_is_no_proof_about_its_refund(answers: Any, kind: type) -> None:
    params = RefundLookupParams("re-1", "ref-000001", None, None, FIFTY, False)
    outcome = await handler(Script(*answers)).lookup_refund(params)
    assert type(outcome) is kind
    assert outcome.reason is not Reason.not_found or kind is Unknown  # type: ignore[union-attr]


# ── Listing, keys, errors ──


async def test_list_transactions() -> None:
    script = Script(ok([transaction(meta={"payment_id": "pay-1"}), 7, {"amount": 1}, FAILED]))
    facts = await handler(script).list_transactions(NOW, NOW + 86_400, "3")
    assert script.requests == [("GET", "/transactions?from=2026-11-22&to=2026-11-23&page=3", READ, None)]
    assert isinstance(facts, Page)
    assert [(fact.reference, fact.provider_transaction_id, fact.metadata) for fact in facts.facts] == [
        ("ref-000001", "288200108", {"payment_id": "pay-1"}),
        ("ref-000001", "1", None),
    ]
    refused = await handler(Script(error(401, "Invalid authorization key"))).list_transactions(0, 1)
    assert isinstance(refused, NotSent)


@pytest.mark.parametrize("data", [[{"currency": "NGN"}, {"currency": "USD"}], {"currency": "NGN"}, None, 5, "x"])
async def test_credentials(data: Any) -> None:
    needed = error(400, "tx_ref is required")
    script = Script(ok(data), needed, error(401, "Invalid authorization key"), (500, {}), (200, {}))
    provider = handler(script)
    right = await provider.test_credentials()
    # The payment has none of the parameters that Flutterwave requires: nothing can come of it.
    assert [(one[0], one[1], one[3]) for one in script.requests] == [
        ("GET", "/balances", None),
        ("POST", "/payments", b"{}"),
    ]
    assert (right.ok, right.environment) == (True, Environment.sandbox)
    for _ in range(3):
        wrong = await provider.test_credentials()
        assert (wrong.ok, wrong.environment) == (False, None)


@pytest.mark.parametrize(
    ("status", "data", "kind", "reason"),
    [
        (401, {"status": "error", "message": "Invalid authorization key"}, NotSent, Reason.config),
        (400, {"status": "error", "message": "Authorization required"}, NotSent, Reason.config),
        (403, {"status": "error", "message": "No"}, NotSent, Reason.config),
        (400, {"status": "error", "message": "customer.email is required"}, NotSent, Reason.validation),
        (200, {"status": "error", "message": "customer.email is required"}, NotSent, Reason.validation),
        (400, {"status": "error", "message": "Currency not supported"}, NotSent, Reason.currency_not_supported),
        (400, {"status": "error", "message": "Insufficient funds"}, NotSent, Reason.insufficient_funds),
        (409, {"status": "error", "message": "already refunded"}, Unknown, Reason.conflict),
        (404, {"status": "error", "message": "Transaction not found"}, NotSent, Reason.not_found),
        (400, {"status": "error", "message": "No transaction was found for this id"}, NotSent, Reason.not_found),
        (408, {}, Unknown, Reason.provider_unavailable),
        (500, {"status": "error", "error_id": "ERRNO1"}, Unknown, Reason.provider_unavailable),
        (503, {"status": "error", "message": "No transaction was found"}, Unknown, Reason.provider_unavailable),
        (200, {}, Unknown, Reason.unreadable),
        (200, {"status": "success"}, Unknown, Reason.unreadable),
        (200, {"status": True}, Unknown, Reason.unreadable),
        (302, {"status": "success", "data": {"link": "https://evil.example"}}, Unknown, Reason.unreadable),
    ],
)
async def test_errors(status: int, data: Any, kind: type, reason: Reason) -> None:
    script = Script(*[(status, data)] * 3)
    provider = handler(script)
    for outcome in (
        await provider.create_payment_intent(create()),
        await provider.confirm_payment(CONFIRM),
        await provider.refund_payment(ASK),
    ):
        assert type(outcome) is kind
        assert outcome.reason is reason  # type: ignore[union-attr]


# ── Deliveries ──

V4 = b'{"webhook_id":"wbk_1","type":"charge.completed","data":{"id":"chg_1","amount":75.5,"currency":"NGN",'
V4 += b'"reference":"ref-000001","status":"succeeded"}}'


def signature(body: bytes, word: str = WORD) -> str:
    return base64.b64encode(hmac.new(word.encode(), body, hashlib.sha256).digest()).decode()


@pytest.mark.parametrize("name", ["flutterwave-signature", "Flutterwave-Signature", "FLUTTERWAVE-SIGNATURE"])
@pytest.mark.parametrize("given", ["", "wrong", signature(V4, "other"), signature(V4 + b" "), WORD, "\xff" * 44])
def test_a_wrong_signature_is_not_saved_by_the_word(name: str, given: str) -> None:
    headers = {"verif-hash": WORD, name: given}
    assert handler(Script()).validate_webhook({"verif-hash": WORD}, V4)
    assert not handler(Script()).validate_webhook(headers, V4)


def test_where_only_signatures_count_the_word_opens_nothing() -> None:
    provider = handler(Script(), webhookVersion="v4")
    assert not provider.validate_webhook({"verif-hash": WORD}, V4)
    assert not provider.validate_webhook({}, V4)
    assert provider.validate_webhook({"Flutterwave-Signature": signature(V4)}, V4)


@pytest.mark.parametrize("words", [(), ("",)])
@pytest.mark.parametrize("version", ["v3", "v4"])
def test_without_a_word_of_ours_nothing_opens(words: tuple[str, ...], version: str) -> None:
    provider = handler(Script(), words=words, webhookVersion=version)
    for headers in (
        {},
        {"verif-hash": ""},
        {"verif-hash": WORD},
        {"flutterwave-signature": ""},
        {"flutterwave-signature": signature(V4, "")},
    ):
        assert not provider.validate_webhook(headers, V4)


def test_only_a_body_whose_signature_was_checked_is_believed() -> None:
    signed = {"flutterwave-signature": signature(V4)}
    provider = handler(Script())
    assert provider.validate_webhook({"verif-hash": WORD}, V4)
    assert provider.process_webhook(V4).must_fetch  # the word says nothing about the body
    assert provider.validate_webhook(signed, V4)
    believed = provider.process_webhook(V4)
    assert not believed.must_fetch
    assert provider.process_webhook(V4.replace(b"75.5", b"0.01")).must_fetch  # another body
    assert not provider.validate_webhook(signed, V4 + b" ")
    assert provider.process_webhook(V4).must_fetch  # the last check failed
    assert handler(Script()).process_webhook(V4).must_fetch  # nobody checked
    assert not handler(Script(), webhookVersion="v4").process_webhook(V4).must_fetch
    (fact,) = believed.facts
    assert isinstance(fact, PaymentFact)
    assert isinstance(fact.outcome, Succeeded)
    assert (fact.outcome.amount, fact.reference) == (NGN, "ref-000001")


def test_a_v3_shape_is_never_believed_even_when_signed() -> None:
    body = json.dumps({"event": "charge.completed", "data": transaction()}).encode()
    for version in ("v3", "v4"):
        provider = handler(Script(), webhookVersion=version)
        assert provider.validate_webhook({"flutterwave-signature": signature(body)}, body)
        assert provider.process_webhook(body).must_fetch


@pytest.mark.parametrize(
    ("status", "kind"), [("failed", Declined), ("pending", Pending), ("voided", Declined), ("successful", Unknown)]
)
def test_v4_statuses(status: str, kind: type) -> None:
    body = V4.replace(b"succeeded", status.encode())
    (fact,) = handler(Script()).process_webhook(body).facts
    assert isinstance(fact, PaymentFact)
    assert type(fact.outcome) is kind


@pytest.mark.parametrize(
    ("event", "action", "key"),
    [
        ({"event": "transfer.completed", "data": {"id": 5, "status": "X"}}, "ignore", "transfer.completed:5:X"),
        ({"event": "subscription.cancelled", "data": {"id": 5}}, "ignore", "subscription.cancelled:5:"),
        ({"event": "chargeback.created", "data": {"id": 5}}, "notify", "chargeback.created:5:"),
        ({"event": "bvn.completed"}, "ignore", "bvn.completed:None:"),
        ({"type": "transfer.disburse", "id": "wbk_2", "data": {"id": "trf_1"}}, "ignore", "wbk_2"),
        ({"CardId": 1, "Amount": 5}, "ignore", "unknown:None"),
        ({}, "ignore", "unknown:None"),
    ],
)
def test_what_is_no_payment_of_ours(event: Any, action: str, key: str) -> None:
    result = handler(Script()).process_webhook(json.dumps(event).encode())
    assert (result.action, result.dedupe_key, result.facts) == (action, key, ())


def test_a_refund_delivery_carries_our_reference_back() -> None:
    body = {"id": 5, "AmountRefunded": 50, "status": "completed", "TransactionId": 288200108}
    noted = json.dumps(body | {"comments": "polytill refund re-1 Out of stock"}).encode()
    (fact,) = handler(Script()).process_webhook(noted).facts
    assert isinstance(fact, RefundFact)
    assert (fact.reference, fact.provider_refund_id, fact.provider_transaction_id) == ("re-1", "5", "288200108")
    enveloped = json.dumps({"event": "refund.completed", "data": body}).encode()
    assert handler(Script()).process_webhook(enveloped).dedupe_key == "refund:5:completed"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"7",
        b"\xff",
        b"{",
        b'{"event":"charge.completed"}',
        b'{"event":"charge.completed","data":{"id":null,"tx_ref":""}}',
        b'{"txRef":null}',
        b'{"AmountRefunded":1,"id":1}',
        b'{"type":"charge.completed","data":{"id":"chg_1"}}',
    ],
)
def test_a_delivery_that_cannot_be_read_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        handler(Script()).process_webhook(body)


def test_a_later_state_of_the_same_transaction_has_its_own_key() -> None:
    keys = [
        handler(Script())
        .process_webhook(json.dumps({"event": "charge.completed", "data": transaction(status=status)}).encode())
        .dedupe_key
        for status in ("pending", "failed", "successful")
    ]
    assert keys == ["288200108:pending", "288200108:failed", "288200108:successful"]


def test_tokens_do_not_stay() -> None:
    event = {
        "event": "charge.completed",
        "data": transaction(card={"token": "flw-t1nf-abc"}, customer={"customertoken": "tok-1"}),
        "meta": {"authorization": {"redirect": "https://secret.example"}},
    }
    shown = repr(handler(Script()).process_webhook(json.dumps(event).encode()))
    for secret in ("flw-t1nf-abc", "tok-1", "secret.example"):
        assert secret not in shown


# ── What is declared ──


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("a", True),
        ("two words", True),
        ("x" * 200, True),
        ("", False),
        ("x" * 201, False),
        ("a\n", False),
        (" a", False),
        ("a ", False),
        ("é", False),
    ],
)
def test_any_printable_word_is_a_secret_hash(value: str, good: bool) -> None:
    spec = FlutterwaveProvider.keys["webhookSecret"]
    assert spec.required
    assert spec.sandbox == spec.production
    assert (re.fullmatch(spec.sandbox, value) is not None) is good


def test_what_is_declared() -> None:
    assert FlutterwaveProvider.idempotency == "none"
    assert FlutterwaveProvider.settle_horizon_s > 28
    catalog = FlutterwaveProvider.catalog
    codes = "NGN GHS KES UGX TZS RWF ZMW ZAR XAF XOF MWK EGP MUR ETB USD EUR GBP"
    assert " ".join(catalog.currencies) == codes
    assert {code: terms.percent_ppm for code, terms in catalog.currencies.items() if terms.percent_ppm != 38_000} == {
        "NGN": 14_000,
        "GHS": 19_500,
        "KES": 29_000,
    }
    assert all(terms.min_minor is terms.max_minor is None for terms in catalog.currencies.values())
    fields = FlutterwaveProvider.config_schema["properties"]
    assert all(field["title"] and field["description"] for field in fields.values())
    assert [name for name, field in fields.items() if field.get("secret")] == ["encryptionKey"]
    pattern = fields["encryptionKey"]["pattern"]
    assert re.search(pattern, "FLWSECK_TESTe4f3ad8bd23c")
    assert re.search(pattern, "0123456789abcdef01234567")
    assert not re.search(pattern, "0123456789abcdef0123456")
    assert KEY not in repr(handler(Script()).config)
