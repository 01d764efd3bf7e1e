"""The only HTTP client for payment providers. It sorts failures by whether the provider can have received the request.

``Http`` knows no provider. It returns an ``Answer``, ``NotSent`` (nothing can have arrived at the provider) or
``Unknown`` (something may have). It never follows redirects, so a key is never sent to another host.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from polytill.domain.secret import Secret
from polytill.providers.outcomes import JsonObject, NotSent, Reason, Unknown
from polytill.providers.token_cache import TokenCache

MAX_DEPTH = 50  # no provider nests deeper; a deeper body is meant to exhaust the stack
MAX_EXPONENT = 350  # covers every double, and excludes what a database would reject
MAX_ANSWER_BYTES = 4 * 1024 * 1024
STATUS_BODY_BYTES, STATUS_BODY_S = 64 * 1024, 1.0
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0
MAX_RETRY_AFTER_S = 3600.0  # a provider may slow us down, but not stop us forever

# Errors that occur before any byte of the request can have arrived.
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


# Providers write money as JSON numbers with a fraction. A float would round them.
_decode = msgspec.json.Decoder(float_hook=_number).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def parse_json(body: bytes) -> Any:
    """JSON as Python values, with fractions as ``Decimal``. Raises ``ValueError`` for anything that is not JSON."""
    try:
        value = _decode(body)
        if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
            raise ValueError("nested too deep")
        return _without_nul(value) if b"\\u0000" in body else value
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError) as error:
        raise ValueError("not JSON") from error


def parse_object(body: bytes, what: str) -> JsonObject:
    """As ``parse_json``. Raises ``ValueError`` also if it is no object, and so not ``what``."""
    value = parse_json(body)
    if not isinstance(value, dict):
        raise ValueError(f"not {what}")
    return value


def _deeper_than(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return depth == 0 or any(_deeper_than(item, depth - 1) for item in value)


def _without_nul(value: Any) -> Any:
    # NUL is valid JSON, but no database accepts it. The provider's answer must be stored all the same.
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(item) for name, item in value.items()}
    return value


def to_json(value: Any) -> bytes:
    """Python values as JSON bytes, with ``Decimal`` as an exact number."""
    return _encode(value)


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's answer: the status, the headers (lower-case names) and the JSON object of the body."""

    status: int
    data: JsonObject
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def retry_after_s(self) -> float | None:
        """How long the provider asks us to wait, in seconds. A date is compared with the ``Date`` header of the answer."""
        value = self.headers.get("retry-after", "")
        if value.isascii() and value.isdecimal():
            return min(float(value[:9]), MAX_RETRY_AFTER_S)
        until, now = _moment_in(value), _moment_in(self.headers.get("date", ""))
        return min(max(0.0, until - now), MAX_RETRY_AFTER_S) if until is not None and now is not None else None


Answered = Answer | NotSent | Unknown  # what a request brings
T = TypeVar("T")


def read_answer(answered: Answered, read: Callable[[Answer], T]) -> T | NotSent | Unknown:
    """What ``read`` finds in an answer. Without an answer, the reason why there is none."""
    return read(answered) if isinstance(answered, Answer) else answered


def _moment_in(text: str) -> float | None:
    """An HTTP date in seconds since the epoch; None if the text is not a date."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


class Transport(Protocol):
    """Sends bytes to a provider. The product uses aiohttp; a simulation supplies its own."""

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers (lower-case names) and body. Raises ``ConnectionNotMade`` or ``AnswerLost``."""
        ...


class ConnectionNotMade(Exception):
    """No connection was made: the provider has received nothing."""


class AnswerLost(Exception):
    """The request may have arrived, but its answer did not."""


class AiohttpTransport:
    """One keep-alive session for the whole process."""

    # Headers that aiohttp adds to a request that has none of these names.
    adds_no_headers: tuple[str, ...] = ()

    def __init__(self, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._session: aiohttp.ClientSession | None = None
        # ``connect`` ends a TLS handshake that hangs. No key has been sent at that point, so the request counts as not
        # sent.
        self._timeout = aiohttp.ClientTimeout(
            total=answer_timeout_s, connect=2 * CONNECT_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S
        )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, ttl_dns_cache=60, resolver=self._resolver()),
                skip_auto_headers=self.adds_no_headers,
                auto_decompress=True,
                cookie_jar=aiohttp.DummyCookieJar(),  # a cookie of one practice must never be sent with a call of another
            )
        return self._session

    def _resolver(self) -> AbstractResolver | None:
        """What finds the addresses of a host. None: the system's resolver."""
        return None

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
        """Close the session. A later call opens another."""
        if self._session is not None:
            await self._session.close()


class StatusTransport(AiohttpTransport):
    """For event deliveries: only the status matters. The body is read up to a limit, so that the connection can be
    reused, and for at most one second."""

    async def _content(self, response: aiohttp.ClientResponse) -> bytes:
        left = STATUS_BODY_BYTES
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(STATUS_BODY_S):
                while left > 0 and not response.content.at_eof():
                    left -= len(await response.content.read(left))
        if not response.content.at_eof():
            response.close()
        return b""


class RelayTransport(StatusTransport):
    """For webhooks that are forwarded to an address from a practice's settings: adds no header of its own, and connects
    to no private network, whatever a name leads to, except to ``allowed_origins``."""

    adds_no_headers = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")

    def __init__(self, answer_timeout_s: float, allowed_origins: frozenset[str]) -> None:
        super().__init__(answer_timeout_s)
        self._allowed = frozenset(_host_and_port(origin) for origin in allowed_origins)

    def _resolver(self) -> AbstractResolver | None:
        return _PublicResolver(self._allowed)


def _host_and_port(origin: str) -> tuple[str, int]:
    parts = urlsplit(origin)
    return parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]


class _PublicResolver(AbstractResolver):
    """Finds only addresses of the public internet, so that no name leads into a private network."""

    def __init__(self, allowed: frozenset[tuple[str, int]]) -> None:
        self._allowed = allowed
        self._all = aiohttp.DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See ``AbstractResolver.resolve``."""
        found = await self._all.resolve(host, port, family)
        if (host, port) in self._allowed:
            return found
        public = [one for one in found if is_public_address(one["host"])]
        if not public:
            raise OSError(None, "the name leads to no public address")
        return public

    async def close(self) -> None:
        """See ``AbstractResolver.close``."""
        await self._all.close()


def is_public_address(text: str) -> bool:
    """Whether an IP address belongs to the public internet. An IPv6 address that wraps an IPv4 address counts as that."""
    try:
        found = ip_address(text)
    except ValueError:
        return False
    inner = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    return (inner or found).is_global and not found.is_multicast


@lru_cache(maxsize=1024)
def may_be_relayed_to(url: str, allowed_origins: frozenset[str]) -> bool:
    """Whether webhooks may be forwarded to this address: https to a public host, or an origin from settings. A name is
    checked again when it is connected to."""
    origin = origin_of(url)
    if origin is None or "#" in url or "\\" in url or not url.isascii() or any(c.isspace() or c < " " for c in url):
        return False
    if origin in allowed_origins or not origin.startswith("https://"):
        return origin in allowed_origins
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        ip_address(host)
    except ValueError:
        # A name without a dot, or of digits alone, belongs to a machine or a private network.
        return "." in host and not host.endswith((".localhost", ".local", ".internal")) and not host[-1].isdigit()
    return is_public_address(host)


class Http:
    """The HTTP client of a handler: sends one request and returns outcomes. Its access tokens are shared by later
    handlers."""

    __slots__ = ("tokens", "transport")

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.tokens = TokenCache()

    async def send_json(
        self,
        method: str,
        url: str,
        key: Secret,
        body: JsonObject | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answered:
        """Send one request with a bearer key, and with a JSON body if there is one. See ``send``."""
        all_headers = {"Authorization": f"Bearer {key.reveal()}", "Accept": "application/json"}
        if body is not None:
            all_headers["Content-Type"] = "application/json"
        all_headers |= headers or {}
        return await self.send(method, url, all_headers, None if body is None else to_json(body))

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answered:
        """Send one request. 429 is ``NotSent`` (rejected before any work). A body that is not a JSON object is
        ``Unknown``.

        The handler interprets a JSON object with any other status: only the handler knows its provider's codes.
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
        if status == 408 or (
            not isinstance(data, dict) and status >= 500
        ):  # 408: the provider gave up after an unknown part of the work
            return Unknown(Reason.provider_unavailable, str(status), "The provider has an outage.")
        if not isinstance(data, dict) or 300 <= status < 400:
            return Unknown(Reason.unreadable, str(status), "The provider's answer could not be read.")
        return Answer(status, data, answer_headers)


@lru_cache(maxsize=1024)
def origin_of(url: str) -> str | None:
    """``scheme://host[:port]`` of an http(s) address, without a default port; None if it is not such an address."""
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")
    except ValueError:  # invalid port, or a host that no resolver accepts
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return None
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{parts.hostname}" + (f":{port}" if port not in (None, default) else "")


@lru_cache(maxsize=1024)
def may_receive_keys(url: str, hosts: frozenset[str], allowed_origins: frozenset[str]) -> bool:
    """Whether keys may be sent to this address: https to a host that the handler declares, or an origin from settings.

    A declared ``*.example.com`` matches one more label, for providers with a host for each account (Adyen). A catalog
    row cannot allow a host. An empty address is right for a provider without a network.
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
