"""Money between ISO minor units and a provider's numbers: exact or refused, never rounded, never a float."""

from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.currencies import CURRENCIES, exponent_of
from polytill.domain.errors import InvalidAmount
from polytill.domain.money import MAX_MINOR, Money
from polytill.providers.wire_amounts import fee_from_wire, from_wire, to_wire

currencies = st.sampled_from(sorted(CURRENCIES))
minors = st.integers(-MAX_MINOR, MAX_MINOR)
# Beyond these exponents stands a defect of its own: see the last test.
numbers = (st.integers() | st.decimals(allow_nan=True, allow_infinity=True) | st.text(max_size=30)) | st.from_regex(
    r"-?[0-9]{1,25}(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?", fullmatch=True
)
anything = numbers | st.none() | st.booleans() | st.floats() | st.lists(st.integers()) | st.binary()


@pytest.mark.parametrize(
    ("money", "exponent", "wire"),
    [
        (Money(7550, "NGN"), 2, 7550),
        (Money(1000, "XOF"), 2, 100000),
        (Money(1000, "UGX"), 2, 100000),
        (Money(1230, "KWD"), 2, 123),
        (Money(1234, "KWD"), 3, 1234),
        (Money(500, "JPY"), 0, 500),
        (Money(7500, "NGN"), 0, 75),
        (Money(0, "NGN"), 0, 0),
    ],
)
def test_to_and_from_the_wire(money: Money, exponent: int, wire: int) -> None:
    assert to_wire(money, exponent) == wire
    assert from_wire(wire, money.currency, exponent) == money
    assert from_wire(str(wire), money.currency, exponent) == money
    assert from_wire(Decimal(wire), money.currency, exponent) == money


@pytest.mark.parametrize(
    ("money", "exponent"), [(Money(1234, "KWD"), 2), (Money(7550, "NGN"), 0), (Money(1, "NGN"), 1)]
)
def test_what_the_wire_has_no_place_for_is_refused(money: Money, exponent: int) -> None:
    with pytest.raises(InvalidAmount):
        to_wire(money, exponent)


@pytest.mark.parametrize(
    ("value", "currency", "exponent"),
    [
        (75.5, "NGN", 2),
        (100.0, "NGN", 2),
        (True, "NGN", 2),
        (None, "NGN", 2),
        ("", "NGN", 2),
        ("x", "NGN", 2),
        ("NaN", "NGN", 2),
        ("Infinity", "NGN", 2),
        (Decimal("sNaN"), "NGN", 2),
        (Decimal("75.555"), "NGN", 0),
        (Decimal("1.5"), "UGX", 0),
        (50, "XOF", 2),
        (100, "XXX", 2),
        (100, "ngn", 2),
        (100, "None", 2),
        (10**30, "NGN", 2),
        ([], "NGN", 2),
        ({}, "NGN", 2),
        (b"1", "NGN", 2),
    ],
)
def test_what_is_no_exact_amount_is_refused(value: Any, currency: str, exponent: int) -> None:
    with pytest.raises(InvalidAmount):
        from_wire(value, currency, exponent)


@given(minors, currencies, st.integers(0, 4))
def test_there_and_back(minor: int, currency: str, exponent: int) -> None:
    money = Money(minor, currency)
    try:
        wire = to_wire(money, exponent)
    except InvalidAmount:
        assert minor % 10 ** (exponent_of(currency) - exponent)
        return
    assert from_wire(wire, currency, exponent, owed=True) == money
    if minor < 0:
        with pytest.raises(InvalidAmount):
            from_wire(wire, currency, exponent)


@given(anything, currencies | st.text(max_size=4), st.integers(0, 4))
def test_reading_gives_exact_money_or_refuses(value: Any, currency: str, exponent: int) -> None:
    try:
        money = from_wire(value, currency, exponent)
    except InvalidAmount:
        return
    assert type(money.minor) is int
    assert not isinstance(value, float | bool)
    # 28 digits: what is lost beyond them is no amount of any currency.
    assert abs(Decimal(money.minor).scaleb(-exponent_of(currency)) - Decimal(value).scaleb(-exponent)) < Decimal("1e-9")


@given(anything, currencies | st.text(max_size=4), st.integers(0, 4))
def test_a_fee_never_stands_in_the_way(value: Any, currency: str, exponent: int) -> None:
    fee = fee_from_wire(value, currency, exponent)
    assert fee is None or (type(fee.minor) is int and fee.currency == currency)


@pytest.mark.parametrize(
    ("value", "currency", "exponent", "fee"),
    [
        (Decimal("1.065"), "NGN", 0, Money(107, "NGN")),
        (Decimal("1.064"), "NGN", 0, Money(106, "NGN")),
        (Decimal("0.5"), "UGX", 0, Money(1, "UGX")),
        (3250, "XOF", 2, Money(33, "XOF")),
        ("1.4", "NGN", 0, Money(140, "NGN")),
        (0, "NGN", 0, Money(0, "NGN")),
        (None, "NGN", 0, None),
        (True, "NGN", 0, None),
        (1.4, "NGN", 0, None),
        ("x", "NGN", 0, None),
        ("NaN", "NGN", 0, None),
        ([], "NGN", 0, None),
        (1, "XXX", 0, None),
    ],
)
def test_fees_are_rounded_half_up(value: Any, currency: str, exponent: int, fee: Money | None) -> None:
    assert fee_from_wire(value, currency, exponent) == fee


@pytest.mark.parametrize("read", [from_wire, fee_from_wire])
@pytest.mark.parametrize("value", ["1e999999", Decimal("1e999999")])
def test_a_number_too_large_to_scale_is_refused(read: Any, value: Any) -> None:
    with suppress(InvalidAmount):
        assert read(value, "NGN", 0) is None
