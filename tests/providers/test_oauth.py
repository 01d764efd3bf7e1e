"""Access tokens: fetched once for each set of credentials, never shared, fetched again when they expire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from tests.flows.scenes import Clock

from polytill.domain.secret import Secret
from polytill.providers.http import AnswerLost, Http
from polytill.providers.oauth import TokenRequest, basic, send_with_token
from polytill.providers.outcomes import NotSent, Reason, Unknown
from polytill.providers.token_cache import MAX_KEPT, Token, TokenCache

URL = "https://idp.example/token"


class Provider:
    """Gives tokens that live 600 s, counts them, and refuses those that it was told to."""

    def __init__(self, expires_in: Any = 600) -> None:
        self.expires_in = expires_in
        self.fetched = 0
        self.called: list[str] = []
        self.refused: set[str] = set()
        self.wait = asyncio.Event()
        self.wait.set()
        self.fails: Exception | None = None

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Any:
        if url == URL:
            await self.wait.wait()
            if self.fails is not None:
                raise self.fails
            self.fetched += 1
            whose = headers["Authorization"][-6:].strip("=")
            return (
                200,
                {},
                json.dumps({"access_token": f"{whose}-{self.fetched}", "expires_in": self.expires_in}).encode(),
            )
        self.called.append(headers["token"])
        return (401 if headers["token"] in self.refused else 200), {}, b'{"ok": true}'


class Practice:
    """One client of the provider."""

    def __init__(self, http: Http, secret: str = "one", clock: Clock | None = None) -> None:
        self.http, self.clock = http, clock or Clock()
        self.request = TokenRequest("Idp", "POST", URL, basic("client", Secret(secret)))

    async def call(self) -> Any:
        async def send(token: Secret) -> Any:
            return await self.http.send("GET", "https://api.example/", {"token": token.reveal()})

        return await send_with_token(self.http, self.request, self.clock(), send)


async def test_one_token_serves_every_handler_of_the_same_credentials() -> None:
    provider = Provider()
    http = Http(provider)
    for _ in range(3):
        await Practice(http).call()
    assert provider.fetched == 1
    assert len(set(provider.called)) == 1


async def test_other_credentials_have_other_tokens() -> None:
    provider = Provider()
    http = Http(provider)
    await asyncio.gather(*(Practice(http, secret).call() for secret in ("one", "two") * 4))
    assert provider.fetched == 2
    assert len(set(provider.called)) == 2
    one, other = Practice(http, "one").request, Practice(http, "two").request
    assert one.digest != other.digest
    assert "one" not in repr(one) + repr(http.tokens)
    assert provider.called[0] not in repr(http.tokens)


async def test_many_who_wait_fetch_once() -> None:
    provider = Provider()
    provider.wait.clear()
    http = Http(provider)
    waiting = [asyncio.ensure_future(Practice(http).call()) for _ in range(20)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # whoever began goes away; the others are served all the same
    provider.wait.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert provider.fetched == 1
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(getattr(one, "status", None) == 200 for one in found[1:])


@pytest.mark.parametrize(
    ("expires_in", "later_s", "fetched"),
    [
        (600, 539, 1),
        (600, 540, 2),
        ("3599", 3500, 1),
        (None, 0, 2),
        ("soon", 0, 2),
        (60, 0, 2),
        (-5, 0, 2),
        (10**12, 23 * 3600, 1),
        (10**12, 25 * 3600, 2),
        (600, -1, 2),
        (True, 0, 2),
    ],
)
async def test_a_token_is_kept_until_shortly_before_its_end(expires_in: Any, later_s: int, fetched: int) -> None:
    provider, clock = Provider(expires_in), Clock()
    practice = Practice(Http(provider), clock=clock)
    await practice.call()
    clock.at_s += later_s
    await practice.call()
    assert provider.fetched == fetched


async def test_a_kept_token_that_is_refused_is_fetched_anew_once() -> None:
    provider = Provider()
    practice = Practice(Http(provider))
    await practice.call()
    provider.refused.add(provider.called[0])
    assert (await practice.call()).status == 200
    assert provider.fetched == 2
    provider.refused.update(f"{provider.called[-1][:-1]}{n}" for n in range(9))
    before = len(provider.called)
    assert (await practice.call()).status == 401  # the credentials are the trouble, not the token
    assert len(provider.called) == before + 2


async def test_a_fresh_token_that_is_refused_is_not_tried_again() -> None:
    provider = Provider()
    practice = Practice(Http(provider))
    provider.refused.update(f"{basic('client', Secret('one'))['Authorization'][-6:].strip('=')}-{n}" for n in range(9))
    assert (await practice.call()).status == 401
    assert len(provider.called) == 1


async def test_a_failure_is_not_kept_and_nothing_was_sent() -> None:
    provider = Provider()
    practice = Practice(Http(provider))
    provider.fails = AnswerLost("x")
    outcome = await practice.call()
    assert isinstance(outcome, NotSent)
    assert outcome.reason is Reason.provider_unavailable
    assert provider.called == []
    provider.fails = None
    assert (await practice.call()).status == 200


async def test_a_lost_answer_of_the_real_call_is_never_repeated() -> None:
    provider = Provider()
    http = Http(provider)
    calls = 0

    async def send(_: Secret) -> Any:
        nonlocal calls
        calls += 1
        return Unknown(Reason.timeout)

    request = Practice(http).request
    for _ in range(2):  # with a fresh token, and with a kept one
        assert isinstance(await send_with_token(http, request, 1.0, send), Unknown)
    assert calls == 2


async def test_the_cache_is_bounded() -> None:
    cache = TokenCache()

    async def fetch() -> Token:
        return Token(Secret("x"), 600)

    for number in range(MAX_KEPT + 5):
        await cache.get(str(number).encode(), 1.0, fetch)
    assert len(cache._kept) <= MAX_KEPT
