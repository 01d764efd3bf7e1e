"""Whatever a person's browser sends, the answer is a page in their language; the API answers problem documents.

Source: issue 18, items 10 and 12: a NUL character in an address of a page, an unknown address, a method that a page does not
take, a form that is too large, and our own faults were raw JSON. The answer is made in one place for all of them.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from polytill.web.words import words_for
from tests.installation import Installation

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRENCH = words_for("fr", "")
FORM = "application/x-www-form-urlencoded"
NUL_IN_JSON = ("GET", "/api/practices/1/payments?search=%00", 400), ("GET", "/api/practices/1/pay%00ments", 404)


@pytest_asyncio.fixture(loop_scope="module")
async def browser(shared: Installation) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Accept": "text/html,application/xhtml+xml", "Accept-Language": "fr", "Origin": shared.url}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield session


async def answered(
    house: Installation, session: aiohttp.ClientSession, method: str, path: str, **sent: Any
) -> tuple[int, str, str, str]:
    """Status, content type, text, and the request id of an answer. The path goes out as it is."""
    async with session.request(method, URL(house.url + path, encoded=True), allow_redirects=False, **sent) as found:
        return found.status, found.content_type, await found.text(), found.headers["X-Request-ID"]


STAFF = [
    ("GET", "/practice/1/payments?q=%00", 400),
    ("GET", "/practice/1/pay%00ments", 404),
    ("GET", "/owner/login?next=%00", 400),
    ("GET", "/owner/%00", 404),
    ("GET", "/practice", 404),
    ("GET", "/practice/%00", 404),
    ("GET", "/nowhere", 404),
    ("GET", "/docs?x=%00", 400),
    ("GET", "/practice/1/%ff", 404),
    ("GET", "/owner/practices?after=%ff", 303),
    ("POST", "/practice/1/payments", 405),
    ("POST", "/owner/nowhere", 405),
    ("POST", "/nowhere", 404),
    ("PUT", "/owner/practices", 405),
    ("DELETE", "/practice/1/settings", 405),
    ("OPTIONS", "/practice/1/payments", 405),
]


@pytest.mark.parametrize(("method", "path", "status"), STAFF)
async def test_an_address_of_staff_is_answered_by_a_page(
    shared: Installation, browser: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    found, kind, text, _ = await answered(shared, browser, method, path)
    assert found == status
    if status == 303:  # to the page where one signs in
        return
    assert kind == "text/html"
    assert '<html lang="fr"' in text
    said = FRENCH("error.not_found" if status == 404 else f"error.text_{status}")
    assert said in text
    assert "\x00" not in text
    door = "/practice/1" if path.startswith("/practice/1/") else "/owner" if path.startswith("/owner") else "/"
    assert f'href="{door}">{FRENCH("error.back")}' in text


@pytest.mark.parametrize(
    "path", ["/pay/%00", "/pay/link/x%00", "/pay/x?lang=%00", "/pay/", "/pay/x/nowhere", "/pay/link/%ff"]
)
async def test_an_address_of_payers_is_answered_by_a_page(
    shared: Installation, browser: aiohttp.ClientSession, path: str
) -> None:
    for method in ("GET", "POST", "PUT"):
        status, kind, text, _ = await answered(shared, browser, method, path)
        assert (kind, status in (400, 404, 405)) == ("text/html", True), (method, status, text)
        assert 'data-state="problem"' in text
        assert '<html lang="fr"' in text


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"email=%00&password=x", FORM),
        (b"email=%ff&password=x", FORM),
        (b"email=%ED%A0%80&password=x", FORM),
        (b"email=\xff", FORM),
        (b"%", FORM),
        (b"&".join([b"a=b"] * 3000), FORM),
        (b'{"email": "a@example.com"}', "application/json"),
        (
            b'--x\r\nContent-Disposition: form-data; name="email"\r\n\r\nA\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
    ],
)
async def test_a_form_that_cannot_be_read_is_answered_by_a_page(
    shared: Installation, browser: aiohttp.ClientSession, body: bytes, kind: str
) -> None:
    for path in ("/owner/login", "/practice/1/login"):
        headers = {"Content-Type": kind}
        status, content, text, _ = await answered(shared, browser, "POST", path, data=body, headers=headers)
        assert (status, content) == (400, "text/html")
        assert FRENCH("fault.form_unreadable") in text


async def test_a_form_that_is_too_large_is_answered_by_a_page(
    shared: Installation, browser: aiohttp.ClientSession
) -> None:
    async def in_pieces() -> AsyncIterator[bytes]:  # whose size nobody announced
        for _ in range(40):
            yield b"a" * 65_536

    for data in (io.BytesIO(b"email=" + b"a" * 2_000_000), in_pieces()):
        status, kind, text, _ = await answered(
            shared, browser, "POST", "/owner/login", data=data, headers={"Content-Type": FORM}
        )
        assert (status, kind) == (413, "text/html")
        assert FRENCH("error.text_413") in text


async def test_a_fault_of_ours_is_a_page_without_its_text(
    shared: Installation, browser: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a secret is here")

    monkeypatch.setattr("polytill.web.console.pages.read_form", broken)
    monkeypatch.setattr(type(shared.till.context.ring), "read_address", broken)
    staff = await answered(shared, browser, "POST", "/owner/login", data={"email": "a"})
    payer = await answered(shared, browser, "GET", "/pay/x")
    for status, kind, text, _ in (staff, payer):
        assert (status, kind) == (500, "text/html")
        assert "secret" not in text
    assert FRENCH("error.text_500") in staff[2]
    assert 'data-state="problem"' in payer[2]


async def test_programs_read_problem_documents(shared: Installation, browser: aiohttp.ClientSession) -> None:
    """Whatever they accept: a browser that opens an address of the API sees what a program would."""
    for method, path, status in (
        *NUL_IN_JSON,
        ("POST", "/hooks/%00", 404),
        ("PUT", "/healthz", 405),
        ("GET", "/api/x", 404),
    ):
        found, kind, _, _ = await answered(shared, browser, method, path)
        assert (found, kind) == (status, "application/problem+json"), path
    async with aiohttp.ClientSession(headers={"Accept": "application/json"}) as program:
        for path in ("/pay/%00", "/nowhere"):
            assert (await answered(shared, program, "GET", path))[1] == "application/problem+json"


async def test_pages_answer_head(shared: Installation, browser: aiohttp.ClientSession) -> None:
    """Previews of links in messages ask so, and met 405."""
    for path, status in (
        ("/owner/login", 200),
        ("/", 200),
        ("/docs", 200),
        ("/pay/link/x", 404),
        ("/owner/nowhere", 404),
    ):
        found, kind, text, _ = await answered(shared, browser, "HEAD", path)
        assert (found, kind, text) == (status, "text/html", "")
    assert (await answered(shared, browser, "HEAD", "/api/practices/1/payments"))[0] == 405
