"""Reads a routing policy from JSON: a policy, or every error with its pointer. Never an exception, in bounded time."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from polytill.domain.errors import FieldError
from polytill.domain.routing import PolicyError, Strategy
from polytill.flows.routing.policy import ENOUGH_PAYMENTS, EXPLORE_PERCENT, SMALLEST_POOL, Policy
from polytill.flows.routing.reading import Reading, at, load
from polytill.flows.routing.rules_reading import RuleReading

MAX_PROVIDERS = 50
MAX_WEIGHT = 1_000_000
MAX_ENOUGH = 10_000
MAX_EXPLORE_PERCENT = 50
_STRATEGIES = {strategy.value: strategy for strategy in Strategy}
_FALLBACKS = {strategy.value: strategy for strategy in Strategy if strategy is not Strategy.rules}
# The parameters of each strategy.
_PARAMETERS = {
    Strategy.priority: (),
    Strategy.least_cost: ("enoughPayments",),
    Strategy.weighted: ("weights",),
    Strategy.success_rate: ("explorePercent",),
    Strategy.rules: ("rules", "default", "tests"),
}
_FIELDS = ("strategy", "fallback", *(name for names in _PARAMETERS.values() for name in names))


class Parsed(NamedTuple):
    """A policy that was read. ``policy``: None if there are ``errors``. ``failed``: its own tests that fail; it can be kept
    and tried, and is not published."""

    policy: Policy | None
    errors: tuple[FieldError, ...]
    failed: tuple[FieldError, ...] = ()


def parse_draft(document: Any, providers: Collection[str]) -> Parsed:
    """A policy from a JSON value, whether its tests pass or not. ``providers``: the codes in the catalog."""
    reading = Reading(providers)
    policy = _policy(reading, document)
    return Parsed(None if reading.errors else policy, tuple(reading.errors), tuple(reading.failed))


def parse_draft_text(text: str | bytes, providers: Collection[str]) -> Parsed:
    """The same from the text of a JSON document."""
    reading = Reading(providers)
    document = load(reading, text)
    return Parsed(None, tuple(reading.errors)) if reading.errors else parse_draft(document, providers)


def parse_policy(document: Any, providers: Collection[str]) -> tuple[Policy | None, tuple[FieldError, ...]]:
    """A policy from a JSON value, or all errors. A test that fails is an error."""
    found = parse_draft(document, providers)
    return None if found.failed else found.policy, found.errors + found.failed


def _policy(reading: Reading, document: Any) -> Policy:
    given = reading.object(document, "", _FIELDS, ("strategy",))
    strategy = reading.one_of(given["strategy"], "/strategy", _STRATEGIES) if "strategy" in given else None
    fallback = reading.one_of(given["fallback"], "/fallback", _FALLBACKS) if "fallback" in given else Strategy.priority
    if strategy is None or fallback is None:
        return Policy()
    used = {*_PARAMETERS[strategy], *_PARAMETERS[fallback], "strategy", "fallback"}
    if strategy is Strategy.priority:
        used = {"strategy"}
    for name in given:
        if name not in used:
            reading.wrong(at("", name), PolicyError.unused_field, field=name, strategy=strategy.value)
    enough = reading.integer(given.get("enoughPayments", ENOUGH_PAYMENTS), "/enoughPayments", SMALLEST_POOL, MAX_ENOUGH)
    explore = reading.integer(given.get("explorePercent", EXPLORE_PERCENT), "/explorePercent", 0, MAX_EXPLORE_PERCENT)
    weights = {}
    if "weights" in used:
        if "weights" not in given:
            reading.wrong("", PolicyError.missing_field, field="weights")
        else:
            weights = _weights(reading, given["weights"])
    rules = None
    if strategy is Strategy.rules:
        for name in ("rules", "default"):
            if name not in given:
                reading.wrong("", PolicyError.missing_field, field=name)
        rules = RuleReading(reading).rule_set(given)
    return Policy(strategy, fallback, weights, enough or ENOUGH_PAYMENTS, explore or 0, rules)


def _weights(reading: Reading, value: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    if not isinstance(value, dict):
        reading.wrong("/weights", PolicyError.not_object)
        return found
    if len(value) > MAX_PROVIDERS:
        reading.wrong("/weights", PolicyError.too_many, most=MAX_PROVIDERS)
        return found
    for code, weight in value.items():
        place = at("/weights", code)
        known = reading.provider(code, place)
        share = reading.integer(weight, place, 0, MAX_WEIGHT)
        if known is not None and share is not None:
            found[known] = share
    if not any(found.values()) and not reading.errors:
        reading.wrong("/weights", PolicyError.no_weight)
    return found
