"""Texts, numbers, money and dates of all pages and sentences in the reader's language (``texts/<language>.toml``).

``domain/typed_amounts.py`` reads the amounts that people type; nothing is rounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from functools import cache
from typing import Any, NewType

from babel import Locale
from babel.dates import format_date, format_datetime, get_month_names
from babel.localedata import locale_identifiers
from babel.numbers import format_compact_decimal, format_decimal, get_currency_symbol

from polytill.domain.currencies import exponent_of
from polytill.domain.errors import FieldError, PolytillError
from polytill.domain.localities import COUNTRIES, zone_label
from polytill.domain.money import MAX_MINOR, PPM, Money, ppm_to_percent, to_major
from polytill.domain.text import in_sentence
from polytill.domain.typed_amounts import typed_amount
from polytill.web.i18n import LANGUAGES as LANGUAGES
from polytill.web.i18n import filled, known_sentence, locale_of, written_money
from polytill.web.i18n import texts as texts

# A text in the reader's language. Only ``Words`` creates one, so that no other sentence is taken for one.
Told = NewType("Told", str)
Said = Told | FieldError | PolytillError  # a text already, or an English sentence of a rule with its reason
_CODE_AND_DIGIT = re.compile(r"(?<=[A-Za-z]{2})(?=\d)")


@cache
def symbols(currency: str) -> frozenset[str]:
    """All notations of a currency on pages, in any of our languages and their regions."""
    tags = [tag for tag in locale_identifiers() if tag.partition("_")[0] in LANGUAGES]
    return frozenset(str(get_currency_symbol(currency, locale=tag)) for tag in tags) | {*_USUAL.get(currency, ())}


_SHILLING, _CFA = ("Sh", "Sh.", "Shs", "Shs.", "/=", "/-"), ("CFA", "FCFA", "F CFA", "F")
# Local notations of currencies, in addition to the symbols that babel knows.
_USUAL: dict[str, tuple[str, ...]] = {
    "KES": (*_SHILLING, "KSh", "KSh.", "KShs", "KShs.", "KES."), "UGX": (*_SHILLING, "USh.", "UShs", "UGX."),
    "TZS": (*_SHILLING, "TSh.", "TShs", "TZS."), "NGN": ("N", "=N=", "#"), "GHS": ("₵", "GH¢", "GHC"),
    "XOF": _CFA, "XAF": _CFA, "RWF": ("FRw", "RFw"), "ZMW": ("ZK",), "ZAR": ("R",), "KWD": ("KD",), "BHD": ("BD",),
    "TND": ("DT",), "USD": ("$", "US$"), "EUR": ("€",), "GBP": ("£",), "JPY": ("¥", "円"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Words:
    """One reader's language and region."""

    locale: Locale
    zone: tzinfo = UTC  # the time zone of the page's practice

    @property
    def language(self) -> str:
        """The reader's language."""
        return str(self.locale.language)

    def __call__(self, key: str, /, **values: Any) -> Told:
        """The text of a key with its values; an integer ``n`` chooses the plural form."""
        return Told(filled(texts(self.language)[key], self.locale, values))

    def has(self, key: str) -> bool:
        """Whether the key has a text."""
        return key in texts("en")

    def of(self, group: str, name: str | None) -> str:
        """The text of a name from a closed list; the name itself if it has no text yet."""
        key = f"{group}.{name}"
        return self(key) if self.has(key) else str(name or "").replace("_", " ")

    def declared(self, english: str | None) -> str:
        """A name, label or description that a handler declares, in the reader's language. Unchanged if we have no text
        for it: a plug-in has its own, and the platform may rename a provider."""
        key = known_sentence("declared", english or "")
        return self(key) if key else english or ""

    def ours(self, code: str | None, detail: str | None) -> str:
        """Our own note on an attempt, a refund or an operation; empty if the note is the provider's."""
        key = known_sentence("noted", detail or "") or f"noted_code.{code}"
        return self(key) if self.has(key) else ""

    def told(self, said: Said) -> Told:
        """The sentence of a rule by its reason. Without a text for the reason, English readers get the English
        sentence, others a general one."""
        if isinstance(said, str):
            return said
        if isinstance(said, FieldError) and self.has(f"excluded.{said.reason}"):  # an excluded provider, and why
            return Told(
                f"{self.declared(said.about['provider'])}: {self.named('excluded', said.reason, said.detail, said.about)}"
            )
        general = "fault.unnamed_field" if isinstance(said, FieldError) else "fault.unnamed"
        otherwise = said.detail if self.language == "en" else self(general)
        return Told(self.named("fault", said.reason, otherwise, said.about))

    def named(self, group: str, name: str | None, otherwise: str, about: Mapping[str, Any]) -> str:
        """The text of a reason with formatted amounts; else the sentence."""
        key = f"{group}.{name}"
        if not self.has(key):
            return otherwise
        return self(key, **{name.removesuffix("_ppm"): self._placed(name, value) for name, value in about.items()})

    def _placed(self, name: str, value: Any) -> Any:
        """A value formatted for a sentence."""
        if isinstance(value, Money):
            return self.money(value.minor, value.currency)
        if name == "key":
            return in_sentence(self.declared(value))
        if name.endswith("_ppm"):
            return self.share(value, PPM)
        return self.declared(value) if name in ("provider", "first", "failing") else value

    def methods(self, names: Iterable[str]) -> str:
        """Payment methods as a list."""
        return ", ".join(self.of("method", name) for name in names)

    def money(self, minor: int, currency: str) -> str:
        """A formatted amount."""
        # A code before digits (NGN 5,000) needs a space to be readable; symbols (₦5,000) need none.
        return _CODE_AND_DIGIT.sub("\u00a0", written_money(minor, currency, self.locale))

    def major(self, minor: int | None, currency: str) -> str:
        """An amount to be edited: no grouping, no currency."""
        if minor is None:
            return ""
        digits = exponent_of(currency)
        return format_decimal(
            to_major(minor, currency), format="0." + "0" * digits if digits else "0", locale=self.locale
        )

    def minor(self, text: str, currency: str, *, least: int = 1, most: int = MAX_MINOR) -> int:
        """Parse a typed amount into exact minor units. Raises ``TypedAmountError`` with the reason."""
        decimal = str(self.locale.number_symbols["latn"]["decimal"])
        return typed_amount(text, currency, symbols(currency), decimal=decimal, least=least, most=most)

    def number(self, value: int | Decimal) -> str:
        """A plain number."""
        return format_decimal(value, locale=self.locale)

    def short(self, value: int) -> str:
        """A number for an axis: millions and more as a word."""
        if abs(value) < 1_000_000:
            return self.number(value)
        return format_compact_decimal(value, locale=self.locale, fraction_digits=1)

    def percent(self, ppm: int | None) -> str:
        """A share in parts per million as percent."""
        return "" if ppm is None else f"{format_decimal(Decimal(ppm_to_percent(ppm)), '#,##0.####', self.locale)} %"

    def share(self, part: int, whole: int) -> str:
        """A part of a whole in percent, one decimal; a dash if the whole is zero."""
        if not whole:
            return "–"
        ppm = (part * PPM * 2 + whole) // (2 * whole)
        return f"{format_decimal(Decimal(ppm).scaleb(-4), format='#,##0.#', locale=self.locale)} %"

    def moment(self, value: datetime | None) -> str:
        """A day and time in the practice's time zone, with the name of the zone."""
        if value is None:
            return "–"
        local = value.astimezone(self.zone)
        return f"{format_datetime(local, 'd MMM y, HH:mm', locale=self.locale)} {zone_label(local)}"

    def day(self, value: date | datetime) -> str:
        """A day; for a time, the day in the practice's time zone."""
        day = value.astimezone(self.zone).date() if isinstance(value, datetime) else value
        return format_date(day, "d MMM", locale=self.locale)

    @property
    def clock(self) -> str:
        """The name of the practice's time zone."""
        return str(self.zone)

    def countries(self) -> list[tuple[str, str]]:
        """All countries by code, sorted by name."""
        names = {code: str(self.locale.territories.get(code, code)) for code in COUNTRIES}
        return sorted(names.items(), key=lambda pair: (pair[1], pair[0]))

    def month(self, value: date) -> str:
        """A month of a year."""
        return f"{get_month_names('wide', context='stand-alone', locale=self.locale)[value.month]} {value.year}"


@cache
def _words(locale: Locale) -> Words:
    return Words(locale)


def words_for(chosen: str | None, accepted: str) -> Words:
    """The language that the reader chose, else the preferred one of ``Accept-Language``, else English."""
    return _words(locale_of(chosen, accepted))
