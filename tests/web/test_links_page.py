"""The staff's page of payment links: what an admin makes there a payer can open; a viewer only looks."""

from __future__ import annotations

import pytest

from tests.installation import Installation
from tests.web.browsing import Browser, person
from tests.web.support import Page, Practice
from tests.wording import part, said

pytestmark = pytest.mark.asyncio(loop_scope="module")

GIVEN = {
    "amount": "15000",
    "currency": "NGN",
    "description": "Term fee",
    "reference": "T-4",
    "days": "7",
    "use": "many",
}


async def test_an_admin_makes_and_closes_a_link(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        assert said("links.none") in (await browser.get(f"{door}/links")).text
        sent = await browser.send(f"{door}/links", f"{door}/links", **GIVEN)
        assert sent.status == 303, sent.text
        made = await browser.get(f"{door}/links")
        assert "Term fee" in made.text
        [link] = (await practice.call("GET", "/payment-links")).body["data"]
        assert (link["amount"], link["singleUse"], link["reference"]) == (1_500_000, False, "T-4")
        assert link["url"] in Page(made.html).links
        assert f"{link['url']}/poster" in Page(made.html).links
        for change, key in (
            ({"amount": "12.345"}, "fault.amount_too_fine"),
            ({"amount": "-5"}, "fault.amount_not_positive"),
            ({"amount": "0"}, "fault.amount_not_positive"),
            ({"days": "0"}, "fault.whole_number_between"),
            ({"days": "999"}, "fault.whole_number_between"),
            ({"days": "x"}, "fault.whole_number_between"),
            ({"description": ""}, "fault.shape_missing"),
            ({"currency": "EUR"}, "EUR"),
            ({"currency": "zzz"}, "fault.no_currency"),
        ):
            wrong = await browser.send(f"{door}/links", f"{door}/links", **{**GIVEN, **change})
            assert (wrong.status, part(key) in wrong.text) == (422, True), (change, wrong.text)
        assert len((await practice.call("GET", "/payment-links")).body["data"]) == 1
        closed = await browser.send(f"{door}/links", f"{door}/links/{link['id']}/close")
        assert (closed.status, closed.headers["Location"], closed.done) == (303, f"{door}/links", "link_closed")
        assert (await browser.get(closed.headers["Location"])).said[0] == "link_closed"
        [link] = (await practice.call("GET", "/payment-links")).body["data"]
        assert link["status"] == "closed"


async def test_a_viewer_only_looks(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "vic@example.com", role="viewer")
    await practice.call("POST", "/payment-links", {"amount": 5000, "currency": "NGN", "description": "Visit"})
    async with Browser(shared) as browser:
        await browser.sign_in(door, "vic@example.com")
        seen = await browser.get(f"{door}/links")
        assert "Visit" in seen.text
        assert not [action for action in seen.forms if "/links" in action]
