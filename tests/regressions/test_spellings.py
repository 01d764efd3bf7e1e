"""Spellings of customer data and amounts that people use and the readers refused, or read as something else.

Sources: faults of public trackers, case 3 (odoo#256315, blink-mobile#4208: trunk zeros, missing country codes); issue 18,
items 1 and 2.
"""

from __future__ import annotations

import pytest

from polytill.domain.contacts import InvalidContact, read_email, read_name, read_phone
from polytill.domain.spreadsheets import cell
from polytill.domain.typed_amounts import TypedAmountError
from polytill.web.words import words_for

RIGHT = {
    "KE": "+254712123456",
    "NG": "+2348021234567",
    "GH": "+233231234567",
    "UG": "+256712345678",
    "TZ": "+255621234567",
    "RW": "+250720123456",
    "ZA": "+27711234567",
    "CI": "+2250123456789",
    "SN": "+221701234567",
    "CM": "+237671234567",
    "ZM": "+260955123456",
    "FR": "+33612345678",
    "GB": "+447400123456",
    "US": "+12015550123",
}
CODE = {
    country: number[: 2 if country == "US" else 3 if country in ("ZA", "FR", "GB") else 4]
    for country, number in RIGHT.items()
}


@pytest.mark.parametrize("country", RIGHT)
def test_a_zero_too_many_does_not_make_a_number_unreadable(country: str) -> None:
    right, code = RIGHT[country], CODE[country]
    rest = right.removeprefix(code)
    for typed in (
        f"{code} (0){rest}",
        f"{code}0{rest}",
        f"00{code[1:]} 0{rest}",
        f"0{code[1:]}{rest}",
        f"{code[1:]} (0) {rest}",
        f"Tel. {right}",
        f"WhatsApp: {right}",
        f"'{right}",
        f'"{right}"',
        f"+00{code[1:]}{rest}",
        f"\ufeff{right}\u200b",
    ):
        assert read_phone(typed, (country,)) == right, typed


@pytest.mark.parametrize("typed", ["(201) 555-0123", "4791234567", "658 123 4567", "0821234567", "0712345678"])
def test_a_national_number_is_not_taken_for_one_of_another_country(typed: str) -> None:
    with pytest.raises(InvalidContact) as found:
        read_phone(typed)
    assert found.value.reason == "phone_country"


def test_a_missing_plus_is_seen_where_the_number_leaves_no_doubt() -> None:
    assert read_phone("254712345678") == "+254712345678"
    assert read_phone("2348021234567", ("KE",)) == "+2348021234567"
    assert read_phone("479 123 4567", ("US",)) == "+14791234567"


def test_what_comes_along_when_text_is_copied() -> None:
    assert read_email("mailto:ada@EXAMPLE.com") == "ada@example.com"
    assert read_name("Ada Obi\t\r\n") == "Ada Obi"
    for blank in ("\u3164", "\u2800 \u2800", "\u115f\u1160", "\n"):
        assert read_name(blank) is None


@pytest.mark.parametrize(
    ("currency", "typed", "minor"),
    [
        ("KES", "Ksh. 1,500.00", 150_000),
        ("KES", "KES 1500/=", 150_000),
        ("KES", "1500/-", 150_000),
        ("UGX", "UGX 5,000/=", 5_000),
        ("UGX", "Shs 5,000", 5_000),
        ("TZS", "TShs 5,000.00", 500_000),
        ("NGN", "N5,000.00", 500_000),
        ("NGN", "=N=5000", 500_000),
        ("GHS", "GH¢5.50", 550),
        ("GHS", "₵5.50", 550),
        ("XOF", "5 000 FCFA", 5_000),
        ("XOF", "5000 F", 5_000),
        ("XOF", "5\u202f000F\u202fCFA", 5_000),
        ("XOF", "FCFA5000", 5_000),
        ("XAF", "5 000 F CFA", 5_000),
        ("KWD", "KD 5.25", 5_250),
        ("JPY", "1500円", 1_500),
    ],
)
def test_a_currency_is_written_as_its_country_writes_it(currency: str, typed: str, minor: int) -> None:
    for language in ("en", "fr", "sw"):
        assert words_for(language, language).minor(typed, currency) == minor
    with pytest.raises(TypedAmountError):
        words_for("en", "en").minor(typed, "USD")


@pytest.mark.parametrize(
    "text", ["=1+1", "+1-2", "-1+cmd|' /C calc'!A0", "@x", "\t=1", "\uff1d1", "\uff0bA1", "\uff20x"]
)
def test_no_cell_of_an_export_is_a_formula(text: str) -> None:
    """Case 23; East Asian spreadsheets read the wide signs as well."""
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["+254712345678", "+254 712 345 678", "-5", "0012", "1e5", "INV-1"])
def test_a_number_stays_a_number_in_an_export(text: str) -> None:
    """Case 23."""
    assert cell(text) == text
