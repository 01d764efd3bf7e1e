"""Pages that say something that is not so about one provider (issue 18, item 12; review of the pages, D13, D21, D27)."""

from __future__ import annotations

import pytest

from tests.installation import Installation
from tests.regressions.test_customer_data import kenyan
from tests.web.browsing import Browser, person
from tests.web.support import Practice, fresh
from tests.wording import said

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_nobody_is_told_to_register_an_address_that_each_call_carries(shared: Installation) -> None:
    """D13: M-Pesa gets our address with each call; Paystack has to be told of it."""
    practice = await kenyan(shared, "mpesa")
    await practice.configure("paystack", ["KES"])
    new = await Practice.make(shared)
    for one in (practice, new):
        await person(shared, await one.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
        for code, registers in (("mpesa", False), ("paystack", True)):
            page = await browser.get(f"/practice/{practice.id}/providers/{code}")
            assert ('id="hook-url"' in page.html) == registers, code
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{new.id}", "pat@example.com")
        for code, registers in (("mpesa", False), ("paystack", True)):
            page = await browser.get(f"/practice/{new.id}/providers/{code}")
            assert ('data-step="webhook"' in page.html) == registers, code


async def test_a_timeline_has_no_raw_types_and_a_crumb_no_name_of_nobody(shared: Installation) -> None:
    """D21, D27: a receptionist reads neither "charge.success" nor "No name given"."""
    practice = await Practice.make(shared, "paystack")
    paid = await practice.paid()
    manual = {"providerCode": "manual", "environment": "sandbox", "isEnabled": True, "supportedCurrencies": ["NGN"]}
    assert (await practice.call("POST", "/payment-providers", manual)).status == 201
    body = {"amount": 5_000, "currency": "NGN", "providerCode": "manual", "paymentMethod": "cash"}
    cash = (await practice.call("POST", "/payments", body, idempotency=fresh())).body
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        assert "charge." not in (await browser.get(f"{door}/payments/{paid['id']}")).text
        for address in (f"/payments/{cash['id']}/manual", f"/payments/{cash['id']}/cancel"):
            page = await browser.get(door + address)
            assert (page.status, 'class="crumb"' in page.html, said("payments.no_payer") in page.text) == (
                200,
                True,
                False,
            ), address


async def test_a_cancel_of_ours_is_not_shown_as_the_words_of_the_provider(shared: Installation) -> None:
    """A payment that nobody had begun to pay ends here; the provider said nothing about it."""
    practice = await Practice.make(shared, "paystack")
    made = (await practice.create()).body
    canceled = await practice.call("POST", f"/payments/{made['id']}/cancel", idempotency=fresh())
    assert (canceled.body["status"], canceled.body["attempts"][0]["code"]) == ("canceled", None)
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
        page = await browser.get(f"/practice/{practice.id}/payments/{made['id']}")
        assert "data-said" not in page.html
