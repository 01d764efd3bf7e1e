"""Saved methods at Stripe: the bytes that keep one and charge it again, and what the answers mean."""

import json
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import pytest
from tests.providers import scripted, stripe_objects
from tests.providers.stripe_objects import Json

from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import (
    ChargeSavedMethodParams,
    CreatePaymentParams,
    Customer,
    LookupParams,
    ProviderConfig,
)
from polytill.providers.http import AnswerLost, Http
from polytill.providers.outcomes import Declined, NeedsAction, NextKind, NotSent, Reason, Succeeded, Unknown
from polytill.providers.stripe.handler import StripeProvider

USD = Money(1_050, "USD")
PAYER = Customer("ada@example.com", "Ada")
CREATE = CreatePaymentParams("att-1", "pay-1", USD, PAYER, "https://x.example", save_method=True)
CHARGE = ChargeSavedMethodParams(
    "att-2", "pay-2", USD, PAYER, Secret("pm_1kept"), "Visit", {"room": "4"}, provider_customer_id="cus_1"
)
CARD = {"brand": "visa", "last4": "4242", "exp_month": 8, "exp_year": 2031, "fingerprint": "fp_1"}


intent = partial(stripe_objects.intent, metadata={"polytill_attempt": "att-2"})
KEPT = intent(
    "succeeded",
    customer="cus_1",
    payment_method="pm_1kept",
    setup_future_usage="off_session",
    latest_charge={"id": "ch_1", "payment_method_details": {"type": "card", "card": CARD}},
)


class Script(scripted.Script):
    base = "https://api.stripe.com"

    @property
    def forms(self) -> list[tuple[str, list[tuple[str, str]], str | None]]:
        """Each request's call, form and idempotency key."""
        return [
            (f"{method} {path.partition('?')[0]}", parse_qsl((body or b"").decode()), headers.get("Idempotency-Key"))
            for method, path, headers, body in self.requests
        ]


def handler(script: Script) -> StripeProvider:
    config = ProviderConfig(Environment.sandbox, "https://api.stripe.com", None, Secret("sk_test_12345678"))
    return StripeProvider(config, Http(script), World(time_s=lambda: 1_800_000_000))


async def test_a_payment_that_saves_makes_a_customer_first_under_a_key_of_its_own() -> None:
    script = Script((200, {"id": "cus_1", "object": "customer"}), (200, intent("requires_payment_method")))
    outcome = await handler(script).create_payment_intent(CREATE)
    assert isinstance(outcome, NeedsAction)
    (first, person, first_key), (second, form, second_key) = script.forms
    assert (first, first_key) == ("POST /v1/customers", "att-1-customer")
    assert person == [("email", "ada@example.com"), ("name", "Ada"), ("metadata[polytill_payment]", "pay-1")]
    assert (second, second_key) == ("POST /v1/payment_intents", "att-1")
    assert form[-2:] == [("customer", "cus_1"), ("setup_future_usage", "off_session")]


@pytest.mark.parametrize("failure", [AnswerLost("x"), (500, {}), (400, {"error": {"message": "no"}})])
async def test_without_a_customer_no_payment_was_sent(failure: Any) -> None:
    script = Script(failure)
    assert isinstance(await handler(script).create_payment_intent(CREATE), NotSent)
    assert len(script.forms) == 1


async def test_a_lookup_whose_customer_fails_proves_nothing() -> None:
    for failure in (AnswerLost("x"), (500, {}), (401, {"error": {"message": "no"}})):
        outcome = await handler(Script(failure)).lookup_payment(LookupParams("att-1", None, USD, CREATE, 60.0, 1))
        assert isinstance(outcome, Unknown)


async def test_the_kept_method_is_read_with_what_the_payer_knows_it_by() -> None:
    found = await handler(Script((200, KEPT)))._retrieve("pi_1")
    assert isinstance(found, Succeeded)
    saved = found.saved_method
    assert saved is not None
    assert (saved.token.reveal(), saved.provider_customer_id) == ("pm_1kept", "cus_1")
    assert (saved.kind, saved.brand, saved.last4, saved.expires) == ("card", "visa", "4242", "2031-08")
    assert "pm_1kept" not in repr(found) + json.dumps(found.response)


@pytest.mark.parametrize(
    "change",
    [
        {"setup_future_usage": None},
        {"customer": None},
        {"payment_method": "[removed]"},
        {"latest_charge": "ch_1"},
        {"latest_charge": {"payment_method_details": {"type": "ideal", "ideal": {"bank": "ing"}}}},
    ],
)
async def test_nothing_is_saved_that_could_not_be_charged(change: Json) -> None:
    found = await handler(Script((200, {**KEPT, **change})))._retrieve("pi_1")
    assert isinstance(found, Succeeded)
    assert found.saved_method is None


async def test_a_saved_method_is_charged_in_one_request() -> None:
    script = Script((200, intent("succeeded")))
    outcome = await handler(script).charge_saved_method(CHARGE)
    assert isinstance(outcome, Succeeded)
    assert outcome.amount == USD
    assert outcome.saved_method is None
    assert script.forms == [
        (
            "POST /v1/payment_intents",
            [
                ("amount", "1050"),
                ("currency", "usd"),
                ("capture_method", "automatic"),
                ("customer", "cus_1"),
                ("payment_method", "pm_1kept"),
                ("off_session", "true"),
                ("confirm", "true"),
                ("description", "Visit"),
                ("receipt_email", "ada@example.com"),
                ("metadata[polytill_attempt]", "att-2"),
                ("metadata[polytill_payment]", "pay-2"),
                ("metadata[room]", "4"),
                ("expand[]", "latest_charge.balance_transaction"),
            ],
            "att-2",
        )
    ]


@pytest.mark.parametrize(
    ("code", "reason"),
    [("authentication_required", Reason.authentication_required), ("insufficient_funds", Reason.insufficient_funds)],
)
async def test_a_bank_that_wants_the_payer_leaves_the_intent_to_them(code: str, reason: Reason) -> None:
    error = {"type": "card_error", "code": "card_declined", "decline_code": code, "message": "No."}
    refused = {**error, "payment_intent": intent("requires_payment_method", last_payment_error=error)}
    outcome = await handler(Script((402, {"error": refused}))).charge_saved_method(CHARGE)
    assert isinstance(outcome, NeedsAction)
    assert outcome.action is not None
    assert outcome.action.kind is NextKind.client_token
    assert outcome.last_decline is not None
    assert outcome.last_decline.reason is reason
    assert "pi_1_secret_x" not in repr(outcome)


async def test_a_refusal_without_an_intent_is_final() -> None:
    error = {"type": "card_error", "code": "card_declined", "decline_code": "lost_card", "message": "Lost."}
    outcome = await handler(Script((402, {"error": error}))).charge_saved_method(CHARGE)
    assert isinstance(outcome, Declined)
    assert outcome.final
    assert outcome.code == "generic_decline"


async def test_a_lost_charge_is_read_from_the_list_and_never_repeated() -> None:
    listed = {"object": "list", "data": [intent("succeeded")], "has_more": False}
    script = Script(AnswerLost("x"), (200, listed))
    provider = handler(script)
    assert isinstance(await provider.charge_saved_method(CHARGE), Unknown)
    found = await provider.lookup_payment(LookupParams("att-2", None, USD, None, 60.0, 1_799_999_900))
    assert isinstance(found, Succeeded)
    assert [call for call, _, _ in script.forms] == ["POST /v1/payment_intents", "GET /v1/payment_intents"]
