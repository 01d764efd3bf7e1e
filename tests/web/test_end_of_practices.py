"""Closing, reopening and deleting a practice over HTTP: the owner's API, the owner's pages, and what its callers get."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from polytill.domain.jobs import JobState
from tests.installation import Installation
from tests.jobs import node
from tests.web.browsing import Browser, person
from tests.web.support import Practice, fresh, snapshot
from tests.wording import part, said

pytestmark = pytest.mark.asyncio(loop_scope="module")
OWN = "/api/owner/practices"


@pytest_asyncio.fixture(loop_scope="module")
async def browser(shared: Installation) -> AsyncIterator[Browser]:
    """An owner's admin, signed in."""
    email = f"{fresh('owner')}@example.com"
    await person(shared, shared.till.context.owner, email, name="Olu")
    async with Browser(shared) as found:
        await found.sign_in("/owner", email)
        yield found


async def test_a_closed_practice_over_the_api(shared: Installation) -> None:
    clinic, key = await Practice.make(shared, "paystack"), shared.owner_key
    path = f"{OWN}/{clinic.id}"
    payment = (await clinic.create()).body
    closed = await shared.call("POST", f"{path}/close", key, {"runOutDays": 30})
    assert (closed.status, closed.body["state"]) == (200, "closed")
    assert closed.body["runsOutAt"] > closed.body["closedAt"]
    refused = await clinic.create()
    assert (refused.status, refused.body["code"]) == (403, "practice_closed")
    kept = await clinic.call("POST", "/keys", {"name": "new", "scopes": ["read"]})
    assert (kept.status, kept.body["code"]) == (403, "practice_closed")
    state = await shared.call("PATCH", path, key, {"state": "active"})
    assert (state.status, state.body["code"]) == (403, "practice_closed")
    assert (await clinic.call("GET", f"/payments/{payment['id']}")).status == 200
    assert (await shared.call("POST", f"{path}/close", key, {"runOutDays": 3651})).status == 422
    opened = await shared.call("POST", f"{path}/reopen", key)
    assert (opened.status, opened.body["state"], opened.body["runsOutAt"]) == (200, "active", None)
    assert (await clinic.create()).status == 201
    again = await shared.call("POST", f"{path}/reopen", key)
    assert (again.status, again.body["code"]) == (409, "practice_not_closed")


async def test_a_deleted_practice_over_the_api(shared: Installation) -> None:
    clinic, key = await Practice.make(shared, "paystack"), shared.owner_key
    path, order = f"{OWN}/{clinic.id}", "/api/owner/jobs/delete"
    name = (await shared.call("GET", path, key)).body["name"]
    wanted = {"practiceId": clinic.id, "confirm": name, "now": True, "reason": "It moved away"}
    before = await snapshot(shared)
    for change, status, code in (
        ({}, 409, "practice_not_closed"),
        ({"practiceId": 2**31 - 1}, 404, "not_found"),
        ({"confirm": name + "x"}, 422, "invalid"),
        ({"confirm": 1}, 422, "invalid"),
    ):
        answer = await shared.call("POST", order, key, wanted | change)
        assert (answer.status, answer.body["code"]) == (status, code), change
    assert await snapshot(shared) == before
    await shared.call("POST", f"{path}/close", key, {})
    early = await shared.call("POST", order, key, wanted | {"now": False})
    assert (early.status, early.body["code"]) == (409, "run_out_not_over")
    job = await shared.call("POST", order, key, wanted)
    assert (job.status, job.body["kind"], job.body["practices"]["total"]) == (201, "delete", 1)
    async with node(shared.till.context) as engine:
        assert (await engine.drive(job.body["id"])).state is JobState.succeeded
    left = await shared.call("GET", path, key)
    assert (left.status, left.body["state"], left.body["cluster"]) == (200, "deleted", "")
    assert left.body["deletedAt"] is not None
    for method, place, body in (
        ("PATCH", path, {"name": "Again"}),
        ("POST", f"{path}/close", {}),
        ("POST", f"{path}/reopen", None),
        ("POST", order, wanted),
    ):
        gone = await shared.call(method, place, key, body)
        assert (gone.status, gone.body["code"]) == (410, "practice_deleted"), place
    # Its key is revoked, which a process may know a second later than that the practice is deleted.
    assert (await clinic.create()).status in (401, 410)
    hook = clinic.configuration["webhookUrl"].partition("/hooks/")[2]
    webhook = await shared.call("POST", f"/hooks/{hook}", "", {"event": "charge.success"})
    assert (webhook.status, webhook.body["code"]) == (410, "practice_deleted")


async def test_the_pages(shared: Installation, browser: Browser) -> None:
    clinic = await Practice.make(shared, "paystack")
    page = f"/owner/practices/{clinic.id}"
    name = (await shared.call("GET", f"{OWN}/{clinic.id}", shared.owner_key)).body["name"]
    wrong = await browser.send(page, f"{page}/life", action="close", runOutDays="many")
    assert (wrong.status, part("fault.run_out_days") in wrong.text) == (422, True), wrong.text
    done = await browser.send(page, f"{page}/life", action="close", runOutDays="30")
    assert (done.status, done.headers["Location"]) == (303, page)
    seen = await browser.get(page)
    assert said("practice_state.closed") in seen.text
    assert said("practices.reopen") in seen.text
    assert (await browser.send(page, f"{page}/life", action="reopen")).status == 303
    await browser.send(page, f"{page}/life", action="close", runOutDays="30")
    for form, fault in (
        ({"confirm": "no"}, "fault.confirm_name"),
        ({"confirm": name, "now": "yes"}, "fault.delete_reason"),
        ({"confirm": name}, "fault.run_out_not_over"),
    ):
        refused = await browser.send(page, f"{page}/life", action="delete", **form)
        assert (refused.status >= 400, part(fault) in refused.text) == (True, True), (form, refused.text)
    begun = await browser.send(
        page, f"{page}/life", action="delete", confirm=name, now="yes", reason="x", acceptUnresolved="yes"
    )
    assert begun.status == 303
    job_id = int(begun.headers["Location"].rpartition("/")[2])
    async with node(shared.till.context) as engine:
        assert (await engine.drive(job_id)).state is JobState.succeeded
    tombstone = await browser.get(page)
    assert (tombstone.status, said("practices.deleted_note") in tombstone.text) == (200, True)
    assert said("practice_state.deleted") in (await browser.get("/owner/practices?after=" + str(clinic.id - 1))).text
    assert (await browser.get(f"/practice/{clinic.id}")).status < 500
