"""The owner's console over HTTP: what each form does, and what it says to bad input. No practice's money is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from polytill.domain.jobs import JobKind
from polytill.flows.jobs import control
from polytill.flows.jobs.control import Order
from polytill.storage import jobs, practices
from tests.fleets import NEWER, a_newer_schema, break_it, mend
from tests.installation import Installation
from tests.jobs import node
from tests.web.browsing import Browser, person
from tests.web.support import Practice, fresh, snapshot
from tests.wording import part, said

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def browser(shared: Installation) -> AsyncIterator[Browser]:
    """An owner's admin, signed in."""
    email = f"{fresh('owner')}@example.com"
    await person(shared, shared.till.context.owner, email, name="Olu")
    async with Browser(shared) as found:
        await found.sign_in("/owner", email)
        yield found


async def test_a_practice_from_the_form(shared: Installation, browser: Browser) -> None:
    made = await browser.send("/owner/practices/new", "", name="Form Clinic", defaultCurrency="GHS")
    assert (made.status, made.headers["Location"]) == (303, "/owner/shown-once")
    made = await browser.get("/owner/shown-once")
    key = made.html.partition('value="pt_practice_')[2].partition('"')[0]
    practices = await browser.get("/owner/practices")
    assert "Form Clinic" in practices.text
    assert key not in practices.html
    done = await browser.send("/owner/shown-once", "/owner/shown-once")
    practice_id = int(done.headers["Location"].rpartition("/")[2])
    answered = await shared.call("GET", f"/api/practices/{practice_id}/payments", f"pt_practice_{key}")
    assert answered.status == 200
    path = f"/owner/practices/{practice_id}"
    changed = await browser.send(path, path, name="Renamed <b>", state="suspended")
    assert changed.status == 303
    page = await browser.get(changed.headers["Location"])
    assert "Renamed &lt;b&gt;" in page.html
    assert said("practice_state.suspended") in page.text
    assert (await browser.send(path, path, state="active")).status == 303


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"name": "", "defaultCurrency": "NGN"}, "fault.shape_missing"),
        ({"name": "X", "defaultCurrency": "XXZ"}, "fault.no_currency"),
        ({"name": "X", "defaultCurrency": "ng"}, "fault.no_currency"),
        ({"name": "x" * 201, "defaultCurrency": "NGN"}, "200"),
        ({"name": "X", "defaultCurrency": "NGN", "cluster": "nowhere"}, "fault.no_such_cluster"),
        ({"name": "a\x07b", "defaultCurrency": "NGN"}, "characters"),
    ],
)
async def test_bad_practices(shared: Installation, browser: Browser, fields: dict[str, str], key: str) -> None:
    before = await snapshot(shared)
    seen = await browser.send("/owner/practices/new", "", **fields)
    assert (seen.status, part(key) in seen.text) == (422, True), seen.text
    assert await snapshot(shared) == before


async def test_all_practices_are_migrated(shared: Installation, browser: Browser) -> None:
    broken, whole = await Practice.make(shared, "paystack"), await Practice.make(shared, "paystack")
    path, form = "/owner/practices", "/owner/practices/migration"
    context = shared.till.context
    assert form not in (await browser.get(path)).forms  # nothing is behind
    with a_newer_schema():
        await break_it(shared.till, broken.id)
        assert part("fleet.behind") in (await browser.get(path)).text
        begun = await browser.send(path, form)
        job = await jobs.unfinished(context.owner, JobKind.migrate)
        assert job is not None
        page = f"/owner/jobs/{job.id}"
        assert (begun.status, begun.headers["Location"], begun.done) == (303, page, "migration_begun")
        # The page refreshes automatically, and the button is gone; whoever presses it elsewhere starts nothing.
        running = await browser.get(page)
        assert f'hx-get="{page}?after=0"' in running.html
        listed = await browser.get(path)
        assert form not in listed.forms
        assert f'href="{page}"' in listed.html
        again = await browser.post(form, running.forms["/owner/logout"])
        assert (again.headers["Location"], again.done) == (page, "migration_goes_on")
        async with node(context) as worker:
            await worker.drive(job.id)
        after = await browser.get(page)
        assert "The database rejected the migration" in after.text
        assert f'<tr data-practice="{broken.id}" data-state="failed">' in after.html
        assert "hx-get" not in after.html
        assert (await context.opening.entry(whole.id)).schema_version == NEWER
        # One practice is retried.
        await mend(shared.till, broken.id)
        retried = await browser.post(
            page, {**after.forms["/owner/logout"], "action": "retry", "practice": str(broken.id)}
        )
        assert (retried.headers["Location"], retried.done) == (page, "job_resumed")
        async with node(context) as worker:
            await worker.drive(job.id)
        assert 'data-state="succeeded"' in (await browser.get(page)).html
        assert part("fleet.behind") not in (await browser.get(path)).text


async def test_a_job_is_paused_resumed_and_canceled(shared: Installation, browser: Browser) -> None:
    practice = await Practice.make(shared, "paystack")
    order = Order(JobKind.migrate, [practice.id], {"revision": NEWER})
    job = await control.start(shared.till.context, order, "test")
    assert job is not None
    page = f"/owner/jobs/{job.id}"
    assert f'<tr data-job="{job.id}" data-state="running">' in (await browser.get("/owner/jobs")).html
    token = (await browser.get(page)).forms["/owner/logout"]
    for action, done in (("pause", "job_paused"), ("resume", "job_resumed"), ("cancel", "job_canceled")):
        assert (await browser.post(page, {**token, "action": action})).done == done
    for action in ("pause", "resume", "retry", "cancel"):
        assert (await browser.post(page, {**token, "action": action})).status == 409
    assert (await browser.post(page, {**token, "action": "explode"})).status == 422
    assert part("job_state.canceled") in (await browser.get(page)).text
    assert f'data-practice="{practice.id}"' not in (await browser.get(f"{page}?state=failed")).html
    assert (await browser.get("/owner/jobs/987654")).status == 404


async def test_who_only_looks_migrates_nothing(shared: Installation) -> None:
    email = f"{fresh('viewer')}@example.com"
    await person(shared, shared.till.context.owner, email, role="viewer")
    async with Browser(shared) as viewer:
        await viewer.sign_in("/owner", email)
        await Practice.make(shared, "paystack")
        with a_newer_schema():
            seen = await viewer.get("/owner/practices")
            assert part("fleet.behind") in seen.text
            assert "/owner/practices/migration" not in seen.forms
            refused = await viewer.post("/owner/practices/migration", seen.forms["/owner/logout"])
            assert refused.status == 403
            assert await jobs.unfinished(shared.till.context.owner, JobKind.migrate) is None


async def test_a_provider_is_edited(shared: Installation, browser: Browser) -> None:
    path = "/owner/catalog/flutterwave"
    page = await browser.get(path)
    assert said("can.lookup") in page.text  # what the handler can do
    assert "Secret hash" in page.text  # what it needs
    assert (await browser.send(path, path, description="Ours", status="beta", priority="7")).status == 303
    answered = await shared.call("GET", "/api/owner/payment-providers/flutterwave", shared.owner_key)
    assert (answered.body["description"], answered.body["status"], answered.body["priority"]) == ("Ours", "beta", 7)
    assert answered.body["requiresWebhookSecret"] is True
    assert (await browser.send(path, path, status="active")).status == 303


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"name": ""}, "fault.needs_name"),
        ({"priority": "many"}, "fault.whole_number_between"),
        ({"status": "gone"}, "fault.shape_choice"),
        ({"apiBaseUrl": "https://evil.example"}, "only sent to"),
        ({"websiteUrl": "javascript:alert(1)"}, "http"),
        ({"method": "telepathy"}, "telepathy"),
        ({"priority": "9" * 30}, "1000000"),
    ],
)
async def test_bad_providers(shared: Installation, browser: Browser, fields: dict[str, str], key: str) -> None:
    before = await snapshot(shared)
    seen = await browser.send("/owner/catalog/paystack", "/owner/catalog/paystack", **fields)
    assert (seen.status, part(key) in seen.text) == (422, True), seen.text
    assert await snapshot(shared) == before


async def test_a_new_provider(shared: Installation, browser: Browser) -> None:
    known = await browser.get("/owner/catalog/new?code=stripe")
    assert "api.stripe.com" in known.text
    bad = await browser.send("/owner/catalog/new", "/owner/catalog/new", code="Acme Pay", name="Acme")
    assert bad.status == 422
    refused = await browser.send(
        "/owner/catalog/new", "/owner/catalog/new", code="acme_pay", name="Acme", status="active"
    )
    assert (refused.status, "handler" in refused.text) == (422, True)
    code = f"acme_{fresh('x').replace('-', '_')}"
    assert (
        await browser.send("/owner/catalog/new", "/owner/catalog/new", code=code, name="Acme", status="inactive")
    ).status == 303
    again = await browser.send("/owner/catalog/new", "/owner/catalog/new", code=code, name="Acme", status="inactive")
    assert (again.status, said("fault.duplicate_code") in again.text) == (409, True)
    assert (await browser.get(f"/owner/catalog/{code}")).status == 200
    assert (await browser.get("/owner/catalog/nothing")).status == 404


async def test_the_table_of_currencies(shared: Installation, browser: Browser) -> None:
    path, table = "/owner/catalog/paystack", "/owner/catalog/paystack/currencies"
    saved = await browser.send(path, path, **{"percent-KES": "2.5", "fixed-KES": "1.25", "min-KES": "5", "max-KES": ""})
    assert saved.status == 303, saved.text
    answered = await shared.call("GET", "/api/owner/payment-providers/paystack/currencies", shared.owner_key)
    terms = {row["currencyCode"]: row for row in answered.body}
    assert terms["KES"]["transactionFeePercent"] == "2.5"
    assert (terms["KES"]["transactionFeeFixed"], terms["KES"]["minAmount"], terms["KES"]["maxAmount"]) == (
        125,
        500,
        None,
    )
    assert terms["NGN"]["isRecommended"] is True  # the others stay as they were
    before = await snapshot(shared)
    for fields, key in (
        ({"percent-KES": "101"}, "fault.no_percentage"),
        ({"percent-KES": "two"}, "fault.no_percentage"),
        ({"fixed-KES": "1.234"}, "fault.amount_too_fine"),
        ({"min-KES": "-1"}, "fault.amount_negative"),
        ({"min-KES": "10", "max-KES": "9"}, "fault.maximum_below"),
        ({"fixed-XOF": "0.5"}, "fault.amount_no_decimals"),
        ({"currency": ["QQQ"]}, "fault.no_currency"),
    ):
        seen = await browser.send(path, path, **fields)
        assert (seen.status, part(key) in seen.text) == (422, True), (fields, seen.text[-300:])
    assert (await browser.post(f"{table}/add", {**(await browser.get(path)).forms[path], "add": "zzz"})).status == 422
    assert await snapshot(shared) == before
    assert (await browser.post(f"{table}/add", {**(await browser.get(path)).forms[path], "add": "rwf"})).status == 303
    assert "RWF" in (await browser.get(path)).text


async def test_support_sees_what_waits_and_no_money(shared: Installation, browser: Browser) -> None:
    practice = await Practice.make(shared, "paystack")
    await practice.paid(7_654_321)
    await practice.fault("create", "lose_answer")
    lost = (await practice.create(1_234_567)).body
    assert lost["status"] == "processing"
    waiting = await browser.get("/owner/attention")
    assert lost["id"] in waiting.text
    for path in ("/owner", "/owner/attention", "/owner/practices", f"/owner/practices/{practice.id}", "/owner/catalog"):
        seen = await browser.get(path)
        assert seen.status == 200
        for money in ("76,543.21", "7654321", "12,345.67", "1234567", "ada@example.com"):
            assert money not in seen.text, (path, money)
    asked = await browser.send("/owner/attention", f"/owner/attention/{practice.id}/payments/{lost['id']}")
    assert asked.status == 303
    assert lost["id"] not in (await browser.get("/owner/attention")).text
    assert (await browser.get("/owner/activity")).status == 200


async def test_a_practice_that_is_being_created_does_not_end_the_list(
    shared: Installation, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not shown itself, and the page after it could not be reached."""
    monkeypatch.setattr("polytill.web.console.owner.PER_PAGE", 1)
    first, context = await Practice.make(shared, "paystack"), shared.till.context
    reservation = replace(await context.opening.entry(first.id), external_id=None, database_name=fresh("reserved"))
    async with context.owner.transaction() as tx:
        reserved = await practices.reserve(tx, reservation)
    page = await browser.get(f"/owner/practices?after={first.id - 1}")
    assert f'href="/owner/practices?after={first.id}"' in page.html
    assert f'href="/owner/practices/{reserved}"' not in (await browser.get(f"/owner/practices?after={first.id}")).html
    async with context.owner.transaction() as tx:
        assert await practices.forget(tx, reserved)
