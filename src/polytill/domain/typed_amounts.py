"""Amounts, percentages and whole numbers as people type them, read into exact values.

One parser for every form. It does not guess from the reader's language: staff paste what a page, a colleague or a bank
statement shows, and "1,500" is fifteen hundred to one reader and one and a half to another. So every way to read the
text is tried, and two different amounts are an error that names both.

The one exception is a currency of three decimals, whose amounts every page shows with three: "1.500" beside KWD is read
as the reader's own pages display it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from polytill.domain.currencies import CURRENCIES, exponent_of
from polytill.domain.errors import FieldError, Invalid, InvalidAmount
from polytill.domain.money import MAX_MINOR, Money, percent_to_ppm

LONGEST = 60
_MINUS = "-\u2212\u2010\u2011\u2013\ufe63\uff0d"
_SPACE, _APOSTROPHE, _DOT, _COMMA = " ", "'", ".", ","
# Other shapes of the same marks. Arabic has its own decimal and grouping marks.
_SAME = str.maketrans(
    dict.fromkeys("\u2019\u2018\u02bc\u00b4\uff07\u066c", _APOSTROPHE)
    | {"\uff0e": _DOT, "\uff0c": _COMMA, "\u066b": "\u066b", "\uff05": "%", "\u066a": "%"}
    | dict.fromkeys(_MINUS, "-")
)
_ARABIC_DECIMAL = "\u066b"
_DECIMALS = (_DOT, _COMMA, _ARABIC_DECIMAL)
_GROUPS = (_SPACE, _APOSTROPHE, _DOT, _COMMA)
_PLAIN = re.compile(r"[0-9 '.,\u066b]+")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_MANY_SPACES = re.compile(" +")


class TypedAmountError(InvalidAmount):
    """The typed text is not one amount. ``reason`` identifies the sentence, ``about`` holds the values in it."""

    def __init__(self, reason: str, detail: str, **about: Any) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.about = reason, detail, about

    def at(self, pointer: str) -> Invalid:
        """The same error, for one field."""
        return Invalid([FieldError(pointer, self.detail, self.reason, self.about)])


@dataclass(frozen=True, slots=True)
class _Reading:
    digits: str
    fraction: str
    mark: str  # the decimal mark; empty if there is none

    def minor(self, exponent: int) -> int | None:
        """The value in minor units. None if the currency has no such amount."""
        if self.fraction[exponent:].strip("0") or (self.fraction and exponent == 0):
            return None
        return int(self.digits + self.fraction[:exponent].ljust(exponent, "0"))


def _normal(text: str) -> str:
    """One spelling for digits of every script, spaces, apostrophes and signs, without invisible characters.

    A line break or another control character is kept, so that two copied numbers are never read as one.
    """
    kept = []
    for character in text.strip():
        kind = unicodedata.category(character)
        if kind == "Nd":
            kept.append(str(unicodedata.decimal(character)))
        elif kind == "Zs" or character in "\t\u202f":
            kept.append(_SPACE)
        elif kind != "Cf":
            kept.append(character)
    return _MANY_SPACES.sub(_SPACE, "".join(kept).translate(_SAME)).strip()


def _without_marker(text: str, markers: Iterable[str]) -> str:
    """The text without one currency code or symbol at its start or end."""
    spelled = {_normal(marker) for marker in markers if marker}
    spelled |= {marker.replace(_SPACE, "") for marker in spelled}  # copied without the space inside it, as in FCFA
    for marker in sorted(spelled, key=len, reverse=True):
        folded, wanted = text.casefold(), marker.casefold()
        if len(folded) != len(text):  # a character that folds into two; no currency sign does
            return text
        if folded.startswith(wanted):
            return text[len(marker) :].strip()
        if folded.endswith(wanted):
            return text[: -len(marker)].strip()
    return text


def _grouped(text: str, separator: str) -> str | None:
    """The digits of a whole number in groups: threes, or in the Indian way twos before the last three."""
    groups = text.split(separator)
    first, middle, last = groups[0], groups[1:-1], groups[-1]
    if not all(g.isdigit() for g in groups) or len(last) != 3 or first.startswith("0"):
        return None
    threes = 1 <= len(first) <= 3 and all(len(g) == 3 for g in middle)
    twos = bool(middle) and 1 <= len(first) <= 2 and all(len(g) == 2 for g in middle)
    return "".join(groups) if threes or twos else None


def _whole_parts(text: str, decimal: str | None) -> list[str]:
    """Every way to read the part before the decimal mark."""
    if text.isdigit():
        return [text]
    found = [_grouped(text, separator) for separator in _GROUPS if separator != decimal and separator in text]
    return [digits for digits in found if digits is not None]


def _readings(text: str) -> list[_Reading]:
    found = [_Reading(digits, "", "") for digits in _whole_parts(text, None)]
    for mark in _DECIMALS:
        before, _, after = text.partition(mark)
        if text.count(mark) == 1 and after.isdigit():
            found += [_Reading(digits, after, mark) for digits in _whole_parts(before or "0", mark)]
    return found


def _bare(text: str, currency: str, markers: Iterable[str]) -> tuple[int, str]:
    """The sign, and the number without sign and currency."""
    if len(text) > LONGEST:
        raise _unreadable(currency)
    number, sign = _normal(text), 1
    if not number:
        raise TypedAmountError("amount_missing", "Enter an amount.")
    markers = (*markers, currency)
    for _ in range(2):  # the sign is before the currency or after it
        if number.startswith("-") and sign == 1:
            number, sign = number[1:].strip(), -1
        number = _without_marker(number, markers) if not _PLAIN.fullmatch(number) else number
    if not _PLAIN.fullmatch(number):
        letters = "".join(c for c in number if c.isalpha()).upper()
        if letters in CURRENCIES or any(unicodedata.category(c) == "Sc" for c in number):
            raise TypedAmountError("amount_other_currency", f"Enter the amount in {currency}.", currency=currency)
        raise _unreadable(currency)
    return sign, number


def _unreadable(currency: str) -> TypedAmountError:
    example = Money(5000 * 10 ** exponent_of(currency), currency)
    return TypedAmountError(
        "amount_unreadable",
        f"Enter an amount in {currency}, for example {example}.",
        currency=currency,
        example=example,
    )


def readings(text: str, currency: str, markers: Iterable[str] = ()) -> list[int]:
    """Every amount in minor units that the text can mean, smallest first; for a search, which may look for all of them."""
    try:
        sign, number = _bare(text, currency, markers)
    except TypedAmountError:
        return []
    exponent = exponent_of(currency)
    return sorted({sign * minor for r in _readings(number) if (minor := r.minor(exponent)) is not None})


def typed_amount(
    text: str, currency: str, markers: Iterable[str] = (), *, decimal: str = "", least: int = 1, most: int = MAX_MINOR
) -> int:
    """A typed amount in exact minor units.

    Args:
        text: The typed text: digits of any script, with or without grouping, sign and currency.
        currency: The ISO code of the form's currency.
        markers: How pages write this currency beside its code, for example "₦".
        decimal: The decimal mark of the reader's own pages. It decides for currencies of three decimals, and that
            "12.345" is not 12,345.00 for a reader who writes decimals with a point.
        least: The smallest accepted amount, in minor units.
        most: The largest.

    Raises:
        TypedAmountError: The text is not an amount, could mean two amounts, has too many decimals or is out of range.
    """
    sign, number = _bare(text, currency, markers)
    exponent = exponent_of(currency)
    found = _readings(number)
    if not found:
        raise _unreadable(currency)
    values = sorted({minor for r in found if (minor := r.minor(exponent)) is not None})
    if len(values) == 2:
        values = _as_printed(number, exponent, decimal) or values
    if len(values) > 1:
        low, high = (Money(sign * value, currency) for value in values)
        raise TypedAmountError(
            "amount_ambiguous", f"This could mean {low} or {high}. Write it with decimals.", low=low, high=high
        )
    # This is the reader's own decimal mark, so it is a mistake and not a grouping mark.
    finer = exponent > 0 and any(r.mark and r.mark == decimal and r.minor(exponent) is None for r in found)
    if not values or finer or all(len(r.fraction) > exponent for r in found if r.minor(exponent) is not None):
        if exponent == 0:
            raise TypedAmountError("amount_no_decimals", f"{currency} has no decimals.", currency=currency)
        raise TypedAmountError(
            "amount_too_fine", f"{currency} has at most {exponent} decimals.", currency=currency, n=exponent
        )
    return _within(sign * values[0], currency, least, most)


def _as_printed(number: str, exponent: int, decimal: str) -> list[int]:
    """The amount that a page in this reader's language would display with exactly these digits; empty if none would."""
    before, mark, after = number.partition(decimal or _ARABIC_DECIMAL)
    if exponent == 3 and mark and before.isdigit() and after.isdigit() and len(after) == exponent:
        return [int(before + after)]
    return []


def _within(minor: int, currency: str, least: int, most: int) -> int:
    if minor < least:
        if least == 1:
            raise TypedAmountError("amount_not_positive", "Enter an amount above zero.")
        if least == 0:
            raise TypedAmountError("amount_negative", "Enter an amount that is not negative.")
        smallest = Money(least, currency)
        raise TypedAmountError("amount_too_small", f"The smallest amount is {smallest}.", least=smallest)
    if minor > most:
        largest = Money(most, currency)
        raise TypedAmountError("amount_too_large", f"The largest amount is {largest}.", most=largest)
    return minor


def typed_percentage(text: str) -> int:
    """A typed percentage from 0 to 100, with or without its sign, in parts per million of the amount.

    Raises:
        TypedAmountError: It is not a percentage, or has more than four decimals.
    """
    number = _normal(text).removeprefix("%").removesuffix("%").strip().replace(_ARABIC_DECIMAL, _DOT)
    number = number.replace(_COMMA, _DOT)
    try:
        if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,20})?|\.[0-9]{1,20}", number):
            raise InvalidAmount
        return percent_to_ppm(number)
    except InvalidAmount:
        shown = text.strip()[:20]
        raise TypedAmountError(
            "no_percentage", f"“{shown}” is not a percentage from 0 to 100 with at most four decimals.", text=shown
        ) from None


def typed_whole(text: str, least: int, most: int) -> int:
    """A typed whole number from ``least`` to ``most``.

    Raises:
        TypedAmountError: It is not a whole number, or out of range.
    """
    number = _normal(text)
    if not _WHOLE.fullmatch(number) or not least <= int(number) <= most:
        raise TypedAmountError(
            "whole_number_between", f"Enter a whole number from {least} to {most}.", least=least, most=most
        )
    return int(number)
