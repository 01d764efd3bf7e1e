"""Languages of all pages: choice of the language, the texts of a language file, and plural forms.

A text is a sentence, or a table of plural forms if a number has a noun. The number is the value ``n``::

    payments = { one = "{n} payment", other = "{n} payments" }

Babel defines the forms of a language and the form for a number (``Locale.plural_form``).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.numbers import NumberPattern, format_decimal, parse_pattern

from polytill.domain.currencies import exponent_of
from polytill.domain.money import to_major

LANGUAGES = {"en": "English", "fr": "Français", "sw": "Kiswahili"}
MAX_TAGS = 20  # characters of an Accept-Language header that are read
_FOLDER = Path(__file__).parent / "texts"
_FORMS = frozenset({"zero", "one", "two", "few", "many", "other"})
_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?")


# ── Texts ──


@dataclass(frozen=True, slots=True)
class Plural:
    """The plural forms of a text that counts something."""

    forms: Mapping[str, str]

    def of(self, number: int, locale: Locale) -> str:
        """The form for this number."""
        return self.forms[locale.plural_form(number)]


Text = str | Plural


@cache
def texts(file: str) -> dict[str, Text]:
    """All texts of a file, such as ``fr`` or ``checkout.fr``, by dotted key."""
    return dict(_flat(tomllib.loads((_FOLDER / f"{file}.toml").read_text("utf-8")), ""))


@cache
def _keys_by_english(group: str) -> dict[str, str]:
    """The key of each English sentence in a group."""
    return {text: key for key, text in texts("en").items() if key.startswith(f"{group}.") and isinstance(text, str)}


def known_sentence(group: str, english: str) -> str | None:
    """Key of an English sentence from code, such as a handler's label for a key (``declared``). None if it has no text,
    as with the labels of a plug-in or a name that the platform chose."""
    return _keys_by_english(group).get(english.replace("'", "’"))


def _flat(table: dict[str, Any], prefix: str) -> list[tuple[str, Text]]:
    found: list[tuple[str, Text]] = []
    for name, value in table.items():
        if not isinstance(value, dict):
            found.append((prefix + name, value))
        elif "other" in value and value.keys() <= _FORMS:
            found.append((prefix + name, Plural(value)))
        else:
            found += _flat(value, f"{prefix}{name}.")
    return found


def filled(text: Text, locale: Locale, values: Mapping[str, Any]) -> str:
    """Insert values into a text.

    Args:
        text: The sentence or its plural forms.
        locale: Decides the plural form and how ``n`` is written.
        values: The values to insert. An integer ``n`` chooses the plural form and is formatted here.
    """
    number = values.get("n")
    if isinstance(text, Plural):
        if not isinstance(number, int):
            raise TypeError(f"A text with plural forms needs the integer n, not {number!r}.")
        text = text.of(number, locale)
    if isinstance(number, int):
        values = {**values, "n": format_decimal(number, locale=locale)}
    return text.format(**values) if values else text


@cache
def _money_pattern(locale: Locale, exponent: int) -> NumberPattern:
    pattern = parse_pattern(locale.currency_formats["standard"].pattern)
    pattern.frac_prec = (exponent, exponent)  # ISO's exponent; babel's differs for a dozen currencies
    return pattern


def written_money(minor: int, currency: str, locale: Locale) -> str:
    """An amount with its currency and ISO's decimal places."""
    pattern = _money_pattern(locale, exponent_of(currency))
    written: str = pattern.apply(to_major(minor, currency), locale, currency=currency, currency_digits=False)
    return written


# ── Languages ──


def locale_of(chosen: str | None, accepted: str) -> Locale:
    """The reader's language and region.

    Args:
        chosen: A language that the reader chose before. A reader who chose French and whose browser sends fr-CI gets
            the number formats of Côte d'Ivoire.
        accepted: The ``Accept-Language`` header. Its weights are respected.

    Returns:
        The locale of the choice, else of the first accepted language that we support, else English.
    """
    tags = accepted_tags(accepted)
    if chosen in LANGUAGES:
        return _locale(next((tag for tag in tags if _language(tag) == chosen), chosen))
    return _locale(next((tag for tag in tags if _language(tag) in LANGUAGES), "en"))


def accepted_tags(header: str) -> list[str]:
    """The tags of an ``Accept-Language`` header, the most preferred first. Malformed ones are left out."""
    found = []
    for place, part in enumerate(header.split(",")[:MAX_TAGS]):
        tag, _, weight = (piece.strip() for piece in part.partition(";"))
        try:
            quality = float(weight.partition("=")[2]) if weight else 1.0
        except ValueError:
            continue
        if _TAG.fullmatch(tag) and 0 < quality <= 1:
            found.append((-quality, place, tag))
    return [tag for _, _, tag in sorted(found)]


def _language(tag: str) -> str:
    return tag.partition("-")[0].lower()


@lru_cache(maxsize=256)
def _locale(tag: str) -> Locale:
    try:
        return Locale.parse(tag, sep="-")
    except (ValueError, UnknownLocaleError):
        return Locale(_language(tag))
