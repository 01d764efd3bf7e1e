"""Which provider takes a payment and in which order the others follow: the one decision that every payment uses.

The order is only an order. Whether another provider may be called after the first one is decided by the payment flow
alone: never while an earlier attempt could still be paid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from polytill.domain.routing import HealthState, Strategy, Verdict, WhyFirst, WhyLater
from polytill.flows.routing.eligibility import Candidate, Excluded, Wanted, eligible
from polytill.flows.routing.facts import RoutingFacts
from polytill.flows.routing.health import verdict
from polytill.flows.routing.ordering import Numbers, Ordering
from polytill.flows.routing.sentences import sentence
from polytill.flows.routing.strategies import ordering


class Ranked(NamedTuple):
    """A provider that can take the payment, why it has its place, and the numbers behind that.

    ``why`` is a ``WhyFirst`` for the first provider and a ``WhyLater`` for each other one. ``about``: values for the
    sentence; amounts are ``Money``, shares are parts per million (``…_ppm``). Only the payment that holds the permit
    for it sees the verdict ``probe`` (``ProvidersHealth.seen``); for any other one that provider is ``failing``.
    """

    candidate: Candidate
    verdict: Verdict
    why: WhyFirst | WhyLater
    about: Mapping[str, Any]

    @property
    def code(self) -> str:
        """The provider's code."""
        return self.candidate.code

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.candidate.name


@dataclass(frozen=True, slots=True)
class Decision:
    """The providers that may take a payment, in order, and why each other one is excluded.

    ``ranked`` is an order and no permission: see the module. ``version``: of the practice's policy; None: the default.
    """

    ranked: tuple[Ranked, ...]
    excluded: tuple[Excluded, ...]
    strategy: Strategy
    version: int | None
    currency: str

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The candidates of ``ranked``, in order."""
        return tuple(one.candidate for one in self.ranked)

    @property
    def why(self) -> WhyFirst:
        """Why the first one is first; ``none`` if no provider can take the payment."""
        return WhyFirst(self.ranked[0].why) if self.ranked else WhyFirst.none

    @property
    def reason(self) -> str:
        """The same as an English sentence."""
        return sentence(self.why, self.ranked[0].about if self.ranked else {"currency": self.currency})


def decide(candidates: Iterable[Candidate], wanted: Wanted, facts: RoutingFacts) -> Decision:
    """Decide who takes a payment. Total and deterministic; the result does not depend on the order of the input.

    Every provider that can take the payment is in ``ranked``, those that were tried after all others, and the failing
    ones after those that work: nothing is refused because of health alone.
    """
    found = eligible(candidates, wanted)
    able = found.candidates
    order = ordering(able, wanted, facts)
    verdicts = [_verdict(candidate, facts) for candidate in able]
    by_key = sorted(range(len(able)), key=order.keys.__getitem__)
    in_order = by_key
    if facts.tried or Verdict.failing in verdicts:
        in_order = sorted(by_key, key=lambda at: (able[at].code in facts.tried, verdicts[at] is Verdict.failing))
    ranked: list[Ranked] = []
    of_first: Numbers = {}
    for at in in_order:
        about = {"provider": able[at].name, "currency": wanted.currency, **order.numbers[at], **of_first}
        if ranked:
            why: WhyFirst | WhyLater = _why_later(order, at, in_order[0], verdicts)
            if able[at].code in facts.tried and able[in_order[0]].code not in facts.tried:
                why = WhyLater.tried
        else:
            why, more = _why_first(able, order, at, by_key, wanted, facts.tried)
            about |= more
            of_first = {f"first_{name}": value for name, value in order.numbers[at].items()} | {"first": able[at].name}
        ranked.append(Ranked(able[at], verdicts[at], why, about))
    return Decision(tuple(ranked), found.excluded, facts.policy.strategy, facts.version, wanted.currency)


def _verdict(candidate: Candidate, facts: RoutingFacts) -> Verdict:
    known = facts.statistics.health.get(candidate.code)
    return Verdict.healthy if known is None or known.state is HealthState.closed else verdict(known, facts.at)


def _step(order: Ordering, one: int, other: int) -> int:
    mine, its = order.keys[one], order.keys[other]
    step = 0
    while mine[step] == its[step]:  # a key ends with the code, which differs
        step += 1
    return step


def _why_first(
    able: Sequence[Candidate], order: Ordering, at: int, by_key: Sequence[int], wanted: Wanted, tried: frozenset[str]
) -> tuple[WhyFirst, Numbers]:
    if wanted.provider_code is not None:
        return WhyFirst.requested, {}
    if by_key[0] != at:  # the strategy alone would have chosen another one
        if able[by_key[0]].code in tried and able[at].code not in tried:
            return WhyFirst.untried, {"tried": able[by_key[0]].name}
        return WhyFirst.healthy, {"failing": able[by_key[0]].name}
    is_by_priority = order.steps[0].first is WhyFirst.default
    if is_by_priority and able[at].is_default:
        return WhyFirst.default, {}
    if len(able) == 1:
        return WhyFirst.only, {}
    return order.steps[_step(order, at, by_key[1])].first, {}


def _why_later(order: Ordering, at: int, first: int, verdicts: Sequence[Verdict]) -> WhyLater:
    if verdicts[at] is Verdict.failing and verdicts[first] is not Verdict.failing:
        return WhyLater.failing
    return order.steps[_step(order, at, first)].later
