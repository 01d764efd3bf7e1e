"""Errors, sorted by what the other side can have seen: every built-in handler through real sockets on loopback.

One table for all of them: a fault is one outcome and one reason, whatever the provider. What each provider says in its
own words stands in its own tests.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from polytill.domain.clock import World
from polytill.providers import http as http_module
from polytill.providers.contract import Handler
from polytill.providers.http import AiohttpTransport, Http
from polytill.providers.outcomes import NotSent, Reason, Unknown
from polytill.testing.conformance import ProviderFixture
from polytill.testing.conformance.subjects import SUBJECTS
from polytill.testing.conformance.wire import Stand

NETWORKED = [fixture for fixture in SUBJECTS if fixture.handler.hosts]


@dataclass
class Raw:
    """A server that sends given bytes, or nothing (None), once it has read a request; then it closes.

    Who asks for an access token first gets it: the fault is to meet the call behind it.
    """

    answer: bytes | None
    token: tuple[bytes, bytes] | None = None  # part of the request, and the answer
    seen: list[bytes] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        head = b""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            head += await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
            if self.token is not None and self.token[0] in head:
                writer.write(self.token[1])
                writer.close()
                return
            self.seen.append(head)
        if self.answer is not None:
            writer.write(self.answer)
            writer.close()


async def closed(writers: list[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def listening(fixture: ProviderFixture, answer: bytes | None) -> AsyncIterator[tuple[Raw, str]]:
    server = Raw(answer, _token(fixture))
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    try:
        yield server, f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        await closed(server.writers)


def _token(fixture: ProviderFixture) -> tuple[bytes, bytes] | None:
    if fixture.token_at is None:
        return None
    sample, *_ = fixture.sample("token")
    return fixture.token_at.encode(), told("200 OK", json.dumps(sample.body).encode())


@asynccontextmanager
async def handler_at(fixture: ProviderFixture, url: str, answer_timeout_s: float = 5.0) -> AsyncIterator[Handler]:
    transport = AiohttpTransport(answer_timeout_s)
    config = replace(fixture.accounts[0], base_url=url)
    try:
        yield fixture.handler(config, Http(transport), World())
    finally:
        await transport.close()


async def moving(fixture: ProviderFixture, url: str, answer_timeout_s: float = 5.0) -> dict[str, Any]:
    """What the verbs that move money make of a server at this address."""
    stand = Stand(fixture)
    asked: dict[str, Any] = {
        "create_payment_intent": stand.creation(),
        "refund_payment": stand.refund(),
        "capture_payment": stand.operation(True),
        "cancel_payment": stand.operation(False),
    }
    async with handler_at(fixture, url, answer_timeout_s) as handler:
        return {verb: await getattr(handler, verb)(params) for verb, params in asked.items() if getattr(handler, verb)}


def told(status: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", "Connection: close", *headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


# What is answered; the outcome, the reason, the code that is kept.
ANSWERED: dict[str, tuple[bytes, type, Reason, str]] = {
    "408": (told("408 Given up", b'{"message":"x"}'), Unknown, Reason.provider_unavailable, "408"),
    "409": (told("409 Conflict", b'{"message":"x"}'), Unknown, Reason.conflict, "409"),
    "429": (told("429 Slow", b'{"message":"x"}', "Retry-After: 7"), NotSent, Reason.rate_limited, "429"),
    "429 as a page": (told("429 Slow", b"<html>", "Retry-After: 7"), NotSent, Reason.rate_limited, "429"),
    "500": (told("500 Oops", b'{"message":"x"}'), Unknown, Reason.provider_unavailable, "500"),
    "502": (told("502 Oops", b"<html>bad gateway</html>"), Unknown, Reason.provider_unavailable, "502"),
    "503": (told("503 Oops", b""), Unknown, Reason.provider_unavailable, "503"),
    "504": (told("504 Oops", b"{}"), Unknown, Reason.provider_unavailable, "504"),
    "a page": (told("200 OK", b"<!doctype html>"), Unknown, Reason.unreadable, "200"),
    "a page that forbids": (told("403 No", b"<html>"), Unknown, Reason.unreadable, "403"),
    "half of the JSON": (told("200 OK", b'{"status":true,"da'), Unknown, Reason.unreadable, "200"),
    "a list": (told("200 OK", b"[]"), Unknown, Reason.unreadable, "200"),
    "wrong types": (told("200 OK", b'{"status":[],"data":7,"object":{}}'), Unknown, Reason.unreadable, "200"),
    "a redirect": (told("302 Found", b"{}", "Location: https://x.example"), Unknown, Reason.unreadable, "302"),
    "a redirect with words": (
        told("307 There", b'{"status":"error","message":"x"}', "Location: https://x.example"),
        Unknown,
        Reason.unreadable,
        "307",
    ),
    "a broken body": (told("200 OK", b'{"status"', length=900), Unknown, Reason.timeout, "ClientPayloadError"),
    "gzip that is none": (
        told("200 OK", b'{"status":true}', "Content-Encoding: gzip"),
        Unknown,
        Reason.timeout,
        "ClientPayloadError",
    ),
    "gzip that breaks off": (
        told("200 OK", gzip.compress(json.dumps({"data": list(range(500))}).encode())[:-20], "Content-Encoding: gzip"),
        Unknown,
        Reason.unreadable,
        "200",
    ),
    "too much once unpacked": (
        told("200 OK", gzip.compress(b" " * 5_000_000), "Content-Encoding: gzip"),
        Unknown,
        Reason.timeout,
        "the answer was too large",
    ),
    "JSON with a mark before it": (told("200 OK", b"\xef\xbb\xbf{}"), Unknown, Reason.unreadable, "200"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Unknown, Reason.timeout, "ClientResponseError"),
    "a closed door": (b"", Unknown, Reason.timeout, "ServerDisconnectedError"),
}


@pytest.mark.parametrize("fixture", NETWORKED, ids=lambda fixture: fixture.handler.code)
@pytest.mark.parametrize("name", ANSWERED)
async def test_what_is_answered(fixture: ProviderFixture, name: str) -> None:
    answer, kind, reason, code = ANSWERED[name]
    async with listening(fixture, answer) as (server, url):
        outcomes = await moving(fixture, url)
    assert server.seen, "nothing arrived"
    for verb, outcome in outcomes.items():
        assert type(outcome) is kind, f"{verb}: {outcome!r}"
        assert (outcome.reason, outcome.code) == (reason, code), f"{verb}: {outcome!r}"
        if "Retry-After" in answer.decode("latin-1"):
            assert outcome.retry_after_s == 7.0, f"{verb}: {outcome!r}"


@pytest.mark.parametrize("fixture", NETWORKED, ids=lambda fixture: fixture.handler.code)
async def test_silence_after_sending(fixture: ProviderFixture) -> None:
    async with listening(fixture, None) as (server, url):
        outcomes = await moving(fixture, url, answer_timeout_s=0.3)
    assert server.seen, "nothing arrived"
    for verb, outcome in outcomes.items():
        assert type(outcome) is Unknown, f"{verb}: {outcome!r}"
        assert outcome.reason is Reason.timeout, f"{verb}: {outcome!r}"


def refused(monkeypatch: pytest.MonkeyPatch) -> str:
    """A port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def nameless(monkeypatch: pytest.MonkeyPatch) -> str:
    """A name that nobody knows, without asking any server."""

    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    return "https://nowhere.invalid"


def full(monkeypatch: pytest.MonkeyPatch) -> str:
    """A port whose queue is full: a connection is neither made nor refused."""
    monkeypatch.setattr(http_module, "CONNECT_TIMEOUT_S", 0.3)
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    door.listen(0)
    crowd = [socket.socket() for _ in range(4)]
    for one in crowd:
        one.setblocking(False)
        with suppress(BlockingIOError):
            one.connect(door.getsockname())
    OPEN.extend([door, *crowd])
    return f"http://127.0.0.1:{door.getsockname()[1]}"


OPEN: list[socket.socket] = []


@pytest.fixture(autouse=True)
def _close() -> Any:
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.mark.parametrize("fixture", NETWORKED, ids=lambda fixture: fixture.handler.code)
@pytest.mark.parametrize("address", [refused, nameless, full], ids=lambda address: address.__name__)
async def test_a_connection_that_never_came_about(
    fixture: ProviderFixture, address: Callable[[pytest.MonkeyPatch], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = await moving(fixture, address(monkeypatch))
    for verb, outcome in outcomes.items():
        assert type(outcome) is NotSent, f"{verb}: {outcome!r}"
        assert outcome.reason is Reason.unreachable, f"{verb}: {outcome!r}"
        assert outcome.code, f"{verb} keeps no code"


@pytest.mark.parametrize("fixture", NETWORKED, ids=lambda fixture: fixture.handler.code)
@pytest.mark.parametrize("greeting", [b"220 mail.example ESMTP\r\n", None], ids=["no TLS", "silence"])
async def test_a_handshake_that_fails_shows_no_key(
    fixture: ProviderFixture, greeting: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_module, "CONNECT_TIMEOUT_S", 0.2)
    seen: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if greeting is not None:
            writer.write(greeting)
        with suppress(ConnectionError):
            seen.append(await reader.read(65536))
            await reader.read()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0)
    outcomes = await moving(fixture, f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    listener.close()
    await closed(writers)
    assert seen, "nothing arrived"
    assert not any(b"uthorization" in one for one in seen)
    for verb, outcome in outcomes.items():
        assert type(outcome) is NotSent, f"{verb}: {outcome!r}"
        assert outcome.reason is Reason.unreachable, f"{verb}: {outcome!r}"
