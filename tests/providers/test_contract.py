"""What the contract itself promises: capabilities are the methods, pages have one cursor, hosts one meaning."""

from typing import Any

import pytest
from tests.providers.scripted import Fixed

from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import Balance, Handler, Page, ProviderConfig, RefundFact, environment_of_key
from polytill.providers.features import FEATURES, features_of
from polytill.providers.http import Http, may_receive_keys
from polytill.providers.outcomes import NotSent, Unknown
from polytill.providers.registry import BUILT_IN


def made(code: str, status: int, body: Any) -> tuple[Any, Fixed]:
    cls, transport = BUILT_IN[code], Fixed((status, body))
    config = ProviderConfig(
        Environment.sandbox, cls.catalog.api_base_url, "pk", Secret("sk_test_0123456789abcdef01234")
    )
    return cls(config, Http(transport), World()), transport


def test_a_verb_that_is_not_there_is_no_feature() -> None:
    class Bare(Handler):
        code = "bare"

    assert features_of(Bare) == []


MONEY = "payments webhooks refunds partial_refunds"
CAN = {
    "stripe": f"{MONEY} manual_capture cancel saved_methods list_transactions list_disputes balance",
    "paystack": f"{MONEY} direct_charges saved_methods list_transactions list_disputes balance",
    "flutterwave": f"{MONEY} direct_charges saved_methods list_transactions list_disputes balance",
    "flutterwave_v4": f"{MONEY} list_disputes",
    "mpesa": "payments webhooks",
    "paypal": f"{MONEY} manual_capture cancel list_disputes",
}


@pytest.mark.parametrize("code", CAN)
def test_what_it_can_do(code: str) -> None:
    assert features_of(BUILT_IN[code]) == CAN[code].split()


@pytest.mark.parametrize(
    ("code", "field", "value", "environment"),
    [
        ("paystack", "secretKey", "sk_test_0123456789abcdef0123456789", Environment.sandbox),
        ("paystack", "secretKey", "sk_live_0123456789abcdef0123456789", Environment.production),
        ("paystack", "secretKey", "pk_test_0123456789abcdef0123456789", None),
        ("paystack", "secretKey", "sk_test_0123456789abcdef0123456789\n", None),
        ("paystack", "publicKey", "pk_test_12345678", Environment.sandbox),
        ("paystack", "publicKey", "pk_live_12345678", Environment.production),
        ("paystack", "publicKey", "", None),
        ("flutterwave", "secretKey", "FLWSECK_TEST-0123456789abcdef-X", Environment.sandbox),
        ("flutterwave", "secretKey", "FLWSECK-0123456789abcdef-X", Environment.production),
        ("flutterwave", "secretKey", "FLWSECK-0123456789abcdef-18c0123456vt-X", Environment.production),
        ("flutterwave", "secretKey", "FLWPUBK-0123456789abcdef-X", None),
        ("flutterwave", "secretKey", "FLWSECK_TEST-0123456789abcdef-X\n", None),
        ("flutterwave", "secretKey", "FLWSECK-0123456789abcdef", None),
        ("flutterwave", "publicKey", "FLWPUBK_TEST-0123456789abcdef-X", Environment.sandbox),
        ("flutterwave", "publicKey", "FLWPUBK-0123456789abcdef-X", Environment.production),
        ("flutterwave", "publicKey", "FLWPUBK_LIVE-0123456789abcdef-X", None),
        ("flutterwave", "webhookSecret", "any word", None),  # the same in both
        ("stripe", "secretKey", "sk_test_12345678", Environment.sandbox),
        ("stripe", "secretKey", "rk_test_12345678", Environment.sandbox),
        ("stripe", "secretKey", "sk_live_12345678", Environment.production),
        ("stripe", "secretKey", "pk_live_12345678", None),
        ("stripe", "secretKey", "sk_live_1", None),
        ("stripe", "publicKey", "pk_live_12345678", Environment.production),
        ("stripe", "webhookSecret", "whsec_12345678", None),  # the same in both
    ],
)
def test_keys_tell_their_environment(code: str, field: str, value: str, environment: Environment | None) -> None:
    assert environment_of_key(BUILT_IN[code], field, value) is environment


def test_every_feature_names_a_verb() -> None:
    assert all(hasattr(Handler, verb) for _, verb in FEATURES)
    names = [feature for feature, _ in FEATURES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("https://abc-live.example.com/v1", True),
        ("https://example.com", False),
        ("https://a.b.example.com", False),
        ("https://abc.example.com.evil.test", False),
        ("http://abc.example.com", False),
        ("https://abcexample.com", False),
    ],
)
def test_a_declared_star_is_one_label(url: str, right: bool) -> None:
    assert may_receive_keys(url, frozenset({"*.example.com"}), frozenset()) is right


def test_no_address_is_right_for_a_provider_without_a_network() -> None:
    assert may_receive_keys("", frozenset(), frozenset())
    assert not may_receive_keys("", frozenset({"example.com"}), frozenset({"http://127.0.0.1:1"}))
    assert not may_receive_keys("https://example.com", BUILT_IN["manual"].hosts, frozenset())


BALANCES: dict[str, tuple[Any, Balance]] = {
    "stripe": (
        {"object": "balance", "available": [{"amount": -250, "currency": "usd"}, {"amount": 500, "currency": "ugx"}],
         "pending": [{"amount": 7, "currency": "jpy"}, {"amount": 1, "currency": "???"}]},
        Balance((Money(-250, "USD"), Money(5, "UGX")), (Money(7, "JPY"),)),
    ),
    "paystack": (
        {"status": True, "data": [{"currency": "NGN", "balance": 1700000}, {"currency": "XOF", "balance": "500"}, 5,
                                  {"currency": "KES", "balance": -100}]},
        Balance((Money(1700000, "NGN"), Money(5, "XOF"), Money(-100, "KES"))),
    ),
    "flutterwave": (
        {"status": "success", "data": [{"currency": "NGN", "available_balance": 75.5, "ledger_balance": 80}, {},
                                        {"currency": "KES", "available_balance": -1}]},
        Balance((Money(7550, "NGN"), Money(-100, "KES"))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("code", BALANCES)
async def test_balance(code: str) -> None:
    body, expected = BALANCES[code]
    handler, _ = made(code, 200, body)
    assert await handler.get_balance() == expected
    for status, wrong in ((401, {"message": "no"}), (500, {}), (200, {"data": 7, "available": 7})):
        handler, _ = made(code, status, wrong)
        assert isinstance(await handler.get_balance(), NotSent | Unknown)


async def test_disputes_are_listed() -> None:
    dispute = {
        "id": "dp_1",
        "status": "needs_response",
        "amount": 1000,
        "currency": "usd",
        "charge": "ch_1",
        "payment_intent": "pi_1",
    }
    stripe, asked = made("stripe", 200, {"data": [dispute, {"id": None}], "has_more": False})
    page = await stripe.list_disputes(1, 2)
    assert isinstance(page, Page)
    assert [(fact.provider_dispute_id, fact.amount) for fact in page.facts] == [("dp_1", Money(1000, "USD"))]
    assert (page.next, page.unread) == (None, 1), "what cannot be read is counted"
    assert asked.calls == ["GET https://api.stripe.com/v1/disputes?created[gte]=1&created[lte]=2&limit=100"]
    one = {"id": 5, "currency": "NGN", "resolution": None, "transaction": {"id": 9, "reference": "r", "amount": 10000}}
    paystack, _ = made("paystack", 200, {"status": True, "data": [one, {"id": 6}]})
    page = await paystack.list_disputes(1, 2)
    assert [(fact.payment_reference, fact.state) for fact in page.facts] == [("r", "open")]
    assert page.unread == 1


async def test_a_full_page_has_a_next_one() -> None:
    full = [{"id": number, "reference": f"r{number}"} for number in range(100)]
    paystack, asked = made("paystack", 200, {"status": True, "data": full})
    assert (await paystack.list_transactions(0, 1)).next == "2"
    assert (await paystack.list_transactions(0, 1, "2")).next == "3"
    assert asked.calls[1].endswith("page=2")
    paystack, _ = made("paystack", 200, {"status": True, "data": full[:99]})
    assert (await paystack.list_transactions(0, 1)).next is None
    flutterwave, _ = made("flutterwave", 200, {"status": "success", "data": []})
    assert await flutterwave.list_transactions(0, 1) == Page(())


def test_a_refund_may_name_the_capture_alone() -> None:
    assert RefundFact("pending", provider_charge_id="cap-1").provider_transaction_id is None
