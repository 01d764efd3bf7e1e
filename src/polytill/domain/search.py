"""How staff search payments: what is stored of a payment to be found by, and how a typed text is read.

Both sides go through ``search_form``, so a database only compares bytes, and every engine finds the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from polytill.domain.currencies import CURRENCIES
from polytill.domain.identifiers import identifier_key
from polytill.domain.text import compact, search_form, visible, words

LONGEST_QUERY, MOST_WORDS, LONGEST_BODY = 200, 8, 4000
# A word so short is only looked for where words begin: it stands inside of almost every text.
SHORT = 2
SHORTEST_IDENTIFIER = 4
SHORTEST_PHONE = 6

# Digits and what people put between them, between white space; "#" and "+" may stand in front.
_NUMERIC = re.compile(r"(?<!\S)[#+(]{0,3}\d[\d\s().,'/\-]*(?!\S)")
_WITH_FRACTION = re.compile(r"\d[.,]\d{1,2}$")
_GROUPS = ".,'"
_BEFORE_AMOUNT = re.compile(r"^[^\d\s]{1,4}(?=\d)|(?<=\d)[^\d\s]{1,4}$")
# As amounts are displayed: signs that are no words by themselves, beside the ISO code.
_CURRENCY_SIGNS = frozenset(["ksh", "tsh", "ush", "sh", "gh", "fcfa", "cfa", "us", "ca", "a", "r", "rs"])


@dataclass(frozen=True, slots=True)
class Leaf:
    """One thing to be found: any of these parts of the stored words, amounts, or whole identifiers."""

    parts: tuple[str, ...]
    amounts: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ()


# Any of several readings of one piece of what was typed; each is leaves that all have to be found.
Term = tuple[tuple[Leaf, ...], ...]


# ── What is stored ──


def search_body(*texts: str | None, codes: tuple[str | None, ...] = (), phones: tuple[str | None, ...] = ()) -> str:
    """The words that a payment is found by, with a space around each. ``codes`` are found with and without punctuation."""
    found = [word for text in texts if text for word in words(text)]
    for code in codes:
        if code:
            found += dict.fromkeys([*words(code), compact(code)])
    for phone in phones:
        if phone:
            found += phone_forms(phone)
    return f" {' '.join(found)[:LONGEST_BODY]} "


def phone_forms(phone: str) -> list[str]:
    """The digits of a phone number as it is written, and without what stands before them to dial."""
    digits = "".join(each for each in search_form(phone).replace("(0)", "") if each.isdigit())
    return list(dict.fromkeys(form for form in (digits, digits.lstrip("0")) if form))


def amount_key(minor: int, currency: str) -> str:
    """An amount in major units, without separators and without zeros at its end: the same for 1,500.00 and 1500."""
    exponent = CURRENCIES[currency].exponent if currency in CURRENCIES else 2
    whole, part = divmod(minor, 10**exponent)
    fraction = str(part).rjust(exponent, "0").rstrip("0") if exponent else ""
    return f"{whole}.{fraction}" if fraction else str(whole)


# ── What is typed ──


def read_query(typed: str) -> tuple[Term, ...]:
    """What has to be found, all of it. Empty where nothing that could be found was typed."""
    text = visible(typed[:LONGEST_QUERY])
    found: list[Term] = []
    at = 0
    plain = search_form(text)
    for match in _NUMERIC.finditer(plain):
        found += _of_words(plain[at : match.start()], near_amount=True)
        term = _of_digits(match[0].strip())
        if term:
            found.append(term)
        at = match.end()
    found += _of_words(plain[at:], near_amount=at > 0)
    return tuple(found[:MOST_WORDS])


def _of_words(text: str, near_amount: bool) -> list[Term]:
    terms: list[Term] = []
    for token in text.split():
        if near_amount and "".join(words(token)) in _CURRENCY_SIGNS:
            continue
        leaf = _leaf(token)
        if leaf is not None:
            terms.append(((leaf,),))
    return terms


def _leaf(token: str) -> Leaf | None:
    phrase, code = " ".join(words(token)), compact(token)
    if not code:
        return None
    is_short = len(code) <= SHORT and code.isascii()
    parts = (f" {phrase}",) if is_short else tuple(dict.fromkeys((phrase, code)))
    identifiers = (identifier_key(token),) if len(code) >= SHORTEST_IDENTIFIER else ()
    return Leaf(parts, amount_readings(token), identifiers)


def _of_digits(text: str) -> Term | None:
    """A phone number, a payment's number or an amount with spaces in it; or several that stand side by side."""
    digits = "".join(each for each in text if each.isdigit())
    whole = _leaf(digits)
    if whole is None:
        return None
    if _WITH_FRACTION.search(text):  # no phone number ends so
        return ((Leaf((" ".join(words(text)),), amount_readings(text)),),)
    parts, trunk = list(whole.parts), text.replace("(0)", "")
    if len(digits) >= SHORTEST_PHONE:
        parts += phone_forms(trunk)
    as_one = Leaf(tuple(dict.fromkeys(parts)), amount_readings(text), whole.identifiers)
    pieces = [leaf for token in text.split() if (leaf := _leaf(token)) is not None]
    return ((as_one,), tuple(pieces)) if len(pieces) > 1 else ((as_one,),)


def amount_readings(text: str) -> tuple[str, ...]:
    """Each amount that a text could mean, as ``amount_key`` writes it: ``1.500`` is one and a half or one and a half
    thousand. Empty where it is no amount."""
    plain = _BEFORE_AMOUNT.sub("", "".join(text.split()))
    if not plain or not all(each.isdigit() or each in _GROUPS for each in plain) or not plain[-1].isdigit():
        return ()
    plain = plain.replace("'", "")
    marks = [each for each in plain if each in ".,"]
    readings = []
    if not marks or len(set(marks[:-1])) <= 1:
        last = max(plain.rfind("."), plain.rfind(","))
        grouped = "".join(each for each in plain if each.isdigit())
        if not marks or (len(set(marks)) == 1 and len(plain) - last == 4):
            readings.append(_amount(grouped, ""))
        if len(marks) == 1 or len(set(marks)) == 2:
            before = "".join(each for each in plain[:last] if each.isdigit())
            readings.append(_amount(before, plain[last + 1 :]))
    return tuple(dict.fromkeys(readings))


def _amount(whole: str, fraction: str) -> str:
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole
