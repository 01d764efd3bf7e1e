"""Customer data as people type it: one reader each for an e-mail address, a phone number and a name.

Every entry point uses them: the API, payment links, the checkout, staff pages and the library. A reader returns the
normal form, ``None`` for a blank text, and raises ``InvalidContact`` with one sentence for anything that it rejects.
Reading a normal form again returns the same value.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneNumberFormat, PhoneNumberType, ValidationResult

from polytill.domain.localities import locality
from polytill.domain.text import visible

MAX_EMAIL, MAX_NAME, MAX_PHONE = 254, 200, 64


class InvalidContact(ValueError):
    """A text that is not an e-mail address, phone number or name. ``reason`` is from a closed list, for translated
    pages."""

    def __init__(self, reason: str, sentence: str, example: str | None = None) -> None:
        self.reason, self.example = reason, example
        super().__init__(sentence)


class Phone(str):
    """A phone number. As a string it is its E.164 form, ``+254712345678``."""

    __slots__ = ()

    @property
    def e164(self) -> str:
        """``+254712345678``."""
        return str(self)

    @property
    def digits(self) -> str:
        """With the country code, without the plus: ``254712345678``."""
        return self[1:]

    @property
    def country_code(self) -> str:
        """The country calling code: ``254``."""
        return str(_parsed(self).country_code)

    @property
    def number(self) -> str:
        """What follows the country code, without a trunk prefix: ``712345678``. A leading zero that is part of the
        number stays."""
        return phonenumbers.national_significant_number(_parsed(self))

    @property
    def national(self) -> str:
        """The number as dialed within its own country, digits only: ``0712345678``."""
        return re.sub("[^0-9]", "", phonenumbers.format_number(_parsed(self), PhoneNumberFormat.NATIONAL))

    @property
    def country(self) -> str | None:
        """Its country (ISO 3166) if the number determines it: ``KE``."""
        return phonenumbers.region_code_for_number(_parsed(self))

    @property
    def could_be_mobile(self) -> bool:
        """Whether it is a mobile number: by its country's tables or, if they do not list it, by its length."""
        parsed = _parsed(self)
        if phonenumbers.is_valid_number(parsed):
            return _is_mobile(parsed)
        return phonenumbers.is_possible_number_for_type(parsed, PhoneNumberType.MOBILE)


# ── E-mail ──


@lru_cache(maxsize=64)  # one request reads an address at its edge and in the flow
def read_email(text: str | None) -> str | None:
    """An address that providers accept: the domain in lower case and ASCII (punycode), the local part as typed.

    A local part with characters beyond ASCII is rejected, because no provider accepts one. No DNS lookup is made.
    """
    bare = re.sub(r"(?i)^mailto:\s*", "", without_invisible(text))
    if not bare:
        return None
    try:
        found = validate_email(
            bare, check_deliverability=False, allow_smtputf8=False, test_environment=True, strict=True
        )
    except EmailNotValidError:
        found = None
    ascii_form = found.ascii_email if found else None
    domain, _, top = ascii_form.rpartition("@")[2].rpartition(".") if ascii_form else ("", "", "")
    if ascii_form is None or len(ascii_form) > MAX_EMAIL or not domain or len(top) < 2:
        sentence = "This is not an e-mail address that can receive mail; for example: ada@example.com."
        raise InvalidContact("email", sentence, "ada@example.com")
    return ascii_form


def email_key(address: str) -> str:
    """The form in which addresses are compared. Two addresses have the same form only if they certainly name one mailbox.

    Case is ignored, but there is no case folding, which makes "strasse@" of "straße@": they can belong to two people. The
    domain is in ASCII.
    """
    local, at, domain = unicodedata.normalize("NFC", visible(address)).rpartition("@")
    return unicodedata.normalize("NFC", local.lower()) + at + _spelled_domain(domain, in_ascii=True).lower()


def shown_email(address: str) -> str:
    """An address for people to read: its domain in Unicode."""
    local, at, domain = address.rpartition("@")
    return local + at + _spelled_domain(domain, in_ascii=False)


def _spelled_domain(domain: str, in_ascii: bool) -> str:
    """An internationalized domain in ASCII or in Unicode. Any other domain is returned as it is."""
    if domain.isascii() and (in_ascii or "xn--" not in domain):
        return domain
    try:
        found = validate_email(
            f"a@{domain}", check_deliverability=False, allow_smtputf8=True, test_environment=True, strict=False
        )
    except EmailNotValidError:
        return domain
    return (found.ascii_domain if in_ascii else found.domain) or domain


# ── Names ──


def read_name(text: str | None) -> str | None:
    """A name in NFC, with single spaces and without invisible direction marks. Control characters are rejected."""
    text = (text or "").strip(" \t\r\n")  # copied with a cell of a spreadsheet
    if text.isascii() and text.isprintable() and len(text) <= MAX_NAME:
        return " ".join(text.split()) or None
    if any(unicodedata.category(letter) in ("Cc", "Cs") or _is_noncharacter(letter) for letter in text):
        raise InvalidContact("name", "A name must not contain control characters.")
    # Some scripts need the joiners U+200C and U+200D inside a word. No name starts or ends with one.
    shown = "".join(x for x in text if x in "\u200c\u200d" or unicodedata.category(x) != "Cf")
    name = unicodedata.normalize("NFC", " ".join(shown.split())).strip("\u200c\u200d ")
    if len(name) > MAX_NAME:
        raise InvalidContact("name", f"A name has at most {MAX_NAME} characters.")
    return name if name.strip(_BLANK_LETTERS) else None


def _is_noncharacter(letter: str) -> bool:
    # Other unassigned code points may be letters or emoji of a newer version of Unicode than Python knows.
    return 0xFDD0 <= ord(letter) <= 0xFDEF or ord(letter) & 0xFFFE == 0xFFFE


# Letters without a visible shape. A name made only of them is blank.
_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0 "

# ── Phone numbers ──


def read_phone(text: str | None, countries: Iterable[str | None] = ()) -> Phone | None:
    """A phone number in any usual spelling. For a number without a country code, ``countries`` (ISO 3166) are tried in
    order. A number with a country code may be of any country."""
    if isinstance(text, Phone):
        return text
    dialed = _dialed(text)
    if dialed is None:
        return None
    homes = [country for country in dict.fromkeys(countries) if country]
    bare = _OF_MEXICO.sub("+52", "+" + dialed.lstrip("+0"))
    if dialed.startswith("+"):
        readings = [_parse(bare, None), _without_trunk_zero(bare)]
    elif dialed.startswith("00"):
        # 00 replaces the plus, and 000 does in East Africa. A country may have another prefix (Nigeria: 009).
        own = [number for home in homes if (number := _parse(dialed, home)) and phonenumbers.is_valid_number(number)]
        readings = [*own, _parse(bare, None), _without_trunk_zero(bare)]
    else:
        # Last: the country code is present and only the plus is missing, or a zero was typed in its place.
        readings = [_parse(dialed, home) for home in homes]
        readings += [x for x in (_parse(bare, None), _without_trunk_zero(bare)) if x and _lacks_plus(x, dialed, homes)]
    found = [number for number in readings if number is not None]
    # Ranges are assigned faster than the published tables follow, so a number of the right length is accepted, too.
    for fits in (phonenumbers.is_valid_number, _is_possible):
        for number in found:
            if fits(number):
                return Phone(phonenumbers.format_number(number, PhoneNumberFormat.E164))
    raise _impossible(dialed, found, homes)


def stored_phone(text: str | None, currency: str | None = None) -> Phone | None:
    """The number of a stored row. Rows are in E.164; an older row may hold the number as typed. None if it is
    unreadable."""
    try:
        return read_phone(text, (locality(currency).country,) if currency else ())
    except InvalidContact:
        return None


def example_phone(country: str | None) -> str | None:
    """A mobile number of a country, written as people there write it with the country code. None if none is known."""
    found = phonenumbers.example_number_for_type(country, PhoneNumberType.MOBILE) if country else None
    return phonenumbers.format_number(found, PhoneNumberFormat.INTERNATIONAL) if found else None


def check_phone_characters(text: str) -> str:
    """The text if it could be a phone number of some country."""
    _dialed(text)
    return text


def read_code(text: str) -> str:
    """A PIN or a one-time password: its digits in ASCII, without spaces, dashes and invisible characters. A code with
    letters keeps its characters, without invisible ones."""
    bare = "".join(letter for letter in without_invisible(text) if not letter.isspace())
    digits = [str(unicodedata.decimal(x)) for x in bare if unicodedata.decimal(x, None) is not None]
    is_number = all(unicodedata.decimal(x, None) is not None or unicodedata.category(x) == "Pd" for x in bare)
    return "".join(digits) if digits and is_number else bare


# Separators that people put between digits. Invisible characters and spaces are removed before.
_PUNCTUATION = frozenset("()[]/.,·•_'\"’‘“”")
_LABEL = re.compile(r"(?i)^(t[ée]l(ephone)?|phone|ph|mob(ile)?|cell|whatsapp|simu)\b[.:\s]+(?=[(+\d])")


def _dialed(text: str | None) -> str | None:
    """The digits in ASCII, with a leading plus if there is a country code. None for a blank text."""
    bare = without_invisible(text)
    if not bare:
        return None
    if len(bare) > MAX_PHONE:
        raise _unreadable()
    kept = []
    for letter in unicodedata.normalize("NFKC", _LABEL.sub("", bare)):
        digit = unicodedata.decimal(letter, None)
        if digit is not None:
            kept.append(str(digit))
        elif letter == "+" and not kept:
            kept.append("+")
        elif not (letter.isspace() or letter in _PUNCTUATION or unicodedata.category(letter) == "Pd" or letter == "−"):
            raise _unreadable()
    dialed = "".join(kept)
    if not dialed.lstrip("+"):
        raise _unreadable()
    return re.sub(r"^\+0*", "+", dialed)


# Mexico dropped the 1 of its mobile numbers in 2019. Address books and WhatsApp still write it.
_OF_MEXICO = re.compile(r"^\+521(?=\d{10}$)")
_LONGEST_INTERNATIONAL = 15  # digits, country code included (ITU E.164)
# The number of digits of the longest national number that people write without its country code and without a leading
# zero.
_LONGEST_WITHOUT_CODE = 10


def _lacks_plus(number: phonenumbers.PhoneNumber, dialed: str, homes: list[str]) -> bool:
    """Whether the typed digits are this number without its plus, and not a number of a country that we do not know."""
    if not phonenumbers.is_valid_number(number):
        return False
    if any(phonenumbers.country_code_for_region(home) == number.country_code for home in homes):
        return True
    return _is_mobile(number) and len(dialed) > _LONGEST_WITHOUT_CODE and not dialed.startswith("0")


def _is_mobile(number: phonenumbers.PhoneNumber) -> bool:
    return phonenumbers.number_type(number) in (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE)


def country_code_length(digits: str) -> int:
    """How many digits of an international number are its country code; 0 if it has none that exists."""
    return next((n for n in (1, 2, 3) if int(digits[:n] or 0) in COUNTRY_CODE_TO_REGION_CODE), 0)


@lru_cache(maxsize=512)
def trunk_zero(country_code: str) -> str:
    """What people of a country dial in front of their national numbers, if it starts with a zero; else empty."""
    region = phonenumbers.region_code_for_country_code(int(country_code or 0))
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region, None)
    prefix = metadata.national_prefix if metadata else None
    return str(prefix) if prefix and prefix.startswith("0") else ""


def _without_trunk_zero(international: str) -> phonenumbers.PhoneNumber | None:
    """The number without one zero after its country code if it is valid only without it: people write "(0)" before
    numbers of every country, even where no trunk prefix exists."""
    code = country_code_length(international[1:])
    rest = international[code + 1 :]
    if not code or not rest.startswith("0"):
        return None
    number = _parse(international[: code + 1] + rest[1:], None)
    return number if number is not None and phonenumbers.is_valid_number(number) else None


def _parse(dialed: str, country: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(dialed, country)
    except phonenumbers.NumberParseException:
        return None


def _is_possible(number: phonenumbers.PhoneNumber) -> bool:
    # Telephone numbers at home and mobile numbers have these lengths. A service number may be longer or shorter.
    kinds = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE)
    reasons = [phonenumbers.is_possible_number_for_type_with_reason(number, kind) for kind in kinds]
    possible = ValidationResult.IS_POSSIBLE in reasons
    # A leading zero of a number that no table knows is a trunk prefix of another country.
    return possible and not phonenumbers.national_significant_number(number).startswith("0")


def _parsed(e164: str) -> phonenumbers.PhoneNumber:
    return phonenumbers.parse(e164, None)


def without_invisible(text: str | None) -> str:
    """The text without invisible characters and without surrounding spaces. Empty for None."""
    if text is None:
        return ""
    return "".join(letter for letter in text if unicodedata.category(letter) != "Cf").strip()


# ── Errors ──

_LENGTHS = {
    ValidationResult.TOO_LONG: "is too long",
    ValidationResult.TOO_SHORT: "is too short",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "is too short",
}


def _unreadable() -> InvalidContact:
    return InvalidContact("phone", "This is not a phone number: only digits, spaces and the usual punctuation.")


def _has_country_code(digits: str) -> bool:
    """Whether the digits start with a country code, or end before one is complete."""
    return not digits or country_code_length(digits) > 0


def _impossible(dialed: str, found: list[phonenumbers.PhoneNumber], homes: list[str]) -> InvalidContact:
    """The error for an invalid number, with an example of a valid number of the country that it seems to belong to."""
    if not found and not homes and not dialed.startswith(("+", "00")):
        example = example_phone("KE")
        text = f"This phone number has no country code. Write it in international form, for example {example}."
        return InvalidContact("phone_country", text, example)
    if not found:
        example = example_phone(homes[0] if homes else "KE")
        is_unknown = dialed.startswith(("+", "00")) and not _has_country_code(dialed.lstrip("+0"))
        wrong = "has a country code that does not exist" if is_unknown else "is too short"
        if len(dialed.lstrip("+0")) > _LONGEST_INTERNATIONAL:
            wrong = "is too long"
        return InvalidContact("phone", f"This phone number {wrong}. A valid number looks like {example}.", example)
    first = found[0]
    wrong = _LENGTHS.get(phonenumbers.is_possible_number_with_reason(first), "does not exist")
    example = example_phone(phonenumbers.region_code_for_country_code(first.country_code or 0))
    like = f" A valid number looks like {example}." if example else ""
    text = f"This phone number {wrong} for the country code +{first.country_code}.{like}"
    return InvalidContact("phone", text, example)
