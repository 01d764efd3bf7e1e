"""Erasing a customer's personal data by the API and by the pages."""

from __future__ import annotations

import pytest

from tests.installation import Installation
from tests.web.browsing import Browser, person
from tests.web.support import Practice, is_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def paid_in_cash(practice: Practice, **customer: str) -> str:
    """A payment of a customer that is paid."""
    body = {"providerCode": "manual", "environment": "sandbox", "isEnabled": True, "supportedCurrencies": ["NGN"]}
    await practice.call("POST", "/payment-providers", body)
    made = await practice.create(500_000, customer=customer, reference="Patient 7", providerCode="manual")
    assert made.status == 201, made.body
    path = f"/payments/{made.body['id']}/confirm-manually"
    assert (await practice.call("POST", path, {"amount": 500_000, "note": "Cash of Ada"})).status == 200
    return str(made.body["id"])


async def test_by_the_api(shared: Installation) -> None:
    practice = await Practice.make(shared, currency="NGN")
    payment = await paid_in_cash(practice, email="ada@example.com", name="Ada Obi")
    counted = await practice.call("POST", "/customer-erasures", {"email": "ADA@example.com", "dryRun": True})
    assert (counted.status, counted.body["isDryRun"], counted.body["payments"]) == (200, True, 1)
    assert (await practice.payment(payment))["customer"]["name"] == "Ada Obi"
    done = await practice.call("POST", "/customer-erasures", {"email": "ada@example.com"})
    assert (done.status, done.body["isComplete"], done.body["providers"]) == (200, True, ["manual"])
    # Events that are not in the feed yet are forwarded first, which a dry run does not do.
    assert done.body["changed"] == {**counted.body["changed"], "event_feed": done.body["changed"]["event_feed"]}
    assert done.body["elsewhere"] == ["providers", "host", "backups"]
    after = await practice.payment(payment)
    assert (after["customer"], after["reference"], after["amountCaptured"]) == (
        {"email": None, "name": None, "phone": None}, None, 500_000
    )  # fmt: skip
    path = f"/api/owner/practices/{practice.id}/customer-erasures"
    again = await shared.call("POST", path, shared.owner_key, {"email": "ada@example.com"})
    assert (again.status, again.body["changed"], again.body["isComplete"]) == (200, {}, True)
    lines = (await practice.call("GET", "/activity")).body
    assert "Ada" not in str(lines)


async def test_what_the_api_refuses(shared: Installation) -> None:
    practice = await Practice.make(shared, currency="NGN")
    is_problem(await practice.call("POST", "/customer-erasures", {}), 422)
    is_problem(await practice.call("POST", "/customer-erasures", {"email": "ada"}), 422)
    is_problem(await practice.call("POST", "/customer-erasures", {"name": "Ada"}), 422)
    path = "/api/owner/practices/999999/customer-erasures"
    is_problem(await shared.call("POST", path, shared.owner_key, {"email": "ada@example.com"}), 404)
    other = await Practice.make(shared, currency="NGN")
    path = f"/api/practices/{other.id}/customer-erasures"
    is_problem(await shared.call("POST", path, practice.key, {"email": "ada@example.com"}), 404)


async def test_by_the_pages(shared: Installation) -> None:
    practice = await Practice.make(shared, currency="NGN")
    payment = await paid_in_cash(practice, email="ada@example.com", name="Ada Obi")
    db = (await shared.till.context.practice(practice.id)).db
    await person(shared, db, "admin@example.com")
    await person(shared, db, "viewer@example.com", role="viewer")
    door = f"/practice/{practice.id}"
    async with Browser(shared) as browser:
        await browser.sign_in(door, "viewer@example.com")
        assert "/erase" not in (await browser.get(f"{door}/payments")).html
        assert (await browser.get(f"{door}/erase")).status == 403
    async with Browser(shared) as browser:
        await browser.sign_in(door, "admin@example.com")
        assert f"{door}/erase" in (await browser.get(f"{door}/payments")).html
        wrong = await browser.send(f"{door}/erase", f"{door}/erase/confirm", email="ada")
        assert 'aria-invalid="true"' in wrong.html
        counted = await browser.send(f"{door}/erase", f"{door}/erase/confirm", email="ada@example.com")
        assert 'data-erasure="counted"' in counted.html
        assert (await practice.payment(payment))["customer"]["name"] == "Ada Obi"
        fields = {name: values[0] for name, values in counted.forms[f"{door}/erase"].items()}
        assert fields["email"] == "ada@example.com"
        done = await browser.post(f"{door}/erase", fields)
        assert 'data-erasure="done"' in done.html
        assert 'data-elsewhere="backups"' in done.html
        page = await browser.get(f"{door}/payments/{payment}")
        assert page.status == 200
        assert "Ada" not in page.html
