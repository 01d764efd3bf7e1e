"""Converts between ISO minor units and the numbers that a provider writes, by the provider's own exponent for a
currency.

A provider's exponents are facts of that provider and belong to its handler. The arithmetic is the same for all.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from polytill.domain.currencies import CURRENCIES, exponent_of
from polytill.domain.errors import InvalidAmount
from polytill.domain.money import MAX_MINOR, Money, scaled
from polytill.providers.outcomes import NotSent, Reason


def to_wire(money: Money, wire_exponent: int) -> int:
    """The integer for this money on the wire. Raises ``InvalidAmount`` if the wire has too few decimals for it."""
    return scaled(Decimal(money.minor), wire_exponent - exponent_of(money.currency))


def amount_step(currency: str, wire_exponent: int) -> int:
    """The step between amounts that the wire can express, in minor units."""
    finer = exponent_of(currency) - wire_exponent
    return 10**finer if finer > 0 else 1


def from_wire(value: Any, currency: str, wire_exponent: int, owed: bool = False) -> Money:
    """The money for a number or numeric string on the wire. Raises ``InvalidAmount`` if it is not an exact amount, or
    negative without ``owed``: only a balance can be below zero."""
    if currency not in CURRENCIES or not isinstance(value, int | str | Decimal) or isinstance(value, bool):
        raise InvalidAmount
    minor = scaled(value, exponent_of(currency) - wire_exponent)
    if minor < 0 and not owed:
        raise InvalidAmount
    return Money(minor, currency)


def money_or_none(value: Any, currency: str, wire_exponent: int, owed: bool = False) -> Money | None:
    """As ``from_wire``; None if it is not an amount."""
    try:
        return from_wire(value, currency, wire_exponent, owed)
    except InvalidAmount:
        return None


def decimal_text(money: Money, places: int) -> str:
    """The amount in major units with exactly this many decimals. Raises ``InvalidAmount`` if it has more."""
    return format(Decimal(to_wire(money, places)).scaleb(-places), "f")


def too_fine(provider: str, money: Money) -> NotSent:
    """The rejection of an amount that has more decimals than the provider's wire."""
    return NotSent(Reason.validation, detail=f"{provider} takes no amount as fine as {money}.")


def fee_from_wire(value: Any, currency: str, wire_exponent: int) -> Money | None:
    """A fee, rounded half up, because a provider may state it more finely than the currency. None if none is stated."""
    if value is None or currency not in CURRENCIES or isinstance(value, bool | float):
        return None
    try:
        number = Decimal(value).scaleb(exponent_of(currency) - wire_exponent)
        if not number.is_finite() or abs(number) > MAX_MINOR:
            return None
        return Money(int(number.to_integral_value(ROUND_HALF_UP)), currency)
    except (ArithmeticError, ValueError, TypeError):
        return None
