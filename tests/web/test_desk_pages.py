"""Manual payments, the checkout's color, and the start page."""

from __future__ import annotations

from typing import Any

import pytest

from polytill.storage import audit, practice_profile, staff
from tests.installation import Installation
from tests.web.browsing import Browser, person
from tests.web.support import Practice, fresh, snapshot
from tests.wording import part, said

pytestmark = pytest.mark.asyncio(loop_scope="module")

GIVEN = {"amount": "5,000.00", "currency": "NGN", "method": "cash", "name": "Ada <b>", "description": "Visit"}


async def _at_the_desk(house: Installation, role: str = "admin", takes_cash: bool = True) -> tuple[Practice, str]:
    practice = await Practice.make(house)
    if takes_cash:
        body = {"providerCode": "manual", "environment": "sandbox", "isEnabled": True, "supportedCurrencies": ["NGN"]}
        assert (await practice.call("POST", "/payment-providers", body)).status == 201
    await person(house, await practice.db, "pat@example.com", role, name="Pat")
    return practice, f"/practice/{practice.id}"


# ── Money by hand ──


async def test_cash_is_taken_and_confirmed_once(shared: Installation) -> None:
    practice, door = await _at_the_desk(shared)
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        form = (await browser.get(f"{door}/manual")).forms[f"{door}/manual"]
        made = [await browser.post(f"{door}/manual", {**form, **GIVEN}) for _ in range(2)]
        assert {seen.status for seen in made} == {303}
        [path] = {seen.headers["Location"].partition("?")[0] for seen in made}  # one payment, however often pressed
        seen = await browser.get(path)
        assert said("manual.there", amount="NGN 5,000.00") in seen.text
        fields: dict[str, Any] = {**seen.forms[path], "amount": "5000", "note": "Two notes", "proof": "R-1"}
        for change, fault in (
            ({"amount": ""}, "amount_missing"),
            ({"amount": "4,999"}, "another_amount"),
            ({"note": " "}, "say_what_you_saw"),
        ):
            wrong = await browser.post(path, {**fields, **change})
            assert (wrong.status, part(f"fault.{fault}") in wrong.text) == (422, True), wrong.text
        payment_id = path.split("/")[-2]
        assert (await practice.payment(payment_id))["amountCaptured"] == 0
        for _ in range(2):
            sent = await browser.post(path, fields)
            assert (sent.headers["Location"], sent.done) == (f"{door}/payments/{payment_id}", "booked")
        paid = await practice.payment(payment_id)
        assert (paid["status"], paid["amountCaptured"], paid["providerCode"]) == ("succeeded", 500_000, "manual")
        shown = await browser.get(f"{door}/payments/{payment_id}")
        assert said("story.payment.confirmed_manually") in shown.text
        assert "Ada &lt;b&gt;" in shown.html
        assert f"{path}" not in shown.html  # nothing is left to confirm
        assert (await browser.get(path)).status == 303
        lines = [one for one in await audit.listed(await practice.db, payment_id) if "manual" in one["action"]]
        [me] = await staff.listed(await practice.db)
        assert [(one["actor"], one["detail"]["note"]) for one in lines] == [(f"user:{me.id}", "Two notes")]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"amount": "1e9"}, "fault.amount_unreadable"),
        ({"amount": "0"}, "fault.amount_not_positive"),
        ({"amount": "-5"}, "fault.amount_not_positive"),
        ({"currency": "XXZ"}, "fault.no_currency"),
        ({"currency": "USD"}, "USD"),
        ({"method": "card"}, "excluded.payment_method"),
        ({"email": "x" * 300}, "ada@example.com"),
        ({"description": "a\x07b"}, "characters"),
    ],
)
async def test_bad_payments_by_hand_change_nothing(shared: Installation, change: dict[str, str], key: str) -> None:
    practice, door = await _at_the_desk(shared)
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        before = await snapshot(shared, practice.id)
        seen = await browser.send(f"{door}/manual", f"{door}/manual", **{**GIVEN, **change})
        assert (seen.status, part(key) in seen.text) == (422, True), seen.text
        assert await snapshot(shared, practice.id) == before


async def test_only_where_cash_is_set_up_and_only_by_admins(shared: Installation) -> None:
    _, door = await _at_the_desk(shared, takes_cash=False)
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        seen = await browser.get(f"{door}/manual")
        assert said("manual.off") in seen.text
        assert f"{door}/manual" not in seen.forms
    online = await Practice.make(shared, "paystack")
    payment = (await online.create(500_000)).body
    await person(shared, await online.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{online.id}", "pat@example.com")
        path = f"/practice/{online.id}/payments/{payment['id']}"
        page = await browser.get(path)
        assert "/manual" not in page.html.partition("<main")[2]
        token = next(iter(page.forms.values()))["form_token"]
        fields = {"form_token": token, "amount": "5000", "note": "I am sure"}
        assert (await browser.post(f"{path}/manual", fields)).status == 404
        assert (await online.payment(payment["id"]))["amountCaptured"] == 0
    _, door = await _at_the_desk(shared, role="viewer")
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        assert (await browser.get(f"{door}/manual")).status == 403


# ── The checkout's color ──


async def test_the_checkouts_colour(shared: Installation) -> None:
    practice, door = await _at_the_desk(shared)
    path = f"{door}/checkout"
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        assert (await browser.send(path, path, color="#2F3E9E")).status == 303
        assert await practice_profile.checkout_color(await practice.db) == "#2f3e9e"
        assert 'fill="#2f3e9e"' in (await browser.get(path)).html
        for wrong in ("", "red", "#12345", '"><script>', "#12345g"):
            seen = await browser.send(path, path, color=wrong)
            assert (seen.status, said("look.no_color") in seen.text) == (422, True), wrong
            assert "<script>" not in seen.html
        assert await practice_profile.checkout_color(await practice.db) == "#2f3e9e"
        assert (await browser.send(path, path, reset="yes")).status == 303
        assert await practice_profile.checkout_color(await practice.db) is None


# ── The doors ──


async def test_the_first_page_leads_to_both_doors(shared: Installation) -> None:
    async with Browser(shared) as browser:
        seen = await browser.get("/")
        assert seen.status == 200
        assert 'href="/owner"' in seen.html
        for number in ("12", " 007 "):
            there = await browser.get(f"/?practice={number.replace(' ', '%20')}")
            assert there.headers["Location"] == f"/practice/{int(number)}/login"
        for wrong in ("x", "-1", "0", "99999999999", "%C2%B2", "1%2F..%2Fowner"):
            refused = await browser.get(f"/?practice={wrong}")
            assert (refused.status, said("doors.no_number") in refused.text) == (422, True), wrong
        assert (await browser.get("/language/fr?back=/")).headers["Location"] == "/"
        assert '<html lang="fr">' in (await browser.get("/")).html


async def test_the_owner_invites_a_practices_first_admin_only(shared: Installation) -> None:
    practice, owner = await Practice.make(shared), f"{fresh('owner')}@example.com"
    await person(shared, shared.till.context.owner, owner)
    path = f"/owner/practices/{practice.id}"
    async with Browser(shared) as browser:
        await browser.sign_in("/owner", owner)
        token = (await browser.get(path)).forms[f"{path}/invite"]["form_token"]
        wrong = await browser.post(f"{path}/invite", {"form_token": token, "email": "x"})
        assert (wrong.status, said("fault.not_an_email") in wrong.text) == (422, True)
        made = await browser.post(f"{path}/invite", {"form_token": token, "email": "first@example.com"})
        assert made.status == 303
        made = await browser.get(made.headers["Location"])
        assert f"/practice/{practice.id}/welcome/" in made.html
        assert f"{path}/invite" not in (await browser.get(path)).forms
        again = await browser.post(f"{path}/invite", {"form_token": token, "email": "second@example.com"})
        assert again.status == 409
        [first] = await staff.listed(await practice.db)
        assert (first.email, first.role) == ("first@example.com", "admin")
