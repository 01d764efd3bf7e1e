"""No message of a library reaches a page (issue 18, item 12; review of the pages, D14, D15, D17, D23, D27).

Every form is sent with nonsense in each of its fields, in French and Swahili. What comes back may hold texts of that
language only, and each error leads to its field.
"""

from __future__ import annotations

import re

import pytest

from tests.installation import Installation
from tests.web.browsing import Browser, person
from tests.web.support import Practice

pytestmark = pytest.mark.asyncio(loop_scope="module")

NONSENSE = ("", "x" * 3000, "a\x07b", "zzz", "-1", "1e9", "<b>", "９９,9,9")
# Words of pydantic, Python, jsonschema and of our own English details.
RAW = re.compile(
    r"Value error|Input should|String should|should be|should have|should match|valid (string|integer|dictionary)"
    r"|at least \d|at most \d|ensure|ISO 4217|must be|must not|is required|This field|does not|cannot be|Traceback|None"
)
SKIPPED = ("logout", "/login")
KEPT = {"form_token", "key", "minor", "next"}


def said_of(html: str) -> list[str]:
    """The texts of every error on a page."""
    found = re.findall(r'<p class="wrong"[^>]*>(.*?)</p>', html, re.DOTALL)
    found += re.findall(r'<div class="notice bad[^"]*"[^>]*>(.*?)</div>', html, re.DOTALL)
    return [re.sub(r"<[^>]+>", " ", one) for one in found]


async def test_nonsense_in_any_field_is_answered_in_the_readers_language(shared: Installation) -> None:
    """The languages take turns: what is sent in French to one engine is sent in Swahili to the other."""
    first = 0 if shared.till.context.settings.owner_database_url.get_secret_value().startswith("sqlite") else 1
    practice = await Practice.make(shared, "paystack")
    payment = await practice.paid(100_000)
    door, owner = f"/practice/{practice.id}", "/owner"
    await person(shared, await practice.db, "pat@example.com")
    await person(shared, shared.till.context.owner, "owner@example.com")
    body = {"providerCode": "manual", "environment": "sandbox", "isEnabled": True, "supportedCurrencies": ["NGN"]}
    await practice.call("POST", "/payment-providers", body)
    pages = {
        door: (
            "links",
            "manual-payment",
            "checkout",
            "people",
            "password",
            "settings",
            "providers/paystack",
            "providers/flutterwave",
            "providers/stripe",
            "providers/mpesa",
            f"payments/{payment['id']}/refund",
        ),
        owner: ("catalog/new", "catalog/paystack", "practices/new", f"practices/{practice.id}", "people", "password"),
    }
    raw, seen = [], 0
    for at, paths in pages.items():
        async with Browser(shared) as browser:
            await browser.sign_in(at, "pat@example.com" if at == door else "owner@example.com")
            for path in paths:
                address = f"{at}/{path}"
                forms = (await browser.get(address)).forms
                for action, fields in forms.items():
                    names = [name for name in fields if name not in KEPT]
                    if action.endswith(SKIPPED) or len(names) > 40:
                        names = [n for n in names if n.endswith("-NGN")]
                    for name in names:
                        for number, text in enumerate(NONSENSE, first):
                            speaks = {"Accept-Language": ("fr", "sw")[number % 2]}
                            answer = await browser.post(action or address, {**fields, name: text}, speaks)
                            assert answer.status < 500, (action, name, text)
                            if answer.status == 422:
                                seen += 1
                                raw += [
                                    (action, name, text[:9], said) for said in said_of(answer.html) if RAW.search(said)
                                ]
                                assert "data-errors=" in answer.html, (action, name, text[:9])
    assert raw == []
    assert seen > 60


async def test_all_errors_of_a_form_are_said_at_once_with_a_way_to_each_field(shared: Installation) -> None:
    """D15, D23: one error at a time, and none of them in sight."""
    practice = await Practice.make(shared, "paystack")
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        typed = {"amount": "five thousand", "description": "", "days": "many"}
        wrong = await browser.send(f"{door}/links", f"{door}/links", currency="NGN", **typed)
        assert (wrong.status, 'data-errors="3"' in wrong.html) == (422, True)
        for name in typed:
            assert f'href="#f-{name}"' in wrong.html
            assert f'id="f-{name}"' in wrong.html


async def test_a_currency_may_be_typed_in_lower_case(shared: Installation) -> None:
    """D14."""
    await person(shared, shared.till.context.owner, "lower@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in("/owner", "lower@example.com")
        made = await browser.send("/owner/practices/new", "", name="Accra", defaultCurrency="ghs")
        assert made.status == 303


async def test_only_what_is_not_in_the_catalog_is_offered(shared: Installation) -> None:
    """D17."""
    await person(shared, shared.till.context.owner, "offer@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in("/owner", "offer@example.com")
        page = await browser.get("/owner/catalog/new")
        for code in await shared.till.context.catalog():
            assert f'"/owner/catalog/new?code={code}"' not in page.html


async def test_an_error_page_keeps_the_navigation(shared: Installation) -> None:
    """D25."""
    practice = await Practice.make(shared, "paystack")
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    await person(shared, await practice.db, "vic@example.com", role="viewer")
    async with Browser(shared) as browser:
        await browser.sign_in(door, "vic@example.com")
        for path, status in (("people", 403), ("payments/" + "0" * 26, 404), ("nowhere/at/all", 404)):
            seen = await browser.get(f"{door}/{path}")
            assert (seen.status, f'href="{door}/payments"' in seen.html) == (status, True), path


async def test_neither_part_of_a_form_loses_the_edits_of_the_other(shared: Installation) -> None:
    """D16: saving the table of fees silently reverted the description, and an error reverted ticks."""
    await person(shared, shared.till.context.owner, "both@example.com")
    path = "/owner/catalog/flutterwave"
    async with Browser(shared) as browser:
        await browser.sign_in("/owner", "both@example.com")
        typed = {"description": "Changed here", "percent-NGN": "1.7"}
        assert (await browser.send(path, path, **typed)).status == 303
        entry = (await shared.till.context.catalog())["flutterwave"]
        assert (entry.description, entry.currencies["NGN"].transaction_fee_percent) == ("Changed here", 17_000)
        form = (await browser.get(path)).forms[path]
        form.pop("recommended-NGN", None)
        wrong = await browser.post(path, {**form, "name": "Other", "min-NGN": "1,500", "priority": "many"})
        assert (wrong.status, 'data-errors="2"' in wrong.html) == (422, True)
        kept = wrong.forms[path]
        assert (kept["name"], kept["min-NGN"], kept["priority"]) == (["Other"], ["1,500"], ["many"])
        assert "recommended-NGN" not in kept
        added = await browser.post(f"{path}/currencies/add", {**form, "name": "Renamed", "add": "ugx"})
        assert added.status == 303
        entry = (await shared.till.context.catalog())["flutterwave"]
        assert (entry.name, entry.currencies["UGX"].is_active) == ("Renamed", True)


async def test_a_form_says_why_nobody_can_take_an_amount(shared: Installation) -> None:
    """The reason of the provider that is out, in the reader's language, with its name and no code."""
    practice = await Practice.make(shared, None, "KES")
    config = {"shortCode": "174379", "passkey": "passkey0123456789abcdef"}
    await practice.configure("mpesa", ["KES"], config=config)
    links = f"/practice/{practice.id}/links"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
        for language, signs in {"en": "KES 1.00", "fr": "1,00\u00a0KES", "sw": "Ksh\u00a01.00"}.items():
            speaks = {"Accept-Language": language}
            form = (await browser.get(links, **speaks)).forms[links]
            for amount, sign in (("1500,50", signs), ("0,50", signs), ("300000", "250")):
                typed = {**form, "amount": amount, "currency": "KES", "description": "Visit"}
                answer = await browser.post(links, typed, speaks)
                said = " ".join(said_of(answer.html)).replace("\u202f", "\u00a0")
                assert (answer.status, "M-Pesa" in said, "mpesa:" in said) == (422, True, False), (language, said)
                assert sign.replace("\u00a0", " ") in said.replace("\u00a0", " "), (language, said)
