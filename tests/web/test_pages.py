"""The pages without a browser: what they say, what they may load, and that hostile words stay words."""

from __future__ import annotations

import pytest

from tests.installation import Installation
from tests.web.support import PROVIDERS, Page, Practice, fresh, is_problem
from tests.wording import to_payer

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><b>& {{7919*7907}} ${7919*7907}"


def harmless(house: Installation, page: Page) -> None:
    """Nothing that a hostile word could have made, and nothing from anywhere else."""
    assert not page.tags & {"iframe", "object", "embed", "img", "b", "base"}, page.tags
    for address in page.addresses:
        ours = address.startswith("/") and not address.startswith("//")
        assert ours or address.startswith(house.simulator.url) or address in page.links, address


async def _shown(house: Installation, token: str) -> tuple[Page, str]:
    found = await house.call("GET", f"/pay/{token}")
    assert found.status == 200
    assert found.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = {d.split()[0]: d.split()[1:] for d in found.headers["Content-Security-Policy"].split(";")}
    assert policy["default-src"] == ["'none'"]
    assert policy["style-src"] == ["'self'"]
    # Only a page that has a script allows one: ours, and on Stripe's page the one that stands in for Stripe's.
    scripts = [a for a in Page(found.body).addresses if a.endswith(".js")]
    stand_in = [house.simulator.url] if any(a.startswith(house.simulator.url) for a in scripts) else []
    assert policy.get("script-src") == (["'self'", *stand_in] if scripts else None)
    assert policy["form-action"] == ["'self'"]
    assert policy["frame-ancestors"] == ["'none'"]
    assert policy["base-uri"] == ["'none'"]
    assert found.headers["Referrer-Policy"] == "no-referrer"
    assert found.headers["Cache-Control"] == "no-store"
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    page = Page(found.body)
    harmless(house, page)
    return page, found.body


@pytest.mark.parametrize("code", PROVIDERS)
async def test_from_open_to_paid(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    made = (await practice.create(123_456, description="Root canal")).body
    page, _ = await _shown(shared, made["clientToken"])
    assert "1,234.56" in page.text or "1234.56" in page.text
    for words in (to_payer("open.title"), "Root canal", to_payer("page.test")):
        assert words in page.text
    expected = [made["nextAction"]["url"]] if code != "stripe" else []
    assert page.ways == expected
    # The page's reader is the payer: nothing of the practice's own is on it, and no token for the provider's script.
    for hidden in (practice.key, practice.keys["secretKey"], made["id"], made["attempts"][0]["reference"]):
        assert hidden not in page.text
    await practice.act(made["attempts"][0]["reference"])
    await practice.settled(made["id"], status="succeeded")
    page, _ = await _shown(shared, made["clientToken"])
    assert to_payer("already.title") in page.text
    assert page.ways == [f"/pay/{made['clientToken']}/receipt"]


async def test_what_is_not_known_is_said(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    await practice.fault("create", "lose_answer")
    made = (await practice.create()).body
    page, html = await _shown(shared, made["clientToken"])
    assert to_payer("finding.text") in page.text
    assert 'http-equiv="refresh"' in html
    assert page.ways == []
    # The way back asks the provider, and then there is something to pay with.
    back = await shared.call("GET", f"/pay/{made['clientToken']}/return")
    assert (back.status, back.headers["Cache-Control"]) == (303, "no-store")
    page, html = await _shown(shared, made["clientToken"])
    assert len(page.ways) == 1
    assert 'http-equiv="refresh"' not in html
    canceled = await practice.call("POST", f"/payments/{made['id']}/cancel", idempotency=fresh())
    assert canceled.body["status"] == "canceled"
    page, _ = await _shown(shared, made["clientToken"])
    assert to_payer("canceled.title") in page.text
    assert page.ways == []


async def test_failed_is_said(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    await practice.fault("create", "rate_limit")
    made = (await practice.create()).body
    page, _ = await _shown(shared, made["clientToken"])
    assert to_payer("not_reached.title") in page.text
    assert to_payer("not_reached.text") in page.text


async def test_hostile_words_stay_words(shared: Installation) -> None:
    name = HOSTILE[:200]
    practice = Practice(shared, *await shared.practice(name, "NGN"))
    await practice.configure("paystack", ["NGN"])
    made = (await practice.create(description=HOSTILE, reference=HOSTILE, metadata={"x": HOSTILE})).body
    page, html = await _shown(shared, made["clientToken"])
    assert HOSTILE in page.text
    assert "<script>" not in html
    assert "onerror=alert" not in html.replace("&lt;img src=x onerror=alert(2)&gt;", "")
    assert str(7919 * 7907) not in page.text


async def test_return_addresses(shared: Installation) -> None:
    """The merchant's address is used unchanged, and our parameters cannot break out of the header."""
    practice = await Practice.make(shared, "paystack")
    for given, expected in (
        ("https://shop.example", "https://shop.example?paymentId={id}&status=requires_action"),
        (
            "https://shop.example/a?x=1&y=#part",
            "https://shop.example/a?x=1&y=&paymentId={id}&status=requires_action#part",
        ),
        ("http://127.0.0.1:9/é?q=ü", "http://127.0.0.1:9/%C3%A9?q=%C3%BC&paymentId={id}&status=requires_action"),
        ("https://shop.example/%0d%0aX:1", "https://shop.example/%0d%0aX:1?paymentId={id}&status=requires_action"),
    ):
        made = (await practice.create(returnUrl=given)).body
        back = await shared.call("GET", f"/pay/{made['clientToken']}/return?status=success&evil=%0d%0aSet-Cookie:a=b")
        assert back.status == 303
        assert back.headers["Location"] == expected.format(id=made["id"])
        assert "Set-Cookie" not in back.headers


async def test_made_up_tokens(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    token = (await practice.create()).body["clientToken"]
    last = "a" if token[-1] != "a" else "b"
    for wrong in (token[:-1] + last, token[:-1], token + "a", token.upper(), "a" * 60, "x", "b" + token[1:]):
        for path in (f"/pay/{wrong}", f"/pay/{wrong}/return"):
            is_problem(await shared.call("GET", path), 404, "not_found")
    is_problem(await shared.call("POST", f"/pay/{token}"), 405)


async def test_api_page(shared: Installation) -> None:
    found = await shared.call("GET", "/docs")
    assert found.status == 200
    page = Page(found.body)
    harmless(shared, page)
    assert "default-src 'none'" in found.headers["Content-Security-Policy"]
    document = (await shared.call("GET", "/openapi.json")).body
    for path, methods in document["paths"].items():
        assert path in page.text
        for operation in methods.values():
            assert operation.get("description"), (path, operation)
    for address in {a for a in page.addresses if a.startswith("/static/")}:
        style = await shared.call("GET", address)
        assert style.status == 200
        assert style.headers["Content-Type"].startswith("text/css")
        assert "@import" not in style.body
        assert "http" not in style.body.replace("http-equiv", "")
    is_problem(await shared.call("GET", "/static/"), 404)
    is_problem(await shared.call("GET", "/static/../app.py"), 404)
    is_problem(await shared.call("GET", "/static/%2e%2e/app.py"), 404)
