"""Saved methods. A response never contains tokens."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from polytill.domain.states import Environment
from polytill.storage.saved_methods import StoredMethod
from polytill.web.api.responses import Moment, ResponseBody


class SavedMethod(ResponseBody):
    """A method that can be charged again. The customer recognizes it by ``brand`` and ``last4``."""

    id: str
    provider: str
    kind: str
    brand: str | None
    last4: str | None
    expires: Annotated[str | None, Field(description="YYYY-MM")]

    @classmethod
    def of(cls, method: StoredMethod) -> Self:
        """Build it from its row."""
        return cls.from_record(method, provider=method.provider_code)


class ListedSavedMethod(SavedMethod):
    """A saved method in a list."""

    fingerprint: Annotated[
        str | None, Field(description="Equal for the same card at the same account, even if another customer saved it")
    ]
    expired: Annotated[bool, Field(description="The card has expired")]
    customer_email: str | None
    environment: Environment
    payment_id: str
    created_at: Moment

    @classmethod
    def at(cls, now: datetime, method: StoredMethod) -> Self:
        """Build it from its row. ``now`` decides whether it has expired."""
        return cls.from_record(
            method,
            provider=method.provider_code,
            fingerprint=_fingerprint(method),
            expired=method.expires is not None and method.expires < f"{now:%Y-%m}",
        )


class SavedMethodPage(ResponseBody):
    """A page of saved methods. ``nextCursor`` is null on the last page."""

    data: list[ListedSavedMethod]
    next_cursor: str | None


def _fingerprint(method: StoredMethod) -> str | None:
    if method.fingerprint is None:
        return None
    return hashlib.sha256(f"{method.practice_id}:{method.config_id}:{method.fingerprint}".encode()).hexdigest()[:32]
