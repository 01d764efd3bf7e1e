"""JSON of saved methods. It never contains tokens."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from polytill.domain.clock import wire_time
from polytill.storage.saved_methods import StoredMethod
from polytill.web.api.answering import Answer, Environment, Moment


class SavedMethod(Answer):
    """A method that can be charged again. The customer recognizes it by ``brand`` and ``last4``."""

    id: str
    provider: str
    kind: str
    brand: str | None
    last4: str | None
    expires: Annotated[str | None, Field(description="YYYY-MM")]


class SavedMethodEntry(SavedMethod):
    """A saved method in a list."""

    fingerprint: Annotated[
        str | None, Field(description="Equal for the same card at the same account, even if another customer saved it")
    ]
    expired: Annotated[bool, Field(description="The card has expired")]
    customer_email: str | None
    environment: Environment
    payment_id: str
    created_at: Moment


class SavedMethodPage(Answer):
    """A page of saved methods. ``nextCursor`` is null on the last page."""

    data: list[SavedMethodEntry]
    next_cursor: str | None


def saved_method_view(kept: StoredMethod | None) -> dict[str, Any] | None:
    """The saved method of a payment as JSON."""
    if kept is None:
        return None
    return {
        "id": kept.id,
        "provider": kept.provider_code,
        "kind": kept.kind,
        "brand": kept.brand,
        "last4": kept.last4,
        "expires": kept.expires,
    }


def _fingerprint(kept: StoredMethod) -> str | None:
    if kept.fingerprint is None:
        return None
    return hashlib.sha256(f"{kept.practice_id}:{kept.config_id}:{kept.fingerprint}".encode()).hexdigest()[:32]


def saved_method_entry(kept: StoredMethod, now: datetime) -> dict[str, Any]:
    """A saved method of a list as JSON."""
    more = {
        "fingerprint": _fingerprint(kept),
        "expired": kept.expires is not None and kept.expires < f"{now:%Y-%m}",
        "customerEmail": kept.customer_email,
        "environment": kept.environment.value,
        "paymentId": kept.payment_id,
        "createdAt": wire_time(kept.created_at),
    }
    return {**(saved_method_view(kept) or {}), **more}
