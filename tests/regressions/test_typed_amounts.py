"""Amounts that people type into forms (issue 18, item 2; the review of the pages, amounts in links, refunds, cash and catalog).

What a page prints can be pasted into any form; what could be two amounts is refused with both, and nothing is saved.
"""

from __future__ import annotations

import pytest

from tests.installation import Installation
from tests.web.browsing import Browser, person
from tests.web.support import Practice

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINK = {"currency": "NGN", "description": "Visit", "days": "7", "use": "many"}


async def test_a_link_takes_the_amount_that_a_page_shows_in_any_language(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    typed = {
        "15 000": 1_500_000,
        "15\u00a0000,50": 1_500_050,
        "15\u202f000,50 NGN": 1_500_050,
        "15,000.50": 1_500_050,
        "15.000,50": 1_500_050,
        "₦15,000.00": 1_500_000,
        "NGN\u00a015,000.00": 1_500_000,
        "2 500,50": 250_050,
    }
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        for text, minor in typed.items():
            sent = await browser.send(f"{door}/links", f"{door}/links", amount=text, **LINK)
            assert sent.status == 303, (text, sent.text)
            newest = (await practice.call("GET", "/payment-links")).body["data"][0]
            assert newest["amount"] == minor, text
        for text in ("1,500", "1.500", "1,50,0", "five", "", "1e3", "-5", "0", "9" * 30):
            sent = await browser.send(f"{door}/links", f"{door}/links", amount=text, **LINK)
            assert sent.status == 422, text
            assert 'id="f-amount"' in sent.html
            assert sent.html.count('aria-invalid="true"') == 1, text
        both = await browser.send(f"{door}/links", f"{door}/links", amount="1,500", **LINK)
        assert all(f"NGN\u00a0{amount}" in both.html for amount in ("1.50", "1,500.00"))
        assert len((await practice.call("GET", "/payment-links")).body["data"]) == len(typed)


async def test_a_refund_takes_what_the_page_offers_in_every_language(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    payment = await practice.paid(123_456)
    address = f"/practice/{practice.id}/payments/{payment['id']}/refund"
    await person(shared, await practice.db, "pat@example.com")
    for language in ("en", "en-ZA", "fr", "fr-CH", "sw", "sw-KE"):
        async with Browser(shared) as browser:
            await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
            page = await browser.get(address, **{"Accept-Language": language})
            offered = page.forms[f"{address}/confirm"]["amount"][0]
            sure = await browser.post(
                f"{address}/confirm",
                {**page.forms[f"{address}/confirm"], "amount": offered},
                {"Accept-Language": language},
            )
            assert (sure.status, sure.forms[address]["minor"]) == (200, ["123456"]), (language, offered, sure.text)


async def test_the_catalog_takes_amounts_and_percentages_of_any_language(shared: Installation) -> None:
    await person(shared, shared.till.context.owner, "owen@example.com")
    address = "/owner/catalog/paystack"
    async with Browser(shared) as browser:
        await browser.sign_in("/owner", "owen@example.com")
        sent = await browser.send(
            "/owner/catalog/paystack",
            address,
            **{"percent-NGN": "1,9 %", "fixed-NGN": "100,50", "min-NGN": "1\u202f000,00", "max-NGN": "₦2,500,000.00"},
        )
        assert sent.status == 303, sent.text
        terms = (await shared.till.context.catalog())["paystack"].currencies["NGN"]
        found = (terms.transaction_fee_percent, terms.transaction_fee_fixed, terms.min_amount, terms.max_amount)
        assert found == (19_000, 10_050, 100_000, 250_000_000)
        for cell, text in (("min-NGN", "1,500"), ("max-NGN", "-1"), ("percent-NGN", "101"), ("fixed-NGN", "1,50,0")):
            wrong = await browser.send("/owner/catalog/paystack", address, **{cell: text})
            assert (wrong.status, f'id="w-{cell}"' in wrong.html) == (422, True), cell
        assert (await shared.till.context.catalog())["paystack"].currencies["NGN"] == terms
