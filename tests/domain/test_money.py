"""Money is exact, or it is rejected."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.currencies import CURRENCIES
from polytill.domain.errors import InvalidAmount
from polytill.domain.money import (
    MAX_MINOR,
    PPM,
    Money,
    fee_of,
    from_major,
    percent_to_ppm,
    ppm_to_percent,
    scaled,
    to_major,
)

codes = st.sampled_from(sorted(CURRENCIES))
minors = st.integers(-MAX_MINOR, MAX_MINOR)


@given(minors, codes)
def test_major_and_back_is_exact(minor: int, code: str) -> None:
    major = to_major(minor, code)
    assert Fraction(major) == Fraction(minor, 10 ** CURRENCIES[code].exponent)
    assert from_major(major, code) == minor
    assert from_major(str(major), code) == minor


@given(st.decimals(allow_nan=True, allow_infinity=True), st.integers(0, 6))
def test_scaled_is_exact_or_refused(value: Decimal, exponent: int) -> None:
    try:
        result = scaled(value, exponent)
    except InvalidAmount:
        if value.is_finite() and abs(value.adjusted()) < 200:
            exact = Fraction(value) * 10**exponent
            assert exact.denominator != 1 or abs(exact) > MAX_MINOR * 1000
        return
    assert Fraction(value) * 10**exponent == result


@given(minors, st.integers(1, 40))
def test_finer_parts_than_the_currency_has_are_refused(minor: int, places: int) -> None:
    # However small the amount is, and however many digits precede it.
    text = f"{to_major(abs(minor), 'USD'):.2f}" + "0" * places + "1"
    with pytest.raises(InvalidAmount):
        from_major(text, "USD")


@pytest.mark.parametrize(
    "value",
    [
        *("12.345", "0.001", "NaN", "sNaN", "Infinity", "-Infinity", "", "abc", "1,5", "0x10", "1e999999", "1e-999999"),
        *("1e99999999999999999999", "9" * 40, True, False, 1.5, 1.0, None, [], {}, b"1"),
        *("1_000", " 1", "1 ", "1\n", "１", "١", "1e", "+", ".", "--1", "1.2.3"),
    ],
    ids=repr,
)
def test_no_amount(value: object) -> None:
    with pytest.raises(InvalidAmount):
        from_major(value, "USD")  # type: ignore[arg-type]


def test_an_amount_of_another_currency_is_another_amount() -> None:
    assert from_major("12.34", "USD") == 1234
    assert from_major("500", "JPY") == 500
    assert from_major("1.234", "KWD") == 1234
    with pytest.raises(InvalidAmount):
        from_major("500.5", "JPY")


def test_a_currency_that_is_none_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError):
        from_major("1", "XXX")


def test_how_money_reads() -> None:
    assert str(Money(1234, "USD")) == "12.34 USD"
    assert str(Money(500, "JPY")) == "500 JPY"
    assert str(Money(5, "KWD")) == "0.005 KWD"
    assert Money(1, "USD") != Money(1, "EUR")


@given(st.integers(0, PPM))
def test_percentages_round_trip(ppm: int) -> None:
    assert percent_to_ppm(ppm_to_percent(ppm)) == ppm
    assert "E" not in ppm_to_percent(ppm)


def test_percentages_as_people_write_them() -> None:
    assert percent_to_ppm("2.9") == 29_000
    assert ppm_to_percent(29_000) == "2.9"
    assert ppm_to_percent(1_000_000) == "100"
    for wrong in ("-0.1", "100.0001", "2.90001", "NaN"):
        with pytest.raises(InvalidAmount):
            percent_to_ppm(wrong)


@given(st.integers(1, MAX_MINOR), st.integers(0, PPM), st.integers(0, 10_000))
def test_a_fee_is_rounded_half_up(amount: int, ppm: int, fixed: int) -> None:
    exact = Fraction(amount * ppm, PPM) + fixed
    fee = fee_of(amount, ppm, fixed)
    assert Fraction(-1, 2) < fee - exact <= Fraction(1, 2)
