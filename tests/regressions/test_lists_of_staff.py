"""Lists that led nowhere or named the wrong thing (review of the pages, D24, D26 and D29; review of plug-ins, F15)."""

from __future__ import annotations

import re

import pytest

from polytill.domain.ids import new_id
from polytill.domain.states import Environment
from polytill.domain.text import in_sentence
from polytill.storage import cases
from polytill.storage.overview import Waiting
from polytill.web.console.owner import Looked, health
from tests.installation import Installation
from tests.regressions.test_customer_data import link_of, send
from tests.web.browsing import Browser, person
from tests.web.support import Practice

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_link_leads_to_its_payments_and_opens_beside_the_dashboard(shared: Installation) -> None:
    """D24: "0 of 0 begun", no way to the payment, no address to copy, and the dashboard was replaced in its tab."""
    practice = await Practice.make(shared, "paystack")
    path = await link_of(practice, currency="NGN", amount=500_000)
    [link] = (await practice.call("GET", "/payment-links")).body["data"]
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        before = (await browser.get(f"{door}/links")).html
        assert "data-payments=" not in before
        assert f'readonly value="{shared.url}{path}"' in before
        for address in (f"{shared.url}{path}", f"{shared.url}{path}/poster"):
            assert re.search(rf'href="{re.escape(address)}" target="_blank"', before), address
        assert (await send(practice, path, email="ada@example.com")).status == 303
        [payment] = (await practice.call("GET", "/payments")).body["data"]
        after = (await browser.get(f"{door}/links")).html
        assert f'href="{door}/links/{link["id"]}" data-payments="{link["id"]}"' in after
        led = await browser.get(f"{door}/links/{link['id']}")  # a link of single use has one payment
        assert (led.status, led.headers["Location"]) == (303, f"{door}/payments/{payment['id']}")


async def test_the_platforms_list_names_provider_and_payment_of_a_case(shared: Installation) -> None:
    """D26: "Test" stood in the column of providers, and ``358903:open`` for the issue."""
    practice = await Practice.make(shared, "paystack")
    payment = await practice.paid()
    db, context = await practice.db, shared.till.context
    async with db.transaction() as tx:
        cases.open_case(
            tx,
            new_id(context.world),
            practice.id,
            Environment.sandbox,
            cases.NewCase("dispute_open", "358903:open", payment["id"], {"amount": 1}),
            context.world.now(),
        )
    await person(shared, context.owner, "lists@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in("/owner", "lists@example.com")
        html = (await browser.get("/owner/attention")).html
    [row] = [row for row in re.findall(r"<tr>.*?</tr>", html, re.DOTALL) if payment["id"] in row]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
    assert cells[1] == "Paystack"
    assert f"<code>{payment['id']}</code>" in cells[0]
    assert "358903" not in row


async def test_a_call_that_was_refused_got_an_answer(shared: Installation) -> None:
    """D26: a rate limit was counted as "without an answer", so that it looked like an outage."""
    practice = await Practice.make(shared, "paystack")
    entry = await shared.till.context.opening.entry(practice.id)
    calls = {("paystack", "succeeded"): 3, ("paystack", "not_sent"): 5, ("paystack", "unknown"): 1}
    found = await health(shared.till.context, [Looked(entry, Waiting(0, 1, 0, calls))])
    [paystack] = [one for one in found if one["entry"].code == "paystack"]
    assert (paystack["calls"], paystack["lost"]) == (9, 1)


async def test_keys_are_checked_again_when_the_environment_is_changed(shared: Installation) -> None:
    """D29: only a change of the key itself asked; the answer of the other environment stayed beside it."""
    practice = await Practice.make(shared)
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
        html = (await browser.get(f"/practice/{practice.id}/providers/stripe")).html
    for name in ("publicKey", "secretKey"):
        [field] = re.findall(rf'<input id="f-{name}"[^>]*>', html)
        assert 'hx-trigger="change, change from:[name=environment]"' in field, name


async def test_only_settings_that_may_be_left_out_are_called_optional(shared: Installation) -> None:
    """F15: "(optional)" stood beside M-Pesa's short code, which a form without is refused for."""
    practice = await Practice.make(shared, currency="KES")
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        html = (await browser.get(f"{door}/providers/mpesa")).html
    labels = {name: text for name, text in re.findall(r'<label for="f-config-(\w+)">(.*?)</label>', html)}
    schema = shared.till.context.registry.get("mpesa").config_schema
    assert {"shortCode", "passkey"} <= set(schema["required"]) <= labels.keys()
    assert {name for name, text in labels.items() if '<span class="soft">' not in text} == set(schema["required"])
    # What the handler does without an answer is chosen from the beginning.
    chosen = schema["properties"]["transactionType"]["default"]
    assert f'<option value="{chosen}" selected>' in html


@pytest.mark.parametrize(
    ("label", "told"), [("HMAC key", "HMAC key"), ("Public key", "public key"), ("Client ID", "client ID"), ("", "")]
)
async def test_an_abbreviation_keeps_its_capitals_inside_a_sentence(label: str, told: str) -> None:
    """F15: Formy needs its "hmac key"."""
    assert in_sentence(label) == told
