"""Reading what a provider wrote, field by field, whatever it wrote: no reader here ever raises.

Types wobble on every wire: ids come as numbers or as text, absent objects as null, "" or []. Each reader answers one
type, or the empty value of it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from polytill.providers.outcomes import JsonObject, Reason

REMOVED = "[removed]"  # what ``redact`` leaves of a secret
REFUND_MARK = "polytill refund "


def object_in(data: JsonObject, name: str) -> JsonObject:
    """The object under this name; an empty one where there is none."""
    inner = data.get(name)
    return inner if isinstance(inner, dict) else {}


def objects_in(data: JsonObject, name: str) -> list[JsonObject] | None:
    """The objects of the list under this name; None where there is no list."""
    items = data.get(name)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else None


def string_in(data: JsonObject, name: str) -> str | None:
    """A string that is there and not empty."""
    value = data.get(name)
    return value if isinstance(value, str) and value else None


def token_in(data: JsonObject, name: str) -> str | None:
    """A token, unless it is gone: what was kept of an answer holds only that there was one."""
    value = string_in(data, name)
    return None if value == REMOVED else value


def id_in(data: JsonObject, name: str = "id") -> str | None:
    """A number or string that names something, as text; None where there is none."""
    value = data.get(name)
    return str(value) if isinstance(value, int | str) and not isinstance(value, bool) and value != "" else None


def text_of(value: Any) -> str:
    """Whatever it is, as short text; "" for null."""
    return "" if value is None else str(value)[:300]


def refund_note(reference: str, reason: str | None = None) -> str:
    """How our refund's reference travels in a free text, where a provider has no field for it."""
    return f"{REFUND_MARK}{reference} {reason or ''}".strip()


def noted_reference(note: Any) -> str | None:
    """Our reference in such a text, whole: one that merely begins like another is another."""
    _, mark, rest = str(note).partition(REFUND_MARK)
    return rest.split()[0] if mark and rest.split() else None


def reason_of_decline(text: str) -> Reason:
    """The reason behind the words of a bank, where a provider has no code for it."""
    lower = text.lower()
    if "insufficient" in lower:
        return Reason.insufficient_funds
    if "expired" in lower:
        return Reason.expired_card
    if any(word in lower for word in ("incorrect", "invalid pin", "wrong pin", "otp")):
        return Reason.incorrect_details
    return Reason.declined


def moment_text(seconds: int) -> str:
    """Seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
