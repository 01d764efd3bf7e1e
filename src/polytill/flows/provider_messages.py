"""A provider's reason, code and message for the log, without personal data."""

from __future__ import annotations

import re
from typing import Any

from polytill.domain.secret import without_secrets
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Outcome, Unknown

_EMAIL = re.compile(r"[^\s@<>\"']+@[^\s@<>\"']+")
_LONG_NUMBER = re.compile(r"\+?\d[\d ().-]{5,}\d")
_LONGEST = 200


def messages_of(outcome: Outcome) -> dict[str, Any]:
    """Fields for a log line; none if the provider gave no reason. Removes e-mail addresses, phone numbers and card
    numbers, which a message may quote."""
    told = outcome.last_decline if isinstance(outcome, NeedsAction) else outcome
    if not isinstance(told, Declined | NotSent | Unknown):
        return {}
    words = {"reason": told.reason.value, "code": told.code, "message": told.detail}
    return {name: _clean(text) for name, text in words.items() if text}


def _clean(text: str) -> str:
    return _LONG_NUMBER.sub("[number]", _EMAIL.sub("[email]", without_secrets(text)))[:_LONGEST]
