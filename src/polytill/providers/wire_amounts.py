"""Between ISO minor units and the numbers that a provider writes, by the provider's own exponent for a currency.

A provider's exponents are facts of that provider and live in its handler; the arithmetic is the same for all.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from polytill.domain.currencies import CURRENCIES, exponent_of
from polytill.domain.errors import InvalidAmount
from polytill.domain.money import MAX_MINOR, Money, scaled


def to_wire(money: Money, wire_exponent: int) -> int:
    """The integer that stands for this money on the wire. ``InvalidAmount`` where the wire has no place for its last digits."""
    return scaled(Decimal(money.minor), wire_exponent - exponent_of(money.currency))


def amount_step(currency: str, wire_exponent: int) -> int:
    """The smallest amount, in minor units, of which every amount on the wire is a multiple."""
    finer = exponent_of(currency) - wire_exponent
    return 10**finer if finer > 0 else 1


def from_wire(value: Any, currency: str, wire_exponent: int, owed: bool = False) -> Money:
    """The money behind a number or numeric string on the wire. ``InvalidAmount`` where it is no exact amount, or below
    zero: a balance can be ``owed``, nobody pays or gets back less than nothing."""
    if currency not in CURRENCIES or not isinstance(value, int | str | Decimal) or isinstance(value, bool):
        raise InvalidAmount
    minor = scaled(value, exponent_of(currency) - wire_exponent)
    if minor < 0 and not owed:
        raise InvalidAmount
    return Money(minor, currency)


def fee_from_wire(value: Any, currency: str, wire_exponent: int) -> Money | None:
    """A fee, which a provider may state in finer parts than the currency has: rounded half up. None where none is stated."""
    if value is None or currency not in CURRENCIES or isinstance(value, bool | float):
        return None
    try:
        number = Decimal(value).scaleb(exponent_of(currency) - wire_exponent)
        if not number.is_finite() or abs(number) > MAX_MINOR:
            return None
        return Money(int(number.to_integral_value(ROUND_HALF_UP)), currency)
    except (ArithmeticError, ValueError, TypeError):
        return None
