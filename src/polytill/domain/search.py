"""How staff search payments: what is stored for the search, and how a typed text is read.

Both sides use ``search_form``, so a database only compares bytes and every engine finds the same payments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from zlib import crc32

from polytill.domain.contacts import country_code_length, stored_phone, trunk_zero
from polytill.domain.currencies import CURRENCIES
from polytill.domain.identifiers import identifier_key
from polytill.domain.text import compact, search_form, visible, words
from polytill.domain.typed_amounts import readings

LONGEST_QUERY, MOST_IDENTIFIERS, MOST_PIECES, LONGEST_BODY = 200, 8, 8, 4000
# A word this short is found only at the start of words, because almost every text contains it somewhere.
SHORT = 2
SHORTEST_IDENTIFIER = 4
SHORTEST_PHONE = 6
# The end of a payment's id is found, too. Whole ids are found by an index.
END_OF_ID = 12

# Digits and their usual separators between white space, with an optional leading "#" or "+".
_NUMERIC = re.compile(r"(?<!\S)[#+(\['\"]{0,3}\d[\d\s()\[\].,'\"/\-]*(?!\S)")
_E164 = re.compile(r"\+[1-9][0-9]+")
_WITH_FRACTION = re.compile(r"\d[.,]\d{1,2}$")
_BY_EXPONENT = ("UGX", "NGN", "KWD")  # a currency without decimals, one with two and one with three
_ZERO_FIRST = re.compile(r"\D*0\d")
_BEFORE_AMOUNT = re.compile(r"^[^\d\s]{1,4}(?=\d)|(?<=\d)[^\d\s]{1,4}$")
# A currency sign directly before an amount that is grouped with spaces: "R1 234,50".
_CLOSE_SIGN = re.compile(r"(?<!\S)([^\d\s.,'()+#-][^\d\s,'()+#-]{0,3})(?=\d{1,3}(?: \d{3})+(?:[.,]\d+)?(?!\S))")
# Currency signs as displayed beside amounts that are not words themselves, in addition to the ISO code.
_CURRENCY_SIGNS = frozenset(
    [
        "ksh", "tsh", "ush", "sh", "shs", "kshs", "tshs", "ushs", "gh", "ghc", "fcfa", "cfa", "f", "fcfp", "cfpf", "cfp", "cg",
        "us", "ca", "nt", "ec", "cn", "hk", "jp", "mx", "nz", "a", "r", "rs", "zk", "kd", "bd", "dt", "frw",
    ]
)  # fmt: skip
# Labels in front of a phone number or a payment's number, which people copy together with it.
_LABELS = frozenset(["tel", "phone", "mob", "mobile", "no", "nr", "n", "number", "numero", "nambari", "simu"])
_SCHEME = re.compile(r"(?<!\S)(?:mailto|tel):\s*(?=\S)")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One thing to find: any of these parts of the stored words, amounts, or whole identifiers."""

    parts: tuple[str, ...]
    amounts: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ()  # in the form of ``identifier_key``


# Alternative readings of one piece of the typed text. Each reading is leaves that must all be found.
Term = tuple[tuple[Leaf, ...], ...]


# ── What is stored ──


def search_body(*texts: str | None, codes: tuple[str | None, ...] = (), phones: tuple[str | None, ...] = ()) -> str:
    """The words by which a payment is found, with a space around each. ``codes`` and hyphenated words are found with and
    without punctuation."""
    found = [word for text in texts if text for word in words(text)]
    found += [compact(word) for text in texts if text for word in _hyphenated(text)]
    for code in codes:
        if code:
            found += dict.fromkeys([*words(code), compact(code)])
    found += [form for phone in phones if phone for form in phone_forms(phone)]
    return f" {' '.join(found)[:LONGEST_BODY]} "


def _hyphenated(text: str) -> list[str]:
    if text.isascii() and "-" not in text:
        return []
    return [word for word in search_form(text).split() if "-" in word[1:-1]]


def phone_forms(phone: str) -> list[str]:
    """The digits by which a stored phone number is found: with its country code, and as dialed in its country."""
    if not _E164.fullmatch(phone):
        return _typed_phone(phone)
    digits = phone[1:]
    code = digits[: country_code_length(digits)]
    national = trunk_zero(code) + digits.removeprefix(code)
    return [digits, national] if national.startswith("0") else [digits]  # others are parts of the digits


def _typed_phone(phone: str) -> list[str]:
    """The digits of a phone number as written, without the dialing prefix, and with its country code if it has one."""
    digits = "".join(each for each in search_form(phone).replace("(0)", "") if each.isdigit())
    read = stored_phone(phone)
    forms = (digits, digits.lstrip("0"), read.digits if read else "")
    return list(dict.fromkeys(form for form in forms if form))


def amount_key(minor: int, currency: str) -> str:
    """An amount in major units, without separators and trailing zeros: the same for 1,500.00 and 1500."""
    exponent = CURRENCIES[currency].exponent if currency in CURRENCIES else 2
    whole, part = divmod(minor, 10**exponent)
    fraction = str(part).rjust(exponent, "0").rstrip("0") if exponent else ""
    return f"{whole}.{fraction}" if fraction else str(whole)


# ── What is typed ──


def read_query(typed: str) -> tuple[Term, ...]:
    """Everything that must be found. Empty if the text contains nothing to search for."""
    text = visible(typed[: 10 * LONGEST_QUERY])[:LONGEST_QUERY]
    found: list[Term] = []
    at = 0
    plain = _CLOSE_SIGN.sub(_unless_sign, _SCHEME.sub("", search_form(text)))
    for match in _NUMERIC.finditer(plain):
        found += _of_words(_without_label(plain[at : match.start()]), near_amount=True)
        term = _of_digits(match[0].strip())
        if term:
            found.append(term)
        at = match.end()
    found += _of_words(plain[at:], near_amount=at > 0)
    named, rest = found[:MOST_IDENTIFIERS], found[MOST_IDENTIFIERS:]
    return (*named, *(tuple(tuple(map(_unnamed, reading)) for reading in term) for term in rest))


def _unless_sign(found: re.Match[str]) -> str:
    sign = compact(found[1])
    return found[1] if sign and sign not in _CURRENCY_SIGNS else ""


def _unnamed(leaf: Leaf) -> Leaf:
    return replace(leaf, identifiers=())


def _without_label(text: str) -> str:
    """The text without a label of the number that follows it."""
    before, _, last = text.rstrip().rpartition(" ")
    return before if compact(last).rstrip("°") in _LABELS else text


def _of_words(text: str, near_amount: bool) -> list[Term]:
    tokens = (token for token in text.split() if not (near_amount and compact(token) in _CURRENCY_SIGNS))
    return [((leaf,),) for token in tokens if (leaf := _leaf(token)) is not None]


def _leaf(token: str) -> Leaf | None:
    phrase, code = " ".join(words(token)), compact(token)
    if not code:
        return None
    is_short = len(code) <= SHORT and code.isascii()
    parts = (f" {phrase}",) if is_short else tuple(dict.fromkeys((phrase, code)))
    identifiers = (identifier_key(token),) if len(code) >= SHORTEST_IDENTIFIER else ()
    return Leaf(parts, amount_readings(token), identifiers)


def _of_digits(text: str) -> Term | None:
    """A phone number, a payment number or an amount that contains spaces; or several of them side by side."""
    digits = "".join(each for each in text if each.isdigit())
    whole = _leaf(digits)
    if whole is None:
        return None
    phrase, amounts = " ".join(words(text)), amount_readings(text)
    if (
        amounts and _WITH_FRACTION.search(text) and not _ZERO_FIRST.match(text)
    ):  # no phone number starts and ends like this
        return ((Leaf((phrase,), amounts),),)
    parts = [*whole.parts, phrase if len(digits) > SHORT else f" {phrase}"]
    if len(digits) >= SHORTEST_PHONE:
        parts += _typed_phone(text.replace("(0)", ""))
    pieces = [leaf for token in text.split() if (leaf := _number_beside_others(token)) is not None]
    # The last piece first: numbers start alike and end differently, so most rows are decided by one comparison.
    side_by_side = (tuple(reversed(pieces)),) if 1 < len(pieces) <= MOST_PIECES else ()
    return (Leaf(_not_implied(parts, side_by_side), amounts, whole.identifiers),), *side_by_side


def _number_beside_others(token: str) -> Leaf | None:
    """One of several numbers side by side. One or two digits are found as a word of their own and three at an end of a
    word, since almost every group of rows has such digits somewhere: "0712 345 678" would read every row."""
    leaf, code = _leaf(token), compact(token)
    if leaf is None or not (code.isdigit() and code.isascii()) or len(code) > SHORT + 1:
        return leaf
    parts = (f" {code} ",) if len(code) <= SHORT else (f" {code}", f"{code} ")
    return replace(leaf, parts=parts)


def _not_implied(parts: list[str], readings: Iterable[tuple[Leaf, ...]]) -> tuple[str, ...]:
    """Parts without those that contain another one, or all of another reading: what has them is found anyway."""
    others = [*((Leaf((part,)),) for part in parts), *readings]

    def is_implied(part: str) -> bool:
        return any(all(any(one in part != one for one in leaf.parts) for leaf in reading) for reading in others)

    return tuple(part for part in dict.fromkeys(parts) if not is_implied(part))


def amount_readings(text: str) -> tuple[str, ...]:
    """Each amount that a text could mean in any currency, as ``amount_key`` writes it: ``1.500`` is one and a half or
    one and a half thousand. Empty if it is not an amount."""
    plain = _BEFORE_AMOUNT.sub("", "".join(text.split()))
    found = [
        amount_key(minor, currency) for currency in _BY_EXPONENT for minor in readings(plain, currency) if minor >= 0
    ]
    return tuple(dict.fromkeys(found))


# ── Which groups of payments can match ── Rows are searched in groups. A group's signature has a bit for each gram of
# its rows, so a group that lacks a bit of the typed text has no match. A gram is four characters of a body, three if
# none of them is a digit, or two beyond ASCII: shorter grams of digits occur in almost every group. The last part is
# of amounts: an amount has a single bit, and one in ten would share it with a gram of almost every group. Signatures are
# stored, so a change here needs a migration that drops them.

SIGNATURE_BYTES, SIGNATURE_PARTS = 1920, 8
_PART_BITS, _AMOUNTS = SIGNATURE_BYTES * 8 // SIGNATURE_PARTS, SIGNATURE_PARTS - 1
_FOUR, _THREE = re.compile(r"(?=(.{4}))", re.DOTALL), re.compile(r"(?=([^0-9]{3}))")
_TWO = re.compile(r"(?=([^\x00-\x7f]{2}))")

Bits = frozenset[tuple[int, int]]  # (part, bit of it)
# Alternative readings; a reading is leaves that must all be there, and a leaf is there with all bits of one of its ways.
Needed = tuple[tuple[tuple[Bits, ...], ...], ...]


def signature(rows: Iterable[tuple[str, str]]) -> tuple[bytes, ...]:
    """The signature of rows (body, amount), in its parts."""
    grams: set[str] = set()
    for body, amount in rows:
        grams.update(_FOUR.findall(body), _THREE.findall(body), _TWO.findall(body), (f"={amount}",))
    parts = [bytearray(_PART_BITS // 8) for _ in range(SIGNATURE_PARTS)]
    for part, bit in _bits(grams):
        parts[part][bit >> 3] |= 1 << (bit & 7)
    return tuple(bytes(part) for part in parts)


def bits_needed(terms: tuple[Term, ...]) -> tuple[Needed, ...]:
    """What a signature must contain for everything typed. Identifiers are not included."""
    found = []
    for term in terms:
        readings = []
        for reading in term:
            leaves = [[_bits(_grams_of_part(part)) for part in leaf.parts] for leaf in reading]
            for ways, leaf in zip(leaves, reading, strict=True):
                ways += [_bits([f"={amount}"]) for amount in leaf.amounts]
            # A leaf that can be there without any bit excludes no group.
            readings.append(tuple(tuple(ways) for ways in leaves if all(ways)))
        if all(readings):
            found.append(tuple(readings))
    return tuple(found)


def _grams_of_part(part: str) -> list[str]:
    if len(part) >= 4:
        return _FOUR.findall(part)
    return _THREE.findall(part) or _TWO.findall(part)


def _bits(grams: Iterable[str]) -> Bits:
    return frozenset(
        (_AMOUNTS, crc32(gram.encode()) % _PART_BITS)
        if gram[0] == "="
        else divmod(crc32(gram.encode()) % (_AMOUNTS * _PART_BITS), _PART_BITS)
        for gram in grams
    )
