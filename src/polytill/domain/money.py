"""Money: an integer number of minor units and a currency. There are no floats and no amounts without a currency here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow

from polytill.domain.currencies import exponent_of
from polytill.domain.errors import InvalidAmount

# The largest amount accepted anywhere: far above any real payment. A sum over a practice's whole history in one currency fits
# 64 bits while it is below 9,223 payments of this size (92 quadrillion of a currency with two decimals), which no real
# practice reaches. Beyond it SQLite's SUM and PostgreSQL's CAST to BIGINT raise an error instead of returning a wrong sum,
# and only for the practice that has stored such amounts.
MAX_MINOR = 10**15

# Arithmetic that raises an error where it would have to round.
_EXACT = Context(prec=64, traps=[InvalidOperation, Overflow, Inexact])
# A number as text. ``Decimal`` alone would also accept "1_000", surrounding spaces and digits of other scripts.
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Money:
    """``minor`` units (ISO exponent) of ``currency``. 12.34 USD is ``Money(1234, "USD")``, 500 JPY ``Money(500, "JPY")``."""

    minor: int
    currency: str

    def __str__(self) -> str:
        return f"{to_major(self.minor, self.currency)} {self.currency}"


def to_major(minor: int, currency: str) -> Decimal:
    """Minor units as an exact decimal of major units: ``(1234, "USD")`` is ``Decimal("12.34")``."""
    return Decimal(minor).scaleb(-exponent_of(currency))


def from_major(value: Decimal | str | int, currency: str) -> int:
    """Major units as exact minor units. Raises ``InvalidAmount`` if the value is not a number or has more decimals than
    the currency."""
    return scaled(value, exponent_of(currency))


def scaled(value: Decimal | str | int, exponent: int) -> int:
    """``value * 10**exponent`` as an exact integer. Raises ``InvalidAmount`` if the result is not an integer."""
    if isinstance(value, bool | float) or (isinstance(value, str) and not _NUMBER.fullmatch(value)):
        raise InvalidAmount
    try:
        number = _EXACT.scaleb(Decimal(value), exponent)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise InvalidAmount from error
    if not number.is_finite() or number != number.to_integral_value() or abs(number) > MAX_MINOR * 1000:
        raise InvalidAmount
    return int(number)


PPM = 1_000_000


def percent_to_ppm(percent: str) -> int:
    """A percentage as written by people ("2.9") in parts per million of the amount (29000)."""
    ppm = scaled(percent, 4)
    if not 0 <= ppm <= PPM:
        raise InvalidAmount
    return ppm


def ppm_to_percent(ppm: int) -> str:
    """Parts per million as a plain decimal string of percent: 29000 is "2.9"."""
    return format(Decimal(ppm).scaleb(-4).normalize(), "f")


def fee_of(amount_minor: int, percent_ppm: int, fixed_minor: int) -> int:
    """The list-price fee of an amount, rounded half up to a whole minor unit."""
    return (amount_minor * percent_ppm * 2 + PPM) // (2 * PPM) + fixed_minor
