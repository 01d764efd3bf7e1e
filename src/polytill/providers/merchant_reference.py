"""The merchant's reference in a provider's field: within its length and its characters, and the same for each repeat.

Letters that a field does not accept lose their accents, and any other such character becomes a dash. If the text is too
long, the end remains, because references count up there.
"""

from __future__ import annotations

import re
import unicodedata

from polytill.domain.text import search_form, visible

STATEMENT_LONGEST = 10  # of Stripe's 22 on a statement: a prefix of up to ten, an asterisk and a space precede it
_ASCII_WORD = "0-9A-Za-z"
_PLAIN = re.compile(f"[^{_ASCII_WORD} ./_-]")
_STATEMENT = re.compile(f"[^{_ASCII_WORD} ./#&-]")


def shown(text: str | None, longest: int) -> str | None:
    """A reference for a field that accepts any text."""
    plain = visible(text or "")
    return plain[-longest:].strip() or None


def plain_code(text: str | None, longest: int) -> str | None:
    """A reference for a field that accepts ASCII letters and digits, spaces and ``. / _ -``. None if nothing remains."""
    return _within(_PLAIN, text, longest)


def statement_suffix(text: str | None) -> str | None:
    """A reference for a card statement: without ``< > \\ ' " *``, and with a letter in it. None if nothing remains."""
    kept = _within(_STATEMENT, text, STATEMENT_LONGEST)
    if kept is None or re.search("[A-Za-z]", kept):
        return kept
    if len(kept) + 3 <= STATEMENT_LONGEST:
        return f"No {kept}"
    return f"N{kept[1 - STATEMENT_LONGEST :].strip(' ./#&-')}"


def noted(metadata: dict[str, str], reference: str | None) -> dict[str, str]:
    """The host's metadata plus the reference, unless the host has a value of that name."""
    return {"reference": reference, **metadata} if reference else metadata


def _within(refused: re.Pattern[str], text: str | None, longest: int) -> str | None:
    ascii_text = "".join(_letters(each) for each in visible(text or ""))
    kept = re.sub("-{2,}", "-", refused.sub("-", ascii_text))[-longest:].strip(" ./_#&-")
    return kept or None


def _letters(each: str) -> str:
    if each.isascii():
        return each
    plain = search_form(unicodedata.normalize("NFC", each))
    return (plain.upper() if each.isupper() else plain) if plain.isascii() and plain else each
