"""The time of a routing decision with 10 providers and 50 rules, beside a rules library of plain Python on the same rules."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from business_rules.engine import check_conditions_recursively
from business_rules.variables import BaseVariables, numeric_rule_variable, string_rule_variable

from benchmarks.load import WrongAnswer
from benchmarks.measuring import Size
from benchmarks.results import Aim, Result
from polytill.domain.routing import Strategy
from polytill.domain.states import Environment, ProviderStatus
from polytill.flows.routing.conditions import WEEKDAYS, Case
from polytill.flows.routing.decision import decide
from polytill.flows.routing.eligibility import Candidate, Wanted
from polytill.flows.routing.facts import Charged, Line, RoutingFacts, Statistics, Traffic, Traits, draw_of
from polytill.flows.routing.health import ProviderHealth, observe
from polytill.flows.routing.policy import Policy
from polytill.flows.routing.policy_reading import parse_policy
from polytill.flows.routing.strategies import case_of
from polytill.providers.registry import BUILT_IN
from polytill.storage.catalog import CurrencySupport

PROVIDERS, RULES = 10, 50
MOST_US = 200
CURRENCIES, METHODS = ("NGN", "GHS", "KES"), ("card", "ussd", "bank_transfer", "mobile_money")
DEPARTMENTS = ("dental", "lab", "pharmacy", "surgery")
CODES = tuple(f"provider{number}" for number in range(PROVIDERS))
NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)


def routing(size: Size) -> Result:
    """Each decision is timed alone. The library finds the rule only; the product decides who takes the payment."""
    chance = random.Random(7)
    rules = [_rule(chance, number) for number in range(RULES)]
    document = {"strategy": "rules", "rules": rules, "default": [CODES[0]], "fallback": "least_cost"}
    policy, errors = parse_policy(document, CODES)
    if policy is None:
        raise WrongAnswer(f"The rules of the benchmark are not valid: {errors[0]}")
    everyone, known = _candidates(), _statistics(chance)
    asked = [_payment(chance, number, policy, known) for number in range(max(50, size.search_payments // 50))]
    theirs = [(rule["name"], _for_library(rule["when"])) for rule in rules]
    _same_rules(policy, theirs, asked)
    programs: dict[str, Callable[[Asked], Any]] = {
        "library: find the rule": lambda one: _found_by_library(theirs, one),
        "product: find the rule": lambda one: policy.rules and policy.rules.match(one.case),
        "product: decide by 50 rules": lambda one: decide(everyone, one.wanted, one.facts),
    }
    for strategy in Strategy:
        if strategy is not Strategy.rules:
            its = Policy(strategy, weights=dict.fromkeys(CODES, 1))
            programs[f"product: decide by {strategy}"] = lambda one, its=its: decide(  # type: ignore[misc]
                everyone, one.wanted, RoutingFacts(one.facts.at, one.facts.draw, its, 1, known)
            )
    found: dict[str, list[list[float]]] = {name: [] for name in programs}
    for _ in range(size.rounds):
        for name, program in programs.items():
            found[name].append(_times(program, asked))
    return _result(found, len(asked), size.rounds)


def _result(found: dict[str, list[list[float]]], decisions: int, rounds: int) -> Result:
    figures = {name: _figures(its) for name, its in found.items()}
    ours, library = (figures[name] for name in ("product: find the rule", "library: find the rule"))
    whole = figures["product: decide by 50 rules"]
    return Result(
        "routing",
        f"a decision with {PROVIDERS} providers and {RULES} rules",
        ["program", "CPU µs, median", "p99", "dearest", "p99 with interruptions"],
        [[name, *(f"{value:.1f}" for value in its.values())] for name, its in figures.items()],
        figures,
        [
            Aim("CPU µs of a decision by 50 rules, p99", whole["p99"], MOST_US),
            Aim("time to find the rule: the product / the library", ours["median"] / library["median"], 0.2),
        ],
        [f"Each of {decisions:,} decisions timed alone in {rounds} rounds, and counted with their median."],
    )


def _figures(rounds: list[list[float]]) -> dict[str, float]:
    # A decision that the machine interrupts takes longer in one round and not in the others, so each decision counts with
    # the median of its rounds. A decision that is dear stays dear in every round.
    each = sorted(statistics.median(times) for times in zip(*rounds, strict=True))
    everything = sorted(time for times in rounds for time in times)
    return {
        "median": round(_at(each, 0.5), 1),
        "p99": round(_at(each, 0.99), 1),
        "dearest": round(each[-1], 1),
        "p99_with_interruptions": round(_at(everything, 0.99), 1),
    }


def _at(ranked: Sequence[float], share: float) -> float:
    return ranked[min(int(len(ranked) * share), len(ranked) - 1)]


def _times(program: Callable[[Asked], Any], asked: Sequence[Asked]) -> list[float]:
    # CPU time of this thread: the clock on the wall would count the machine's other work.
    took = []
    for one in asked:
        began = time.thread_time_ns()
        program(one)
        took.append((time.thread_time_ns() - began) / 1_000)
    return took


# ── The same work for both ──


@dataclass(frozen=True)
class Asked:
    """One payment, as the product and as the library see it."""

    wanted: Wanted
    facts: RoutingFacts
    case: Case
    variables: Variables


class Variables(BaseVariables):  # type: ignore[misc]
    """A payment for the library."""

    def __init__(self, case: Case) -> None:
        self._case = case

    @string_rule_variable  # type: ignore[untyped-decorator]
    def currency(self) -> str:
        """The currency."""
        return self._case.currency

    @string_rule_variable  # type: ignore[untyped-decorator]
    def method(self) -> str:
        """The payment method."""
        return self._case.method or ""

    @string_rule_variable  # type: ignore[untyped-decorator]
    def weekday(self) -> str:
        """The day of the week."""
        return self._case.weekday or ""

    @string_rule_variable  # type: ignore[untyped-decorator]
    def department(self) -> str:
        """An entry of the metadata."""
        return (self._case.metadata or {}).get("department", "")

    @numeric_rule_variable  # type: ignore[untyped-decorator]
    def amount(self) -> int:
        """The amount in minor units."""
        return self._case.amount or 0


def _rule(chance: random.Random, number: int) -> dict[str, Any]:
    """Rules over several fields; most payments match one of the later ones, or none."""
    currency, least = chance.choice(CURRENCIES), chance.randrange(50) * 10_000
    when: dict[str, Any] = {
        "amount": {"currency": currency, "atLeast": least, "below": least + 100_000 + number},
        "method": chance.sample(METHODS, 2),
        "weekday": chance.sample(WEEKDAYS, 4),
    }
    if number % 2:
        when["metadata"] = {"department": chance.choice(DEPARTMENTS)}
    return {"name": f"rule {number}", "when": when, "providers": chance.sample(CODES, 3)}


def _for_library(when: dict[str, Any]) -> dict[str, Any]:
    def any_of(name: str, values: Sequence[str]) -> dict[str, Any]:
        return {"any": [{"name": name, "operator": "equal_to", "value": value} for value in values]}

    amount = when["amount"]
    parts: list[dict[str, Any]] = [
        {"name": "currency", "operator": "equal_to", "value": amount["currency"]},
        {"name": "amount", "operator": "greater_than_or_equal_to", "value": amount["atLeast"]},
        {"name": "amount", "operator": "less_than", "value": amount["below"]},
        any_of("method", when["method"]),
        any_of("weekday", when["weekday"]),
    ]
    if "metadata" in when:
        parts.append(any_of("department", [when["metadata"]["department"]]))
    return {"all": parts}


def _found_by_library(rules: Sequence[tuple[str, dict[str, Any]]], one: Asked) -> str | None:
    for name, conditions in rules:
        if check_conditions_recursively(conditions, one.variables):
            return name
    return None


def _same_rules(policy: Policy, theirs: Sequence[tuple[str, dict[str, Any]]], asked: Sequence[Asked]) -> None:
    assert policy.rules is not None
    matched = 0
    for one in asked:
        ours, library = policy.rules.match(one.case).rule, _found_by_library(theirs, one)
        decided = decide(_candidates(), one.wanted, one.facts).ranked[0].about["rule"]
        if not ours == library == (None if decided == "default" else decided):
            raise WrongAnswer(f"The product found {ours}, decided by {decided}, and the library found {library}.")
        matched += ours is not None
    if not len(asked) / 10 < matched < len(asked):
        raise WrongAnswer(f"{matched} of {len(asked)} payments match a rule, so the comparison says little.")


def _candidates() -> list[Candidate]:
    handlers = [BUILT_IN[code] for code in sorted(BUILT_IN)]
    found = []
    for number, code in enumerate(CODES):
        handler = handlers[number % len(handlers)]
        found.append(
            Candidate(
                code=code,
                name=f"Provider {number}",
                config_id=number,
                environment=Environment.production,
                is_enabled=True,
                catalog_status=ProviderStatus.active,
                handler_missing=None,
                practice_currencies=frozenset(CURRENCIES),
                support=CurrencySupport("NGN", False, 10_000 + 700 * number, 100 * (PROVIDERS - number)),
                methods=frozenset(METHODS),
                captures_manually=True,
                is_default=number == 3,
                priority=number % 4,
                catalog_priority=number,
                customer_fields=partial(handler.customer_fields, "NGN"),
            )
        )
    return found


def _statistics(chance: random.Random) -> Statistics:
    lines: list[Line] = [
        (code, currency, method) for code in CODES for currency in CURRENCIES for method in (None, *METHODS)
    ]
    sick = ProviderHealth()
    for second in range(5):
        sick = observe(sick, True, NOW - timedelta(seconds=second))
    return Statistics(
        {line: Traffic(chance.randrange(10**6), chance.randrange(10**5)) for line in lines},
        {line: Charged(100, 10**6, chance.randrange(10**4, 2 * 10**4)) for line in lines},
        {CODES[1]: sick, **{code: observe(ProviderHealth(), False, NOW) for code in CODES[2:]}},
    )


def _payment(chance: random.Random, number: int, policy: Policy, known: Statistics) -> Asked:
    wanted = Wanted(
        chance.choice(CURRENCIES),
        chance.randrange(1, 500_000),
        chance.choice(METHODS),
        customer_fields=frozenset({"email", "name", "phone"}),
    )
    at = NOW + timedelta(days=chance.randrange(7))
    traits = Traits("NG", {"department": chance.choice(DEPARTMENTS)}, True, "clinic.example", "NG")
    facts = RoutingFacts(at, draw_of(1, str(number)), policy, 1, known, traits)
    case = case_of(wanted, facts)
    return Asked(wanted, facts, case, Variables(case))
