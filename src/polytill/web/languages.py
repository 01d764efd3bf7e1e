"""The payer's language: which one, its texts from ``texts/checkout.<language>.toml``, and money and dates as it writes them."""

from __future__ import annotations

import re
import tomllib
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from pathlib import Path

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from fastapi import Request

from polytill.domain.currencies import exponent_of
from polytill.domain.localities import zone_label
from polytill.domain.money import to_major

LANGUAGES = {"en": "English", "fr": "Français", "sw": "Kiswahili"}
COOKIE = "polytill_lang"
_BESIDE = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?")


@lru_cache
def texts(language: str) -> dict[str, dict[str, str]]:
    """All texts of a language: sections of sentences."""
    return tomllib.loads((Path(__file__).parent / "texts" / f"checkout.{language}.toml").read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class Language:
    """One language, as a page uses it. ``locale`` may be of a region (en_NG), whose numbers and dates are used."""

    code: str
    locale: Locale
    zone: tzinfo = UTC  # the practice's clock: the payer's own zone is not known

    def say(self, section: str, name: str, **values: str) -> str:
        """A sentence, with its values in it."""
        return texts(self.code)[section][name].format(**values)

    def money(self, minor: int, currency: str) -> str:
        """An amount with its currency, with ISO's decimal places: babel's own differ for a dozen currencies."""
        places = exponent_of(currency)
        pattern = copy(self.locale.currency_formats["standard"])  # babel's is everybody's
        pattern.frac_prec = (places, places)
        written: str = pattern.apply(to_major(minor, currency), self.locale, currency=currency, currency_digits=False)
        return _BESIDE.sub("\u00a0", written)  # CLDR sets a space between letters and digits; babel leaves it out

    def date(self, moment: datetime) -> str:
        """A day on the practice's clock."""
        return format_date(moment.astimezone(self.zone).date(), "long", self.locale)

    def moment(self, moment: datetime) -> str:
        """A day and time on the practice's clock, and which clock that is."""
        local = moment.astimezone(self.zone)
        time = format_time(local.time(), "short", locale=self.locale)
        return f"{self.date(moment)}, {time} {zone_label(local)}".replace(" ", "\u00a0")  # in one piece


def language_of(request: Request) -> Language:
    """``?lang=`` first, then what was chosen before, then ``Accept-Language``, then English."""
    accepted = _accepted(request.headers.get("accept-language", ""))
    for tag in (request.query_params.get("lang"), request.cookies.get(COOKIE)):
        if tag in LANGUAGES:
            regional = next((a for a in accepted if a.split("-")[0].lower() == tag), tag)
            return _language(regional)
    return next((_language(tag) for tag in accepted if tag.split("-")[0].lower() in LANGUAGES), _language("en"))


def _accepted(header: str) -> list[str]:
    """The header's tags by weight, at most twenty."""
    found = []
    for place, part in enumerate(header.split(",")[:20]):
        tag, _, weight = part.strip().partition(";q=")
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            continue
        if _TAG.fullmatch(tag.strip()) and 0 < quality <= 1:
            found.append((-quality, place, tag.strip()))
    return [tag for _, _, tag in sorted(found)]


@lru_cache(maxsize=256)
def _language(tag: str) -> Language:
    code = tag.split("-")[0].lower()
    try:
        return Language(code, Locale.parse(tag, sep="-"))
    except (ValueError, UnknownLocaleError):
        return Language(code, Locale(code))
