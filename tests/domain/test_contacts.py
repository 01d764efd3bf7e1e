"""The readers of customer data: every spelling of a number is the same value, and only one kind of error is raised."""

from __future__ import annotations

import unicodedata

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.contacts import InvalidContact, Phone, example_phone, read_email, read_name, read_phone

# country | in national form | E.164 | country code | national number | as dialed in the country
NUMBERS = [
    ("KE", "0712 345 678", "+254712345678", "254", "712345678", "0712345678"),
    ("KE", "0110 123 456", "+254110123456", "254", "110123456", "0110123456"),
    ("NG", "0803 123 4567", "+2348031234567", "234", "8031234567", "08031234567"),
    ("GH", "055 123 4987", "+233551234987", "233", "551234987", "0551234987"),
    ("UG", "0772 123456", "+256772123456", "256", "772123456", "0772123456"),
    ("TZ", "0754 123 456", "+255754123456", "255", "754123456", "0754123456"),
    ("RW", "0788 123 456", "+250788123456", "250", "788123456", "0788123456"),
    ("ZM", "0977 123456", "+260977123456", "260", "977123456", "0977123456"),
    ("ZA", "082 123 4567", "+27821234567", "27", "821234567", "0821234567"),
    ("CI", "07 00 12 34 56", "+2250700123456", "225", "0700123456", "0700123456"),
    ("SN", "77 123 45 67", "+221771234567", "221", "771234567", "771234567"),
    ("FR", "06 12 34 56 78", "+33612345678", "33", "612345678", "0612345678"),
    ("GB", "07400 123456", "+447400123456", "44", "7400123456", "07400123456"),
    ("GB", "020 7946 0018", "+442079460018", "44", "2079460018", "02079460018"),
    ("US", "(202) 555-0123", "+12025550123", "1", "2025550123", "2025550123"),
]


@pytest.mark.parametrize(("country", "typed", "e164", "code", "number", "national"), NUMBERS)
def test_numbers(country: str, typed: str, e164: str, code: str, number: str, national: str) -> None:
    phone = read_phone(typed, [country])
    assert phone is not None
    assert (phone, phone.e164, phone.digits) == (e164, e164, e164[1:])
    assert (phone.country_code, phone.number, phone.national, phone.country) == (code, number, national, country)


def spellings(e164: str, code: str, number: str, national: str) -> list[str]:
    """The spellings of one number."""
    trunk = national.removesuffix(number)
    found = [
        e164, f"00{e164[1:]}", f"00 {code} {number}", f"+{code} {number}", f"+{code} ({trunk}){number}",
        f"+{code}{trunk}{number}", f"({e164})", f"tel:{e164}", f"\u202a{e164}\u202c", f"\u200e+{code}\u00a0{number}",
        f"+{code}\u200b{number}", f"＋{code} {number}", f"+{code}.{number[:3]}.{number[3:]}", national,
        f"{national[:3]}/{national[3:]}", f"{national[:3]}–{national[3:]}", f"[{national[:3]}] {national[3:]}",
        "".join(chr(0xFF10 + int(x)) for x in national), "".join(chr(0x660 + int(x)) for x in national),
        f"\t{national}\n", e164[1:],
    ]  # fmt: skip
    return [text for text in found if trunk or "()" not in text]


@pytest.mark.parametrize(("country", "typed", "e164", "code", "number", "national"), NUMBERS)
def test_every_spelling_is_the_same_number(
    country: str, typed: str, e164: str, code: str, number: str, national: str
) -> None:
    found = {text: read_phone(text, [country]) for text in [typed, *spellings(e164, code, number, national)]}
    assert {text: phone for text, phone in found.items() if phone != e164} == {}


def test_without_the_trunk_zero() -> None:
    assert read_phone("712345678", ["KE"]) == "+254712345678"


def test_east_africa_and_nigeria_dial_another_prefix() -> None:
    assert read_phone("000254712345678", ["KE"]) == "+254712345678"
    assert read_phone("009254712345678", ["NG"]) == "+254712345678"


def test_a_number_of_another_country_in_international_form() -> None:
    for text in ("+33 6 12 34 56 78", "0033612345678", "33612345678"):
        assert read_phone(text, ["KE"]) == "+33612345678"


def test_the_payments_country_where_the_practices_has_no_such_number() -> None:
    assert read_phone("0712345678", ["NG", "KE"]) == "+254712345678"
    assert read_phone("0712345678", [None, "KE"]) == "+254712345678"


@pytest.mark.parametrize(
    ("typed", "country", "reason", "words"),
    [
        ("0712", "KE", "phone", ["too short", "+254 712 123456"]),
        ("+254 712 345 678 999", "NG", "phone", ["too long", "+254 712 123456"]),
        ("0712345678", "NG", "phone", ["does not exist", "+234 802 123 4567"]),
        ("+999 123456", "KE", "phone", ["country code"]),
        ("call me", "KE", "phone", ["not a phone number"]),
        ("0712345678 x12", "KE", "phone", ["not a phone number"]),
        ("+", "KE", "phone", ["not a phone number"]),
        ("1" * 65, "KE", "phone", ["not a phone number"]),
        ("0712345678\x00", "KE", "phone", ["not a phone number"]),
        ("0712345678", None, "phone_country", ["country code", "+254 712 123456"]),
        ("0712345678", "US", "phone", ["does not exist"]),
    ],
)
def test_refused(typed: str, country: str | None, reason: str, words: list[str]) -> None:
    with pytest.raises(InvalidContact) as refused:
        read_phone(typed, [country])
    assert refused.value.reason == reason
    assert all(word in str(refused.value) for word in words), str(refused.value)


@pytest.mark.parametrize("blank", [None, "", "   ", "\u200b\u202a", "\u00a0\t\n"])
def test_blank_is_absent(blank: str | None) -> None:
    assert (read_email(blank), read_phone(blank, ["KE"])) == (None, None)
    if blank is None or not any(x in blank for x in "\t\n"):
        assert read_name(blank) is None


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("ada@example.com", "ada@example.com"),
        (" Ada.Obi+test@Example.COM ", "Ada.Obi+test@example.com"),
        ("\u202aada@example.com\u202c", "ada@example.com"),
        ("ada@\u200bexample.com", "ada@example.com"),
        ("ada@münchen.de", "ada@xn--mnchen-3ya.de"),
        ("ada@clinic.test", "ada@clinic.test"),
    ],
)
def test_emails(typed: str, stored: str) -> None:
    assert read_email(typed) == stored
    assert read_email(stored) == stored


@pytest.mark.parametrize(
    "typed",
    [
        "ada", "ada@", "@example.com", "ada@example", "ada@localhost", "ada obi@example.com", "ada@example..com",
        ".ada@example.com", "ada@example.com, eve@example.com", "Ada <ada@example.com>", "ada@example.com\nBcc: x@y.de",
        "ada@[127.0.0.1]", "adé@example.com", "a" * 65 + "@example.com", "ada@" + "a" * 250 + ".com", "ada@exam_ple.com",
        "ada@example.com\x00", "ada@-example.com",
    ],
)  # fmt: skip
def test_refused_emails(typed: str) -> None:
    with pytest.raises(InvalidContact) as refused:
        read_email(typed)
    assert refused.value.reason == "email"


def test_names() -> None:
    assert read_name("  Ada \u00a0 Obi ") == "Ada Obi"
    assert read_name("E\u0301lodie") == "Élodie"
    assert read_name("\u202eAda\u202c\u200e") == "Ada"
    assert read_name("نیم\u200cفاصله") == "نیم\u200cفاصله"  # the joiner belongs to the word
    assert read_name("O'Brien-Ọlábísí 3rd") == "O'Brien-Ọlábísí 3rd"
    assert read_name("x" * 200) == "x" * 200
    for wrong in ("Ada\x00", "Ada\nObi", "A\u0085", "x" * 201, "\ud800"):
        with pytest.raises(InvalidContact):
            read_name(wrong)


def test_an_example_is_a_number_of_its_country() -> None:
    for country in ("KE", "NG", "GH", "UG", "TZ", "RW", "ZA", "CI", "SN", "FR", "GB", "US"):
        phone = read_phone(example_phone(country))
        assert phone is not None
        assert phone.country == country
    assert example_phone(None) is None


REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)


@given(st.text(max_size=40), st.lists(st.sampled_from([*REGIONS, None]), max_size=3))
def test_the_phone_reader_raises_one_error_and_is_idempotent(text: str, countries: list[str | None]) -> None:
    try:
        phone = read_phone(text, countries)
    except InvalidContact:
        return
    assert phone is None or (isinstance(phone, Phone) and read_phone(str(phone)) == phone)


@given(st.text("+0123456789 ()-./\u202a\u00a0", max_size=24), st.sampled_from(REGIONS))
def test_what_looks_like_a_number_is_read_once_and_for_all(text: str, country: str) -> None:
    try:
        phone = read_phone(text, [country])
    except InvalidContact:
        return
    if phone is not None:
        assert read_phone(str(phone), [country]) == phone
        assert phone.digits == phone.country_code + phone.number
        assert phone.national.isdigit()


@given(st.sampled_from(REGIONS), st.integers(0, 9_999), st.data())
def test_spellings_of_any_countrys_number(region: str, last: int, data: st.DataObject) -> None:
    example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    if example is None:
        return
    number = phonenumbers.national_significant_number(example)[:-4] + f"{last:04d}"
    code = str(example.country_code)
    if not phonenumbers.is_valid_number(phonenumbers.parse(f"+{code}{number}")):
        return
    expected = Phone(f"+{code}{number}")
    gap = data.draw(st.sampled_from(["", " ", "-", ".", "\u00a0", "\u200b", "/", "\u2011"]))
    place = data.draw(st.integers(1, len(number) - 1))
    for text in (f"+{code}{gap}{number[:place]}{gap}{number[place:]}", f"00{code}{gap}{number}", f"({expected})"):
        assert read_phone(text, ["KE"]) == expected, text


@given(st.text(max_size=60))
def test_the_other_readers_raise_one_error_and_are_idempotent(text: str) -> None:
    for reader in (read_email, read_name):
        try:
            value = reader(text)
        except InvalidContact:
            continue
        assert reader(value) == value
        assert value is None or unicodedata.is_normalized("NFC", value)


@given(st.emails())
def test_what_is_taken_is_an_ascii_address(address: str) -> None:
    try:
        stored = read_email(address)
    except InvalidContact:
        return
    assert stored is not None
    assert stored.isascii()
    assert stored == read_email(stored)
    assert stored.partition("@")[2] == stored.partition("@")[2].lower()
