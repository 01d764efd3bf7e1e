"""Texts, money and dates of the checkout in the customer's language (``texts/checkout.<language>.toml``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Any

from babel import Locale
from babel.dates import format_date, format_time
from fastapi import Request

from polytill.domain.localities import zone_label
from polytill.web import i18n
from polytill.web.i18n import LANGUAGES as LANGUAGES

COOKIE = "polytill_lang"
_BESIDE = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")


@cache
def texts(language: str) -> dict[str, dict[str, i18n.Text]]:
    """All texts of a language by section and name."""
    found: dict[str, dict[str, i18n.Text]] = {}
    for key, text in i18n.texts(f"checkout.{language}").items():
        section, _, name = key.partition(".")
        found.setdefault(section, {})[name] = text
    return found


@dataclass(frozen=True, slots=True)
class Language:
    """One language. ``locale`` may include a region (en_NG), whose number and date formats apply."""

    code: str
    locale: Locale
    zone: tzinfo = UTC  # the practice's time zone; the customer's is not known

    def say(self, section: str, name: str, **values: Any) -> str:
        """A text with its values; an integer ``n`` chooses the plural form."""
        return i18n.filled(texts(self.code)[section][name], self.locale, values)

    def declared(self, english: str) -> str:
        """A provider's name in the customer's language; unchanged if there is no text for it."""
        key = i18n.known_sentence("declared", english)
        return i18n.filled(i18n.texts(self.code)[key], self.locale, {}) if key else english

    def money(self, minor: int, currency: str) -> str:
        """An amount with its currency."""
        # CLDR sets a space between letters and digits; babel omits it.
        return _BESIDE.sub("\u00a0", i18n.written_money(minor, currency, self.locale))

    def date(self, moment: datetime) -> str:
        """A day in the practice's time zone."""
        return format_date(moment.astimezone(self.zone).date(), "long", self.locale)

    def moment(self, moment: datetime) -> str:
        """A day and time in the practice's time zone, with the name of the zone."""
        local = moment.astimezone(self.zone)
        time = format_time(local.time(), "short", locale=self.locale)
        return f"{self.date(moment)}, {time} {zone_label(local)}".replace(" ", "\u00a0")  # no line break inside


def language_of(request: Request) -> Language:
    """The language of ``?lang=``, else the one chosen before, else of ``Accept-Language``, else English."""
    chosen = (request.query_params.get("lang"), request.cookies.get(COOKIE))
    locale = i18n.locale_of(
        next((one for one in chosen if one in LANGUAGES), None), request.headers.get("accept-language", "")
    )
    return Language(str(locale.language), locale)
