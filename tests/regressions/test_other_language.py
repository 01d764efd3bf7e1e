"""The links to a page in another language lead back to this page (issue 18, item 13; review of the pages, D18).

A page that answers a form at an address of its own, or that has filters, was lost: the reader met "not found", the list
without its filters, or the form of another provider.
"""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import unquote

import pytest

from tests.installation import Installation
from tests.regressions.test_customer_data import kenyan, link_of, refuses, send
from tests.web.browsing import Browser, person
from tests.web.support import Page, Practice

pytestmark = pytest.mark.asyncio(loop_scope="module")
__all__ = ["refuses"]


def french(html: str) -> str:
    """Where the link to French leads back to."""
    [back] = re.findall(r'href="/language/fr\?back=([^"]+)"', html)
    return unquote(unescape(back))


async def test_a_page_of_staff_is_found_again(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    provider = f"{door}/providers/paystack"
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        filtered = f"{door}/payments?q=a%26b&since=2026-11-01"
        back = french((await browser.get(filtered)).html)
        assert back == filtered
        chosen = await browser.get(f"/language/fr?back={back.replace('%', '%25').replace('&', '%26')}")
        assert chosen.headers["Location"] == filtered
        for form in ("test", "activate/production", "credentials/production"):
            fields = (await browser.get(provider)).forms[provider]
            answered = await browser.post(f"{provider}/{form}", {"form_token": fields["form_token"]})
            assert answered.status in (200, 422), answered.text
            assert french(answered.html) == provider, form
        wrong = await browser.send(f"{door}/links", f"{door}/links", amount="five")
        assert (wrong.status, french(wrong.html)) == (422, f"{door}/links")


async def test_a_customer_stays_on_their_page(shared: Installation, refuses: str) -> None:
    practice = await kenyan(shared, "paystack", "mpesa")
    path = await link_of(practice)
    other = await shared.call("GET", f"{path}?by=paystack&lang=sw")
    assert f"{path}?by=paystack&lang=fr" in Page(other.body).links
    begun = await send(practice, path, phone=refuses)
    payment = begun.headers["Location"]
    wrong = await send(practice, f"{payment}/retry", phone="0712", email="x")
    assert wrong.status == 422
    assert f"{payment}?lang=fr" in Page(wrong.body).links


async def test_a_long_search_finds_nothing_and_is_a_page(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        for address in ("payments", "payments.csv"):
            assert (await browser.get(f"{door}/{address}?q={'x' * 1000}")).status == 200
