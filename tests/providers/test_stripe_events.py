"""Stripe deliveries that no fixture shows: every kind of event, odd shapes, bodies that cannot be read."""

import json
from typing import Any

import pytest
from tests.providers.stripe_objects import Json, intent, refund

from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.states import Environment
from polytill.providers.contract import DisputeFact, PaymentFact, ProviderConfig, RefundFact, WebhookResult
from polytill.providers.http import Http
from polytill.providers.outcomes import Pending, Reason, Succeeded, Unknown
from polytill.providers.stripe.handler import StripeProvider


class Nowhere:
    """Reading a delivery asks nobody."""

    async def send(self, method: str, url: str, headers: Any, body: bytes | None) -> Any:
        raise AssertionError(url)


def handler() -> StripeProvider:
    return StripeProvider(ProviderConfig(Environment.sandbox, "https://api.stripe.com"), Http(Nowhere()), World())


def delivered(kind: str, data: Any, **more: Any) -> WebhookResult:
    event = {"id": "evt_1", "object": "event", "type": kind, "livemode": False, "data": {"object": data}, **more}
    return handler().process_webhook(json.dumps(event).encode())


def fact_of(kind: str, data: Json, **more: Any) -> Any:
    result = delivered(kind, data, **more)
    assert (result.action, len(result.facts)) == ("apply", 1)
    return result.facts[0]


def test_intent_events() -> None:
    fact = fact_of("payment_intent.succeeded", intent("succeeded", amount_received=700))
    assert isinstance(fact, PaymentFact)
    assert (fact.reference, fact.provider_transaction_id) == ("att-1", "pi_1")
    assert isinstance(fact.outcome, Succeeded)
    assert fact.outcome.amount == Money(700, "USD")
    fact = fact_of("payment_intent.partially_funded", intent("requires_action"))
    assert isinstance(fact.outcome, Pending)
    # An intent that was closed stays closed, whichever event brings the news.
    fact = fact_of("payment_intent.payment_failed", intent("canceled"))
    assert fact.outcome.final
    fact = fact_of("payment_intent.payment_failed", intent())
    assert (fact.outcome.reason, fact.outcome.final) == (Reason.declined, False)
    # A status that is not known is asked about (regressions/test_unknown_statuses.py).
    fact = fact_of("payment_intent.succeeded", intent("a_new_word"))
    assert isinstance(fact.outcome, Unknown)
    assert fact.outcome.code == "a_new_word"


def test_events_of_checkout_sessions() -> None:
    session = {
        "id": "cs_1",
        "client_reference_id": "att-1",
        "payment_intent": "pi_1",
        "amount_total": 1050,
        "currency": "usd",
        "payment_status": "unpaid",
        "mode": "payment",
    }
    name = "checkout.session."
    assert isinstance(fact_of(name + "completed", session).outcome, Pending)
    paid = {**session, "payment_status": "paid"}
    for word in ("completed", "async_payment_succeeded"):
        fact = fact_of(name + word, paid)
        assert (fact.outcome.amount, fact.reference) == (Money(1050, "USD"), "att-1")
    for word, reason in (("async_payment_failed", Reason.declined), ("expired", Reason.expired)):
        outcome = fact_of(name + word, session).outcome
        assert (outcome.reason, outcome.final) == (reason, True)
    for ignored in (
        {**session, "payment_status": "no_payment_required", "amount_total": 0},
        {**paid, "mode": "setup"},
        {**paid, "client_reference_id": None, "payment_intent": None},
    ):
        assert delivered(name + "completed", ignored).action == "ignore"
    assert delivered(name + "new", session).action == "ignore"


def test_events_of_refunds() -> None:
    for kind in ("refund.created", "refund.updated", "refund.failed", "charge.refund.updated"):
        for word, state in (
            ("pending", "pending"),
            ("failed", "failed"),
            ("canceled", "failed"),
            ("requires_action", "requires_action"),
            ("succeeded", "succeeded"),
        ):
            fact = fact_of(kind, refund(word))
            assert isinstance(fact, RefundFact)
            assert (fact.state, fact.reference, fact.provider_refund_id) == (state, "ref-1", "re_1")
            assert (fact.amount, fact.provider_transaction_id) == (Money(500, "USD"), "pi_1")
    assert fact_of("refund.updated", refund("new")).state == "unknown"


def test_what_was_refunded_of_a_charge() -> None:
    charge = {
        "id": "ch_1",
        "payment_intent": {"id": "pi_1"},
        "currency": "usd",
        "amount": 1000,
        "amount_captured": 700,
        "amount_refunded": 500,
        "captured": True,
    }
    assert fact_of("charge.refunded", charge).total == Money(500, "USD")
    fact = fact_of("charge.refunded", charge, api_version="2025-03-31.basil")
    assert (fact.total, fact.provider_transaction_id) == (Money(500, "USD"), "pi_1")
    # Before, what was not captured counted as refunded.
    assert fact_of("charge.refunded", charge, api_version="2020-08-27").total == Money(200, "USD")
    released = {**charge, "amount_refunded": 300}
    assert delivered("charge.refunded", released, api_version="2020-08-27").action == "ignore"
    assert delivered("charge.refunded", {**charge, "captured": False}).action == "ignore"
    # A refund that failed afterwards: the total goes down, to nothing where it was the only one.
    assert fact_of("charge.refunded", {**charge, "amount_refunded": 0, "amount_captured": 1000}).total.minor == 0


@pytest.mark.parametrize(
    ("word", "status", "moves", "state", "withdrawn"),
    [
        ("created", "warning_needs_response", [], "open", False),
        ("updated", "warning_under_review", [], "open", False),
        ("closed", "warning_closed", [], "closed", False),
        ("closed", "prevented", [], "closed", False),
        ("created", "warning_needs_response", None, "open", False),
        ("closed", "prevented", None, "closed", False),
        ("created", "needs_response", [], "open", False),
        ("created", "needs_response", [{"amount": -1000}], "open", True),
        ("created", "needs_response", None, "open", True),
        ("funds_withdrawn", "needs_response", [], "open", True),
        ("updated", "appeal_under_review", [{"amount": -1000}], "open", True),
        ("closed", "lost", [{"amount": -1000}], "lost", True),
        ("closed", "lost", [], "lost", True),
        ("closed", "won", [{"amount": -1000}], "won", True),
        ("closed", "won", [{"amount": -1000}, {"amount": 1000}], "won", False),
        ("closed", "won", None, "won", False),
        ("funds_reinstated", "won", [{"amount": -1000}], "won", False),
    ],
)
def test_disputes(word: str, status: str, moves: Any, state: str, withdrawn: bool) -> None:
    data = {
        "id": "dp_1",
        "amount": 1000,
        "currency": "eur",
        "status": status,
        "charge": "ch_1",
        "payment_intent": "pi_1",
        "balance_transactions": moves,
        "evidence_details": {"due_by": 1_649_116_799},
    }
    assert fact_of(f"charge.dispute.{word}", data) == DisputeFact(
        state,
        status,
        "dp_1",
        None,
        "pi_1",
        "ch_1",
        Money(1000, "EUR"),
        withdrawn,
        "2022-04-04T23:59:59Z",
        "inquiry" if status.startswith("warning_") or status == "prevented" else "chargeback",
    )


def test_environment_of_a_delivery() -> None:
    assert delivered("payment_intent.created", intent(), livemode=True).environment is Environment.production
    assert delivered("payment_intent.created", intent(), livemode=None).environment is None


@pytest.mark.parametrize(
    "kind",
    [
        *[f"charge.{word}" for word in ("succeeded", "failed", "captured", "updated", "pending", "expired")],
        *["payout.paid", "v1.billing.meter.no_meter_found", ""],
    ],
)
def test_other_events_are_ignored(kind: str) -> None:
    for data in (intent("succeeded"), None, "text"):
        result = delivered(kind, data)
        assert (result.action, result.facts, result.dedupe_key) == ("ignore", (), "evt_1")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b'{"type":"a"}',
        b'{"id":"evt_1"}',
        b'{"id":5,"type":"a"}',
        b'{"id":"evt_1","type":"payment_intent.succeeded"}',
        b'{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":{}}}',
        b'{"id":"evt_1","type":"refund.updated","data":{"object":{"id":"re_1","status":"succeeded","amount":1.5}}}',
        b'{"id":"evt_1","type":"charge.refunded","data":{"object":{"id":"ch_1","currency":"usd"}}}',
        b"[" * 100_000,
    ],
)
def test_bodies_that_cannot_be_read(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        handler().process_webhook(body)


def test_an_object_needs_an_id() -> None:
    for kind, data in (("payment_intent.succeeded", intent("succeeded")), ("refund.updated", refund())):
        with pytest.raises(ValueError, match="without its object"):
            delivered(kind, {**data, "id": None})


@pytest.mark.parametrize("kind", ["payment_intent.succeeded", "checkout.session.completed", "charge.refunded"])
def test_bad_amounts_are_named(kind: str) -> None:
    data = {**intent("succeeded", amount=True), "client_reference_id": "a", "amount_total": True}
    with pytest.raises(ValueError, match="amount that cannot be read"):
        delivered(kind, data)
