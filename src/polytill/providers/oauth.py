"""Access tokens, which a provider requires before each real call, for a client's id and secret.

Fetching a token moves no money, so if that fails, the real call was not sent. A token is cached in memory until shortly
before it expires (``token_cache.py``). If the provider rejects a cached token, another one is fetched, once.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from polytill.domain.secret import Secret
from polytill.providers.http import Answer, Answered, Http
from polytill.providers.outcomes import NotSent, Reason, Unknown
from polytill.providers.token_cache import Token
from polytill.providers.wire_json import string_in

MAX_LIFE_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The request that fetches the access token of one client. ``name`` is the provider."""

    name: str
    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)

    @property
    def digest(self) -> bytes:
        """Identifies these credentials at this address."""
        parts = [self.name, self.method, self.url, *(f"{name}: {self.headers[name]}" for name in sorted(self.headers))]
        return hashlib.sha256("\n".join(parts).encode() + b"\n\n" + (self.body or b"")).digest()


def basic(user: str | None, secret: Secret | None) -> dict[str, str]:
    """The Basic authorization header of a client's id and secret."""
    pair = f"{user or ''}:{secret.reveal() if secret else ''}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}", "Accept": "application/json"}


async def fetch_token(http: Http, request: TokenRequest) -> Token | NotSent:
    """Fetch a token. Returns ``NotSent(config)`` if the provider rejects the client's id or secret."""
    answer = await http.send(request.method, request.url, request.headers, request.body)
    if isinstance(answer, NotSent):
        return answer
    if isinstance(answer, Unknown):
        return NotSent(Reason.provider_unavailable, answer.code, f"{request.name} gave no access token.")
    return read_token(request.name, answer)


async def send_with_token(
    http: Http,
    request: TokenRequest,
    now_s: float,
    send: Callable[[Secret], Awaitable[Answered]],
    refuses: Callable[[Answer], bool] = lambda answer: answer.status == 401,
) -> Answered:
    """Send the real call with a token. If the provider rejects a cached one, nothing was done, and the call is repeated
    once with a new token."""
    key = request.digest
    token, was_kept = await http.tokens.get(key, now_s, lambda: fetch_token(http, request))
    if isinstance(token, NotSent):
        return token
    answer = await send(token)
    if not (was_kept and isinstance(answer, Answer) and refuses(answer)):
        return answer
    http.tokens.forget(key, token)
    token, _ = await http.tokens.get(key, now_s, lambda: fetch_token(http, request))
    return token if isinstance(token, NotSent) else await send(token)


def read_token(name: str, answer: Answer) -> Token | NotSent:
    """The token in an answer, or why there is none."""
    token = string_in(answer.data, "access_token")
    if answer.status == 200 and token and token.isascii() and token.isprintable():
        return Token(Secret(token), _seconds(answer.data.get("expires_in")))
    if 400 <= answer.status < 500:
        return NotSent(Reason.config, str(answer.status), f"{name} refuses the client's id or secret.")
    return NotSent(Reason.provider_unavailable, str(answer.status), f"{name} gave no access token.")


def _seconds(value: Any) -> int:
    text = str(value)  # M-Pesa writes "3599"
    return min(int(text[:9]), MAX_LIFE_S) if text.isascii() and text.isdecimal() else 0
