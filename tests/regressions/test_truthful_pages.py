"""Pages say only what is so (issue 18, item 12; review of the pages, D1, D8, D9, D10, D19, D20, D22, operations D10)."""

from __future__ import annotations

import pytest

from polytill.domain.ids import new_id
from polytill.domain.states import Environment, RefundState
from polytill.flows.admin import key_tests
from polytill.providers.contract import CredentialTest
from polytill.storage import cases
from polytill.web.console.flashes import REFUNDS
from tests.installation import Installation
from tests.web.browsing import Browser, person
from tests.web.support import Practice, until
from tests.web.test_attention_page import paid_twice

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_refund_of_a_duplicate_is_submitted_until_the_provider_confirms_it(shared: Installation) -> None:
    """D1, D22, operations D10: Paystack answers "pending" first. The banner follows the refund, not the case."""
    practice, case_id = await paid_twice(shared)
    door = f"/practice/{practice.id}"
    db = await practice.db
    await person(shared, db, "pat@example.com")
    [case] = await cases.listed(db)
    payment = f"{door}/payments/{case.payment_id}"
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        shown = await browser.get(payment)
        assert 'data-duplicate="received"' in shown.html
        assert f'href="{door}/attention/{case_id}"' in shown.html
        address = f"{door}/attention/{case_id}"
        assert 'value="refund_duplicate"' not in (await browser.get(address)).html  # one press refunds nothing
        sent = await browser.send(f"{address}/refund", address)
        assert (sent.status, sent.headers["Location"], sent.done) == (303, address, "refund_submitted")
        after = await browser.get(address)
        assert after.said == ("refund_submitted", "info")
        assert (await browser.get(address)).said == ("", "")  # once
        await until(lambda: cases.listed(db), lambda listed: not listed)
        paid = await browser.get(payment)
        assert 'data-duplicate="refunded"' in paid.html
        assert 'data-duplicate="pending"' not in paid.html


async def test_a_declined_refund_of_a_duplicate_is_red(shared: Installation) -> None:
    """D1: a refusal never stands in a green box."""
    practice, case_id = await paid_twice(shared)
    door = f"/practice/{practice.id}"
    address = f"{door}/attention/{case_id}"
    await person(shared, await practice.db, "pat@example.com")
    await practice.fault("refund", "rate_limit")
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        sent = await browser.send(f"{address}/refund", address)
        assert (sent.status, sent.done) == (303, "refund_not_sent")
        assert (await browser.get(address)).said == ("refund_not_sent", "bad")
    # What each state lets a page say: green only for what has come back.
    assert {state: done.tone for state, done in REFUNDS.items()} == {
        RefundState.sent: "info",
        RefundState.pending: "info",
        RefundState.unknown: "warn",
        RefundState.succeeded: "good",
        RefundState.declined: "bad",
        RefundState.not_sent: "bad",
        RefundState.failed: "bad",
    }


async def test_asked_is_said_only_where_the_provider_answered(shared: Installation) -> None:
    """D9: lookups that are lost are no news."""
    practice = await Practice.make(shared, "paystack")
    await practice.fault("create", "lose_answer")
    payment = (await practice.create()).body
    door = f"/practice/{practice.id}"
    address = f"{door}/payments/{payment['id']}"
    await person(shared, await practice.db, "pat@example.com")
    await practice.fault("lookup", "lose_answer", None)
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        await browser.send(address, f"{address}/check")
        assert (await browser.get(address)).said == ("not_answered", "warn")


async def test_a_case_says_asked_only_where_the_provider_answered(shared: Installation) -> None:
    """D9, on the page of a case: its button asks as well."""
    practice = await Practice.make(shared, "paystack")
    await practice.fault("create", "lose_answer")
    payment = (await practice.create()).body
    db, context, door = await practice.db, shared.till.context, f"/practice/{practice.id}"
    async with db.transaction() as tx:
        cases.open_case(
            tx,
            new_id(context.world),
            practice.id,
            Environment.sandbox,
            cases.NewCase(
                "unresolved", payment["attempts"][0]["id"], payment["id"], {"attempt": payment["attempts"][0]["id"]}
            ),
            context.world.now(),
        )
    [case] = await cases.listed(db)
    address = f"{door}/attention/{case.id}"
    await person(shared, db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        await practice.fault("lookup", "lose_answer", None)
        assert (await browser.send(address, address, action="look_up")).status == 303
        assert (await browser.get(address)).said == ("not_answered", "warn")


async def test_no_address_makes_a_page_say_anything(shared: Installation) -> None:
    """D19: banners came from ``?done=`` and could be put on any page."""
    practice = await Practice.make(shared, "paystack")
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        assert "data-done" not in (await browser.get(f"{door}/payments?done=production")).html
        closed = await browser.send(f"{door}/providers", f"{door}/providers/order")
        assert closed.done == "order"
        assert (await browser.get(f"{door}/payments")).said == ("", "")  # not its page
        assert (await browser.get(f"{door}/providers")).said == ("order", "good")
        assert (await browser.get(f"{door}/providers")).said == ("", "")


async def test_what_staff_must_write_can_be_read(shared: Installation) -> None:
    """D8: the note and receipt of a cash payment on its page and in the activity log; a case's note on the case."""
    practice = await Practice.make(shared)
    body = {"providerCode": "manual", "environment": "sandbox", "isEnabled": True, "supportedCurrencies": ["NGN"]}
    assert (await practice.call("POST", "/payment-providers", body)).status == 201
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com", name="Pat")
    payment = (await practice.create(500_000, providerCode="manual")).body
    address = f"{door}/payments/{payment['id']}"
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        typed = {"amount": "5000", "note": "Two notes of 2,500", "proof": "R-77"}
        assert (await browser.send(f"{address}/manual", f"{address}/manual", **typed)).status == 303
        for path in (address, f"{door}/activity"):
            shown = (await browser.get(path)).text
            assert "Two notes of 2,500" in shown
            assert "R-77" in shown


async def test_an_unpaid_payment_is_canceled_on_its_page(shared: Installation) -> None:
    """D10: cash typed with the wrong amount could only be left for ever."""
    practice = await Practice.make(shared)
    body = {"providerCode": "manual", "environment": "sandbox", "isEnabled": True, "supportedCurrencies": ["NGN"]}
    assert (await practice.call("POST", "/payment-providers", body)).status == 201
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    payment = (await practice.create(500_000, providerCode="manual")).body
    address = f"{door}/payments/{payment['id']}"
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        assert f'href="{address}/cancel"' in (await browser.get(address)).html
        form = (await browser.get(f"{address}/cancel")).forms[f"{address}/cancel"]
        for _ in range(2):
            assert (await browser.post(f"{address}/cancel", form)).done == "canceled"
        assert (await practice.payment(payment["id"]))["status"] == "canceled"
        assert (await browser.get(address)).said == ("canceled", "good")
        assert (await browser.post(f"{address}/cancel", {**form, "key": "short"})).status == 403


@pytest.mark.parametrize("kind", ["capture", "cancel"])
async def test_an_authorized_payment_is_captured_or_released_on_its_page(shared: Installation, kind: str) -> None:
    """D10: an authorized payment offered only "check status"."""
    practice = await Practice.make(shared, "stripe", "USD")
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    payment = (await practice.create(500_000, currency="USD", capture="manual")).body
    await practice.act(payment["attempts"][0]["reference"])
    await practice.settled(payment["id"], status="authorized")
    address = f"{door}/payments/{payment['id']}"
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        shown = (await browser.get(address)).html
        assert f'href="{address}/capture"' in shown
        assert f'href="{address}/cancel"' in shown
        if kind == "capture":
            for text, status in (("5000.01", 422), ("1,500", 422), ("0", 422)):
                wrong = await browser.send(f"{address}/capture", f"{address}/capture", amount=text)
                assert wrong.status == status, text
            done = await browser.send(f"{address}/capture", f"{address}/capture", amount="4 000,50")
            assert done.done in ("captured", "capture_submitted")
            settled = await practice.settled(payment["id"], status="succeeded")
            assert settled["amountCaptured"] == 400_050
        else:
            done = await browser.send(f"{address}/cancel", f"{address}/cancel")
            assert done.done in ("canceled", "cancel_submitted")
            await practice.settled(payment["id"], status="canceled")


async def test_the_payment_page_shows_what_the_list_shows_after_a_partial_refund(shared: Installation) -> None:
    """D20."""
    practice = await Practice.make(shared, "paystack")
    paid = await practice.paid(100_000)
    await practice.refund(paid["id"], 40_000)
    await practice.settled(paid["id"], amountRefunded=40_000)
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        for path in (f"{door}/payments", f"{door}/payments/{paid['id']}", f"{door}/payments?status=part_refunded"):
            assert 'data-standing="part_refunded"' in (await browser.get(path)).html, path
        for status in ("refunded", "disputed"):
            assert paid["id"] not in (await browser.get(f"{door}/payments?status={status}")).html


async def test_a_link_is_shown_again_in_another_language_and_after_a_reload(shared: Installation) -> None:
    """D18: one-time links were the answer of a form, and lost with the first click on a language."""
    door = "/owner"
    await person(shared, shared.till.context.owner, "once@example.com")
    async with Browser(shared) as browser, Browser(shared) as other:
        await browser.sign_in(door, "once@example.com")
        made = await browser.send(f"{door}/people", f"{door}/people", email="new@example.com", name="", role="viewer")
        address = f"{door}/shown-once"
        assert (made.status, made.headers["Location"]) == (303, address)
        first = await browser.get(address)
        link = first.html.partition('id="link" readonly value="')[2].partition('"')[0]
        assert "/welcome/" in link
        for _ in range(2):
            assert link in (await browser.get(address)).html
        changed = await browser.get(f"/language/sw?back={address}")
        swahili = await browser.get(changed.headers["Location"])
        assert 'lang="sw"' in swahili.html
        assert link in swahili.html
        await other.sign_in(door, "once@example.com")  # another session is shown nothing, even with the cookie
        cookies = {c.key: c.value for c in browser.jar if c.key == "polytill_shown"}
        stolen = await other.get(address, Cookie="; ".join(f"{k}={v}" for k, v in cookies.items()))
        assert link not in stolen.html
        done = await browser.send(address, address)
        assert done.headers["Location"] == f"{door}/people"
        assert (await browser.get(address)).status == 303


async def test_going_live_tests_the_live_keys(shared: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """D5: only their shape was checked, and the page showed the last test of the test keys."""
    practice = await Practice.make(shared, "paystack")
    door = f"/practice/{practice.id}/providers/paystack"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
        await browser.send(door, f"{door}/test")
        unknown_to_the_provider = {"publicKey": "pk_live_" + "f" * 40, "secretKey": "sk_live_" + "f" * 40}
        saved = await browser.send(door, f"{door}/credentials/production", **unknown_to_the_provider)
        assert (saved.status, saved.done) == (303, "prepared")
        told = CredentialTest(False, "Paystack refuses the key: Invalid key")

        async def answered(handler: object) -> CredentialTest:
            return told

        monkeypatch.setattr(key_tests, "call_test", answered)
        refused = await browser.send(door, f"{door}/activate/production", understood="yes")
        assert refused.status == 409
        assert (await practice.call("GET", "/payment-providers/paystack")).body["environment"] == "sandbox"
        shown = (await browser.get(door)).html
        assert 'data-tested="sandbox"' in shown
        assert 'data-tested="production"' in shown
        assert 'data-step="live_webhook"' in shown
        api = await practice.call("POST", "/payment-providers/paystack/activate", {"environment": "production"})
        assert (api.status, api.body["code"]) == (409, "live_keys_refused")
        told = CredentialTest(False, "Paystack could not be reached.", reached=False)
        away = await browser.send(door, f"{door}/activate/production", understood="yes")
        assert (away.status, away.done) == (303, "production_unchecked")
        assert (await browser.get(door)).said == ("production_unchecked", "warn")


async def test_cash_is_not_set_up_like_a_card_processor(shared: Installation) -> None:
    """D13: keys, webhook, connection test and go-live for a provider that has none of them."""
    practice = await Practice.make(shared)
    door = f"/practice/{practice.id}/providers/manual"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
        before = (await browser.get(door)).html
        assert "data-step=" not in before
        sent = await browser.send(door, door, currency="NGN")
        assert (sent.status, sent.done) == (303, "saved")
        after = (await browser.get(door)).html
        for absent in ("hook-url", "data-tested", "/activate/", "/credentials/"):
            assert absent not in after


async def test_what_is_not_known_yet_waits_in_both_lists(shared: Installation) -> None:
    """D11: the practice said that nothing waits while the platform listed its payment."""
    practice = await Practice.make(shared, "paystack")
    await practice.fault("create", "lose_answer")
    payment = (await practice.create()).body
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        assert f'data-unknown="{payment["id"]}"' in (await browser.get(f"{door}/attention")).html
