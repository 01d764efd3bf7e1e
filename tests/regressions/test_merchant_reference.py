"""The host's reference at the provider: https://github.com/navariltd/frappe-mpsa-payments/pull/123 (8/2026): it reached no
provider, no customer's phone and no statement.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.payments.create import create_params
from polytill.providers.contract import ChargeSavedMethodParams, CreatePaymentParams, Customer, Handler, ProviderConfig
from polytill.providers.flutterwave import v3_charge
from polytill.providers.flutterwave.v3 import FlutterwaveProvider
from polytill.providers.manual import ManualProvider
from polytill.providers.merchant_reference import plain_code, statement_suffix
from polytill.providers.mpesa.handler import MpesaProvider
from polytill.providers.outcomes import NeedsAction
from polytill.providers.paypal.handler import PayPalProvider
from polytill.providers.paystack import charge
from polytill.providers.paystack.handler import PaystackProvider
from polytill.providers.stripe import forms
from polytill.storage import attempts
from tests.flows.conftest import scene
from tests.flows.scenes import Scene

__all__ = ["scene"]

ATTEMPT = "01m8msyd9fabcdefghjkmnpqrs"
PARAMS = CreatePaymentParams(
    ATTEMPT,
    "01m8msyd9fpayment0000000aa",
    Money(150_000, "KES"),
    Customer("ada@example.com", "Ada", "254712345678"),
    "https://shop.example/back",
    description="Consultation for INV-2044",
    merchant_reference="INV-2044",
    number="482177",
)
WITHOUT = replace(PARAMS, merchant_reference=None, number=None)


def handler(cls: type[Handler], **config: Any) -> Any:
    given = ProviderConfig(
        Environment.sandbox,
        "https://example.test",
        "public",
        Secret("secret"),
        (),
        config,
        "https://till.example/hooks/x",
    )
    return cls(given, None, World())  # type: ignore[arg-type]


def push(params: CreatePaymentParams) -> dict[str, Any]:
    mpesa = handler(MpesaProvider, shortCode="174379", passkey=Secret("p"))
    return dict(mpesa._push_body(params, "254712345678", "https://till.example/hooks/x"))


def test_mpesa_shows_the_reference() -> None:
    body = push(PARAMS)
    assert (body["AccountReference"], body["TransactionDesc"]) == ("INV-2044", "Consultation")
    assert body["CallBackURL"].endswith(f"?reference={ATTEMPT}"), "what finds the attempt stays"
    assert push(replace(PARAMS, merchant_reference="INVOICE-2026-000123"))["AccountReference"] == "2026-000123"
    assert push(replace(PARAMS, merchant_reference="Hôtel №7"))["AccountReference"] == "Hotel no7"
    assert push(replace(PARAMS, merchant_reference="名前"))["AccountReference"] == ATTEMPT[-12:]
    assert push(WITHOUT)["AccountReference"] == ATTEMPT[-12:], "an attempt of an earlier version is repeated as it was"


@pytest.mark.parametrize(
    ("given", "suffix"),
    [
        ("INV-2044", "INV-2044"),
        ("482177", "No 482177"),
        ("123456789", "N123456789"),
        ("1234567890123", "N567890123"),
        ("INVOICE-2026-000123", "26-000123"),
        ("a*b<c>\"'\\d", "a-b-c-d"),
        ("**", None),
        ("Ọjà 7", "Oja 7"),
        (None, None),
    ],
)
def test_a_card_statement_takes_what_stripe_takes(given: str | None, suffix: str | None) -> None:
    found = statement_suffix(given)
    assert found is None or (len(found) <= 10 and re.search("[A-Za-z]", found) and not set(found) & set("<>\\'\"*"))
    if given != "INVOICE-2026-000123":
        assert found == suffix
    else:
        assert found is not None
        assert found.endswith("000123")


def test_stripe_gets_it_in_metadata_description_and_statement() -> None:
    form = dict(forms.create_form(replace(PARAMS, description=None)))
    assert form["metadata[reference]"] == form["description"] == form["statement_descriptor_suffix"] == "INV-2044"
    assert form["metadata[polytill_attempt]"] == ATTEMPT
    mine = dict(forms.create_form(replace(PARAMS, metadata={"reference": "mine"})))
    assert (mine["metadata[reference]"], mine["description"]) == ("mine", "Consultation for INV-2044")
    debit = dict(forms.create_form(replace(PARAMS, method="us_bank_account")))
    assert "statement_descriptor_suffix" not in debit
    assert not {"metadata[reference]", "statement_descriptor_suffix"} & dict(forms.create_form(WITHOUT)).keys()


def test_paypal_gets_an_invoice_number_that_is_used_once() -> None:
    def unit(params: CreatePaymentParams) -> dict[str, Any]:
        return dict(handler(PayPalProvider)._order_body(params)["purchase_units"][0])

    first = unit(replace(PARAMS, amount=Money(5_000, "USD")))
    second = unit(replace(PARAMS, amount=Money(5_000, "USD"), reference="01m8msyd9fzzzzzzzzzzzzzzzz"))
    assert first["invoice_id"] == f"INV-2044-{ATTEMPT[-8:]}"
    assert first["invoice_id"] != second["invoice_id"], "PayPal refuses one that it has seen"
    assert (first["custom_id"], first["reference_id"]) == (ATTEMPT, ATTEMPT)
    long = unit(replace(PARAMS, amount=Money(5_000, "USD"), merchant_reference="x" * 200 + "7"))["invoice_id"]
    assert (len(long), long[-10:]) == (127, f"7-{ATTEMPT[-8:]}")
    assert "invoice_id" not in unit(replace(WITHOUT, amount=Money(5_000, "USD")))


def test_paystack_and_flutterwave_get_it_in_metadata() -> None:
    ngn = replace(PARAMS, amount=Money(5_000, "NGN"), description=None)
    field = {"display_name": "Reference", "variable_name": "reference", "value": "INV-2044"}
    body = handler(PaystackProvider)._initialize_body(ngn)
    assert (body["metadata"]["reference"], body["metadata"]["custom_fields"]) == ("INV-2044", [field])
    assert body["reference"] == ATTEMPT
    ghs = replace(ngn, amount=Money(5_000, "GHS"), method="mobile_money", method_details={"provider": "mtn"})
    direct = charge.charge_body(ghs)
    assert isinstance(direct, dict)
    assert direct["metadata"]["custom_fields"] == [field]
    body = handler(FlutterwaveProvider)._payment_body(ngn)
    assert (body["meta"]["reference"], body["customizations"]) == ("INV-2044", {"description": "INV-2044"})
    saved = ChargeSavedMethodParams(
        ATTEMPT, PARAMS.payment_id, Money(5_000, "NGN"), PARAMS.customer, Secret("t"), merchant_reference="INV-2044"
    )
    assert charge.saved_body(saved)["metadata"]["reference"] == "INV-2044"
    assert v3_charge.saved_body(saved)["meta"]["reference"] == "INV-2044"
    assert v3_charge.saved_body(saved)["narration"] == "INV-2044"
    assert dict(forms.charge_form(saved))["metadata[reference]"] == "INV-2044"


async def test_cash_and_transfers_go_by_the_payments_number() -> None:
    outcome = await handler(ManualProvider).create_payment_intent(replace(PARAMS, method="cash"))
    assert isinstance(outcome, NeedsAction)
    assert outcome.action is not None
    assert outcome.action.offline is not None
    assert outcome.action.offline.transfer_reference == "482177"
    assert "482177" in (outcome.action.instructions or "")
    assert "KES 1,500.00" in (outcome.action.instructions or "")


def test_what_is_cut_is_the_beginning() -> None:
    assert plain_code("A" * 20 + "-0042", 12) == "AAAAAAA-0042"
    assert plain_code("ab-----------0042", 12) == "ab-0042"


async def test_the_number_stands_in_for_a_reference(scene: Scene) -> None:
    await scene.configure()
    for reference in ("INV-1", None):
        payment = await scene.succeeded(reference=reference)
        [attempt] = await attempts.of_payment(scene.db, payment.id)
        create = create_params(scene.context, "Clinic", payment, attempt)
        assert create.merchant_reference == (reference or payment.number)
        assert create.number == payment.number


async def test_an_attempt_of_an_earlier_version_is_repeated_byte_for_byte(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded(reference="INV-1")
    await scene.db.fetch("UPDATE payment_attempts SET wire_format = 0")
    [attempt] = await attempts.of_payment(scene.db, payment.id)
    again = create_params(scene.context, "Clinic", payment, attempt)
    assert (again.merchant_reference, again.number) == (None, None)
