"""The one normal form of text that people write: how references and names are compared, and how they are searched.

Databases fold letters by their locale, and SQLite folds only ASCII. So both forms are computed here and stored where a
database has to compare, and every engine gives the same result.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

# Invisible marks and letters: fillers, joiners and selectors that Unicode does not count as format characters.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# Control and format characters (direction marks, zero-width spaces, soft hyphens), and single surrogates.
_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs"})
# Combining marks that are part of a letter and not an accent: nuktas, voicing marks of kana, viramas, and the vowel and
# tone signs of Thai, Lao and Tibetan. Without them it would be another word.
_KEPT_MARKS = frozenset({0, 6, 7, 8, 9, 103, 107, 118, 122, 129, 130, 132})

# Letters that Unicode does not decompose, and what people type on a keyboard that lacks them.
_TYPED_FOR = {
    "i": "ıɩɨ",
    "o": "øɔɵ",
    "l": "ł",
    "d": "đðɖɗ",
    "th": "þ",
    "ae": "æ",
    "oe": "œ",
    "h": "ħ",
    "t": "ŧƭʈ",
    "n": "ŋɲ",
    "b": "ɓ",
    "e": "ɛǝə",
    "f": "ƒ",
    "g": "ɠɣ",
    "k": "ƙĸ",
    "c": "ƈ",
    "u": "ʊ",
    "v": "ʋ",
    "y": "ƴ",
    "z": "ʒ",
    "s": "ʃ",
    "ي": "ىی",
    "ك": "ک",
    "ه": "ة",
    "'": "’‘ʼʻʽʿʾˈ‛`´′＇",
    "-": "‐‑‒–—―−⁃",
    "": "\u0640",  # tatweel only stretches an Arabic word
}
_LETTERS = str.maketrans({letter: plain for plain, letters in _TYPED_FOR.items() for letter in letters})


def normal(text: str) -> str:
    """The form in which references and names are compared: NFC, case-folded, single spaces, and without invisible
    characters."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split()).casefold()
    return _folded(visible(text), "NFD", "NFC")


def visible(text: str) -> str:
    """The text without invisible characters; each run of white space becomes one space."""
    text = " ".join(text.split())
    if not text.isprintable():  # printable text has no character of these categories
        text = "".join(each for each in text if unicodedata.category(each) not in _UNSEEN_CATEGORIES)
    elif text.isascii():
        return text
    return " ".join(_INVISIBLE.sub("", text).split())


def is_blank(text: str) -> bool:
    """Whether the text has no visible character."""
    if text.isascii() and text.isprintable():
        return not text.strip()
    return not visible(text)


def in_sentence(label: str) -> str:
    """A label inside a sentence: its first letter in lower case, unless it starts with an abbreviation (``HMAC key``)."""
    return label if label[:2].isupper() else label[:1].lower() + label[1:]


def search_form(text: str) -> str:
    """The form in which text is searched: ``normal``, and without accents.

    Compatibility forms (full width, ligatures) become plain letters, all decimal digits those of ASCII. Letters that have
    no decomposition become what people type instead (``ø`` is ``o``, ``ß`` is ``ss``, ``ọ`` is ``o``), and a Turkish ``İ``
    or ``ı`` is an ``i``.
    """
    if text.isascii() and text.isprintable():
        return normal(text).translate(_LETTERS)
    text = _folded(visible(unicodedata.normalize("NFKC", text)), "NFKD", "NFKD")
    plain = "".join(_digit(each) for each in text if unicodedata.combining(each) in _KEPT_MARKS)
    return unicodedata.normalize("NFC", " ".join(plain.translate(_LETTERS).split()))


def words(text: str) -> list[str]:
    """The words of a text in their search form: runs of letters, digits and pictograms. An apostrophe does not end a
    word."""
    if text.isascii() and text.isprintable():
        return text.translate(_ASCII_WORDS).split()
    return "".join(each if _of_word(each) else " " for each in search_form(text).replace("'", "")).split()


# Printable ASCII, as ``words`` takes it one character at a time.
_ASCII_WORDS = {
    ord(each): each.lower() if each.isalnum() else None if each == "'" else " " for each in map(chr, range(32, 127))
}


def compact(text: str) -> str:
    """A code or an identifier in the form in which it is compared: only its letters and digits, in their search form."""
    return "".join(words(text))


def _folded(text: str, before: Literal["NFD", "NFKD"], after: Literal["NFC", "NFKD"]) -> str:
    # Folding can undo a composition, and composing can produce a letter that folds again: two passes suffice for all.
    for _ in range(2):
        text = unicodedata.normalize(after, unicodedata.normalize(before, text).casefold())
    return text


@lru_cache(maxsize=1024)
def _digit(each: str) -> str:
    if each.isascii():
        return each
    value = unicodedata.decimal(each, None)
    return each if value is None else str(value)


@lru_cache(maxsize=4096)
def _of_word(each: str) -> bool:
    category = unicodedata.category(each)
    return category[0] in "LNM" or category == "So"
