"""Rules: the first one whose condition holds names providers in order; a default follows at the end.

The rules say who is first, never who may take a payment: the providers that a rule does not name follow in the order of
the policy's fallback, so that no payment is refused because of a rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from polytill.flows.routing.conditions import Case, Check, Condition, compiled


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition, and the providers that it names, in order."""

    name: str
    when: Condition
    providers: tuple[str, ...]
    description: str | None = None


@dataclass(frozen=True, slots=True)
class RuleTest:
    """A payment, who is available, and the provider that must be first; None: no rule names one of them."""

    name: str | None
    case: Case
    available: frozenset[str]
    expect: str | None


@dataclass(frozen=True, slots=True)
class Named:
    """The providers that come first, and the rule that says so; None: the default."""

    rule: str | None
    providers: tuple[str, ...]

    def first_of(self, available: Iterable[str]) -> str | None:
        """The first of them that is available."""
        able = frozenset(available)
        return next((code for code in self.providers if code in able), None)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules in order, the default at the end, and the tests beside them. Compiled once."""

    rules: tuple[Rule, ...]
    default: tuple[str, ...]
    tests: tuple[RuleTest, ...] = ()
    _checks: tuple[tuple[Check, Named], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checks = tuple((compiled(rule.when), Named(rule.name, rule.providers)) for rule in self.rules)
        object.__setattr__(self, "_checks", checks)

    def match(self, case: Case) -> Named:
        """The providers of the first rule whose condition holds for certain, else of the default."""
        for check, named in self._checks:
            if check(case):
                return named
        return Named(None, self.default)
