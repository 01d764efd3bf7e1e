"""Names of practices, keys and people of the platform: what may be stored and shown as one line."""

from __future__ import annotations

import re

from polytill.domain.text import visible

MAX_LENGTH = 200
_control = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff]").search


def read_name(value: str, *, required: bool = True) -> str:
    """The name without spaces around it. ``ValueError`` with a sentence part where it cannot be stored or seen."""
    name = value.strip()
    if _control(name):
        raise ValueError("must not contain control characters")
    if len(name) > MAX_LENGTH:
        raise ValueError(f"must have at most {MAX_LENGTH} characters")
    if required and not visible(name):
        raise ValueError("must not be blank")
    return name
