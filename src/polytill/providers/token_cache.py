"""Access tokens in the memory of this process: one per set of credentials, fetched once even if several calls wait for
it.

The key is a digest of the whole request that fetches the token, secret included. So two practices never share a token,
and after a rotation the old one is not found any more. Nothing is written to disk. PayPal's certificates are cached
here, too, by their address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from polytill.domain.secret import Secret
from polytill.providers.outcomes import NotSent

MAX_KEPT = 20_000
MARGIN_S = 60.0  # a token must be valid until the end of the call that uses it


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and its lifetime in seconds as the provider reports it; 0: not reported."""

    secret: Secret
    lives_s: int = 0


Fetch = Callable[[], Awaitable[Token | NotSent]]


class TokenCache:
    """Caches tokens until shortly before they expire. A failed fetch is not cached."""

    __slots__ = ("_fetching", "_kept")

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[Secret, float, float]] = {}  # token, valid from, valid until
        self._fetching: dict[bytes, asyncio.Task[Secret | NotSent]] = {}

    def __repr__(self) -> str:
        return f"TokenCache({len(self._kept)})"

    async def get(self, key: bytes, now_s: float, fetch: Fetch) -> tuple[Secret | NotSent, bool]:
        """The token, and whether it was cached."""
        kept = self._kept.get(key)
        if kept is not None and kept[1] <= now_s < kept[2]:
            return kept[0], True
        task = self._fetching.get(key)
        if task is None or task.done():
            task = asyncio.ensure_future(self._fetch(key, now_s, fetch))
            self._fetching[key] = task
        # The first caller may be canceled. The others still wait for the same answer.
        return await asyncio.shield(task), False

    async def _fetch(self, key: bytes, now_s: float, fetch: Fetch) -> Secret | NotSent:
        try:
            found = await fetch()
        finally:
            self._fetching.pop(key, None)
        if isinstance(found, NotSent):
            return found
        if found.lives_s > MARGIN_S:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[key] = (found.secret, now_s, now_s + found.lives_s - MARGIN_S)
        return found.secret

    def forget(self, key: bytes, secret: Secret) -> None:
        """Remove a token that the provider rejected. A newer token stays."""
        kept = self._kept.get(key)
        if kept is not None and kept[0] == secret:
            del self._kept[key]
