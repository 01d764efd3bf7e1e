"""Payment links: made by staff, opened by payers; one payment for ever where they are of single use."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import urlencode

import pytest
import segno

from polytill.flows.payments.payment_links import close_link
from polytill.storage import payment_links
from polytill.web.checkout.payment_links import qr_svg
from tests.installation import Answered, Installation
from tests.web.support import Clock, Json, Page, Practice, fresh, is_problem, snapshot
from tests.wording import to_payer

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED = {"amount": 1_500_000, "currency": "NGN", "description": "Term fee, Grade 4", "reference": "T-4"}


async def _link(practice: Practice, **more: Any) -> Json:
    made = await practice.call("POST", "/payment-links", {**ASKED, **more})
    assert made.status == 201, made.body
    return dict(made.body)


def _path(practice: Practice, link: Json) -> str:
    return str(link["url"]).removeprefix(practice.house.url)


async def _begin(practice: Practice, link: Json, email: str = "ada@example.com", **more: str) -> Answered:
    form = urlencode({"email": email, **more}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return await practice.house.call("POST", _path(practice, link), raw=form, headers=headers)


async def test_from_link_to_paid(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    link = await _link(practice)
    assert (link["status"], link["singleUse"], link["environment"]) == ("open", True, "sandbox")
    assert await practice.books() == []  # nobody was asked for anything yet
    page = Page((await shared.call("GET", _path(practice, link))).body)
    assert "Term fee, Grade 4" in page.text
    assert "15,000.00" in page.text
    [(form, fields)] = page.forms
    assert (form["method"], form["action"]) == ("post", _path(practice, link))
    begun = await _begin(practice, link, key=fields["key"], name="Ada")
    assert begun.status == 303
    [held] = await practice.books()
    assert held["amount"] == 1_500_000
    paying = Page((await shared.call("GET", begun.headers["Location"])).body)
    assert len(paying.ways) == 1
    one = (await practice.call("GET", f"/payment-links/{link['id']}")).body
    payment = await practice.payment(one["payments"][0])
    assert payment["customer"] == {"email": "ada@example.com", "name": "Ada", "phone": None}
    assert (payment["reference"], payment["expiresAt"]) == ("T-4", link["expiresAt"])
    await practice.act(held["reference"])
    await practice.settled(payment["id"], status="succeeded")
    one = (await practice.call("GET", f"/payment-links/{link['id']}")).body
    assert (one["status"], one["paymentsStarted"], one["paymentsSucceeded"], one["amountCaptured"]) == (
        "paid",
        1,
        1,
        1_500_000,
    )
    # Whoever opens it now sees that it is paid, and cannot begin another.
    assert (await shared.call("GET", _path(practice, link))).headers["Location"] == begun.headers["Location"]
    assert (await _begin(practice, link, "eve@example.com")).headers["Location"] == begun.headers["Location"]
    assert len(await practice.books()) == 1


async def test_single_use_is_one_payment_however_many_press_at_once(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    link = await _link(practice)
    answers = await asyncio.gather(*(_begin(practice, link, f"p{n}@example.com", key=f"k{n}") for n in range(6)))
    assert len({found.headers["Location"] for found in answers}) == 1
    assert len(await practice.books()) == 1
    assert (await practice.call("GET", f"/payment-links/{link['id']}")).body["paymentsStarted"] == 1


async def test_reusable_is_a_payment_for_each_payer(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    link = await _link(practice, singleUse=False)
    first, again, other = [await _begin(practice, link, key=key) for key in ("one", "one", "two")]
    assert first.headers["Location"] == again.headers["Location"] != other.headers["Location"]
    assert len(await practice.books()) == 2
    assert (await practice.call("GET", f"/payment-links/{link['id']}")).body["status"] == "open"
    # A key of the API cannot come to be a payer's key.
    taken = await practice.create(idempotency=f"link-{link['id']}-one")
    assert taken.status == 201


async def test_closed_and_expired_begin_nothing(shared: Installation, clock: Clock) -> None:
    practice = await Practice.make(shared, "paystack")
    closed, late = await _link(practice, singleUse=False), await _link(practice)
    for _ in range(2):
        answer = await practice.call("POST", f"/payment-links/{closed['id']}/close")
        assert (answer.status, answer.body["status"]) == (200, "closed")
    lines = (await practice.call("GET", f"/audit-log?subject={closed['id']}")).body
    assert [line["action"] for line in lines] == ["payment_link.closed", "payment_link.created"]
    clock.advance(31 * 86_400)
    try:
        before = await snapshot(shared, practice.id)
        for link, word in ((closed, to_payer("link.closed")), (late, to_payer("link.expired"))):
            for page in (await shared.call("GET", _path(practice, link)), await _begin(practice, link)):
                assert page.status == 200
                assert word in Page(page.body).text
                assert not Page(page.body).forms
            poster = Page((await shared.call("GET", f"{_path(practice, link)}/poster")).body)
            assert word in poster.text
            assert "svg" not in poster.tags
        assert await snapshot(shared, practice.id) == before
        assert (await practice.call("GET", f"/payment-links/{late['id']}")).body["status"] == "expired"
    finally:
        clock.offset_s = 0


async def test_a_link_that_closes_at_this_very_moment_begins_nothing(
    shared: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it was read as open and before the payment is written."""
    practice = await Practice.make(shared, "paystack")
    link = await _link(practice, singleUse=False)

    async def closes(*_: Any) -> int:
        await close_link(shared.till.context, practice.id, link["id"], "test")
        return 0

    monkeypatch.setattr(payment_links, "started_since", closes)
    found = await _begin(practice, link)
    assert (found.status, to_payer("link.closed") in Page(found.body).text) == (200, True)
    assert await practice.books() == []
    assert (await practice.call("GET", "/payments")).body["data"] == []


async def test_a_link_cannot_be_pressed_without_end(shared: Installation, clock: Clock) -> None:
    practice = await Practice.make(shared, "paystack")
    link = await _link(practice, singleUse=False)
    for number in range(30):
        assert (await _begin(practice, link, key=f"n{number}")).status == 303
    is_problem(await _begin(practice, link, key="more"), 429, "too_many_requests")
    assert (await _begin(practice, link, key="n3")).status == 303  # who has begun goes on
    clock.advance(61)
    try:
        assert (await _begin(practice, link, key="more")).status == 303
    finally:
        clock.offset_s = 0


async def test_the_limit_holds_however_many_press_at_once(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    link = await _link(practice, singleUse=False)
    for number in range(10):
        assert (await _begin(practice, link, key=f"before{number}")).status == 303

    async def press(number: int) -> Answered:
        """Until it is answered: a slow machine may refuse some of forty at once as overload."""
        while True:
            found = await _begin(practice, link, key=f"n{number}")
            if found.status != 503:
                return found
            await asyncio.sleep(0.1)

    answers = await asyncio.gather(*map(press, range(40)))
    assert sorted(found.status for found in answers) == [303] * 20 + [429] * 20
    assert len(await practice.books()) == 30
    assert (await practice.call("GET", f"/payment-links/{link['id']}")).body["paymentsStarted"] == 30


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"amount": 0}, "/amount"),
        ({"amount": 1.5}, "/amount"),
        ({"amount": "5"}, "/amount"),
        ({"amount": 10**16}, "/amount"),
        ({"currency": "ngn"}, "/currency"),
        ({"currency": "XXX"}, "/currency"),
        ({"description": ""}, "/description"),
        ({"description": "a\u0000b"}, "/description"),
        ({"description": "x" * 501}, "/description"),
        ({"singleUse": "yes"}, "/singleUse"),
        ({"expiresAt": "soon"}, "/expiresAt"),
        ({"expiresAt": "2027-01-01T00:00:00"}, "/expiresAt"),
        ({"expiresAt": "0001-01-01T00:00:00+14:00"}, "/expiresAt"),
        ({"expiresAt": "9999-12-31T23:59:59-14:00"}, "/expiresAt"),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "/expiresAt"),
        ({"expiresAt": "2999-01-01T00:00:00Z"}, "/expiresAt"),
        ({"tip": 1}, "/tip"),
        ({"environment": "live"}, "/environment"),
        ({"reference": "x" * 201}, "/reference"),
    ],
)
async def test_bad_links_are_refused(shared: Installation, change: Json, pointer: str) -> None:
    practice = await Practice.make(shared, "paystack")
    before = await snapshot(shared, practice.id)
    found = is_problem(await practice.call("POST", "/payment-links", {**ASKED, **change}), 422)
    assert pointer in [error["pointer"] for error in found["errors"]]
    assert await snapshot(shared, practice.id) == before


async def test_a_link_that_nobody_could_take_is_not_made(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    found = await practice.call("POST", "/payment-links", {**ASKED, "currency": "EUR"})
    is_problem(found, 422, "no_provider_for_currency")


async def test_bad_forms_are_shown_again(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    link = await _link(practice)
    before = await snapshot(shared, practice.id)
    for email in ("", "ada", "a@b c", "x" * 300 + "@example.com", "a\nb@example.com", "<script>@"):
        found = await _begin(practice, link, email)
        assert found.status == 422, email
        assert to_payer("link.email_wrong") in Page(found.body).text
        assert 'aria-invalid="true"' in found.body
        assert "<script>" not in found.body
    assert (await _begin(practice, link, name="x" * 201)).status == 422
    is_problem(await _begin(practice, link, name="x" * 5000), 413, "too_large")
    for body in (b"&".join([b"a=b"] * 50), b"\xff=\xff", b'{"email": "ada@example.com"}'):
        assert (await shared.call("POST", _path(practice, link), raw=body)).status == 422
    assert await snapshot(shared, practice.id) == before


async def test_who_may(shared: Installation) -> None:
    practice, other = await Practice.make(shared, "paystack"), await Practice.make(shared, "paystack")
    link = await _link(practice)
    places = (("GET", ""), ("POST", ""), ("GET", f"/{link['id']}"), ("POST", f"/{link['id']}/close"))
    for method, place in places:
        path = f"{practice.base}/payment-links{place}"
        body = ASKED if (method, place) == ("POST", "") else None
        is_problem(await shared.call(method, path, None, body), 401)
        is_problem(await shared.call(method, path, other.key, body), 404)
        is_problem(await shared.call(method, path, shared.owner_key, body), 403)
    is_problem(await other.call("GET", f"/payment-links/{link['id']}"), 404)
    is_problem(await other.call("POST", f"/payment-links/{link['id']}/close"), 404)
    reading = await practice.call("POST", "/keys", {"scopes": ["read"]})
    is_problem(await shared.call("POST", f"{practice.base}/payment-links", reading.body["key"], ASKED), 403)
    is_problem(await shared.call("PUT", f"{practice.base}/checkout", reading.body["key"], {"color": None}), 403)


async def test_links_are_listed_newest_first(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    made = [(await _link(practice, description=fresh("Fee")))["id"] for _ in range(3)]
    first = (await practice.call("GET", "/payment-links?limit=2")).body
    assert [link["id"] for link in first["data"]] == made[:0:-1]
    rest = (await practice.call("GET", f"/payment-links?limit=2&cursor={first['nextCursor']}")).body
    assert ([link["id"] for link in rest["data"]], rest["nextCursor"]) == (made[:1], None)
    for query in ("cursor=x", "cursor=%27%3B", "limit=0", "limit=201"):
        is_problem(await practice.call("GET", f"/payment-links?{query}"), 422)


async def test_made_up_link_tokens(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    path = _path(practice, await _link(practice))
    token = path.rpartition("/")[2]
    payment = (await practice.create()).body["clientToken"]
    for wrong in (token[:-1] + ("a" if token[-1] != "a" else "b"), token.upper(), "x", "a" * 60, payment):
        for method, place in (("GET", ""), ("POST", ""), ("GET", "/qr.svg"), ("GET", "/poster")):
            is_problem(await shared.call(method, f"/pay/link/{wrong}{place}"), 404)
    is_problem(await shared.call("GET", f"/pay/{token}"), 404)  # a link's token opens no payment
    found = await shared.call("GET", "/pay/link/x", headers={"Accept": "text/html"})
    assert to_payer("problem.no_link") in Page(found.body).text


async def test_the_code_holds_the_address(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    link = await _link(practice)
    image = await shared.call("GET", link["qrUrl"].removeprefix(shared.url))
    assert image.headers["Content-Type"] == "image/svg+xml"
    assert image.headers["Content-Security-Policy"] == "default-src 'none'"
    assert image.body == qr_svg(link["url"], whole_file=True)
    # Read back from the drawing: its dark modules are those of a code of exactly this address.
    drawing = qr_svg(link["url"], whole_file=False)
    dark, x, y = set(), 0.0, 0.0
    for step in re.findall(r"[Mmh][-0-9. ]+", re.findall(r' d="([^"]+)"', drawing)[0]):
        numbers = [float(n) for n in re.findall(r"-?[0-9.]+", step)]
        if step[0] == "h":
            dark |= {(int(y), int(x) + i) for i in range(int(numbers[0]))}
            x += numbers[0]
        else:
            x, y = (numbers[0], numbers[1]) if step[0] == "M" else (x + numbers[0], y + numbers[1])
    matrix = segno.make(link["url"], error="q", micro=False).matrix
    assert dark == {(r, c) for r, row in enumerate(matrix) for c, bit in enumerate(row) if bit}
    poster = await shared.call("GET", f"{_path(practice, link)}/poster")
    assert drawing in poster.body
    assert link["url"] in Page(poster.body).text
