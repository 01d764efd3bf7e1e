"""Every line of our ISO table against the independent ``iso4217`` package."""

from __future__ import annotations

import iso4217
import pytest

from polytill.domain.currencies import CURRENCIES, Currency, currency, exponent_of

THEIRS = {entry.code: entry for entry in iso4217.Currency}
# Funds, accounting units, precious metals, tests and "no currency": not for payments.
NOT_MONEY = frozenset(
    {"BOV", "CHE", "CHW", "CLF", "COU", "MXV", "USN", "UYI", "UYW", "XAD", "XAG", "XAU", "XBA", "XBB", "XBC", "XBD"}
    | {"XDR", "XPD", "XPT", "XSU", "XTS", "XUA", "XXX"}
)


@pytest.mark.parametrize("ours", CURRENCIES.values(), ids=lambda c: c.code)
def test_line(ours: Currency) -> None:
    theirs = THEIRS[ours.code]
    assert (ours.numeric, ours.exponent, ours.name) == (theirs.number, theirs.exponent, theirs.currency_name)


def test_nothing_is_left_out() -> None:
    assert set(CURRENCIES) == set(THEIRS) - NOT_MONEY


def test_numbers_are_unique() -> None:
    assert len({c.numeric for c in CURRENCIES.values()}) == len(CURRENCIES)


def test_lookup_is_by_upper_case_code_only() -> None:
    assert currency("JPY").exponent == exponent_of("JPY") == 0
    assert exponent_of("KWD") == 3
    for wrong in ("jpy", "", "XXX", "US"):
        with pytest.raises(KeyError):
            currency(wrong)
