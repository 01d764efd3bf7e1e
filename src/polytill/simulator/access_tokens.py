"""Providers whose callers first exchange a client's id and secret for an access token, and name each request once.

What a token looks like, how it is asked for, and what a rejection says differ from provider to provider.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from polytill.simulator.wire import Answer, Call, Fields, Provider, bearer

if TYPE_CHECKING:
    from polytill.simulator.network import Network


class TokenProvider(Provider):
    """A provider with access tokens. The account is the client's secret."""

    token_seconds: int
    request_header: str | None = None  # the name of a request, whose first answer is replayed

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self._tokens: dict[str, tuple[str, float]] = {}

    def key_of(self, headers: Fields) -> str | None:
        return self._tokens.get(bearer(headers) or "", (None, 0.0))[0]

    def basic_secret(self, headers: Fields) -> str | None:
        """The client's secret in an ``Authorization: Basic`` header."""
        scheme, _, pair = headers.get("Authorization", "").partition(" ")
        try:
            user, _, secret = base64.b64decode(pair, validate=True).decode().partition(":")
        except ValueError:
            return None
        return secret if scheme.lower() == "basic" and self.well_formed(user) else None

    def issue(self, key: str, token: str) -> None:
        """Let a new token stand for a key."""
        self._tokens[token] = (key, self.now + self.token_seconds)

    def valid_key_of(self, headers: Fields) -> str | None:
        """The key of a token that has not expired."""
        key, until = self._tokens.get(bearer(headers) or "", (None, 0.0))
        return key if until >= self.now else None

    def _first_answer(self, call: Call) -> tuple[dict[str, Answer], str] | None:
        """Where the first answer to a named request is stored, and under which name."""
        named = call.headers.get(self.request_header) if self.request_header else None
        key = self.key_of(call.headers)
        if call.method != "POST" or not named or key is None or not self.well_formed(key):
            return None
        return self.account(key).memory["answers"], f"{call.path} {named}"

    def enter(self, call: Call) -> Answer | None:
        place = self._first_answer(call)
        return place[0].get(place[1]) if place else None

    def remember(self, call: Call, answer: Answer) -> None:
        place = self._first_answer(call)
        if place and answer.status < 500:  # a failed request may be repeated under its name
            place[0][place[1]] = answer
