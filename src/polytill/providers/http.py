"""The one way out to payment providers: sends bytes, and sorts failures by what the other side can have seen.

``Http`` does not know any provider. It answers an ``Answer``, or ``NotSent`` (nothing can have arrived over there) or
``Unknown`` (something may have). It never follows redirects, so a key cannot be carried to another host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
import msgspec

from polytill.providers.outcomes import JsonObject, NotSent, Reason, Unknown
from polytill.providers.token_cache import TokenCache

MAX_DEPTH = 50  # no provider nests deeper; who sends more wants to exhaust the stack
MAX_EXPONENT = 350  # any double, and nothing that a database would refuse to keep
MAX_ANSWER_BYTES = 4 * 1024 * 1024
STATUS_BODY_BYTES, STATUS_BODY_S = 64 * 1024, 1.0
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0
MAX_RETRY_AFTER_S = 3600.0  # a provider may slow us down, not stop us for ever

# What goes wrong before a byte of ours can have arrived.
_NOT_MADE = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if abs(number.adjusted()) > MAX_EXPONENT:
        raise ValueError("a number out of range")
    return number


# Providers write money as JSON numbers with a fraction; a float would round them.
_decode = msgspec.json.Decoder(float_hook=_number).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def parse_json(body: bytes) -> Any:
    """JSON as Python values, fractions as ``Decimal``. ``ValueError`` for anything that is not JSON."""
    try:
        value = _decode(body)
        if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
            raise ValueError("nested too deep")
        return _without_nul(value) if b"\\u0000" in body else value
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError) as error:
        raise ValueError("not JSON") from error


def _deeper_than(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return depth == 0 or any(_deeper_than(item, depth - 1) for item in value)


def _without_nul(value: Any) -> Any:
    # NUL is JSON, but no database takes it; what a provider sends must be kept all the same.
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(item) for name, item in value.items()}
    return value


def to_json(value: Any) -> bytes:
    """Python values as JSON bytes, ``Decimal`` as an exact number."""
    return _encode(value)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, the headers (lower-case names) and the JSON object of the body."""

    status: int
    data: JsonObject
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def retry_after_s(self) -> float | None:
        """How long the provider asks us to wait: seconds, or a moment by the clock that its answer shows."""
        value = self.headers.get("retry-after", "")
        if value.isascii() and value.isdecimal():
            return min(float(value[:9]), MAX_RETRY_AFTER_S)
        until, now = _moment_in(value), _moment_in(self.headers.get("date", ""))
        return min(max(0.0, until - now), MAX_RETRY_AFTER_S) if until is not None and now is not None else None


def _moment_in(text: str) -> float | None:
    """Seconds since the epoch of an HTTP date; None where it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


class Transport(Protocol):
    """How bytes reach a provider. The product's is aiohttp; a simulation hands in its own."""

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers (lower-case names) and body; or ``ConnectionNotMade``, or ``AnswerLost``."""
        ...


class ConnectionNotMade(Exception):
    """No connection came about: the other side has seen nothing."""


class AnswerLost(Exception):
    """The request may have arrived; its answer did not."""


class AiohttpTransport:
    """One keep-alive session for the whole process."""

    def __init__(self, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._session: aiohttp.ClientSession | None = None
        # ``connect`` ends a TLS handshake that hangs: the key has not been shown yet, and that must not count as sent.
        self._timeout = aiohttp.ClientTimeout(
            total=answer_timeout_s, connect=2 * CONNECT_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S
        )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, ttl_dns_cache=60),
                auto_decompress=True,
                cookie_jar=aiohttp.DummyCookieJar(),  # one practice's cookie must never reach another's call
            )
        return self._session

    async def _content(self, response: aiohttp.ClientResponse) -> bytes:
        content = await response.content.read(MAX_ANSWER_BYTES + 1)
        while len(content) <= MAX_ANSWER_BYTES and not response.content.at_eof():
            content += await response.content.read(MAX_ANSWER_BYTES + 1 - len(content))
        if len(content) > MAX_ANSWER_BYTES:
            raise AnswerLost("the answer was too large")
        return content

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """See ``Transport.send``."""
        try:
            async with self._opened().request(
                method, url, headers=headers, data=body, allow_redirects=False
            ) as response:
                content = await self._content(response)
                lower = {name.lower(): value for name, value in response.headers.items()}
                return response.status, lower, content
        except _NOT_MADE as error:
            raise ConnectionNotMade(type(error).__name__) from error
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError, UnicodeError) as error:
            raise AnswerLost(type(error).__name__) from error

    async def close(self) -> None:
        """End the session. A later call would open another."""
        if self._session is not None:
            await self._session.close()


class StatusTransport(AiohttpTransport):
    """For deliveries to a host: the status is the answer. Its body is read to a bound, so that the connection can be used
    again, and not waited for longer than a second."""

    async def _content(self, response: aiohttp.ClientResponse) -> bytes:
        left = STATUS_BODY_BYTES
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(STATUS_BODY_S):
                while left > 0 and not response.content.at_eof():
                    left -= len(await response.content.read(left))
        if not response.content.at_eof():
            response.close()
        return b""


class Http:
    """What a handler holds: sends one request and answers in outcomes. Keeps access tokens for the handlers after it."""

    __slots__ = ("tokens", "transport")

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.tokens = TokenCache()

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer | NotSent | Unknown:
        """One request. 429 is ``NotSent`` (refused before work); what is not a JSON object is ``Unknown``.

        What a JSON object says with whatever status, the handler reads: only it knows its provider's words.
        """
        try:
            status, answer_headers, content = await self.transport.send(method, url, headers, body)
        except ConnectionNotMade as error:
            return NotSent(Reason.unreachable, code=str(error), detail="The provider could not be reached.")
        except AnswerLost as error:
            return Unknown(Reason.timeout, code=str(error), detail="The provider's answer did not arrive.")
        try:
            data = parse_json(content)
        except ValueError:
            data = None
        if status == 429:
            answer = Answer(status, data if isinstance(data, dict) else {}, answer_headers)
            return NotSent(
                Reason.rate_limited, "429", "The provider limits the number of requests.", answer.retry_after_s
            )
        if status == 408 or (not isinstance(data, dict) and status >= 500):  # 408: given up, after who knows what
            return Unknown(Reason.provider_unavailable, str(status), "The provider has an outage.")
        if not isinstance(data, dict) or 300 <= status < 400:
            return Unknown(Reason.unreadable, str(status), "The provider's answer could not be read.")
        return Answer(status, data, answer_headers)


@lru_cache(maxsize=1024)
def origin_of(url: str) -> str | None:
    """``scheme://host[:port]`` of an http(s) address, without a default port; None where it is no such address."""
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")
    except ValueError:  # no port, or a host that no resolver takes
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return None
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{parts.hostname}" + (f":{port}" if port not in (None, default) else "")


@lru_cache(maxsize=1024)
def may_receive_keys(url: str, hosts: frozenset[str], allowed_origins: frozenset[str]) -> bool:
    """Whether keys may be sent to this address: https to a host that the handler declares, or an origin from settings.

    A declared ``*.example.com`` stands for one label more, for providers with a host for each account (Adyen). What a
    catalog row says decides nothing here. No address at all is right for a provider without a network.
    """
    if not url:
        return not hosts
    origin = origin_of(url)
    if origin is None or "?" in url or "#" in url or "\\" in url or any(c.isspace() for c in url):
        return False
    if origin in allowed_origins or not origin.startswith("https://"):
        return origin in allowed_origins
    host = origin.removeprefix("https://")
    return host in hosts or f"*.{host.partition('.')[2]}" in hosts
