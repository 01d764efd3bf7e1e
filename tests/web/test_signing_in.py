"""The doors over HTTP: cookies, forgery, roles, and that a stranger learns nothing."""

from __future__ import annotations

import pytest

from polytill.flows.admin import staff
from polytill.web.app import PAGES
from polytill.web.words import words_for
from tests.installation import Installation
from tests.web.browsing import PASSWORD, Browser, person
from tests.web.support import Clock, Practice, fresh, snapshot
from tests.wording import said

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _staffed(house: Installation, role: str = "admin") -> tuple[Practice, str, str]:
    practice = await Practice.make(house, "paystack")
    email = f"{fresh('person')}@example.com"
    await person(house, await practice.db, email, role)
    return practice, f"/practice/{practice.id}", email


async def test_in_and_out(shared: Installation) -> None:
    _, door, email = await _staffed(shared)
    async with Browser(shared) as browser:
        sent_away = await browser.get(f"{door}/payments?status=failed")
        assert sent_away.status == 303
        assert (
            sent_away.headers["Location"]
            == f"{door}/login?next={door.replace('/', '%2F')}%2Fpayments%3Fstatus%3Dfailed"
        )
        page = await browser.get(sent_away.headers["Location"])
        came_in = await browser.post(
            f"{door}/login", {**page.forms[f"{door}/login"], "email": email, "password": PASSWORD}
        )
        assert (came_in.status, came_in.headers["Location"]) == (303, f"{door}/payments?status=failed")
        cookie = came_in.headers["Set-Cookie"]
        for part in ("HttpOnly", "SameSite=lax", f"Path={door}"):
            assert part in cookie
        assert "Secure" not in cookie  # this service is plain http; over https it is set
        payments = await browser.get(f"{door}/payments")
        assert payments.status == 200
        token = cookie.partition("=")[2].partition(";")[0]
        gone = await browser.send(f"{door}/payments", f"{door}/logout")
        assert gone.status == 303
        stolen = await browser.get(f"{door}/payments", Cookie=f"polytill_practice={token}")
        assert stolen.status == 303  # ended at the server, not only in the browser


async def test_headers(shared: Installation) -> None:
    _, door, email = await _staffed(shared)
    async with Browser(shared) as browser:
        await browser.sign_in(door, email)
        for path in (f"{door}/login", f"{door}/payments", f"{door}/nothing-here", f"{door}/providers"):
            seen = await browser.get(path)
            assert seen.status == (404 if path.endswith("nothing-here") else 200)
            policy = seen.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert seen.headers["Cache-Control"] == "no-store"
            assert seen.headers["X-Content-Type-Options"] == "nosniff"
            assert " style=" not in seen.html
            assert " onclick" not in seen.html
            assert "<script>" not in seen.html


async def test_a_stranger_learns_nothing(shared: Installation) -> None:
    _, door, email = await _staffed(shared)
    nowhere = "/practice/999999"
    async with Browser(shared) as browser:
        doors = [(await browser.get(f"{one}/login")).html.replace(one, "DOOR") for one in (door, nowhere)]
        assert doors[0] == doors[1]
        answers = []
        for one, who in ((door, email), (door, "nobody@example.com"), (nowhere, email)):
            seen = await browser.sign_in(one, who, "not the password")
            assert "Set-Cookie" not in seen.headers
            answers.append((seen.status, seen.html.replace(one, "DOOR").replace(who, "WHO")))
        assert answers[0][0] == 401
        assert len(set(answers)) == 1
        for one in (door, nowhere):
            assert (await browser.get(f"{one}/payments")).status == 303
            assert (await browser.get(f"{one}/payments", Cookie="polytill_practice=made-up")).status == 303


async def test_one_practice_is_not_another(shared: Installation) -> None:
    _, door, email = await _staffed(shared)
    other, other_door, _ = await _staffed(shared)
    paid = await other.paid()
    async with Browser(shared) as browser:
        await browser.sign_in(door, email)
        cookie = next(c for c in browser.jar if c.key == "polytill_practice")
        there = await browser.get(f"{other_door}/payments", Cookie=f"polytill_practice={cookie.value}")
        assert there.status == 303
        assert (await browser.get(f"{door}/payments/{paid['id']}")).status == 404
        assert (await browser.get("/owner", Cookie=f"polytill_owner={cookie.value}")).status == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "", "Sec-Fetch-Site": "same-site"},
    ],
)
async def test_forms_from_elsewhere_change_nothing(shared: Installation, headers: dict[str, str]) -> None:
    practice, door, email = await _staffed(shared)
    async with Browser(shared) as browser:
        await browser.sign_in(door, email)
        page = await browser.get(f"{door}/providers/paystack")
        form = page.forms[f"{door}/providers/paystack/state"]
        before = await snapshot(shared, practice.id)
        seen = await browser.post(f"{door}/providers/paystack/state", {**form, "action": "disable"}, headers)
        assert seen.status == 403
        assert await snapshot(shared, practice.id) == before
        refused = await browser.post(f"{door}/login", {"email": email, "password": PASSWORD}, headers)
        assert (refused.status, "Set-Cookie" in refused.headers) == (403, False)


async def test_forms_need_their_token(shared: Installation) -> None:
    practice, door, email = await _staffed(shared)
    async with Browser(shared) as browser, Browser(shared) as other:
        await browser.sign_in(door, email)
        await other.sign_in(door, email)
        others = (await other.get(f"{door}/payments")).forms[f"{door}/logout"]["form_token"]
        before = await snapshot(shared, practice.id)
        for token in ("", "0" * 64, others[0], "ü"):
            seen = await browser.post(f"{door}/providers/paystack/state", {"action": "disable", "form_token": token})
            assert seen.status == 403, token
        assert await snapshot(shared, practice.id) == before
        seen = await browser.post(f"{door}/login", {}, {"Content-Type": "application/json"})
        assert seen.status in (400, 401)


async def test_viewers_see_and_change_nothing(shared: Installation) -> None:
    practice, door, email = await _staffed(shared, "viewer")
    paid = await practice.paid()
    owner_email = f"{fresh('viewer')}@example.com"
    await person(shared, shared.till.context.owner, owner_email, "viewer")
    async with Browser(shared) as browser:
        await browser.sign_in(door, email)
        await browser.sign_in("/owner", owner_email)
        for path in (
            "/payments",
            f"/payments/{paid['id']}",
            "/overview",
            "/providers",
            "/providers/paystack",
            "/activity",
        ):
            seen = await browser.get(door + path)
            assert seen.status == 200, path
            # Nothing to press but signing out; what a form would change is switched off.
            assert [a for a, f in seen.forms.items() if "form_token" in f and not a.endswith("/logout")] in (
                [],
                [f"{door}/providers/paystack"],
                [f"{door}/providers/order"],
            ), path
        token = (await browser.get(f"{door}/payments")).forms[f"{door}/logout"]["form_token"][0]
        owner_token = (await browser.get("/owner")).forms["/owner/logout"]["form_token"][0]
        before = await snapshot(shared, practice.id)
        posts = {
            **dict.fromkeys(
                (f"{door}{p}" for p in (
                    "/providers/order", "/providers/paystack", "/providers/paystack/check", "/providers/paystack/test",
                    "/providers/paystack/state", "/providers/paystack/credentials/production",
                    "/providers/paystack/activate/production", f"/payments/{paid['id']}/check",
                    f"/payments/{paid['id']}/refund", "/routing/sandbox", "/routing/sandbox/1",
                    "/routing/sandbox/1/publish", "/routing/sandbox/0/rollback", "/webhooks", "/webhooks/x",
                    "/webhooks/relay/paystack/sandbox",
                )), token,
            ),
            **dict.fromkeys(
                ("/owner/practices/new", f"/owner/practices/{practice.id}", f"/owner/practices/{practice.id}/migrate",
                 "/owner/catalog/new", "/owner/catalog/paystack",
                 "/owner/catalog/paystack/currencies/add", f"/owner/attention/{practice.id}/events/x",
                 f"/owner/attention/{practice.id}/payments/{paid['id']}"), owner_token,
            ),
        }  # fmt: skip
        for path, sent in posts.items():
            assert (await browser.post(path, {"form_token": sent, "action": "disable"})).status == 403, path
        assert (await browser.get(f"{door}/payments/{paid['id']}/refund")).status == 403
        assert await snapshot(shared, practice.id) == before


async def test_every_form_needs_somebody(shared: Installation) -> None:
    """No address behind a door takes a form from nobody: a new route cannot forget it."""
    checked = 0
    async with Browser(shared) as browser:
        for route in (route for router in PAGES for route in router.routes):
            path, methods = getattr(route, "path", ""), getattr(route, "methods", None) or set()
            if (
                "POST" not in methods
                or not path.startswith(("/owner", "/practice"))
                or "/login" in path
                or "/welcome" in path
            ):
                continue
            filled = (
                path.replace("{practice_id}", "1").replace("{environment}", "sandbox").replace("{code}", "paystack")
            )
            seen = await browser.post(filled.replace("{event_id}", "x").replace("{payment_id}", "x"), {})
            assert seen.status == 303, path
            assert seen.headers["Location"].endswith("/login"), path
            checked += 1
    assert checked >= 20


async def test_too_many_tries(shared: Installation, clock: Clock) -> None:
    _, door, email = await _staffed(shared)
    async with Browser(shared) as browser:
        for _ in range(staff.TRIES_OF_PAIR):
            assert (await browser.sign_in(door, email, "wrong")).status == 401
        seen = await browser.sign_in(door, email)
        assert seen.status == 429
        assert said("login.too_many") in seen.text
        clock.advance(staff.WINDOW_S + 1)
        assert (await browser.sign_in(door, email)).status == 303


async def test_choosing_and_changing_a_password(shared: Installation) -> None:
    practice = await Practice.make(shared)
    db, door = await practice.db, f"/practice/{practice.id}"
    link = await staff.invite(shared.till.context, db, "new@example.com", "New", "admin", "test")
    path = link.removeprefix(shared.till.context.settings.public_url)
    async with Browser(shared) as browser:
        assert "new@example.com" in (await browser.get(path)).text
        for one, two in (("short", "short"), (PASSWORD, "another one here")):
            seen = await browser.post(path, {"password": one, "again": two})
            assert seen.status == 422
            assert 'role="alert"' in seen.html
            assert one not in seen.html
        welcome = await browser.post(path, {"password": PASSWORD, "again": PASSWORD})
        assert (welcome.status, welcome.headers["Location"]) == (303, door)
        assert (await browser.get(path)).status == 404
        changed = await browser.send(f"{door}/password", f"{door}/logout")
        assert changed.status == 303
        await browser.sign_in(door, "new@example.com")
        form = {"form_token": (await browser.get(f"{door}/password")).forms[f"{door}/logout"]["form_token"]}
        wrong = await browser.post(f"{door}/password", {**form, "old": "no", "password": PASSWORD, "again": PASSWORD})
        assert wrong.status == 422
        new = "a wholly new password"
        done = await browser.post(f"{door}/password", {**form, "old": PASSWORD, "password": new, "again": new})
        assert done.status == 303
        assert (await browser.get(f"{door}/payments")).status == 200  # this browser goes on


@pytest.mark.parametrize(
    "wanted", ["https://evil.example", "//evil.example", "/owner", "/practice/999999/payments", "DOOR\\evil", "DOORx"]
)
async def test_nobody_is_sent_elsewhere(shared: Installation, wanted: str) -> None:
    _, door, email = await _staffed(shared)
    async with Browser(shared) as browser:
        follow = wanted.replace("DOOR", door)
        seen = await browser.post(f"{door}/login", {"email": email, "password": PASSWORD, "next": follow})
        assert seen.headers["Location"] == door
        back = await browser.get(f"/language/fr?back={follow}")
        assert back.headers["Location"] in ("/owner", follow.replace("\\", ""))
        assert "evil" not in back.headers["Location"]


async def test_languages(shared: Installation) -> None:
    async with Browser(shared) as browser:
        assert '<html lang="fr">' in (await browser.get("/owner/login", **{"Accept-Language": "fr-CI,fr;q=0.9"})).html
        await browser.get("/language/sw?back=/owner/login")
        seen = await browser.get("/owner/login")
        assert '<html lang="sw">' in seen.html
    assert words_for(None, "xx, de;q=0.5").language == "en"
    assert words_for(None, "en-NG").money(500_000, "NGN") == "₦5,000.00"
    assert words_for(None, "en").money(500_000, "NGN") == "NGN\u00a05,000.00"
    assert words_for("fr", "en").money(123456, "EUR") == "1\u202f234,56\u00a0€"
    assert words_for(None, "en").money(500, "JPY") == "¥500"
    assert words_for("fr", "").minor("1\u202f234,56", "EUR") == 123456
