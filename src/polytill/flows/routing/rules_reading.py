"""Reads the rules of a policy and the tests beside them from JSON, and runs the tests."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from polytill.domain.currencies import CURRENCIES
from polytill.domain.localities import COUNTRIES
from polytill.domain.metadata import MAX_METADATA_NAME, MAX_METADATA_VALUE
from polytill.domain.money import MAX_MINOR
from polytill.domain.routing import PolicyError
from polytill.flows.routing.conditions import (
    KNOWN,
    LISTED,
    NEW,
    WEEKDAYS,
    All,
    AmountWithin,
    AnyOf,
    Between,
    Case,
    Condition,
    Implications,
    Metadata,
    Not,
    OneOf,
)
from polytill.flows.routing.reading import Reading, at
from polytill.flows.routing.rules import Rule, RuleSet, RuleTest

MAX_RULES = 200
MAX_TESTS = 200
MAX_CONDITIONS = 1_000  # in all rules together
MAX_DEPTH = 6
MAX_VALUES = 50
MAX_PROVIDERS = 50
MAX_NAME, MAX_DESCRIPTION, MAX_VALUE = 80, 500, 100
DAY = 24 * 60

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_ALLOWED: Mapping[str, Collection[str]] = {
    "currency": CURRENCIES,
    "country": COUNTRIES,
    "phoneCountry": COUNTRIES,
    "weekday": WEEKDAYS,
    "customer": (NEW, KNOWN),
}
_CONDITION = (*LISTED, "amount", "time", "metadata", "all", "any", "not")
_GIVEN = (*LISTED, "amount", "time", "metadata", "available")


class RuleReading:
    """Reads the parts of one policy; the number of conditions is counted over all rules."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._conditions = 0

    def rule_set(self, given: Mapping[str, Any]) -> RuleSet:
        """The rules, the default and the tests of a policy. Errors are added to the reading."""
        before = len(self._reading.errors)
        rules = [
            self._rule(item, place)
            for item, place in self._reading.list(given.get("rules", []), "/rules", MAX_RULES, least=0)
        ]
        default = self._providers(given.get("default", []), "/default", least=0)
        items = self._reading.list(given.get("tests", []), "/tests", MAX_TESTS, least=0)
        tests = [self._test(item, place) for item, place in items]
        found = RuleSet(tuple(rules), default, tuple(tests))
        if len(self._reading.errors) == before:
            self._check_names(found)
            self._check_reachable(found)
            self._run_tests(found)
        return found

    def _rule(self, value: Any, pointer: str) -> Rule:
        reading = self._reading
        given = reading.object(value, pointer, ("name", "description", "when", "providers"), ("name", "providers"))
        name = reading.text(given["name"], at(pointer, "name"), MAX_NAME) if "name" in given else None
        about = None
        if given.get("description") is not None:
            about = reading.text(given["description"], at(pointer, "description"), MAX_DESCRIPTION)
        when = self._condition(given.get("when", {}), at(pointer, "when"), 1, least=0)
        providers = self._providers(given["providers"], at(pointer, "providers")) if "providers" in given else ()
        return Rule(name or "", when, providers, about)

    def _providers(self, value: Any, pointer: str, least: int = 1) -> tuple[str, ...]:
        found: list[str] = []
        for item, place in self._reading.list(value, pointer, MAX_PROVIDERS, least):
            code = self._reading.provider(item, place)
            if code is not None and code in found:
                self._reading.wrong(place, PolicyError.repeated, value=code)
            elif code is not None:
                found.append(code)
        return tuple(found)

    # ── Conditions ──

    def _condition(self, value: Any, pointer: str, depth: int, least: int = 1) -> Condition:
        reading = self._reading
        if depth > MAX_DEPTH:
            reading.wrong(pointer, PolicyError.too_deep, most=MAX_DEPTH)
            return All(())
        given = reading.object(value, pointer, _CONDITION)
        if isinstance(value, dict) and len(value) < least:
            reading.wrong(pointer, PolicyError.empty)
        parts = [self._part(name, given[name], at(pointer, name), depth) for name in given]
        self._conditions += len(parts)
        if self._conditions > MAX_CONDITIONS >= self._conditions - len(parts):
            reading.wrong(pointer, PolicyError.too_many, most=MAX_CONDITIONS)
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _part(self, name: str, value: Any, pointer: str, depth: int) -> Condition:
        if name in LISTED:
            return OneOf(LISTED[name], frozenset(self._values(name, value, pointer)))
        match name:
            case "amount":
                return self._amount(value, pointer)
            case "time":
                return self._time(value, pointer)
            case "metadata":
                return self._metadata(value, pointer)
            case "not":
                return Not(self._condition(value, pointer, depth + 1))
        items = self._reading.list(value, pointer, MAX_VALUES)
        parts = tuple(self._condition(item, place, depth + 1) for item, place in items)
        return All(parts) if name == "all" else AnyOf(parts)

    def _values(self, name: str, value: Any, pointer: str) -> tuple[str, ...]:
        if isinstance(value, list):
            return self._reading.each(value, pointer, MAX_VALUES, lambda item, place: self._value(name, item, place))
        one = self._value(name, value, pointer)
        return () if one is None else (one,)

    def _value(self, name: str, value: Any, pointer: str) -> str | None:
        reading = self._reading
        text = reading.text(value, pointer, MAX_METADATA_VALUE if name == "metadata" else MAX_VALUE)
        if text is None:
            return None
        if name == "emailDomain":
            text = text.lower()
            if not _DOMAIN.fullmatch(text):
                reading.wrong(pointer, PolicyError.not_domain)
                return None
        allowed = _ALLOWED.get(name)
        if allowed is not None and text not in allowed:
            if len(allowed) < 10:
                reading.wrong(pointer, PolicyError.unknown_value, value=text, allowed=", ".join(allowed))
            else:
                code = PolicyError.not_currency if name == "currency" else PolicyError.not_country
                reading.wrong(pointer, code, value=text)
            return None
        return text

    def _amount(self, value: Any, pointer: str) -> AmountWithin:
        reading = self._reading
        if isinstance(value, int) or (isinstance(value, dict) and "currency" not in value):
            reading.wrong(pointer, PolicyError.amount_without_currency)
        given = reading.object(value, pointer, ("currency", "atLeast", "below")) if not isinstance(value, int) else {}
        currency = self._value("currency", given["currency"], at(pointer, "currency")) if "currency" in given else None
        bounds = [
            reading.integer(given[name], at(pointer, name), 0, MAX_MINOR) if name in given else None
            for name in ("atLeast", "below")
        ]
        if given and "atLeast" not in given and "below" not in given:
            reading.wrong(pointer, PolicyError.missing_field, field="atLeast")
        least, below = bounds
        if below is not None and (least or 0) >= below:
            reading.wrong(pointer, PolicyError.never_true)
        return AmountWithin(currency or "", least, below)

    def _time(self, value: Any, pointer: str) -> Between:
        given = self._reading.object(value, pointer, ("from", "until"), ("from", "until"))
        first, until = (self._minute(given[n], at(pointer, n)) if n in given else None for n in ("from", "until"))
        if first is not None and first in (until, DAY):
            self._reading.wrong(pointer, PolicyError.never_true)
        return Between(first or 0, until or 0)

    def _minute(self, value: Any, pointer: str) -> int | None:
        text = self._reading.text(value, pointer, MAX_VALUE)
        if text is None:
            return None
        if not _TIME.fullmatch(text):
            self._reading.wrong(pointer, PolicyError.not_time)
            return None
        return int(text[:2]) * 60 + int(text[3:])

    def _metadata(self, value: Any, pointer: str) -> Condition:
        if not isinstance(value, dict):
            self._reading.wrong(pointer, PolicyError.not_object)
            return All(())
        if not value:
            self._reading.wrong(pointer, PolicyError.empty)
        if len(value) > MAX_VALUES:
            self._reading.wrong(pointer, PolicyError.too_many, most=MAX_VALUES)
            return All(())
        parts = []
        for name, values in value.items():
            place = at(pointer, name)
            self._reading.text(name, place, MAX_METADATA_NAME)
            parts.append(Metadata(name, frozenset(self._values("metadata", values, place))))
        self._conditions += len(parts) - 1
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    # ── Tests ──

    def _test(self, value: Any, pointer: str) -> RuleTest:
        reading = self._reading
        given = reading.object(value, pointer, ("name", "given", "expect"), ("given", "expect"))
        name = reading.text(given["name"], at(pointer, "name"), MAX_NAME) if "name" in given else None
        expect = None
        if given.get("expect") is not None:
            expect = reading.provider(given["expect"], at(pointer, "expect"))
        place = at(pointer, "given")
        about = reading.object(given["given"], place, _GIVEN, ("currency",)) if "given" in given else {}
        values: dict[str, Any] = {}
        for one in about:
            if one in LISTED:
                values[LISTED[one]] = self._value(one, about[one], at(place, one))
        if "amount" in about:
            values["amount"] = reading.integer(about["amount"], at(place, "amount"), 0, MAX_MINOR)
        if "time" in about:
            values["minute"] = self._minute(about["time"], at(place, "time"))
        values["metadata"] = self._given_metadata(about.get("metadata", {}), at(place, "metadata"))
        available = reading.providers
        if "available" in about:
            available = frozenset(self._providers(about["available"], at(place, "available")))
        return RuleTest(name, Case(**{"currency": "", **values}), available, expect)

    def _given_metadata(self, value: Any, pointer: str) -> dict[str, str]:
        if not isinstance(value, dict) or len(value) > MAX_VALUES:
            self._reading.wrong(pointer, PolicyError.not_object)
            return {}
        read = {name: self._reading.text(one, at(pointer, name), MAX_METADATA_VALUE) for name, one in value.items()}
        return {name: one for name, one in read.items() if one is not None}

    # ── The whole ──

    def _check_names(self, found: RuleSet) -> None:
        seen = set()
        for number, rule in enumerate(found.rules):
            if rule.name.casefold() in seen:
                self._reading.wrong(f"/rules/{number}/name", PolicyError.repeated, value=rule.name)
            seen.add(rule.name.casefold())

    def _check_reachable(self, found: RuleSet) -> None:
        known = Implications()
        for number, rule in enumerate(found.rules):
            for earlier in found.rules[:number]:
                if known.implies(rule.when, earlier.when):
                    self._reading.wrong(f"/rules/{number}", PolicyError.unreachable, rule=earlier.name)
                    break

    def _run_tests(self, found: RuleSet) -> None:
        for number, test in enumerate(found.tests):
            named = found.match(test.case)
            first = named.first_of(test.available)
            if first != test.expect:
                self._reading.wrong(
                    f"/tests/{number}/expect",
                    PolicyError.test_failed,
                    expected=test.expect or "null",
                    found=first or "null",
                    rule=named.rule or "default",
                )
