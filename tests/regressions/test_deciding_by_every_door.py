"""What staff decide about outcomes that stay unknown, by API, by page in three languages, and by the real command.

Source: issue 18, items 4 and 5. What each decision books is held by ``test_staff_decisions.py``; here each way to make it
does so, and input that is wrong changes nothing.
"""

from __future__ import annotations

import asyncio
import html
import re
from pathlib import Path
from typing import Any

import pytest

from polytill.domain.ids import new_id
from polytill.domain.states import Environment
from polytill.storage import cases
from polytill.web.words import words_for
from tests.cli.process import one_sentence, polytill
from tests.installation import Installation
from tests.regressions.test_ways_to_resolve import NOTE
from tests.web.browsing import Browser, person
from tests.web.support import Practice, contents, until
from tests.wording import said

pytestmark = pytest.mark.asyncio(loop_scope="module")

KINDS = ("refund", "capture", "cancel")
DECIDED = [(kind, action) for kind in KINDS for action in ("done", "not_done")]
COUNTED = {"count_separately": 200_000, "count_once": 0}  # what is lost in addition to the refund
Json = dict[str, Any]


async def stuck(house: Installation, kind: str) -> tuple[Practice, str, str]:
    """A refund, capture or cancel whose outcome is unknown, with its review case: practice, payment and case."""
    practice = await Practice.make(house, "paystack" if kind == "refund" else "stripe")
    if kind == "refund":
        payment = await practice.paid()
    else:
        made = await practice.create(capture="manual")
        await practice.act(made.body["attempts"][-1]["reference"])
        payment = await practice.settled(made.body["id"], status="authorized")
    await practice.fault(kind, "error_500", count=None)
    path = f"/payments/{payment['id']}/{'refunds' if kind == 'refund' else kind}"
    asked = await practice.call("POST", path, {"amount": 200_000} if kind == "refund" else {}, idempotency="stuck-1")
    assert asked.status < 300, asked.body
    db, world = await practice.db, house.till.context.world
    table = "refunds" if kind == "refund" else "payment_operations"
    [row] = await db.fetch(f"SELECT id, state FROM {table}")
    assert row["state"] == "unknown"
    detail = {("refund" if kind == "refund" else "operation"): row["id"]}
    async with db.transaction() as tx:
        cases.open_case(
            tx,
            new_id(world),
            practice.id,
            Environment.sandbox,
            cases.NewCase("unresolved", row["id"], payment["id"], detail),
            world.now(),
        )
    [case] = await cases.listed(db)
    return practice, payment["id"], case.id


async def same_money(house: Installation) -> tuple[Practice, str, str]:
    """200,000 of 500,000 refunded in the provider's dashboard, and as much lost to a dispute: the case that asks whether
    that is the same money."""
    practice = await Practice.make(house, "paystack")
    payment = await practice.paid()
    body = {"provider": "paystack", "account": practice.keys["secretKey"], "amount": 200_000}
    await house.network("POST", f"/refund/{payment['attempts'][-1]['reference']}", body)
    await practice.settled(payment["id"], amountRefunded=200_000)
    await house.network("POST", f"/dispute/{payment['attempts'][-1]['reference']}", {**body, "outcome": "lost"})
    db = await practice.db
    [case] = await until(lambda: cases.listed(db, kind="refund_or_dispute"), lambda found: len(found) == 1)
    return practice, payment["id"], case.id


async def expect(practice: Practice, payment_id: str, kind: str, action: str) -> None:
    """The payment is as the decision says, and the ledger is in balance."""
    found = await practice.payment(payment_id)
    is_done = action == "done"
    if kind == "refund":
        [refund] = (await practice.call("GET", f"/payments/{payment_id}/refunds")).body
        assert refund["status"] == ("succeeded" if is_done else "not_sent"), refund
        assert found["amountRefunded"] == (200_000 if is_done else 0)
    elif kind == "capture":
        taken = 500_000 if is_done else 0
        assert (found["status"], found["amountCaptured"]) == ("succeeded" if is_done else "authorized", taken)
    else:
        assert found["status"] == ("canceled" if is_done else "authorized")
    for accounts in (await practice.ledger()).values():
        assert sum(accounts.values()) == 0


async def rows(practice: Practice) -> dict[str, list[str]]:
    """Everything in a practice's database but its people, sessions and the keys of requests."""
    apart = ("sessions", "staff", "practice_leases", "idempotency_keys")
    found = await contents(await practice.db)
    return {name: sorted(map(repr, table)) for name, table in found.items() if name not in apart}


def plain(text: str) -> str:
    """A text with plain spaces."""
    return " ".join(text.split())


# ── API ──


@pytest.mark.parametrize(("kind", "action"), DECIDED)
async def test_a_refund_capture_or_cancel_is_decided_by_api(shared: Installation, kind: str, action: str) -> None:
    practice, payment_id, case_id = await stuck(shared, kind)
    path, before = f"/cases/{case_id}/resolve", await rows(practice)
    for note in (None, "", " \u200b\n"):
        refused = await practice.call("POST", path, {"action": action, "note": note})
        assert (refused.status, refused.body["errors"][0]["pointer"]) == (422, "/note"), note
    for wrong, code in (
        ({"action": "mark_paid", "transactionId": "X-1", "amount": 500_000}, "outcome_known"),
        ({"action": "count_once"}, "not_refund_or_dispute"),
        ({"action": "count_separately"}, "not_refund_or_dispute"),
        ({"action": "mark_not_paid"}, "can_be_found"),
    ):
        refused = await practice.call("POST", path, {"note": NOTE, **wrong})
        assert (refused.status, refused.body["code"]) == (409, code)
    assert await rows(practice) == before
    done = await practice.call("POST", path, {"action": action, "note": NOTE})
    assert (done.status, done.body["case"]["status"]) == (200, "resolved"), done.body
    assert done.body["case"]["detail"]["resolution"] == {"action": f"marked_{action}", "note": NOTE}
    await expect(practice, payment_id, kind, action)
    again = await practice.call("POST", path, {"action": action, "note": NOTE})
    assert (again.status, again.body["code"]) == (409, "case_resolved")


@pytest.mark.parametrize("action", list(COUNTED))
async def test_a_refund_and_a_dispute_are_decided_by_api(shared: Installation, action: str) -> None:
    practice, payment_id, case_id = await same_money(shared)
    path, before = f"/cases/{case_id}/resolve", await rows(practice)
    refused = await practice.call("POST", path, {"action": action, "note": "  "})
    assert (refused.status, refused.body["errors"][0]["pointer"]) == (422, "/note")
    for other in ("done", "not_done", "mark_paid"):
        body = {"action": other, "note": NOTE, "transactionId": "X-1", "amount": 500_000}
        refused = await practice.call("POST", path, body)
        assert (refused.status, refused.body["code"]) == (409, "outcome_known")
    assert await rows(practice) == before
    done = await practice.call("POST", path, {"action": action, "note": NOTE})
    assert (done.status, done.body["case"]["status"]) == (200, "resolved"), done.body
    assert (await practice.payment(payment_id))["amountLost"] == COUNTED[action]
    assert {case.kind for case in await cases.listed(await practice.db)} <= {"dispute_lost"}
    again = await practice.call("POST", path, {"action": action, "note": NOTE})
    assert (again.status, again.body["code"]) == (409, "case_resolved")


async def test_a_refund_that_was_made_is_named(shared: Installation) -> None:
    practice, payment_id, case_id = await stuck(shared, "refund")
    path = f"/cases/{case_id}/resolve"
    for wrong in ("x" * 201, "\u200b"):
        refused = await practice.call("POST", path, {"action": "done", "note": NOTE, "transactionId": wrong})
        assert (refused.status, refused.body["errors"][0]["pointer"]) == (422, "/transactionId")
    body = {"action": "done", "note": NOTE, "transactionId": " RF-77 "}
    done = await practice.call("POST", path, body)
    assert done.body["case"]["detail"]["resolution"]["transaction"] == "RF-77"
    assert done.body["refunds"][0]["providerRefundId"] == "RF-77"
    assert (await practice.payment(payment_id))["amountRefunded"] == 200_000


async def test_a_case_of_another_practice_is_not_found(shared: Installation) -> None:
    practice, _, case_id = await stuck(shared, "refund")
    other = await Practice.make(shared, "paystack")
    before = await rows(practice)
    for action in ("done", "not_done", "mark_paid", "count_once"):
        body = {"action": action, "note": NOTE, "transactionId": "X-1", "amount": 200_000}
        assert (await other.call("POST", f"/cases/{case_id}/resolve", body)).status == 404
        theirs = await shared.call("POST", f"{practice.base}/cases/{case_id}/resolve", other.key, body)
        assert theirs.status in (401, 403, 404)
    made = await practice.call("POST", "/keys", {"name": "reads", "scopes": ["read"]})
    before = await rows(practice)
    body = {"action": "done", "note": NOTE}
    reads = await shared.call("POST", f"{practice.base}/cases/{case_id}/resolve", made.body["key"], body)
    assert reads.status == 403
    assert await rows(practice) == before


async def two_unknown(house: Installation) -> tuple[Practice, list[tuple[str, str]]]:
    """Two payments of one practice whose outcome is unknown, each with its case. No prompt is on a phone: none ends."""
    practice = await Practice.make(house, currency="KES")
    config = {"shortCode": "174379", "passkey": "passkey0123456789abcdef"}
    await practice.configure("mpesa", ["KES"], config=config)
    await practice.fault("create", "error_500", count=None)
    db, world, found = await practice.db, house.till.context.world, []
    for _ in range(2):
        made = await practice.create(150_000, currency="KES", customer={"phone": "0708374149"})
        attempt = made.body["attempts"][0]["reference"]
        assert made.body["attempts"][0]["status"] == "unknown"
        case_id = new_id(world)
        async with db.transaction() as tx:
            cases.open_case(
                tx,
                case_id,
                practice.id,
                Environment.sandbox,
                cases.NewCase("unresolved", attempt, made.body["id"], {"attempt": attempt}),
                world.now(),
            )
        found.append((made.body["id"], case_id))
    return practice, found


async def test_one_transaction_pays_one_attempt(shared: Installation) -> None:
    practice, [(_, first), (second_payment, second)] = await two_unknown(shared)
    body = {"action": "mark_paid", "note": NOTE, "transactionId": "SGX4WT9ZKL", "amount": 150_000}
    assert (await practice.call("POST", f"/cases/{first}/resolve", body)).status == 200
    before = await rows(practice)
    for spelled in ("SGX4WT9ZKL", "sgx4wt9zkl", " SGX4\u200bWT9ZKL"):
        refused = await practice.call("POST", f"/cases/{second}/resolve", {**body, "transactionId": spelled})
        assert (refused.status, refused.body["code"]) == (409, "transaction_recorded"), spelled
    assert await rows(practice) == before
    assert (await practice.payment(second_payment))["status"] == "processing"
    done = await practice.call("POST", f"/cases/{second}/resolve", {**body, "transactionId": "SGX4WT9ZKM"})
    assert done.status == 200


# ── Page ──


@pytest.mark.parametrize(("kind", "action"), DECIDED)
async def test_a_refund_capture_or_cancel_is_decided_on_the_page(shared: Installation, kind: str, action: str) -> None:
    practice, payment_id, case_id = await stuck(shared, kind)
    address = f"/practice/{practice.id}/attention/{case_id}"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
        seen = await browser.get(address)
        assert said(f"attention.{action}_{kind}") in seen.text
        assert 'value="mark_paid"' not in seen.html
        assert 'value="count_once"' not in seen.html
        before = await rows(practice)
        refused = await browser.send(address, address, action=action, note="  ")
        assert refused.status == 422
        assert said("fault.say_how_known") in refused.text
        wrong = await browser.send(address, address, action="count_once", note=NOTE)
        assert (wrong.status, said("fault.not_refund_or_dispute") in wrong.text) == (409, True)
        assert f'value="{NOTE}"' in html.unescape(wrong.html), "what was typed is kept"
        assert await rows(practice) == before
        done = await browser.send(address, address, action=action, note=NOTE)
        assert (done.headers["Location"], done.done) == (address, f"marked_{action}")
        after = await browser.get(address)
        assert said(f"resolution.marked_{action}") in after.text
        assert f'value="{action}"' not in after.html
    await expect(practice, payment_id, kind, action)


@pytest.mark.parametrize("action", list(COUNTED))
async def test_a_refund_and_a_dispute_are_decided_on_the_page(shared: Installation, action: str) -> None:
    practice, payment_id, case_id = await same_money(shared)
    address = f"/practice/{practice.id}/attention/{case_id}"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
        seen = await browser.get(address)
        assert said(f"attention.{action}") in seen.text
        assert not re.search(r"\[\s*['\"]", seen.text), "lists are shown as words"
        assert (await browser.send(address, address, action=action, note="")).status == 422
        wrong = await browser.send(address, address, action="done", note=NOTE)
        assert (wrong.status, said("fault.outcome_known") in wrong.text) == (409, True)
        done = await browser.send(address, address, action=action, note=NOTE)
        kept = "counted_separate" if action == "count_separately" else "counted_same"
        assert (done.headers["Location"], done.done) == (address, kept)
        assert said(f"resolution.{kept}") in (await browser.get(address)).text
    assert (await practice.payment(payment_id))["amountLost"] == COUNTED[action]


@pytest.mark.parametrize("language", ["en", "fr", "sw"])
async def test_the_page_of_a_decision_is_in_every_language(shared: Installation, language: str) -> None:
    words = words_for(language, "")
    practice, _, case_id = await stuck(shared, "refund")
    other, _, lost = await same_money(shared)
    unpaid, [(_, unknown), _] = await two_unknown(shared)
    pages = (
        (practice, case_id, ("done_refund", "not_done_refund", "decide_note", "refund_id")),
        (other, lost, ("count_separately", "count_once", "count_note")),
        (unpaid, unknown, ("paid_title", "transaction_label", "mark_paid", "mark_paid_note")),
    )
    for place, case, keys in pages:
        await person(shared, await place.db, "pat@example.com")
        async with Browser(shared) as browser:
            await browser.sign_in(f"/practice/{place.id}", "pat@example.com")
            address = f"/practice/{place.id}/attention/{case}"
            seen = await browser.get(address, **{"Accept-Language": language})
            for key in keys:
                assert plain(words(f"attention.{key}")) in plain(seen.text), (language, key)
            token = seen.forms[address]
            refused = await browser.post(
                address, {**token, "action": "done", "note": ""}, {"Accept-Language": language}
            )
            problem = "fault.say_how_known" if case == case_id else "fault.outcome_known"
            assert plain(words(problem)) in plain(refused.text), language
            assert not re.search(r"\b(?:waiting|fault|resolution)\.\w+", refused.text), "a text key is shown"


async def test_what_is_wrong_on_the_page_changes_nothing(shared: Installation) -> None:
    practice, [(_, first), (_, second)] = await two_unknown(shared)
    door = f"/practice/{practice.id}/attention"
    body = {"action": "mark_paid", "note": NOTE, "transactionId": "SGX4WT9ZKL", "amount": 150_000}
    await person(shared, await practice.db, "pat@example.com")
    await person(shared, await practice.db, "vic@example.com", role="viewer")
    async with Browser(shared) as viewer:
        await viewer.sign_in(f"/practice/{practice.id}", "vic@example.com")
        seen = await viewer.get(f"{door}/{first}")
        assert 'value="mark_paid"' not in seen.html
        [token] = next(form["form_token"] for form in seen.forms.values() if "form_token" in form)
        assert (await viewer.post(f"{door}/{first}", {**body, "form_token": token})).status == 403
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
        address, late = f"{door}/{second}", f"{door}/{first}"
        old = (await browser.get(late)).forms[late]
        assert (await practice.call("POST", f"/cases/{first}/resolve", body)).status == 200
        before = await rows(practice)
        again = await browser.post(late, {**old, **body, "amount": "1500"})
        assert (again.status, said("fault.case_resolved") in again.text) == (409, True)
        typed = {"transactionId": "sgx4wt9zkl", "amount": "1,500.00", "note": NOTE}
        taken = await browser.send(address, address, action="mark_paid", **typed)
        assert taken.status == 409
        assert "sgx4wt9zkl" in taken.html
        fresh = {**typed, "transactionId": "SGX4WT9ZKM"}
        for wrong, key in (
            ({"note": " "}, "say_how_known"),
            ({"transactionId": " "}, "transaction_missing"),
            ({"amount": "abc"}, "amount"),
            ({"amount": "-1,500.00"}, "amount"),
            ({"amount": "1,500.01"}, "amount"),
        ):
            refused = await browser.send(address, address, action="mark_paid", **(fresh | wrong))
            assert refused.status == 422, wrong
            if key != "amount":
                assert said(f"fault.{key}") in refused.text
        assert (await browser.send(address, address, action="no_such_action", note=NOTE)).status < 500
        assert await rows(practice) == before


# ── The real command ──


async def command(house: Installation, folder: Path, practice: Practice, case_id: str, *arguments: str) -> Any:
    """``polytill cases resolve``, in a process of its own beside the service."""
    settings = house.till.context.settings
    environment = {
        "POLYTILL_OWNER_DATABASE_URL": settings.owner_database_url.get_secret_value(),
        "POLYTILL_PRACTICE_DATABASES": settings.practice_databases.get_secret_value(),
        "POLYTILL_KEYRING": str(settings.keyring),
        "POLYTILL_PUBLIC_URL": house.url,
        "POLYTILL_ALLOWED_PROVIDER_ORIGINS": house.simulator.url,
    }
    given = ("cases", "resolve", str(practice.id), case_id, *arguments)
    running = asyncio.create_task(asyncio.to_thread(polytill, folder, *given, **environment))
    while not running.done():  # the connection to the service is kept in use: an idle one is closed after five seconds
        await house.call("GET", "/healthz")
        await asyncio.wait((running,), timeout=1)
    return await running


@pytest.mark.parametrize(("kind", "action"), [("refund", "done"), ("capture", "not_done"), ("cancel", "done")])
async def test_an_operation_is_decided_by_command(shared: Installation, tmp_path: Path, kind: str, action: str) -> None:
    practice, payment_id, case_id = await stuck(shared, kind)
    before = await rows(practice)
    assert "proof" in one_sentence(await command(shared, tmp_path, practice, case_id, action))
    assert "refund and a dispute" in one_sentence(
        await command(shared, tmp_path, practice, case_id, "count_once", "--note", NOTE)
    )
    assert await rows(practice) == before
    done = await command(shared, tmp_path, practice, case_id, action, "--note", NOTE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("The case is resolved; the payment is ")
    await expect(practice, payment_id, kind, action)
    assert "already resolved" in one_sentence(
        await command(shared, tmp_path, practice, case_id, action, "--note", NOTE)
    )


async def test_a_refund_and_a_dispute_are_decided_by_command(shared: Installation, tmp_path: Path) -> None:
    practice, payment_id, case_id = await same_money(shared)
    done = await command(shared, tmp_path, practice, case_id, "count_separately", "--note", NOTE)
    assert done.returncode == 0, done.stderr
    assert (await practice.payment(payment_id))["amountLost"] == COUNTED["count_separately"]


async def test_a_payment_is_marked_as_paid_by_command(shared: Installation, tmp_path: Path) -> None:
    practice, [(payment_id, case_id), (_, other)] = await two_unknown(shared)
    given = ("mark_paid", "--note", NOTE, "--transaction", "SGX4WT9ZKL", "--amount")
    wrong = one_sentence(await command(shared, tmp_path, practice, case_id, *given, "149999"))
    assert "1,500.00" in wrong or "1500.00" in wrong
    assert "transaction" in one_sentence(
        await command(shared, tmp_path, practice, case_id, "mark_paid", "--note", NOTE, "--amount", "150000")
    )
    assert "amount" in one_sentence(await command(shared, tmp_path, practice, case_id, *given[:-1]))
    assert (await practice.payment(payment_id))["status"] == "processing"
    done = await command(shared, tmp_path, practice, case_id, *given, "150000")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "The case is resolved; the payment is succeeded.")
    assert (await practice.payment(payment_id))["amountCaptured"] == 150_000
    assert "recorded for payment" in one_sentence(await command(shared, tmp_path, practice, other, *given, "150000"))
