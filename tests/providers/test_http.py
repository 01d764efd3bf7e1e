"""The way out to providers, against small servers on loopback: what can the other side have seen?"""

import asyncio
import datetime
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from polytill.providers import http as http_module
from polytill.providers.http import (
    MAX_ANSWER_BYTES,
    AiohttpTransport,
    Answer,
    ConnectionNotMade,
    Http,
    may_receive_keys,
    origin_of,
    parse_json,
    to_json,
)
from polytill.providers.outcomes import NotSent, Reason, Unknown

Serve = Callable[[asyncio.StreamWriter], Awaitable[None]]
HEADERS = {"Authorization": "Bearer sk_test_key", "Content-Type": "application/json"}


class Server:
    """A server of a few lines: keeps what it was sent, and answers as the test says."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.requests: list[bytes] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
                body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
                self.requests.append(head + body)
                await self.serve(writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(serve)
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


@asynccontextmanager
async def sending(answer_timeout_s: float = 5.0) -> AsyncIterator[Http]:
    transport = AiohttpTransport(answer_timeout_s)
    try:
        yield Http(transport)
    finally:
        await transport.close()


def says(content: bytes, status: str = "200 OK", *headers: str) -> Serve:
    """Answers every request with this."""

    async def serve(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)

    return serve


def breaks(raw: bytes) -> Serve:
    """Writes these bytes and hangs up."""

    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        writer.close()

    return serve


async def one(serve: Serve, method: str = "POST", answer_timeout_s: float = 5.0) -> Any:
    async with serving(serve) as server, sending(answer_timeout_s) as http:
        result = await http.send(method, server.url + "/pay?a=1", HEADERS, b'{"amount":"75.50"}')
        assert len(server.requests) == 1
        return result


# ── What came back ──


async def test_the_bytes_arrive_as_they_are() -> None:
    async with serving(says(b'{"amount":75.50,"n":1}', "201 Created", "X-Thing: y")) as server, sending() as http:
        answer = await http.send("POST", server.url + "/v3/pay%2Fx?a=b%20c", HEADERS, b'{"amount":"75.50"}')
        await http.send("GET", server.url + "/", HEADERS)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.data) == (201, {"amount": Decimal("75.50"), "n": 1})
    assert answer.headers["x-thing"] == "y"
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v3/pay%2Fx?a=b%20c HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer sk_test_key\r\n" in head
    assert body == b'{"amount":"75.50"}'
    assert server.requests[1].endswith(b"\r\n\r\n")


@pytest.mark.parametrize("content", [b"<html>Bad gateway</html>", b"", b"[]", b'"x"', b"7", b"null", b"\xff", b"{"])
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("200 OK", Reason.unreadable),
        ("400 Bad Request", Reason.unreadable),
        ("502 Bad Gateway", Reason.provider_unavailable),
    ],
)
async def test_what_is_no_json_object_is_unknown(content: bytes, status: str, reason: Reason) -> None:
    result = await one(says(content, status))
    assert isinstance(result, Unknown)
    assert (result.reason, result.code) == (reason, status[:3])


@pytest.mark.parametrize("content", [b'{"status":false}', b"<html>", b""])
@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ([], None),
        (["Retry-After: 7"], 7.0),
        (["Retry-After: Wed, 21 Oct 2026 07:28:00 GMT"], None),
        (["Retry-After: -1"], None),
        (["Retry-After: soon"], None),
    ],
)
async def test_too_many_requests_were_not_worked_on(content: bytes, headers: list[str], wait: float | None) -> None:
    result = await one(says(content, "429 Too Many Requests", *headers))
    assert isinstance(result, NotSent)
    assert (result.reason, result.retry_after_s) == (Reason.rate_limited, wait)


# ── Nothing can have arrived ──


async def test_a_refused_port_is_not_sent() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with sending() as http:
        result = await http.send("POST", f"http://127.0.0.1:{port}/", HEADERS, b"{}")
    assert isinstance(result, NotSent)
    assert result.reason is Reason.unreachable


async def test_a_name_that_does_not_resolve_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nowhere(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nowhere)
    async with sending() as http:
        result = await http.send("POST", "http://nothing.invalid/", HEADERS, b"{}")
    assert isinstance(result, NotSent)
    assert result.reason is Reason.unreachable


@pytest.mark.parametrize("url", ["http://", "http://[::1", "nothing", "http://127.0.0.1:99999/"])
async def test_an_address_that_is_none_is_not_sent(url: str) -> None:
    async with sending() as http:
        result = await http.send("POST", url, HEADERS, b"{}")
    assert isinstance(result, NotSent)


async def test_another_scheme_is_not_sent() -> None:
    async with sending() as http:
        result = await http.send("POST", "ftp://127.0.0.1/", HEADERS, b"{}")
    assert isinstance(result, NotSent)


async def test_plain_http_behind_https_is_not_sent() -> None:
    async def answer_in_clear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(answer_in_clear, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, sending() as http:
        result = await http.send("POST", f"https://127.0.0.1:{port}/", HEADERS, b"{}")
    assert isinstance(result, NotSent)


async def test_a_certificate_that_nobody_vouches_for_gets_no_key(tmp_path: Path) -> None:
    async with serving(says(b"{}"), self_signed(tmp_path)) as server, sending() as http:
        result = await http.send("POST", f"https://localhost:{server.port}/", HEADERS, b"{}")
    assert isinstance(result, NotSent)
    assert result.reason is Reason.unreachable
    assert not server.requests


def self_signed(folder: Path) -> ssl.SSLContext:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


# ── Something may have arrived ──


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n",
        b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"status":',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{"a":1}\r\n',
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\nnotgzip",
        b"\x00\x01\x02 nonsense\r\n\r\n",
    ],
)
async def test_an_answer_that_breaks_off_is_unknown(raw: bytes) -> None:
    result = await one(breaks(raw))
    assert isinstance(result, Unknown)
    assert result.reason is Reason.timeout


async def test_silence_is_unknown() -> None:
    async def serve(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2)

    result = await one(serve, answer_timeout_s=0.1)
    assert isinstance(result, Unknown)
    assert result.reason is Reason.timeout


async def test_an_answer_that_only_drips_is_unknown() -> None:
    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(40):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    result = await one(serve, answer_timeout_s=0.2)
    assert isinstance(result, Unknown)


async def test_a_huge_answer_is_unknown() -> None:
    assert isinstance(await one(says(b'{"a":"' + b"x" * MAX_ANSWER_BYTES + b'"}')), Unknown)


async def test_a_small_answer_that_unpacks_to_a_huge_one_is_unknown() -> None:
    bomb = gzip.compress(b'{"a":"' + b"x" * (4 * MAX_ANSWER_BYTES) + b'"}')
    assert len(bomb) < MAX_ANSWER_BYTES // 50
    assert isinstance(await one(says(bomb, "200 OK", "Content-Encoding: gzip")), Unknown)


async def test_the_largest_answer_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "MAX_ANSWER_BYTES", 100)
    fits = b'{"a":"' + b"x" * 92 + b'"}'
    assert isinstance(await one(says(fits)), Answer)
    assert isinstance(await one(says(fits + b" ")), Unknown)


# ── Keys stay where they are sent ──


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_redirect_is_not_followed(status: str, method: str) -> None:
    async with serving(says(b'{"status":true}')) as elsewhere:
        moved = f"Location: {elsewhere.url}/stolen"
        assert isinstance(await one(says(b"", status, moved), method), Unknown)
        answer = await one(says(b'{"status":true}', status, moved), method)
        assert isinstance(answer, Unknown), "no provider answers with a redirect; whose words these are nobody knows"
        assert answer.code == status[:3]
        assert not elsewhere.requests


async def test_cookies_and_proxies_of_others_play_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(says(b"{}")) as proxy, serving(says(b"{}", "200 OK", "Set-Cookie: a=b")) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        async with sending() as http:
            for _ in range(2):
                # By name: a cookie jar would not keep what an address without one sets.
                assert isinstance(await http.send("GET", f"http://localhost:{server.port}", HEADERS), Answer)
    assert len(server.requests) == 2
    assert all(b"cookie" not in request.lower() for request in server.requests)
    assert not proxy.requests


async def test_a_write_is_never_sent_twice() -> None:
    # The second request goes out on a kept connection that the server closes on reading it.
    async with sending() as http:
        seen = 0

        async def serve(writer: asyncio.StreamWriter) -> None:
            nonlocal seen
            seen += 1
            if seen == 1:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            else:
                writer.close()

        async with serving(serve) as server:
            assert isinstance(await http.send("POST", server.url, HEADERS, b"1"), Answer)
            assert isinstance(await http.send("POST", server.url, HEADERS, b"2"), Unknown)
            assert len(server.requests) == 2


async def test_a_closed_session_opens_again() -> None:
    transport = AiohttpTransport()
    await transport.close()
    async with serving(says(b"{}")) as server:
        for _ in range(2):
            assert isinstance(await Http(transport).send("GET", server.url, HEADERS), Answer)
            await transport.close()


async def test_the_reason_of_a_failure_names_no_key() -> None:
    async def lost(*_: Any) -> Any:
        raise ConnectionNotMade("ClientConnectorError")

    class Broken:
        send = staticmethod(lost)

    result = await Http(Broken()).send("POST", "https://api.paystack.co", HEADERS)
    assert "sk_test_key" not in repr(result)


# ── Where keys may go ──

HOSTS = frozenset({"api.paystack.co"})
ALLOWED = frozenset({"http://127.0.0.1:8429"})


@pytest.mark.parametrize(
    "url",
    [
        "https://api.paystack.co",
        "https://api.paystack.co/",
        "https://api.paystack.co/v3",
        "https://api.paystack.co:443/v3",
        "https://API.PAYSTACK.CO",
        "HTTPS://api.paystack.co",
        "https://api.paystack.co/@evil.example",
        "http://127.0.0.1:8429",
        "http://127.0.0.1:8429/flutterwave/v3",
    ],
)
def test_keys_may_go_to(url: str) -> None:
    assert may_receive_keys(url, HOSTS, ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.paystack.co",
        "//api.paystack.co",
        "https:api.paystack.co",
        "https:///api.paystack.co",
        "http://api.paystack.co",
        "http://api.paystack.co:443",
        "ftp://api.paystack.co",
        "file://api.paystack.co",
        "https://api.paystack.co@evil.example",
        "https://api.paystack.co:443@evil.example",
        "https://api.paystack.co%40evil.example",
        "https://user@api.paystack.co",
        "https://user:secret@api.paystack.co",
        "https://:secret@api.paystack.co",
        "https://api.paystack.co.evil.example",
        "https://evil.example/api.paystack.co",
        "https://evil.example?https://api.paystack.co",
        "https://evil.example#@api.paystack.co",
        "https://evil.example\\@api.paystack.co",
        "https://api.paystack.co\\.evil.example",
        "https://api.paystack.co\\",
        "https://api.paystack.co/v3\\@evil.example",
        "https:\\\\api.paystack.co",
        "https://xapi.paystack.co",
        "https://paystack.co",
        "https://api.paystack.co.",
        "https://api.paystack.co:8443",
        "https://api.paystack.co:0",
        "https://api.paystack.co:80",
        "https://api.paystack.co:99999",
        "https://api.paystack.co:x",
        "https://api.paystack.co?x",
        "https://api.paystack.co#x",
        "https://api.paystack.co/ ",
        " https://api.paystack.co",
        "https://api.paystack.co\n",
        "https://api.\tpaystack.co",
        "https://api.paystack.co\x00.evil.example",
        "https://api。paystack.co",
        "https://api.paystack.co／.evil.example",
        "https://аpi.paystack.co",
        "https://api%2epaystack.co",
        "https://[api.paystack.co]",
        "https://[::1",
        "http://127.0.0.1",
        "http://127.0.0.1:8430",
        "https://127.0.0.1:8429",
        "http://localhost:8429",
        "http://127.0.0.1:8429@evil.example",
        "http://127.1:8429",
        "javascript:alert(1)",
    ],
)
def test_keys_may_not_go_to(url: str) -> None:
    assert not may_receive_keys(url, HOSTS, ALLOWED)


def test_without_settings_only_the_declared_hosts() -> None:
    assert not may_receive_keys("http://127.0.0.1:8429", HOSTS, frozenset())
    assert not may_receive_keys("https://api.paystack.co", frozenset(), frozenset())
    # Cutting "https://" off an address that has none must not make another host of it.
    assert not may_receive_keys("http://api.paystack.co", frozenset({"pi.paystack.co"}), frozenset())


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Api.Example/x", "https://api.example"),
        ("https://api.example:443", "https://api.example"),
        ("http://api.example:80", "http://api.example"),
        ("http://api.example:443", "http://api.example:443"),
        ("ftp://api.example", None),
        ("nonsense", None),
    ],
)
def test_origins(url: str, origin: str | None) -> None:
    assert origin_of(url) == origin


# ── JSON ──


def test_json_keeps_money_exact() -> None:
    assert parse_json(b'{"a":0.1,"b":1e2,"c":9007199254740993}') == {
        "a": Decimal("0.1"),
        "b": Decimal("1e2"),
        "c": 9007199254740993,
    }
    assert to_json({"a": Decimal("75.50"), "b": 1}) == b'{"a":75.50,"b":1}'


@pytest.mark.parametrize("body", [b"", b"{", b"nan", b"NaN", b"Infinity", b"\xff", b"{'a':1}", b"[" * 10**6])
def test_what_is_no_json_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_json(body)


@pytest.mark.parametrize("number", [b"1e9999999999999999999", b"1e5000", b"-1e400", b"1e-5000"])
def test_a_number_that_could_not_be_kept_and_read_again_is_a_value_error(number: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_json(b'{"amount":' + number + b"}")


@pytest.mark.parametrize("number", [b"1.7e308", b"5e-324", b"0.0", b"-0.1"])
def test_every_double_is_a_number(number: bytes) -> None:
    assert parse_json(number) == Decimal(number.decode())


def test_no_provider_makes_us_wait_for_ever() -> None:
    wait = Answer(429, {}, {"retry-after": "9" * 400}).retry_after_s
    assert wait is None or wait <= 86_400


@pytest.mark.parametrize("url", ["https://@api.paystack.co", "https://:@api.paystack.co"])
def test_empty_userinfo_is_userinfo(url: str) -> None:
    assert not may_receive_keys(url, HOSTS, ALLOWED)
