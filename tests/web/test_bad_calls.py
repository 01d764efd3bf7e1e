"""Calls that nobody should make, besides payments' bodies: addresses, queries, headers, sizes. Nothing is written."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest

from tests.installation import TEST_KEYS, Answered, Installation
from tests.web.support import Practice, fresh, is_problem, snapshot

pytestmark = pytest.mark.asyncio(loop_scope="module")

LARGE = 10 * 1024 * 1024
STRANGE = (
    "%00",
    "a%00b",
    "%F0%9F%92%B3",
    "%ED%A0%80",
    "%ff%fe",
    "..%2f..%2fowner.db",
    "'%20OR%201=1--",
    "x" * 39,
    "%0d%0aX:y",
)


@pytest.fixture(scope="module")
def practices() -> dict[str, Practice]:
    return {}


async def _practice(shared: Installation, practices: dict[str, Practice]) -> Practice:
    if shared.url not in practices:
        practices[shared.url] = await Practice.make(shared, "paystack")
    return practices[shared.url]


async def raw_call(house: Installation, lines: list[str], body: bytes, chunked: bool = False) -> Answered:
    """A request written by hand, so that a refusal before the end of the body can be read."""
    parts = urlsplit(house.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(("\r\n".join([*lines, f"Host: {parts.netloc}", "Connection: close"]) + "\r\n\r\n").encode())

    async def send() -> None:
        step = 64 * 1024
        for start in range(0, len(body), step):
            piece = body[start : start + step]
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if chunked else piece)
            await writer.drain()
        writer.write(b"0\r\n\r\n" if chunked else b"")

    sending = asyncio.create_task(send())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    status = int(head.split()[1])
    headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:] if line)
    content = await asyncio.wait_for(reader.read(), 20)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.close()
    headers = {"-".join(part.capitalize() for part in name.split("-")): value for name, value in headers.items()}
    return Answered(status, json.loads(content), headers)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_ten_megabytes(shared: Installation, practices: dict[str, Practice], chunked: bool) -> None:
    practice = await _practice(shared, practices)
    hook = practice.configuration["webhookUrl"].removeprefix(shared.url)
    before = await snapshot(shared, practice.id)
    size = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {LARGE}"
    key = [f"Authorization: Bearer {practice.key}", "Content-Type: application/json", f"Idempotency-Key: {fresh()}"]
    for path, more in ((hook, []), (f"{practice.base}/payments", key), ("/hooks/nobody", [])):
        found = await raw_call(shared, [f"POST {path} HTTP/1.1", size, *more], b" " * LARGE, chunked)
        is_problem(found, 413, "too_large")
    assert await snapshot(shared, practice.id) == before
    assert (await shared.call("GET", "/healthz")).status == 200


async def test_a_megabyte_is_taken(shared: Installation, practices: dict[str, Practice]) -> None:
    """The limit is for what is beyond it: a delivery just below is judged by its signature."""
    practice = await _practice(shared, practices)
    hook = practice.configuration["webhookUrl"].removeprefix(shared.url)
    limit = 1024 * 1024
    for size, status in ((limit, 401), (limit + 1, 413)):
        lines = [f"POST {hook} HTTP/1.1"]
        announced = await raw_call(shared, [*lines, f"Content-Length: {size}"], b"x" * size)
        is_problem(announced, status)
        is_problem(await raw_call(shared, [*lines, "Transfer-Encoding: chunked"], b"x" * size, chunked=True), status)


@pytest.mark.parametrize("strange", STRANGE)
async def test_strange_addresses(shared: Installation, practices: dict[str, Practice], strange: str) -> None:
    practice = await _practice(shared, practices)
    before = await snapshot(shared, practice.id)
    base, owner = practice.base, shared.owner_key
    not_found = [
        ("GET", f"{base}/payments/{strange}", practice.key),
        ("POST", f"{base}/payments/{strange}/confirm", practice.key),
        ("GET", f"{base}/payments/{strange}/refunds", practice.key),
        ("POST", f"{base}/webhook-events/{strange}/replay", practice.key),
        ("POST", f"/hooks/{strange}", None),
        ("GET", f"/pay/{strange}", None),
        ("GET", f"/pay/{strange}/return", None),
        ("GET", f"/static/{strange}", None),
        ("GET", f"{base}/payment-providers/{strange}", practice.key),
        ("GET", f"/{strange}", None),
        ("DELETE", f"{base}/payment-providers/{strange}", practice.key),
        ("POST", f"{base}/payment-providers/{strange}/test", practice.key),
        ("GET", f"/api/owner/payment-providers/{strange}", owner),
        ("DELETE", f"/api/owner/payment-providers/{strange}", owner),
        ("GET", f"/api/owner/payment-providers/{strange}/currencies", owner),
    ]
    for method, path, key in not_found:
        found = await shared.call(method, path, key)
        assert found.status == 404, (method, path, found.status, found.body)
        is_problem(found, 404)
    for path in ("/payment-providers/for-currency/", "/payment-providers/available?currency="):
        is_problem(
            await practice.call("GET", path + strange),
            404
            if "%00" in strange and "?" not in path
            else (400 if "%00" in strange else 404 if "%2f" in strange and "?" not in path else 422),
        )
    assert await snapshot(shared, practice.id) == before


@pytest.mark.parametrize(
    "query",
    [
        "status=paid", "status=", "environment=test", "currency=ngn", "currency=XXQ", "limit=0", "limit=201", "limit=-1",
        "limit=ten", "limit=1e2", "limit=99999999999999999999", "cursor=nonsense", "cursor=%21%21", "cursor=" + "A" * 201,
        "cursor=MDAwMS0wMS0wMVQwMDowMDowMCsyMzo1OXwwMWFhYQ==", "cursor=w6k=",
        "cursor=MjAyNi0wMS0wMVQwMDowMDowMHwA", "createdFrom=yesterday", "createdFrom=0001-01-01T00:00:00%2B23:59",
        "createdTo=9999-12-31T23:59:59-23:59", "createdFrom=2026-13-01", "reference=" + "x" * 201,
        "providerCode=" + "x" * 41,
    ],
)  # fmt: skip
async def test_unknown_query_values(shared: Installation, practices: dict[str, Practice], query: str) -> None:
    practice = await _practice(shared, practices)
    problem = is_problem(await practice.call("GET", f"/payments?{query}"), 422, "invalid")
    [error] = problem["errors"]
    assert error["pointer"] == f"query:{query.partition('=')[0]}"


async def test_queries_of_other_lists(shared: Installation, practices: dict[str, Practice]) -> None:
    practice = await _practice(shared, practices)
    for path in (
        "/webhook-events?status=lost",
        "/webhook-events?limit=0",
        "/audit-log?before=0",
        "/audit-log?before=x",
        "/audit-log?limit=501",
        "/ledger?environment=all",
        "/payment-providers/for-currency/NGN?amount=0",
        "/payment-providers/for-currency/NGN?amount=10.5",
        "/payment-providers/for-currency/NGN?capture=later",
        "/payment-providers/for-currency/NGN?paymentMethod=A%20B",
        "/payment-providers/for-currency/ngn",
        "/payment-providers/available?currency=QQQ",
    ):
        is_problem(await practice.call("GET", path), 422, "invalid")
    for path in ("/payments?reference=%00", "/webhook-events?paymentId=a%00", "/audit-log?subject=%00"):
        is_problem(await practice.call("GET", path), 400, "unreadable")
    for path in ("practices?after=-1", "practices?limit=501", "audit-log?before=0", "payment-providers?status=x"):
        is_problem(await shared.call("GET", f"/api/owner/{path}", shared.owner_key), 422, "invalid")
    for text in ("é", "日本", "' OR ''='", "%25"):
        found = await practice.call("GET", f"/payments?reference={quote(text)}")
        assert (found.status, found.body["data"]) == (200, [])


@pytest.mark.parametrize("practice_id", ["0", "-1", "abc", "1.5", "2147483648", "999999999999999999999999", "%00", " "])
async def test_impossible_practices(shared: Installation, practices: dict[str, Practice], practice_id: str) -> None:
    """They are not found, as any unknown practice. Without a valid key the answer does not tell even that."""
    practice = await _practice(shared, practices)
    place = quote(practice_id, safe="%")
    for path, key in (
        (f"/api/practices/{place}/payments", practice.key),
        (f"/api/owner/practices/{place}", shared.owner_key),
    ):
        is_problem(await shared.call("GET", path, key), 404, "not_found")
        is_problem(await shared.call("GET", path, "pt_owner_x"), 404 if practice_id == "%00" else 401)
    for path in (f"/api/practices/{place}/payments", f"/api/practices/{place}/payment-links"):
        is_problem(await shared.call("POST", path, practice.key, {"amount": 1}, idempotency=fresh()), 404, "not_found")


async def test_unknown_practice(shared: Installation, practices: dict[str, Practice]) -> None:
    practice = await _practice(shared, practices)
    is_problem(await shared.call("GET", "/api/practices/2147483647/payments", practice.key), 404, "not_found")
    is_problem(await shared.call("GET", "/api/owner/practices/2147483647", shared.owner_key), 404, "not_found")
    changed = await shared.call("PATCH", "/api/owner/practices/2147483647", shared.owner_key, {"name": "x"})
    is_problem(changed, 404, "not_found")


async def test_wrong_methods(shared: Installation) -> None:
    for method, path, allowed in (
        ("PUT", "/api/owner/practices", "GET, POST"),
        ("DELETE", "/api/practices/1/payments", "GET, POST"),
        ("GET", "/hooks/x", "POST"),
        ("POST", "/healthz", "GET"),
        ("PATCH", "/api/practices/1/payments/x", "GET"),
        ("POST", "/api/owner/payment-providers/stripe", "GET, PATCH, DELETE"),
        ("PUT", "/api/practices/1/payment-providers/stripe", "GET, PATCH, DELETE"),
        ("DELETE", "/api/practices/1/checkout", "GET, PUT"),
        ("POST", "/static/tokens.css", "GET, HEAD"),
    ):
        found = await shared.call(method, path, shared.owner_key)
        is_problem(found, 405, "method_not_allowed")
        assert found.headers["Allow"] == allowed, (method, path)
    assert (await shared.call("HEAD", "/api/owner/practices", shared.owner_key)).headers["Allow"] == "GET, POST"
    page = await shared.call("PUT", "/practice/1/payments")
    assert (page.status, page.headers["Content-Type"], page.headers["Allow"]) == (
        405,
        "text/html; charset=utf-8",
        "GET",
    )


PROVIDER = {"code": "razorpay", "name": "Razorpay", "status": "inactive"}
CONFIGURATION = {"providerCode": "paystack", "environment": "sandbox", **TEST_KEYS["paystack"]}
OWNER_BODIES: list[tuple[str, str, Any, int]] = [
    ("POST", "/payment-providers", {**PROVIDER, "code": "Razor Pay"}, 422),
    ("POST", "/payment-providers", {**PROVIDER, "status": "active"}, 422),
    ("POST", "/payment-providers", {**PROVIDER, "supportedCurrencies": ["NGN", "QQQ"]}, 422),
    ("POST", "/payment-providers", {**PROVIDER, "apiBaseUrl": "ftp://x.example"}, 422),
    ("POST", "/payment-providers", {**PROVIDER, "configSchema": {"a": "\x00"}}, 422),
    ("POST", "/payment-providers", {**PROVIDER, "configSchema": {"a": 10**30}}, 400),
    ("POST", "/payment-providers", {**PROVIDER, "handlerModule": "os\x00"}, 422),
    ("POST", "/payment-providers", {**PROVIDER, "priority": 10**9}, 422),
    ("POST", "/payment-providers", {"name": "No code"}, 422),
    ("PATCH", "/payment-providers/stripe", {"apiBaseUrl": "https://api.stripe.com.evil.example"}, 422),
    ("PATCH", "/payment-providers/stripe", {"apiBaseUrl": "https://api.stripe.com@evil.example"}, 422),
    ("PATCH", "/payment-providers/stripe", {"code": "other"}, 422),
    ("PATCH", "/payment-providers/stripe", {"supportedFeatures": ["teleport"]}, 422),
    ("PATCH", "/payment-providers/nobody", {"name": "x"}, 404),
    ("PUT", "/payment-providers/stripe/currencies/USD", {"transactionFeePercent": 2.9}, 422),
    ("PUT", "/payment-providers/stripe/currencies/USD", {"transactionFeePercent": "101"}, 422),
    ("PUT", "/payment-providers/stripe/currencies/USD", {"minAmount": 10, "maxAmount": 5}, 422),
    ("PUT", "/payment-providers/stripe/currencies/USD", {"minAmount": -1}, 422),
    ("PUT", "/payment-providers/stripe/currencies/usd", {}, 422),
    ("PUT", "/payment-providers/nobody/currencies/USD", {}, 404),
    ("DELETE", "/payment-providers/paystack/currencies/JPY", None, 404),
    ("POST", "/practices", {"name": "x", "defaultCurrency": "ngn"}, 422),
    ("POST", "/practices", {"name": "", "defaultCurrency": "NGN"}, 422),
    ("POST", "/practices", {"name": "a\x00b", "defaultCurrency": "NGN"}, 422),
    ("POST", "/practices", {"name": "x" * 10_000, "defaultCurrency": "NGN"}, 422),
    ("POST", "/practices", {"name": "x", "defaultCurrency": "NGN", "cluster": "moon"}, 422),
    ("PATCH", "/practices/1", {"state": "gone"}, 422),
    ("POST", "/keys", {"name": "x" * 201}, 422),
    ("POST", "/keys", {"kind": "practice"}, 422),
    ("DELETE", "/keys/2147483647", None, 404),
    ("POST", "/clusters", {"name": "default", "url": "postgresql://h/x"}, 409),
    ("POST", "/clusters", {"name": "c2", "url": "mysql://h/x"}, 422),
]
PRACTICE_BODIES: list[tuple[str, str, Any, int]] = [
    ("POST", "/payment-providers", {**CONFIGURATION, "providerCode": "nobody"}, 422),
    ("POST", "/payment-providers", {**CONFIGURATION, "secretKey": "x"}, 422),
    ("POST", "/payment-providers", {**CONFIGURATION, "secretKey": 5}, 422),
    ("POST", "/payment-providers", {**CONFIGURATION, "secretKey": "sk_test_" + "x" * 10_000}, 422),
    ("POST", "/payment-providers", {**CONFIGURATION, "environment": "production"}, 422),
    ("POST", "/payment-providers", {**CONFIGURATION, "environment": "live"}, 422),
    ("POST", "/payment-providers", {**CONFIGURATION, "config": {"unknown": 1}}, 422),
    ("POST", "/payment-providers", {**CONFIGURATION, "config": {"a": "\x00"}}, 422),
    ("POST", "/payment-providers", {**CONFIGURATION, "isEnabled": "yes"}, 422),
    ("POST", "/payment-providers", {**CONFIGURATION, "isEnabled": 1}, 422),
    ("POST", "/payment-providers", {**CONFIGURATION, "supportedCurrencies": ["JPY"]}, 422),
    ("POST", "/payment-providers", {**CONFIGURATION, "supportedCurrencies": "NGN"}, 422),
    ("POST", "/payment-providers", {"providerCode": "paystack"}, 422),
    ("PATCH", "/payment-providers/stripe", {"isEnabled": True}, 404),
    ("PATCH", "/payment-providers/paystack", {"environment": "production"}, 409),
    ("PATCH", "/payment-providers/paystack", {"secretKey": "sk_live_0123456789abcdef0123456789"}, 422),
    ("PUT", "/payment-providers/paystack/credentials/live", {}, 422),
    ("PUT", "/payment-providers/paystack/credentials/production", TEST_KEYS["paystack"], 422),
    ("PUT", "/payment-providers/stripe/credentials/production", TEST_KEYS["stripe"], 404),
    ("POST", "/payment-providers/paystack/activate", {"environment": "production"}, 409),
    ("POST", "/payment-providers/paystack/activate", {}, 422),
    ("POST", "/keys", {"kind": "owner"}, 422),
    ("POST", "/keys", {"scopes": ["everything"]}, 422),
    ("POST", "/keys", {"scopes": []}, 422),
    ("POST", "/keys", {"kind": "publishable", "scopes": []}, 422),
    ("DELETE", "/keys/2147483647", None, 404),
]


async def test_bad_owner_bodies(shared: Installation, practices: dict[str, Practice]) -> None:
    practice = await _practice(shared, practices)
    before = await snapshot(shared, practice.id)
    for method, path, body, status in OWNER_BODIES:
        found = await shared.call(method, f"/api/owner{path}", shared.owner_key, body)
        assert found.status == status, (method, path, body, found.body)
        is_problem(found, status)
        assert await snapshot(shared, practice.id) == before, (method, path, body)


async def test_bad_practice_bodies(shared: Installation, practices: dict[str, Practice]) -> None:
    practice = await _practice(shared, practices)
    before = await snapshot(shared, practice.id)
    for method, path, body, status in PRACTICE_BODIES:
        found = await practice.call(method, path, body)
        assert found.status == status, (method, path, body, found.body)
        problem = is_problem(found, status)
        assert "sk_live" not in json.dumps(problem)
        assert await snapshot(shared, practice.id) == before, (method, path, body)


async def test_headers_that_are_not_text(shared: Installation, practices: dict[str, Practice]) -> None:
    practice = await _practice(shared, practices)
    for value in (
        "Bearer",
        "Bearer ",
        "Basic eDp5",
        "Bearer pt_practice_\xff\xfe",
        practice.key,
        "Bearer " + "x" * 9000,
    ):
        url = f"{shared.url}{practice.base}/payments"
        async with aiohttp.ClientSession() as http, http.get(url, headers={"Authorization": value}) as response:
            assert response.status == 401
            assert (await response.json(content_type=None))["code"] == "unauthorized"
            assert response.headers["WWW-Authenticate"] == "Bearer"
