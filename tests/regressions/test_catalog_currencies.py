"""A provider gets no currency that it cannot take (pages, D17).

Sources of what each takes: docs.stripe.com/currencies (presentment currencies, and those of three decimals), Paystack's
countries (NGN, GHS, ZAR, KES, USD, XOF, EGP, RWF), Flutterwave's accepted currencies, PayPal's currency codes; M-Pesa and
Flutterwave v4 by their methods.
"""

from __future__ import annotations

import pytest

from polytill.domain.currencies import CURRENCIES
from polytill.flows.admin import catalog
from polytill.providers.registry import BUILT_IN
from polytill.storage.catalog import CurrencySupport
from tests.installation import Installation
from tests.web.browsing import Browser, person
from tests.web.support import Practice

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMPOSSIBLE = {
    "stripe": "GHS",
    "paystack": "JPY",
    "flutterwave": "JPY",
    "flutterwave_v4": "USD",
    "mpesa": "JPY",
    "paypal": "NGN",
}
# Beside the catalog's.
POSSIBLE = {"stripe": "KWD", "paystack": "EGP", "flutterwave": "INR", "manual": "JPY"}
DOOR = "/api/owner/payment-providers"


@pytest.mark.parametrize(("code", "currency"), IMPOSSIBLE.items())
async def test_a_currency_that_a_provider_cannot_take_is_refused(
    shared: Installation, code: str, currency: str
) -> None:
    terms = {"percentage": "1.0", "isActive": True}
    before = (await shared.call("GET", f"{DOOR}/{code}", shared.owner_key)).body["supportedCurrencies"]
    put = await shared.call("PUT", f"{DOOR}/{code}/currencies/{currency}", shared.owner_key, terms)
    wanted = {"supportedCurrencies": [*before, currency]}
    patched = await shared.call("PATCH", f"{DOOR}/{code}", shared.owner_key, wanted)
    assert (put.status, patched.status) == (422, 422)
    assert patched.body["errors"][0]["pointer"] == "/supportedCurrencies"
    assert (await shared.call("GET", f"{DOOR}/{code}", shared.owner_key)).body["supportedCurrencies"] == before


@pytest.mark.parametrize("code", IMPOSSIBLE)
async def test_the_page_neither_offers_nor_takes_it(shared: Installation, code: str) -> None:
    currency, owner = IMPOSSIBLE[code], f"{code.replace('_', '-')}-currencies@example.com"
    await person(shared, shared.till.context.owner, owner)
    page = f"/owner/catalog/{code}"
    async with Browser(shared) as browser:
        await browser.sign_in("/owner", owner)
        shown = await browser.get(page)
        assert f'<option value="{currency}">' not in shown.html
        fields = {**shown.forms[page], "add": currency}
        answer = await browser.post(f"{page}/currencies/add", fields)
    assert answer.status == 422
    assert 'id="add-wrong"' in answer.html, "the error stands beside the field that it is about"
    assert currency not in (await shared.till.context.catalog())[code].currencies


@pytest.mark.parametrize(("code", "currency"), POSSIBLE.items())
async def test_what_it_can_take_may_be_added(shared: Installation, code: str, currency: str) -> None:
    put = await shared.call("PUT", f"{DOOR}/{code}/currencies/{currency}", shared.owner_key, {"isActive": True})
    assert put.status in (200, 201), put.body
    await shared.call("DELETE", f"{DOOR}/{code}/currencies/{currency}", shared.owner_key)


async def test_one_that_an_earlier_version_let_in_is_not_routed(
    shared: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor can its row be switched on again, and a form in which it is wrong saves nothing."""
    with monkeypatch.context() as earlier:
        earlier.setattr(BUILT_IN["paystack"], "further_currencies", None)
        await catalog.put_currency(shared.till.context, "paystack", CurrencySupport("JPY"), "test")
        practice = await Practice.make(shared, "paystack", currency="JPY")
    found = await practice.call("GET", "/payment-providers/for-currency/JPY")
    assert (found.status, found.body["code"]) == (404, "no_provider_for_currency")
    body = {"amount": 5000, "currency": "JPY", "customer": {"email": "a@example.com"}}
    refused = await practice.call("POST", "/payments", body, idempotency="jpy")
    assert (refused.status, refused.body["code"]) == (422, "no_provider_for_currency")
    assert [error["pointer"] for error in refused.body["errors"]] == ["/currency"]
    await catalog.put_currency(shared.till.context, "paystack", CurrencySupport("JPY", is_active=False), "test")
    await person(shared, shared.till.context.owner, "earlier@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in("/owner", "earlier@example.com")
        page = "/owner/catalog/paystack"
        fields = (await browser.get(page)).forms[page]
        answer = await browser.post(page, {**fields, "priority": "7", "active-JPY": "yes"})
    assert answer.status == 422
    entry = (await shared.till.context.catalog())["paystack"]
    assert (entry.priority, entry.currencies["JPY"].is_active) == (20, False)
    await catalog.remove_currency(shared.till.context, "paystack", "JPY", "test")


@pytest.mark.parametrize("code", BUILT_IN)
async def test_every_handler_but_the_manual_one_says_what_it_takes(code: str) -> None:
    handler = BUILT_IN[code]
    taken = {currency for currency in CURRENCIES if handler.takes_currency(currency)}
    assert taken >= set(handler.catalog.currencies)
    assert (len(taken) == len(CURRENCIES)) is (code == "manual")
