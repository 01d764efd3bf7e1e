"""Every identifier of a payment is kept, shown and found (an operator's report, D10): the second transaction of a payment,
its attempts' references and M-Pesa's receipt number were found nowhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polytill.domain.identifiers import IdentifierKind, Identifiers
from polytill.providers.contract import redact
from polytill.providers.flutterwave.v3 import FlutterwaveProvider
from polytill.providers.mpesa.handler import MpesaProvider
from polytill.providers.paypal.handler import PayPalProvider
from polytill.providers.paystack.handler import PaystackProvider
from polytill.providers.stripe.handler import StripeProvider
from tests.installation import Installation
from tests.web.support import Practice, until

PAYER = {"phone": "0708374149"}
CONFIG = {"shortCode": "174379", "passkey": "passkey0123456789abcdef"}


def kinds(found: Identifiers) -> dict[str, tuple[str, ...]]:
    return {kind.value: values for kind, values in found.items()}


def test_stripe_names_charge_and_balance_transaction() -> None:
    expanded = {
        "id": "pi_1",
        "client_secret": "pi_1_secret_2",
        "latest_charge": {
            "id": "ch_2",
            "balance_transaction": {"id": "txn_3"},
            "receipt_number": "1234-5678",
            "payment_method_details": {"card": {"last4": "4242"}},
        },
    }
    found = kinds(StripeProvider.read_identifiers(redact(expanded, StripeProvider.redacted)))
    assert found == {
        "paymentIntent": ("pi_1",),
        "charge": ("ch_2",),
        "balanceTransaction": ("txn_3",),
        "receipt": ("1234-5678",),
        "cardLast4": ("4242",),
    }
    assert kinds(StripeProvider.read_identifiers({"id": "pi_1", "latest_charge": "ch_2"}))["charge"] == ("ch_2",)


def test_no_secret_is_an_identifier() -> None:
    data = {
        "id": 7,
        "reference": "r-1",
        "receipt_number": None,
        "authorization": {"authorization_code": "AUTH_secret", "last4": "4081", "bin": "408408"},
    }
    assert kinds(PaystackProvider.read_identifiers(data)) == {"reference": ("r-1",), "cardLast4": ("4081",)}
    card = {"flw_ref": "FLW-1", "card": {"token": "flw-t1nf-secret", "last_4digits": "4246"}}
    assert kinds(FlutterwaveProvider.read_identifiers(card)) == {"reference": ("FLW-1",), "cardLast4": ("4246",)}
    phone = {"authorization": {"last4": "X987"}}
    assert kinds(PaystackProvider.read_identifiers(phone)) == {}


def test_paypal_tells_order_capture_and_authorization_apart() -> None:
    capture = {
        "id": "C-1",
        "status": "COMPLETED",
        "final_capture": True,
        "invoice_id": "INV-1-abc",
        "supplementary_data": {"related_ids": {"order_id": "O-1"}},
    }
    assert kinds(PayPalProvider.read_identifiers(capture)) == {
        "order": ("O-1",),
        "invoice": ("INV-1-abc",),
        "capture": ("C-1",),
    }
    held = {"id": "A-1", "status": "CREATED", "expiration_time": "2026-01-01"}
    assert kinds(PayPalProvider.read_identifiers(held)) == {"authorization": ("A-1",)}
    order = {"id": "O-1", "intent": "CAPTURE", "purchase_units": [{"payments": {"captures": [{"id": "C-1"}]}}]}
    assert kinds(PayPalProvider.read_identifiers(order)) == {"order": ("O-1",), "capture": ("C-1",)}


def test_mpesa_receipt_of_safaricoms_own_sample() -> None:
    fixture = Path(__file__).parents[1] / "fixtures" / "providers" / "mpesa" / "webhooks" / "stk.success.body"
    call = json.loads(fixture.read_text())["Body"]["stkCallback"]
    assert MpesaProvider.read_identifiers(call)[IdentifierKind.receipt] == ("NLJ7RT61SV",)
    assert MpesaProvider.read_identifiers({"CallbackMetadata": {"Item": "nonsense"}}) == {}


async def found(practice: Practice, query: str) -> list[str]:
    answer = await practice.call("GET", f"/payments?environment=sandbox&{query}")
    assert answer.status == 200, answer.body
    return [payment["id"] for payment in answer.body["data"]]


@pytest.mark.asyncio(loop_scope="module")
async def test_the_receipt_of_the_customers_sms_finds_the_payment(shared: Installation) -> None:
    practice = await Practice.make(shared, currency="KES")
    await practice.configure("mpesa", ["KES"], config=CONFIG)
    made = (await practice.create(150_000, currency="KES", customer=PAYER, reference="INV-2044")).body
    [attempt] = made["attempts"]
    await practice.act(attempt["reference"])
    await practice.settled(made["id"], status="succeeded")

    async def called() -> dict[str, Any]:
        return dict((await practice.payment(made["id"]))["attempts"][0]["identifiers"])

    kept = await until(called, lambda names: "receipt" in names)
    assert kept["transaction"] == [(await practice.payment(made["id"]))["providerTransactionId"]]
    [receipt] = kept["receipt"]
    for text in (receipt, receipt.lower(), kept["transaction"][0], attempt["reference"], made["number"], "INV-2044"):
        assert await found(practice, f"search={text}") == [made["id"]], text
    assert await found(practice, f"providerTransactionId={receipt}") == [made["id"]]
    assert await found(practice, f"number={made['number']}") == [made["id"]]
    assert await found(practice, "search=0708%20374%20149") == [made["id"]]
    assert await found(practice, "search=1%2C500.00") == [made["id"]]
    page = await shared.call("GET", f"/pay/{made['clientToken']}/receipt", headers={"Accept": "text/html"})
    assert receipt in page.body
    assert made["number"] in page.body


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("code", ["stripe", "paystack", "flutterwave"])
async def test_identifiers_of_a_paid_payment(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    paid = await practice.paid(reference="INV-7")
    names = (await practice.payment(paid["id"]))["attempts"][0]["identifiers"]
    wanted = {"stripe": "charge", "paystack": "cardLast4", "flutterwave": "reference"}[code]
    assert {"transaction", wanted} <= names.keys(), names
    assert names["transaction"] == [paid["providerTransactionId"]]
    for values in names.values():
        for value in values:
            assert await found(practice, f"search={value}") == [paid["id"]], value
    events = (await practice.db).fetch("SELECT data FROM events WHERE payment_id = $1", paid["id"])
    assert all(json.loads(row["data"])["number"] == paid["number"] for row in await events)
