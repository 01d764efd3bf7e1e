"""Access tokens in this process's memory: one for each set of credentials, fetched once however many wait for it.

The key is a digest of the whole request that fetches the token, secret included: two practices never share one, and
after a rotation the old one is not found any more. Nothing of it is written down anywhere. PayPal's certificates are
kept here, too, by their address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from polytill.domain.secret import Secret
from polytill.providers.outcomes import NotSent

MAX_KEPT = 20_000
MARGIN_S = 60.0  # a token must outlive the call that it is shown with


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and how many seconds the provider said that it lives; 0: it did not say."""

    secret: Secret
    lives_s: int = 0


Fetch = Callable[[], Awaitable[Token | NotSent]]


class TokenCache:
    """Tokens until shortly before they end. What failed to be fetched is not kept."""

    __slots__ = ("_fetching", "_kept")

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[Secret, float, float]] = {}  # token, from when, until when
        self._fetching: dict[bytes, asyncio.Task[Secret | NotSent]] = {}

    def __repr__(self) -> str:
        return f"TokenCache({len(self._kept)})"

    async def get(self, key: bytes, now_s: float, fetch: Fetch) -> tuple[Secret | NotSent, bool]:
        """The token, and whether it was kept from before."""
        kept = self._kept.get(key)
        if kept is not None and kept[1] <= now_s < kept[2]:
            return kept[0], True
        task = self._fetching.get(key)
        if task is None or task.done():
            task = asyncio.ensure_future(self._fetch(key, now_s, fetch))
            self._fetching[key] = task
        # Whoever began may go away; the others still wait for the same answer.
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
        """The provider refuses this token; one that was fetched meanwhile stays."""
        kept = self._kept.get(key)
        if kept is not None and kept[0] == secret:
            del self._kept[key]
