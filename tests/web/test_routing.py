"""Routing over HTTP and on the pages: policies, decisions and their reasons in three languages, replays."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from polytill.storage.units import Unit
from tests.installation import Installation
from tests.web.browsing import Browser, person
from tests.web.support import Json, Practice, fresh, snapshot
from tests.wording import said

pytestmark = pytest.mark.asyncio(loop_scope="module")

POLICIES = "/routing-policies/sandbox"
TO_FLUTTERWAVE = {
    "strategy": "rules",
    "rules": [{"name": "Gold", "when": {"metadata": {"plan": "gold"}}, "providers": ["flutterwave"]}],
    "default": ["paystack"],
    "tests": [{"given": {"currency": "NGN", "metadata": {"plan": "gold"}}, "expect": "flutterwave"}],
}


@dataclass
class Signed:
    """A practice with two providers, and an admin of it in a browser."""

    practice: Practice
    browser: Browser
    door: str

    async def activate(self, policy: Json = TO_FLUTTERWAVE) -> int:
        made = await self.practice.call("POST", POLICIES, {"policy": policy})
        assert made.status == 201, made.body
        number = int(made.body["version"])
        done = await self.practice.call("POST", f"{POLICIES}/{number}/publish", {})
        assert done.status == 200, done.body
        return number

    async def decide(self, language: str = "en", **more: Any) -> Json:
        body = {"currency": "NGN", "amount": 500_000, "customer": {"email": "ada@example.com"}, **more}
        found = await self.practice.call("POST", f"/payment-providers/decide?language={language}", body)
        assert found.status == 200, found.body
        return dict(found.body)


@pytest_asyncio.fixture(loop_scope="module")
async def signed(shared: Installation) -> AsyncIterator[Signed]:
    practice = await Practice.make(shared, "flutterwave")
    await practice.configure("paystack", ["NGN"])
    await practice.call("PATCH", "/payment-providers/paystack", {"priority": 5})
    email, door = f"{fresh('admin')}@example.com", f"/practice/{practice.id}"
    await person(shared, await practice.db, email, name="Pat")
    async with Browser(shared) as browser:
        await browser.sign_in(door, email)
        yield Signed(practice, browser, door)


async def test_what_is_stored_is_what_was_answered(signed: Signed) -> None:
    practice = signed.practice
    number = await signed.activate()
    for metadata, first in (({"plan": "gold"}, "flutterwave"), ({"plan": "basic"}, "paystack")):
        answered = await signed.decide(metadata=metadata)
        assert (answered["chosen"], answered["policyVersion"]) == (first, number)
        key = fresh()
        made = (await practice.create(metadata=metadata, idempotency=key)).body
        assert made["providerCode"] == first
        stored = (await practice.call("GET", f"/payments/{made['id']}/decision")).body
        assert (stored["strategy"], stored["policyVersion"], stored["chosen"]) == ("rules", number, first)
        shown = ("code", "place", "reason", "detail", "health")
        assert [[one[n] for n in shown] for one in stored["providers"]] == [
            [one[n] for n in shown] for one in answered["providers"]
        ]
        assert {one["code"] for one in stored["providers"]} >= {"paystack", "flutterwave"}
        assert [one["detail"] for one in stored["attempts"]] == [stored["providers"][0]["detail"]]
        # The same reasons in every language, and no text left as a code.
        for language in ("fr", "sw"):
            other = (await practice.call("GET", f"/payments/{made['id']}/decision?language={language}")).body
            assert [one["reason"] for one in other["providers"]] == [one["reason"] for one in stored["providers"]]
            pairs = zip(other["providers"], stored["providers"], strict=True)
            assert all(mine["detail"] and mine["detail"] != its["detail"] for mine, its in pairs)
    chosen = (await practice.call("GET", "/payment-providers/for-currency/NGN?customerFields=email")).body
    available = (await practice.call("GET", "/payment-providers/available?currency=NGN")).body
    assert (
        [chosen["code"], *chosen["alternatives"]]
        == [one["code"] for one in available[:2]]
        == ["paystack", "flutterwave"]
    )


async def test_a_further_attempt_says_why(signed: Signed) -> None:
    await signed.practice.fault("create", "rate_limit")
    made = (await signed.practice.create()).body
    stored = (await signed.practice.call("GET", f"/payments/{made['id']}/decision")).body
    codes = [one["providerCode"] for one in made["attempts"]]
    assert [one["providerCode"] for one in stored["attempts"]] == codes == ["paystack", "flutterwave"]
    first, following = (one["detail"] for one in stored["attempts"])
    assert following != first
    assert "Paystack" in following
    page = await signed.browser.get(f"{signed.door}/payments/{made['id']}")
    assert f'data-attempt="{len(codes)}"' in page.html


async def test_a_retry_of_the_customer_has_a_decision_of_its_own(signed: Signed) -> None:
    practice = signed.practice
    await practice.call("PATCH", "/payment-providers/flutterwave", {"isEnabled": False})
    await practice.fault("create", "rate_limit")
    made = (await practice.create()).body
    await practice.call("PATCH", "/payment-providers/flutterwave", {"isEnabled": True})
    await practice.house.call("POST", f"/pay/{made['clientToken']}/retry")
    stored = (await practice.call("GET", f"/payments/{made['id']}/decision")).body
    assert [one["code"] for one in stored["providers"] if one["place"]] == ["paystack"]
    first, again = stored["attempts"]
    assert (first["decision"], again["providerCode"], again["decision"]["chosen"]) == (
        None,
        "flutterwave",
        "flutterwave",
    )
    reasons = [(one["code"], one["reason"]) for one in again["decision"]["providers"] if one["place"]]
    assert reasons == [("flutterwave", "untried"), ("paystack", "tried")]
    assert again["decision"]["providers"][0]["detail"] in again["detail"]
    page = (await signed.browser.get(f"{signed.door}/payments/{made['id']}")).html
    assert page.partition('data-attempt="2"')[2].count('data-other="paystack"') == 1


async def test_a_hypothetical_payment_under_any_policy(signed: Signed) -> None:
    number = await signed.activate()
    gold: Json = {"metadata": {"plan": "gold"}}
    assert (await signed.decide(**gold))["chosen"] == "flutterwave"
    assert (await signed.decide(**gold, policyVersion=0))["chosen"] == "paystack"
    weighted = {"strategy": "weighted", "weights": {"flutterwave": 1}}
    inline = await signed.decide(policy=weighted)
    assert (inline["chosen"], inline["policyVersion"]) == ("flutterwave", None)
    [first, *_] = inline["providers"]
    assert first["estimatedFee"]["currency"] == "NGN"
    assert first["expectedSuccessPercent"]
    nobody = await signed.decide(currency="JPY")
    assert nobody["chosen"] is None
    assert {one["place"] for one in nobody["providers"]} == {None}
    wrong = await signed.practice.call(
        "POST", "/payment-providers/decide", {"currency": "NGN", "policy": {"strategy": "cheap"}}
    )
    assert (wrong.status, wrong.body["errors"][0]["pointer"]) == (422, "/policy/strategy")
    missing = await signed.practice.call(
        "POST", "/payment-providers/decide", {"currency": "NGN", "policyVersion": number + 99}
    )
    assert missing.status == 404


async def test_a_replay_reports_what_would_change(signed: Signed) -> None:
    practice = signed.practice
    for _ in range(3):
        await practice.create()
    before = await snapshot(practice.house, practice.id)
    weighted = {"strategy": "weighted", "weights": {"flutterwave": 1}}
    found = await practice.call(
        "POST", "/payment-providers/simulate-routing", {"environment": "sandbox", "policy": weighted}
    )
    assert found.status == 200, found.body
    report = found.body
    assert (report["payments"], report["changed"], report["isComplete"]) == (3, 3, True)
    assert {one["code"]: (one["took"], one["before"], one["after"]) for one in report["providers"]} == {
        "paystack": (3, 3, 0),
        "flutterwave": (0, 0, 3),
    }
    [sums] = report["currencies"]
    assert sums["paymentsWithFees"] == 3
    assert sums["before"]["fees"] > 0
    assert {(one["before"], one["after"]) for one in report["changes"]} == {("paystack", "flutterwave")}
    assert await snapshot(practice.house, practice.id) == before
    few = await practice.call(
        "POST", "/payment-providers/simulate-routing", {"environment": "sandbox", "policyVersion": 0, "limit": 2}
    )
    assert (few.body["payments"], few.body["changed"], few.body["isComplete"]) == (2, 0, False)


async def test_the_pages_from_a_draft_to_the_way_back(signed: Signed) -> None:
    browser, home = signed.browser, f"{signed.door}/routing"
    assert f'href="{home}"' in (await browser.get(f"{signed.door}/providers")).html
    made = await browser.send(home, f"{home}/sandbox", strategy="rules")
    assert made.status == 303, made.text
    here = made.headers["Location"]
    number = here.rpartition("/")[2]
    wrong = await browser.send(here, here, policy='{"strategy": "rules", "rules": [{}], "tests": []}')
    assert (wrong.status, 'data-wrong="' in wrong.html) == (422, True)
    assert "/rules/0" in wrong.html
    failing = json.dumps({**TO_FLUTTERWAVE, "tests": [{"given": {"currency": "NGN"}, "expect": "flutterwave"}]})
    kept = await browser.send(here, here, policy=failing)
    assert (kept.status, kept.done) == (303, "saved")
    assert 'data-failed="1"' in (await browser.get(here)).html
    assert (await browser.get(f"{here}/simulation?days=7")).status == 200
    refused = await browser.send(here, f"{here}/publish")
    assert (refused.status, 'data-wrong="1"' in refused.html) == (422, True)
    saved = await browser.send(here, here, policy=json.dumps(TO_FLUTTERWAVE), note="Gold customers")
    assert (saved.status, saved.done) == (303, "saved")
    again = await browser.post(here, {**(await browser.get(here)).forms[here], "edits": "0"})
    assert again.status == 409  # somebody else saved it meanwhile
    await signed.practice.create(metadata={"plan": "gold"})
    simulated = await browser.get(f"{here}/simulation?days=7")
    assert 'data-changed="1"' in simulated.html
    tried = await browser.get(f"{home}/try?amount=5000&version={number}&metadata=plan%3Dgold&email=a%40b.example")
    assert 'data-chosen="flutterwave"' in tried.html
    assert (await browser.get(f"{home}/try?amount=x")).status == 422
    published = await browser.send(here, f"{here}/publish")
    assert (published.status, published.done) == (303, "policy_published")
    shown = await browser.get(f"{home}?environment=sandbox")
    assert f'data-active="{number}"' in shown.html
    paid = (await signed.practice.create(metadata={"plan": "gold"})).body
    assert paid["providerCode"] == "flutterwave"
    page = await browser.get(f"{signed.door}/payments/{paid['id']}")
    assert f'data-decision="{number}"' in page.html
    assert said("routing.why_provider") in page.text
    back = await browser.post(
        f"{home}/sandbox/0/rollback", {**shown.forms[f"{home}/sandbox/0/rollback"], "instead_of": "999"}
    )
    assert back.status == 409
    back = await browser.send(f"{home}?environment=sandbox", f"{home}/sandbox/0/rollback")
    assert (back.status, back.done) == (303, "policy_published")
    assert (await signed.practice.create(metadata={"plan": "gold"})).body["providerCode"] == "paystack"
    for language in ("fr", "sw"):
        await browser.get(f"/language/{language}")
        for path in (home, here, f"{home}/try", f"{here}/simulation"):
            assert (await browser.get(path)).status == 200
    assert 'data-cost="paystack"' in (await browser.get(f"{signed.door}/providers")).html


async def test_a_payment_without_a_decision_has_none(signed: Signed) -> None:
    made = (await signed.practice.create()).body
    db, unit = await signed.practice.db, Unit()
    unit.add("DELETE FROM audit_log WHERE subject = $1", made["id"])
    await db.commit(unit)
    assert (await signed.practice.call("GET", f"/payments/{made['id']}/decision")).status == 404
    assert (await signed.browser.get(f"{signed.door}/payments/{made['id']}")).status == 200
