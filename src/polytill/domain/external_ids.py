"""The host application's identifier of a practice, in one normal form, so that equal identifiers are equal strings."""

from __future__ import annotations

import unicodedata

MAX_LENGTH = 200


def read_external_id(value: str) -> str:
    """The identifier in Unicode NFC. Raises ``ValueError`` with part of a sentence if it is empty, too long or not
    visible."""
    normal = unicodedata.normalize("NFC", value)
    if not 1 <= len(normal) <= MAX_LENGTH:
        raise ValueError(f"must have 1 to {MAX_LENGTH} characters")
    # Categories C* (control, format, surrogate, unassigned) and separators other than a space cannot be seen or typed.
    if any(unicodedata.category(c)[0] == "C" or (unicodedata.category(c)[0] == "Z" and c != " ") for c in normal):
        raise ValueError("must not contain control or invisible characters")
    if normal != normal.strip():
        raise ValueError("must not begin or end with a space")
    return normal
