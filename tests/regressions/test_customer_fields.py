"""What a form asks for is what a payment needs: for every provider, currency and method that its handler declares.

Issue 18, item 1. Sources: erpnext#44945 (a link that can never be paid asks for the wrong field), page review D2. With exactly
the declared fields a payment passes at the provider. Without any one of them it is refused before anything is written, and
its idempotency key stays free. The preview (``for-currency``), the API, payment links, the customer's corrections and staff's
payment form agree.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from polytill.domain.contacts import example_phone
from polytill.domain.currencies import exponent_of
from polytill.providers.contract import CustomerFields, Handler
from polytill.providers.customer_fields import CUSTOMER_FIELDS
from polytill.providers.flutterwave.v3 import FlutterwaveProvider
from polytill.providers.flutterwave.v4 import FlutterwaveV4Provider
from polytill.providers.manual import ManualProvider
from polytill.providers.mpesa.handler import MpesaProvider
from polytill.providers.paypal.handler import PayPalProvider
from polytill.providers.paystack.handler import PaystackProvider
from polytill.providers.stripe.handler import StripeProvider
from polytill.web.checkout.customer_forms import form_fields
from tests.installation import Installation
from tests.regressions.test_customer_data import link_of, send
from tests.web.support import Json, Page, Practice, fresh, is_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

HANDLERS: tuple[type[Handler], ...] = (
    StripeProvider,
    PaystackProvider,
    FlutterwaveProvider,
    FlutterwaveV4Provider,
    MpesaProvider,
    PayPalProvider,
    ManualProvider,
)
MORE: dict[str, Json] = {"mpesa": {"config": {"shortCode": "174379", "passkey": "passkey0123456789abcdef"}}}
# Details of direct charges that are no customer data, by provider, currency and method.
DETAILS: dict[tuple[str, str, str], dict[str, str]] = {
    ("paystack", "NGN", "ussd"): {"type": "737"},
    ("paystack", "NGN", "bank"): {"code": "057", "account_number": "0000000000"},
    ("paystack", "GHS", "mobile_money"): {"provider": "mtn"},
    ("paystack", "KES", "mobile_money"): {"provider": "mpesa"},
    ("flutterwave", "GHS", "mobile_money"): {"provider": "MTN"},
    ("flutterwave", "UGX", "mobile_money"): {"provider": "MTN"},
    ("flutterwave", "XOF", "mobile_money"): {"provider": "ORANGE", "country": "CI"},
}
FEW = 6  # of providers with hundreds of currencies, all of which need the same


def _currencies(handler: type[Handler]) -> list[str]:
    """Every currency in which a handler needs something, and a few of the others."""
    every = list(handler.catalog.currencies)
    free = [c for c in every if not any(handler.customer_fields(c, m).asked for m in (None, *handler.methods_in(c)))]
    return [c for c in every if c not in free[FEW:]]


def _ways(handler: type[Handler], currency: str) -> Iterator[tuple[str | None, dict[str, str] | None]]:
    for method in (None, *handler.methods_in(currency)):
        yield method, None
    for where, method in handler.direct_charges:
        if where == currency:
            yield method, DETAILS.get((handler.code, currency, method), {})


def _values(fields: CustomerFields) -> dict[str, str]:
    country = (fields.phone_countries or ("KE",))[0]
    return {"email": "ada@example.com", "name": "Ada Obi", "phone": example_phone(country) or ""}


def _minimal(fields: CustomerFields) -> Iterator[tuple[str, ...]]:
    """Each smallest set of fields that is enough."""
    for one in fields.one_of or (None,):
        yield (*fields.required, *([one] if one else []))


async def _payments(practice: Practice) -> list[tuple[str, str]]:
    """Every attempt with its payment. Those of earlier payments go on meanwhile, so not every row stays as it was."""
    db = await practice.db
    rows = await db.fetch(
        "SELECT p.id, a.id AS attempt FROM payments p LEFT JOIN payment_attempts a ON a.payment_id = p.id ORDER BY 1, 2"
    )
    return [(row["id"], row["attempt"]) for row in rows]


async def _practice(house: Installation, handler: type[Handler], currency: str) -> Practice:
    practice = await Practice.make(house, currency=currency)
    if handler.code == "manual":
        body = {
            "providerCode": "manual",
            "environment": "sandbox",
            "isEnabled": True,
            "supportedCurrencies": [currency],
        }
        assert (await practice.call("POST", "/payment-providers", body)).status == 201
    else:
        await practice.configure(handler.code, [currency], **MORE.get(handler.code, {}))
    return practice


@pytest.mark.parametrize(
    ("handler", "currency"),
    [(handler, currency) for handler in HANDLERS for currency in _currencies(handler)],
    ids=lambda value: value if isinstance(value, str) else value.code,
)
# What a request must contain is decided before a database is asked.
@pytest.mark.parametrize("file_engine_url", ["sqlite"], indirect=True, scope="module")
async def test_the_declared_fields_are_what_a_payment_needs(
    shared: Installation, handler: type[Handler], currency: str
) -> None:
    practice = await _practice(shared, handler, currency)
    amount = 5_000 * 10 ** exponent_of(currency)
    for method, details in _ways(handler, currency):
        fields = handler.customer_fields(currency, method, details is not None)
        where = f"{method} in {currency}" + (", direct" if details is not None else "")
        asked: Json = {"amount": amount, "currency": currency}
        asked |= {"paymentMethod": method} if method else {}
        asked |= {"methodDetails": details} if details is not None else {}
        values = _values(fields)
        if details is None:
            path = f"/payment-providers/for-currency/{currency}?amount={amount}" + (
                f"&paymentMethod={method}" if method else ""
            )
            preview = (await practice.call("GET", path)).body
            assert preview["customerFields"] == {
                "required": list(fields.required),
                "oneOf": list(fields.one_of),
                "phoneCountries": list(fields.phone_countries),
            }, where
        for names in _minimal(fields):
            key = fresh()
            before = await _payments(practice)
            for left_out in names:
                given = {
                    name: values[name] for name in CUSTOMER_FIELDS if name != left_out and name not in fields.one_of
                }
                found = is_problem(
                    await practice.call("POST", "/payments", {**asked, "customer": given}, idempotency=key), 422
                )
                pointers = {error["pointer"] for error in found["errors"]}
                wanted = set(fields.one_of) if left_out in fields.one_of else {left_out}
                assert pointers == {f"/customer/{name}" for name in wanted}, (where, left_out, found)
                if details is None:
                    known = ",".join(given)
                    path = f"/payment-providers/for-currency/{currency}?customerFields={known}"
                    path += f"&paymentMethod={method}" if method else ""
                    assert (await practice.call("GET", path)).status == 404, (where, left_out)
            assert await _payments(practice) == before, where
            exact = {**asked, "customer": {name: values[name] for name in names}}
            made = await practice.call("POST", "/payments", exact, idempotency=key)
            assert made.status == 201, (where, names, made.body)
            assert made.body["status"] != "failed", (where, names, made.body["attempts"])


@pytest.mark.parametrize(
    ("handler", "currency"),
    [(handler, currency) for handler in HANDLERS for currency in _currencies(handler)[:9]],
    ids=lambda value: value if isinstance(value, str) else value.code,
)
async def test_a_link_asks_for_them_and_begins_a_payment_with_them(
    shared: Installation, handler: type[Handler], currency: str
) -> None:
    practice = await _practice(shared, handler, currency)
    amount = 5_000 * 10 ** exponent_of(currency)
    path = await link_of(practice, currency=currency, amount=amount, singleUse=False)
    fields = handler.customer_fields(currency)
    [(_, shown)] = Page((await shared.call("GET", path)).body).forms
    assert set(shown) - {"key", "by"} == set(form_fields(fields))
    assert set(fields.asked) <= set(shown)
    values = _values(fields)
    for names in _minimal(fields):
        before = await _payments(practice)
        for left_out in names:
            given = {name: values[name] for name in names if name != left_out}
            assert (await send(practice, path, key=shown["key"], **given)).status == 422, (currency, left_out)
        assert await _payments(practice) == before
        begun = await send(practice, path, key=shown["key"], **{name: values[name] for name in names})
        assert begun.status == 303, currency
        [one, *_] = (await practice.call("GET", "/payments")).body["data"]
        assert one["status"] != "failed", one
