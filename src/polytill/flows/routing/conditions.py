"""The conditions of rules: values that are compiled once into functions, and compared to find rules that never match.

What is not known about a payment is neither true nor false: a condition on it does not hold, and neither does its
negation (the strong three-valued logic of S. Kleene). So a rule never matches by mistake while something is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
NEW, KNOWN = "new", "known"


class Case(NamedTuple):
    """What conditions ask about a payment. None: not known."""

    currency: str
    amount: int | None = None  # minor units
    method: str | None = None
    country: str | None = None
    minute: int | None = None  # of the practice's day
    weekday: str | None = None
    metadata: Mapping[str, str] | None = None
    customer: str | None = None  # "new" or "known"
    email_domain: str | None = None
    phone_country: str | None = None


# The fields of which a condition lists values, as they are named in a policy.
LISTED = {
    "currency": "currency",
    "method": "method",
    "country": "country",
    "weekday": "weekday",
    "customer": "customer",
    "emailDomain": "email_domain",
    "phoneCountry": "phone_country",
}


@dataclass(frozen=True, slots=True)
class OneOf:
    """A field has one of these values."""

    field: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class AmountWithin:
    """The payment is in this currency and its amount is at least ``at_least`` and below ``below``, in minor units."""

    currency: str
    at_least: int | None
    below: int | None


@dataclass(frozen=True, slots=True)
class Between:
    """The practice's clock is at ``first`` or later and before ``until``, in minutes; past midnight if that is smaller."""

    first: int
    until: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """An entry of the payment's metadata has one of these values."""

    name: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class All:
    """Each part holds. Without parts: always."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold, for certain."""

    part: Condition


Condition = OneOf | AmountWithin | Between | Metadata | All | AnyOf | Not
Check = Callable[[Case], bool | None]


# ── Compiling ──


def compiled(condition: Condition) -> Check:
    """The condition as a function: whether it holds; None if that is not known."""
    match condition:
        case OneOf(field, values):
            return _one_of(Case._fields.index(field), values)
        case AmountWithin():
            return _amount(condition)
        case Between(first, until):
            return _between(first, until)
        case Metadata(name, values):
            return _metadata(name, values)
        case All(parts):
            return _all([compiled(part) for part in parts])
        case AnyOf(parts):
            return _any([compiled(part) for part in parts])
        case Not(part):
            return _not(compiled(part))


def _one_of(index: int, values: frozenset[str]) -> Check:
    def check(case: Case) -> bool | None:
        value = case[index]
        return None if value is None else value in values

    return check


def _amount(condition: AmountWithin) -> Check:
    currency, least, below = condition.currency, condition.at_least or 0, condition.below

    def check(case: Case) -> bool | None:
        if case.currency != currency:
            return False
        amount = case.amount
        return None if amount is None else amount >= least and (below is None or amount < below)

    return check


def _between(first: int, until: int) -> Check:
    def check(case: Case) -> bool | None:
        minute = case.minute
        if minute is None:
            return None
        return first <= minute < until if first < until else minute >= first or minute < until

    return check


def _metadata(name: str, values: frozenset[str]) -> Check:
    def check(case: Case) -> bool | None:
        return None if case.metadata is None else case.metadata.get(name) in values

    return check


def _all(checks: list[Check]) -> Check:
    def check(case: Case) -> bool | None:
        found: bool | None = True
        for each in checks:
            holds = each(case)
            if holds is False:
                return False
            if holds is None:
                found = None
        return found

    return checks[0] if len(checks) == 1 else check


def _any(checks: list[Check]) -> Check:
    def check(case: Case) -> bool | None:
        found: bool | None = False
        for each in checks:
            holds = each(case)
            if holds:
                return True
            if holds is None:
                found = None
        return found

    return check


def _not(part: Check) -> Check:
    def check(case: Case) -> bool | None:
        holds = part(case)
        return None if holds is None else not holds

    return check


# ── Comparing ──


class Implications:
    """Whether one condition holds whenever another one does. "Yes" is certain; "no" only means that it was not found."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], bool] = {}
        self._kept: list[Condition] = []  # an id is only unique while its object lives

    def implies(self, one: Condition, other: Condition) -> bool:
        """Whether ``other`` holds whenever ``one`` does."""
        pair = id(one), id(other)
        if pair not in self._known:
            self._kept += [one, other]
            self._known[pair] = self._found(one, other)
        return self._known[pair]

    def _found(self, one: Condition, other: Condition) -> bool:
        if isinstance(one, AnyOf):
            return all(self.implies(part, other) for part in one.parts)
        if isinstance(other, All):
            return all(self.implies(one, part) for part in other.parts)
        if isinstance(one, All) and any(self.implies(part, other) for part in one.parts):
            return True
        if isinstance(other, AnyOf):
            return any(self.implies(one, part) for part in other.parts)
        return _leaf_implies(one, other)


def _leaf_implies(one: Condition, other: Condition) -> bool:
    match one, other:
        case OneOf(field, values), OneOf(same, more):
            return field == same and values <= more
        case AmountWithin(currency), OneOf("currency", more):
            return currency in more
        case Metadata(name, values), Metadata(same, more):
            return name == same and values <= more
        case AmountWithin(currency, least, below), AmountWithin(same, lower, higher):
            is_above = (least or 0) >= (lower or 0)
            is_below = higher is None or (below is not None and below <= higher)
            return currency == same and is_above and is_below
    return one == other
