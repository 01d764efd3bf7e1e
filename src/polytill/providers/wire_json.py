"""Reads a provider's answer field by field. No reader raises, for any content.

Types vary on every wire: ids are numbers or text, absent objects are null, "" or []. Each reader returns one type, or
the empty value of that type.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from polytill.providers.outcomes import JsonObject, Reason

REMOVED = "[removed]"  # what ``redact`` writes in place of a secret
REFUND_MARK = "polytill refund "


def object_in(data: JsonObject, name: str) -> JsonObject:
    """The object under this name; empty if there is none."""
    inner = data.get(name)
    return inner if isinstance(inner, dict) else {}


def objects_in(data: JsonObject, name: str) -> list[JsonObject] | None:
    """The objects of the list under this name; None if there is no list."""
    items = data.get(name)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else None


def string_in(data: JsonObject, name: str) -> str | None:
    """A string that is present and not empty."""
    value = data.get(name)
    return value if isinstance(value, str) and value else None


def token_in(data: JsonObject, name: str) -> str | None:
    """A token, unless it was redacted: a stored answer only shows that there was one."""
    value = string_in(data, name)
    return None if value == REMOVED else value


def id_in(data: JsonObject, name: str = "id") -> str | None:
    """A number or string that identifies something, as text; None if there is none."""
    value = data.get(name)
    return str(value) if isinstance(value, int | str) and not isinstance(value, bool) and value != "" else None


def expandable_id(data: JsonObject, name: str) -> str | None:
    """The id under this name, where an answer holds either an id or the whole object (Stripe)."""
    value = data.get(name)
    return string_in(value if isinstance(value, dict) else {"id": value}, "id")


def text_of(value: Any) -> str:
    """Any value as short text; "" for null."""
    return "" if value is None else str(value)[:300]


def text_in(data: JsonObject, name: str) -> str:
    """The value under this name as short text; "" if there is none."""
    return text_of(data.get(name))


def refund_note(reference: str, reason: str | None = None) -> str:
    """The reference of our refund in a free text, for a provider that has no field for it."""
    return f"{REFUND_MARK}{reference} {reason or ''}".strip()


def noted_reference(note: Any) -> str | None:
    """The whole reference in such a text: a reference that is only the beginning of another does not match."""
    _, mark, rest = str(note).partition(REFUND_MARK)
    return rest.split()[0] if mark and rest.split() else None


def reason_of_decline(text: str) -> Reason:
    """The reason for a bank's message, for a provider that has no code for it."""
    lower = text.lower()
    if "insufficient" in lower:
        return Reason.insufficient_funds
    if "expired" in lower:
        return Reason.expired_card
    if any(word in lower for word in ("incorrect", "invalid pin", "wrong pin", "otp")):
        return Reason.incorrect_details
    return Reason.declined


def filled(fields: Mapping[str, Any]) -> JsonObject:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value}


def moment_in(data: JsonObject, *names: str) -> str | None:
    """The time under the first of some names that has one, as ISO 8601; a whole number is seconds since the epoch."""
    for name in names:
        value = data.get(name)
        if isinstance(value, str) and value:
            return value
        if type(value) is int and 0 < value < 10**11:
            return moment_text(value)
    return None


def moment_text(seconds: int) -> str:
    """Seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
