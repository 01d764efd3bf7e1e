"""A page of a practice's payments, and the cursor to the next one."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime

from polytill.domain.errors import invalid
from polytill.domain.states import Environment
from polytill.flows.context import Practice
from polytill.storage import payment_lists
from polytill.storage.payments import Payment


async def page_of(practice: Practice, filters: payment_lists.Filters, limit: int) -> tuple[list[Payment], str | None]:
    """Up to ``limit`` payments, newest first, and the cursor of the page after them; None if there is none."""
    found = await payment_lists.listed(practice.db, filters, limit + 1)
    return found[:limit], cursor_after(found[limit - 1]) if len(found) > limit else None


async def default_environment(practice: Practice) -> Environment:
    """The default environment of a list: production if any provider is configured for it."""
    snapshot = await practice.context.configured(practice.db)
    live = any(c.environment is Environment.production for c in snapshot.configurations.values())
    return Environment.production if live else Environment.sandbox


def cursor_after(payment: Payment) -> str:
    """The cursor of the page after this payment."""
    return base64.urlsafe_b64encode(f"{payment.created_at.isoformat()}|{payment.id}".encode()).decode()


def read_cursor(text: str | None, pointer: str = "query:cursor") -> tuple[datetime, str] | None:
    """Decode a cursor. Raises ``Invalid`` if it is not a cursor of such a list."""
    if text is None:
        return None
    try:
        moment, _, payment_id = base64.urlsafe_b64decode(text).decode().partition("|")
        if not payment_id.isascii() or not payment_id.isalnum():
            raise ValueError(payment_id)
        return datetime.fromisoformat(moment).astimezone(UTC), payment_id
    except (ValueError, binascii.Error, OverflowError):
        raise invalid(pointer, "This is not a cursor of this list. Send the nextCursor of a response.") from None
