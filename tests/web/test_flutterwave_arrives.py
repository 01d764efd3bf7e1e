"""The founding story as one test: Flutterwave arrives, every practice sees it, one takes money with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.installation import BASES, Installation, running
from tests.web.support import Page, Practice, books_balance, is_problem, until
from tests.wording import to_payer


@pytest.fixture
async def before(tmp_path: Path, engine_url: str | None) -> AsyncIterator[Installation]:
    """The platform before the day: a catalog of Stripe and Paystack."""
    async with running(tmp_path, engine_url, codes=["stripe", "paystack"]) as found:
        yield found


async def test_flutterwave_arrives(before: Installation) -> None:
    house = before
    practices = [await Practice.make(house, currency=currency) for currency in ("NGN", "GHS", "KES")]
    catalog = (await house.call("GET", "/api/owner/payment-providers", house.owner_key)).body
    assert sorted(entry["code"] for entry in catalog) == ["paystack", "stripe"]
    for practice in practices:
        listed = (await practice.call("GET", "/payment-providers/available")).body
        assert "flutterwave" not in [entry["code"] for entry in listed]
    lagos = practices[0]
    too_early = await lagos.call("POST", "/payment-providers", {"providerCode": "flutterwave", "secretKey": "x"})
    is_problem(too_early, 422, "unknown_provider")
    versions = await _versions(house)

    # The owner adds it with the founding document's own body; only the address is the simulator's.
    seeds = {
        "code": "flutterwave",
        "name": "Flutterwave",
        "supportedCurrencies": ["NGN", "GHS", "KES", "ZAR"],
        "apiBaseUrl": house.simulator.url + BASES["flutterwave"],
    }
    added = await house.call("POST", "/api/owner/payment-providers", house.owner_key, seeds)
    assert added.status == 201, added.body
    assert {name: added.body[name] for name in ("code", "name", "apiBaseUrl", "status")} == {
        "code": "flutterwave",
        "name": "Flutterwave",
        "apiBaseUrl": seeds["apiBaseUrl"],
        "status": "active",
    }
    # Only one address was given, so it is the address of the sandbox too: no key goes anywhere else.
    assert added.body["sandboxApiBaseUrl"] is None
    assert sorted(added.body["supportedCurrencies"]) == ["GHS", "KES", "NGN", "ZAR"]
    is_problem(await house.call("POST", "/api/owner/payment-providers", house.owner_key, seeds), 409, "duplicate_code")

    # Every practice sees it at its very next read, and no database was migrated for it.
    for practice in practices:
        listed = (await practice.call("GET", "/payment-providers/available")).body
        [seen] = [entry for entry in listed if entry["code"] == "flutterwave"]
        assert (seen["name"], seen["isConfigured"], seen["isEnabled"]) == ("Flutterwave", False, False)
    assert await _versions(house) == versions

    # One practice configures it; the others do not have it.
    configured = await lagos.configure("flutterwave", ["NGN"], isDefault=True)
    assert (configured["providerCode"], configured["isEnabled"], configured["environment"]) == (
        "flutterwave",
        True,
        "sandbox",
    )
    assert (await practices[1].call("GET", "/payment-providers")).body == []
    chosen = await lagos.call("GET", "/payment-providers/for-currency/NGN")
    assert chosen.status == 200, chosen.body
    assert (chosen.body["code"], chosen.body["name"]) == ("flutterwave", "Flutterwave")
    assert chosen.body["publicKey"] == lagos.keys["publicKey"]
    assert "default" in chosen.body["reason"]

    # A payer pays on the provider's own page and comes back to ours.
    made = await lagos.create(500_000, description="Consultation")
    assert made.status == 201, made.body
    assert (made.body["status"], made.body["providerCode"]) == ("requires_action", "flutterwave")
    assert made.body["nextAction"]["type"] == "redirect"
    paid = await _pay_on_the_page(house, made.body["nextAction"]["url"])
    assert paid.startswith(f"{house.url}/pay/{made.body['clientToken']}/return")
    came_back = await house.call("GET", paid.removeprefix(house.url))
    assert (came_back.status, came_back.headers["Location"]) == (303, f"/pay/{made.body['clientToken']}?back=paid")
    page = await house.call("GET", f"/pay/{made.body['clientToken']}")
    assert to_payer("already.title") in Page(page.body).text

    # The webhook arrived too, and was applied once.
    delivered = await until(
        lambda: lagos.call("GET", "/webhook-events"), lambda a: bool(a.body) and a.body[0]["status"] == "applied"
    )
    assert [event["eventType"] for event in delivered.body] == ["charge.completed"]
    payment = await lagos.payment(made.body["id"])
    [books] = await lagos.books()
    assert (payment["status"], payment["amountCaptured"]) == ("succeeded", 500_000)
    assert payment["providerTransactionId"] == books["id"]
    assert (payment["providerFee"], payment["providerFeeCurrency"]) == (books["fee"], "NGN")
    assert books["fee"] == 7_000
    books_balance(await lagos.ledger(), [books], "flutterwave")

    # Half goes back.
    refund = await lagos.refund(payment["id"], 250_000)
    assert refund.status == 201, refund.body
    payment = await lagos.settled(payment["id"], amountRefunded=250_000)
    assert payment["status"] == "succeeded"
    books_now = await lagos.books()
    assert [(row["captured"], row["refunded"]) for row in books_now] == [(500_000, 250_000)]
    balances = await lagos.ledger()
    books_balance(balances, books_now, "flutterwave")
    assert balances == {
        "NGN": {"fees": 7_000, "payments": -500_000, "provider:flutterwave": 243_000, "refunds": 250_000}
    }
    # Nobody else's books were touched.
    for practice in practices[1:]:
        assert (await practice.call("GET", "/payments")).body["data"] == []
        assert await practice.ledger() == {}


async def _versions(house: Installation) -> list[str]:
    listed = (await house.call("GET", "/api/owner/practices", house.owner_key)).body
    assert len(listed) == 3
    return [practice["schemaVersion"] for practice in listed]


async def _pay_on_the_page(house: Installation, url: str) -> str:
    """What a browser does: open the page, press "Pay", follow. Where the provider sends the payer."""
    async with house.http.get(url) as shown:
        assert shown.status == 200
        page = Page(await shown.text())
    assert "5,000.00" in page.text or "5000.00" in page.text, page.text
    [(form, fields)] = [found for found in page.forms if found[1]["outcome"] == "success"]
    assert form["method"] == "post"
    async with house.http.post(url, data=fields, allow_redirects=False) as sent:
        assert sent.status == 303, await sent.text()
        return sent.headers["Location"]
