"""Two policies on the same past payments: who would have taken them, at what fee, and how many would have succeeded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from polytill.domain.money import PPM
from polytill.flows.routing.decision import Decision, decide
from polytill.flows.routing.eligibility import Candidate, Wanted
from polytill.flows.routing.facts import RoutingFacts
from polytill.flows.routing.fees import EstimatedFee, estimated_fee
from polytill.flows.routing.health import availability
from polytill.flows.routing.policy import Policy
from polytill.flows.routing.success import conversion


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is expected of a provider for one payment."""

    fee: EstimatedFee | None  # None: not known
    success_ppm: int  # the expected share of such payments that are paid
    attempts: int  # how many attempts that rests on; 0: on an assumption


def estimate(candidate: Candidate, wanted: Wanted, facts: RoutingFacts) -> Estimate:
    """The fee of a payment and its expected success at a provider."""
    statistics = facts.statistics
    health = statistics.health.get(candidate.code)
    works = PPM if health is None else availability(health, facts.at)
    found = conversion(statistics, candidate.code, wanted.currency, wanted.payment_method)
    fee = estimated_fee(candidate, wanted, statistics, facts.policy.enough_payments)
    return Estimate(fee, found.ppm * works // PPM, found.attempts)


@dataclass(frozen=True, slots=True)
class Past:
    """A past payment as it would be decided now. ``took``: the provider that really took it."""

    wanted: Wanted
    candidates: tuple[Candidate, ...]
    facts: RoutingFacts  # the policy in them does not matter
    took: str | None = None


@dataclass(slots=True)
class Sums:
    """Expectations of one policy for payments in one currency: only payments with an estimate of both policies count."""

    payments: int = 0
    fees: int = 0  # minor units
    with_fees: int = 0
    success_ppm: int = 0  # the sum over ``payments``

    @property
    def mean_success_ppm(self) -> int:
        """The expected share of payments that are paid."""
        return self.success_ppm // self.payments if self.payments else 0


@dataclass(slots=True)
class Comparison:
    """The report. ``took``: who really took the payments. Counts are by provider."""

    payments: int = 0
    changed: int = 0
    nobody: int = 0  # payments that nobody could take now
    took: Counter[str] = field(default_factory=Counter)
    before: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    moved: Counter[tuple[str, str]] = field(default_factory=Counter)
    sums: dict[str, tuple[Sums, Sums]] = field(default_factory=dict)  # by currency: before, after

    def add(self, past: Past, before: Policy, after: Policy) -> tuple[Decision, Decision] | None:
        """Decide a payment by both policies and count it. Both decisions if another provider would be the first."""
        both = [replace(past.facts, policy=policy) for policy in (before, after)]
        first, second = (decide(past.candidates, past.wanted, one) for one in both)
        self.payments += 1
        if past.took:
            self.took[past.took] += 1
        if not first.ranked or not second.ranked:  # who can take it does not depend on the policy
            self.nobody += 1
            return None
        self._expect(past, [first.candidates[0], second.candidates[0]], both)
        usual, other = first.ranked[0].code, second.ranked[0].code
        self.before[usual] += 1
        self.after[other] += 1
        if usual == other:
            return None
        self.changed += 1
        self.moved[usual, other] += 1
        return first, second

    def _expect(self, past: Past, chosen: list[Candidate], facts: list[RoutingFacts]) -> None:
        estimates = [estimate(one, past.wanted, its) for one, its in zip(chosen, facts, strict=True)]
        are_known = all(one.fee is not None for one in estimates)
        of_both = self.sums.setdefault(past.wanted.currency, (Sums(), Sums()))
        for sums, one in zip(of_both, estimates, strict=True):
            sums.payments += 1
            sums.success_ppm += one.success_ppm
            if are_known and one.fee is not None:
                sums.with_fees += 1
                sums.fees += one.fee.money.minor


def compare(pasts: Iterable[Past], before: Policy, after: Policy) -> Comparison:
    """Compare two policies on past payments. The result does not depend on their order."""
    found = Comparison()
    for past in pasts:
        found.add(past, before, after)
    return found
