"""The texts of pages by key, so that no test repeats a sentence. English, the language of the tests' browsers."""

from __future__ import annotations

import re
from typing import Any

from babel import Locale

from polytill.web.checkout.texts import Language
from polytill.web.i18n import Plural, Text, texts
from polytill.web.words import words_for

_WORDS = words_for("en", "")
_PAYER = Language("en", Locale("en"))


def said(key: str, **values: Any) -> str:
    """A text of the signed-in pages."""
    return _WORDS(key, **values)


def to_payer(key: str, **values: Any) -> str:
    """A text of the checkout, such as ``paid.title``."""
    section, _, name = key.partition(".")
    return _PAYER.say(section, name, **values)


def part(key: str) -> str:
    """The longest part of a text without values, if a test does not know them. A text that is not a key is returned as
    it is."""
    return _piece(texts("en").get(key, key))


def payer_part(key: str) -> str:
    """The same for a text of the checkout."""
    return _piece(texts("checkout.en")[key])


def _piece(text: Text) -> str:
    forms = list(text.forms.values()) if isinstance(text, Plural) else [text]
    pieces = [set(re.split(r"\{\w+\}", form)) for form in forms]
    return max(set.intersection(*pieces), key=len).strip()
