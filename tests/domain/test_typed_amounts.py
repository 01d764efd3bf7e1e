"""A typed amount is read as one exact amount, or it is rejected with a sentence that says why."""

from __future__ import annotations

import pytest
from babel.localedata import locale_identifiers
from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.currencies import CURRENCIES
from polytill.domain.money import MAX_MINOR, Money
from polytill.domain.typed_amounts import TypedAmountError, readings, typed_amount, typed_percentage, typed_whole
from polytill.web.words import LANGUAGES, Words, symbols, texts, words_for

NBSP, NARROW, THIN = "\u00a0", "\u202f", "\u2009"
LOCALES = sorted(
    tag for tag in locale_identifiers() if tag.split("_")[0] in LANGUAGES and "u_va" not in tag and "POSIX" not in tag
)
codes = st.sampled_from(sorted(CURRENCIES))


def words(tag: str) -> Words:
    return words_for(None, tag.replace("_", "-"))


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("1500", "NGN", 150_000), ("1 500", "NGN", 150_000), (f"1{NBSP}500,00", "NGN", 150_000),
        (f"1{NARROW}500,5", "NGN", 150_050), (f"1{THIN}500.05", "NGN", 150_005), ("1'500.00", "CHF", 150_000),
        ("1’500.00", "CHF", 150_000), ("2,50", "EUR", 250), ("2.50", "EUR", 250), ("2.5", "EUR", 250),
        ("1.234,56", "EUR", 123_456), ("1,234.56", "EUR", 123_456), ("1.234.567", "EUR", 123_456_700),
        ("1,234,567", "EUR", 123_456_700), ("1,23,456.00", "INR", 12_345_600), (".50", "USD", 50),
        ("1.500", "JPY", 1500), ("1,500", "JPY", 1500), ("2.000", "JPY", 2000), ("¥1,500", "JPY", 1500),
        ("1234,567", "KWD", 1_234_567), ("1,234.567", "KWD", 1_234_567), ("0.500", "KWD", 500), ("1500", "KWD", 1_500_000),
        ("١٬٥٠٠٫٥٠", "EGP", 150_050), ("１，５００．００", "JPY", None), ("１，５００", "JPY", 1500), ("１５００", "NGN", 150_000),
        ("NGN 1,500.00", "NGN", 150_000), ("1500 ngn", "NGN", 150_000), ("ngn1500", "NGN", 150_000),
        ("₦1,500.00", "NGN", 150_000), ("\u200e1500\u200f", "NGN", 150_000), ("  1500\t", "NGN", 150_000),
    ],
)  # fmt: skip
def test_what_is_one_amount_is_taken(text: str, currency: str, minor: int | None) -> None:
    for language in LANGUAGES:
        if minor is None:
            with pytest.raises(TypedAmountError) as raised:
                words(language).minor(text, currency)
            assert raised.value.reason == "amount_no_decimals"
        else:
            assert words(language).minor(text, currency) == minor


@pytest.mark.parametrize(
    ("text", "currency", "low", "high"),
    [
        ("1,500", "NGN", 150, 150_000),
        ("1.500", "NGN", 150, 150_000),
        ("12.340", "EUR", 1234, 1_234_000),
        ("999,000", "USD", 99_900, 99_900_000),
        ("₦1,500", "NGN", 150, 150_000),
    ],
)
def test_what_could_be_two_amounts_is_rejected_with_both(text: str, currency: str, low: int, high: int) -> None:
    for language in LANGUAGES:
        with pytest.raises(TypedAmountError) as raised:
            words(language).minor(text, currency)
        assert raised.value.reason == "amount_ambiguous"
        assert raised.value.about == {"low": Money(low, currency), "high": Money(high, currency)}
        said = words(language).told(raised.value.at("/amount").errors[0])
        assert words(language).money(low, currency) in said
        assert words(language).money(high, currency) in said


def test_three_decimals_are_read_as_the_readers_own_pages_print_them() -> None:
    assert words("en").minor("1.500", "KWD") == 1500
    assert words("fr").minor("1,500", "KWD") == 1500
    for language, text in (("en", "1,500"), ("fr", "1.500"), ("sw", "1,500")):
        with pytest.raises(TypedAmountError) as raised:
            words(language).minor(text, "KWD")
        assert raised.value.about == {"low": Money(1500, "KWD"), "high": Money(1_500_000, "KWD")}
    with pytest.raises(TypedAmountError):  # ambiguous without the reader's locale
        typed_amount("1.500", "KWD")
    assert readings("1.500", "KWD") == [1500, 1_500_000]


def test_three_digits_after_the_readers_own_decimal_mark_are_no_thousands() -> None:
    assert words("en").minor("12,345", "USD") == 1_234_500  # dollars have no thousandths
    assert words("fr").minor("12.345", "USD") == 1_234_500
    for language, text in (("en", "12.345"), ("sw", "12.345"), ("fr", "12,345"), ("en", "1,234.567")):
        with pytest.raises(TypedAmountError) as raised:
            words(language).minor(text, "USD")
        assert raised.value.reason == "amount_too_fine"


@pytest.mark.parametrize(
    ("text", "currency", "reason"),
    [
        ("", "NGN", "amount_missing"), (" \u00a0", "NGN", "amount_missing"), ("five thousand", "NGN", "amount_unreadable"),
        ("1,50,0", "NGN", "amount_unreadable"), ("1 50", "NGN", "amount_unreadable"), ("1,5000.00", "NGN", "amount_unreadable"),
        ("1.500,00.0", "NGN", "amount_unreadable"), ("01,500.00", "NGN", "amount_unreadable"),
        ("1,,500", "NGN", "amount_unreadable"),
        ("1 500'000", "NGN", "amount_unreadable"), ("5.", "NGN", "amount_unreadable"), ("1e9", "NGN", "amount_unreadable"),
        ("1_000", "NGN", "amount_unreadable"), ("+254712345678", "KES", "amount_unreadable"), ("5²", "NGN", "amount_unreadable"),
        ("½", "NGN", "amount_unreadable"), ("5 5-", "NGN", "amount_unreadable"), ("--5", "NGN", "amount_unreadable"),
        ("(5)", "NGN", "amount_unreadable"), ("5%", "NGN", "amount_unreadable"), ("NaN", "NGN", "amount_unreadable"),
        ("9" * 61, "NGN", "amount_unreadable"), ("$5", "NGN", "amount_other_currency"), ("5 USD", "NGN", "amount_other_currency"),
        ("0.505", "USD", "amount_too_fine"), ("2.5000", "USD", "amount_too_fine"),
        ("1.234,567", "EUR", "amount_too_fine"), ("5.00", "JPY", "amount_no_decimals"), ("1.5", "JPY", "amount_no_decimals"),
        ("1.2345", "KWD", "amount_too_fine"), ("0", "NGN", "amount_not_positive"), ("0.00", "NGN", "amount_not_positive"),
        ("-5", "NGN", "amount_not_positive"), ("\u22125", "NGN", "amount_not_positive"), ("-₦5.00", "NGN", "amount_not_positive"),
        ("9" * 40, "NGN", "amount_too_large"), ("10000000000000.01", "NGN", "amount_too_large"),
    ],
)  # fmt: skip
def test_what_is_no_amount_is_rejected_with_its_reason(text: str, currency: str, reason: str) -> None:
    for language in LANGUAGES:
        with pytest.raises(TypedAmountError) as raised:
            words(language).minor(text, currency)
        assert raised.value.reason == reason
        assert f"fault.{reason}" in texts(language)
        said = words(language).told(raised.value.at("/amount").errors[0])
        assert "{" not in said


@given(
    st.integers(-MAX_MINOR, MAX_MINOR), codes, st.sampled_from(LOCALES), st.sampled_from([" ", NBSP, NARROW, THIN, ""])
)
def test_every_amount_that_a_page_prints_is_read_back(minor: int, code: str, tag: str, space: str) -> None:
    reader = words(tag)
    printed = reader.money(minor, code)
    least = -MAX_MINOR
    assert reader.minor(printed, code, least=least) == minor
    other = printed.replace(NBSP, space or NBSP).replace(NARROW, space or NARROW)
    assert reader.minor(other, code, least=least) == minor
    assert reader.minor(reader.major(minor, code), code, least=least) == minor
    bare = printed
    for symbol in sorted(symbols(code), key=len, reverse=True):
        bare = bare.replace(symbol, "")
    assert reader.minor(bare.strip(), code, least=least) == minor


@given(st.integers(0, MAX_MINOR), codes, st.sampled_from(LOCALES), st.sampled_from(LOCALES))
def test_another_readers_page_is_read_back_or_rejected_but_never_misread(
    minor: int, code: str, there: str, here: str
) -> None:
    printed = words(there).money(minor, code)
    if CURRENCIES[code].exponent != 3:
        assert words(here).minor(printed, code, least=0) == minor
        return
    try:
        read = words(here).minor(printed, code, least=0)
    except TypedAmountError as error:
        read = minor if error.reason == "amount_ambiguous" else -1
    assert read == minor


@given(st.text(max_size=30), codes)
def test_any_text_is_an_amount_or_an_error_with_a_text(text: str, code: str) -> None:
    try:
        read, reason = typed_amount(text, code), "amount_missing"
    except TypedAmountError as error:
        read, reason = 1, error.reason
    assert 0 < read <= MAX_MINOR
    assert f"fault.{reason}" in texts("en")


@given(st.text(alphabet="0123456789.,' \u202f٫", max_size=14), codes)
def test_an_amount_is_taken_only_where_it_is_the_only_reading(text: str, code: str) -> None:
    found = readings(text, code)
    try:
        read, ambiguous = [typed_amount(text, code, least=0)], False
    except TypedAmountError as error:
        read, ambiguous = [], error.reason == "amount_ambiguous"
    assert ambiguous == (len(found) > 1 and not read)
    assert not read or read == found


@pytest.mark.parametrize(
    ("text", "ppm"),
    [
        ("2.9", 29_000),
        ("2,9", 29_000),
        ("2,9 %", 29_000),
        (f"2,9{NBSP}%", 29_000),
        ("٢٫٩٪", 29_000),
        ("0", 0),
        ("100", 1_000_000),
        ("1.500", 15_000),
        (".5", 5_000),
        ("0.0001", 1),
    ],
)
def test_percentages(text: str, ppm: int) -> None:
    assert typed_percentage(text) == ppm


@pytest.mark.parametrize("text", ["", "%", "100.1", "-1", "1e1", "2.9.1", "0.00001", "two", "1 0", "1_0"])
def test_what_is_no_percentage(text: str) -> None:
    with pytest.raises(TypedAmountError) as raised:
        typed_percentage(text)
    assert raised.value.reason == "no_percentage"


@given(st.integers(0, 1_000_000), st.sampled_from(LOCALES))
def test_every_percentage_that_a_page_prints_is_read_back(ppm: int, tag: str) -> None:
    assert typed_percentage(words(tag).percent(ppm)) == ppm


def test_whole_numbers() -> None:
    assert [typed_whole(text, 1, 365) for text in ("30", " 7 ", "٣٠", "365")] == [30, 7, 30, 365]
    for text in ("", "0", "366", "1_0", "3.0", "1e1", "-5", "ten", "9" * 5000):
        with pytest.raises(TypedAmountError):
            typed_whole(text, 1, 365)
