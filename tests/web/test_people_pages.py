"""People, as admins of either door see them: invited by a link that is shown once, changed, signed out."""

from __future__ import annotations

import pytest

from polytill.storage import audit, staff
from polytill.storage.staff import StaffDb
from tests.installation import Installation
from tests.web.browsing import PASSWORD, Browser, person
from tests.web.support import Practice, fresh
from tests.wording import part, said

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _door(house: Installation, kind: str) -> tuple[str, StaffDb]:
    if kind == "owner":
        return "/owner", house.till.context.owner
    practice = await Practice.make(house)
    return f"/practice/{practice.id}", await practice.db


async def _id(db: StaffDb, email: str) -> int:
    found = await staff.by_email(db, email)
    assert found is not None
    return found[0].id


@pytest.mark.parametrize("kind", ["owner", "practice"])
async def test_invited_changed_and_let_out(shared: Installation, kind: str) -> None:
    door, db = await _door(shared, kind)
    admin, new = f"{fresh('admin')}@example.com", f"{fresh('new')}@example.com"
    await person(shared, db, admin, name="Ada Admin")
    async with Browser(shared) as browser, Browser(shared) as theirs:
        await browser.sign_in(door, admin)
        made = await browser.send(f"{door}/people", f"{door}/people", email=new, name="Ike <b>", role="viewer")
        assert (made.status, made.headers["Location"]) == (303, f"{door}/shown-once")
        made = await browser.get(f"{door}/shown-once")
        link = made.html.partition('id="link" readonly value="')[2].partition('"')[0]
        token = link.rpartition("/")[2]
        listed = await browser.get(f"{door}/people")
        assert "Ike &lt;b&gt;" in listed.html
        assert said("people.invited") in listed.text
        path = f"{door}/people/{await _id(db, new)}"
        for seen in (listed, await browser.get(path), await browser.get(f"{door}/activity")):
            assert token not in seen.html  # shown once
        came = await theirs.post(
            link.removeprefix(shared.till.context.settings.public_url), {"password": PASSWORD, "again": PASSWORD}
        )
        assert came.status == 303
        assert (await theirs.get(f"{door}/people")).status == 403  # viewers neither see nor invite
        assert said("people.browsers_now", n=1, when="").rstrip(".") in (await browser.get(path)).text

        ended = await browser.send(path, f"{path}/sessions")
        assert (ended.headers["Location"], ended.done) == (path, "sessions_ended")
        assert (await theirs.get(f"{door}/activity")).status == 303
        await theirs.sign_in(door, new)

        changed = await browser.send(path, path, role="admin", active="yes")
        assert changed.status == 303
        assert (await theirs.get(f"{door}/activity")).status == 303  # a changed person must sign in again
        await theirs.sign_in(door, new)
        assert (await theirs.get(f"{door}/people")).status == 200

        form = {**(await browser.get(path)).forms[path], "role": "admin"}
        form.pop("active")
        assert (await browser.post(path, form)).status == 303
        assert (await theirs.sign_in(door, new)).status == 401
        assert said("people.out") in (await browser.get(f"{door}/people")).text
        assert not [action for action in (await browser.get(path)).forms if action.endswith("/link")]
        actions = [line["action"] for line in await audit.listed(db, new)]
        assert actions[0] == "person.changed"
        assert "person.signed_out" in actions


@pytest.mark.parametrize("kind", ["owner", "practice"])
async def test_an_admin_always_remains(shared: Installation, kind: str) -> None:
    door, db = await _door(shared, kind)
    email = f"{fresh('admin')}@example.com"
    await person(shared, db, email)
    async with Browser(shared) as browser:
        await browser.sign_in(door, email)
        path = f"{door}/people/{await _id(db, email)}"
        page = await browser.get(path)
        token = page.forms[path]["form_token"]
        for fields in ({"role": "viewer", "active": "yes"}, {"role": "admin"}):
            refused = await browser.post(path, {"form_token": token, **fields})
            assert refused.status == 409
            assert said("fault.own_role") in refused.text
        assert (await browser.get(f"{door}/people")).status == 200


async def test_bad_invitations_change_nothing(shared: Installation) -> None:
    door, db = await _door(shared, "practice")
    await person(shared, db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        for fields, status, key in (
            ({"email": "nobody"}, 422, "fault.not_an_email"),
            ({"email": ""}, 422, "fault.not_an_email"),
            ({"email": "PAT@example.com"}, 409, "fault.duplicate_email"),
            ({"role": "king"}, 422, "fault.no_role"),
            ({"name": "a\x07b"}, 422, "people.no_name"),
            ({"email": "a" * 250 + "@b.example"}, 422, "fault.not_an_email"),
        ):
            given = {"email": "new@example.com", "name": "New", "role": "viewer", **fields}
            seen = await browser.send(f"{door}/people", f"{door}/people", **given)
            assert (seen.status, part(key) in seen.text) == (status, True), (fields, seen.text)
        assert [one.email for one in await staff.listed(db)] == ["pat@example.com"]
        for nobody in ("999", "0", "x", "99999999999999999999"):
            assert (await browser.get(f"{door}/people/{nobody}")).status == 404, nobody


async def test_one_practices_admin_does_not_see_anothers_people(shared: Installation) -> None:
    door, db = await _door(shared, "practice")
    other, _ = await _door(shared, "practice")
    await person(shared, db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        cookie = next(c.value for c in browser.jar if c.key == "polytill_practice")
        for path in (f"{other}/people", "/owner/people", "/practice/99999999999999999999/people"):
            seen = await browser.get(path, Cookie=f"polytill_practice={cookie}; polytill_owner={cookie}")
            assert seen.status in (303, 404), path
            assert "pat@example.com" not in seen.text
