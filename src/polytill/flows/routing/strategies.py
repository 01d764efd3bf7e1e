"""The strategies as orders of the candidates. Each is a pure function; where it leaves candidates equal, the next decides.

* ``weighted``: the candidate with the smallest ``-ln(u) / weight`` is first, where ``u`` is drawn from the payment and the
  provider. So a payment always chooses the same, the shares follow the weights exactly, and a provider that drops out
  moves only its own payments (weighted rendezvous hashing: C. Schindelhauer, G. Schomaker, "Weighted Distributed Hash
  Tables", SPAA 2005).
* ``least_cost``: the lowest estimated fee (``fees.py``). Without an estimate, a provider is last.
* ``success_rate``: the highest expected success (``success.py``), and a fixed share of payments that tries another one.
* ``rules``: the providers that the first matching rule names, in its order (``rules.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import log

from polytill.domain.money import PPM
from polytill.domain.routing import Strategy, WhyFirst, WhyLater
from polytill.flows.routing.conditions import KNOWN, NEW, WEEKDAYS, Case
from polytill.flows.routing.eligibility import Candidate, Wanted
from polytill.flows.routing.facts import RoutingFacts
from polytill.flows.routing.fees import estimated_fee
from polytill.flows.routing.health import availability
from polytill.flows.routing.ordering import LAST, Ordering, Step, by_priority
from polytill.flows.routing.success import conversion

_SPREAD = 1 << 64
NO_FEE = 1 << 63  # larger than every fee


def drawn(draw: int, what: str) -> int:
    """A number of 64 bits for one thing about one payment, for example a provider. Different things are independent."""
    return int.from_bytes(blake2b(f"{draw} {what}".encode(), digest_size=8).digest(), "big")


def _priority(able: Sequence[Candidate], wanted: Wanted, facts: RoutingFacts) -> Ordering:
    return by_priority(able)


_WEIGHTED = (Step(WhyFirst.drawn, WhyLater.no_weight), Step(WhyFirst.drawn, WhyLater.not_drawn))


def _weighted(able: Sequence[Candidate], wanted: Wanted, facts: RoutingFacts) -> Ordering:
    weights = facts.policy.weights
    total = sum(weights.get(one.code, 0) for one in able)
    keys, numbers = [], []
    for one in able:
        weight = weights.get(one.code, 0)
        chance = (drawn(facts.draw, one.code) + 1) / (_SPREAD + 1)  # above 0, and 1 at most
        keys.append((weight == 0, -log(chance) / weight if weight else 0))
        numbers.append({"weight": weight, "share_ppm": PPM * weight // total if total else 0})
    return Ordering(tuple(keys), _WEIGHTED, tuple(numbers))


_LEAST_COST = (Step(WhyFirst.fee_known, WhyLater.fee_unknown), Step(WhyFirst.cheapest, WhyLater.dearer))


def _least_cost(able: Sequence[Candidate], wanted: Wanted, facts: RoutingFacts) -> Ordering:
    keys, numbers = [], []
    for one in able:
        fee = estimated_fee(one, wanted, facts.statistics, facts.policy.enough_payments)
        keys.append((fee is None, 0 if fee is None else fee.money.minor))
        numbers.append({} if fee is None else {"fee": fee.money, "fee_from": fee.source})
    return Ordering(tuple(keys), _LEAST_COST, tuple(numbers))


_SUCCESS = (Step(WhyFirst.explored, WhyLater.explored_other), Step(WhyFirst.success_rate, WhyLater.less_successful))


def _success_rate(able: Sequence[Candidate], wanted: Wanted, facts: RoutingFacts) -> Ordering:
    explored, explore = None, facts.policy.explore_percent
    if drawn(facts.draw, "explore") * 100 < explore * _SPREAD and len(able) > 1:
        explored = max(able, key=lambda one: drawn(facts.draw, f"explore {one.code}")).code
    keys, numbers = [], []
    for one in able:
        found = conversion(facts.statistics, one.code, wanted.currency, wanted.payment_method)
        health = facts.statistics.health.get(one.code)
        works = PPM if health is None else availability(health, facts.at)
        keys.append((one.code != explored, -found.lower_ppm * works))
        numbers.append(
            {
                "success_ppm": found.lower_ppm * works // PPM,  # what is compared
                "mean_ppm": found.ppm * works // PPM,  # what is expected
                "works_ppm": works,
                "attempts": found.attempts,
                "explore_ppm": PPM * explore // 100,
            }
        )
    return Ordering(tuple(keys), _SUCCESS, tuple(numbers))


def case_of(wanted: Wanted, facts: RoutingFacts) -> Case:
    """What the conditions ask about a payment."""
    traits, known = facts.traits, facts.traits.customer_is_known
    return Case(
        wanted.currency,
        wanted.amount,
        wanted.payment_method,
        traits.country,
        facts.at.hour * 60 + facts.at.minute,
        WEEKDAYS[facts.at.weekday()],
        traits.metadata,
        None if known is None else KNOWN if known else NEW,
        traits.email_domain,
        traits.phone_country,
    )


def _rules(able: Sequence[Candidate], wanted: Wanted, facts: RoutingFacts) -> Ordering:
    if facts.policy.rules is None:
        return Ordering(((),) * len(able), (), ({},) * len(able))
    named = facts.policy.rules.match(case_of(wanted, facts))
    places = {code: place for place, code in enumerate(named.providers)}
    first = WhyFirst.rule_default if named.rule is None else WhyFirst.rule
    steps = Step(first, WhyLater.not_in_rule), Step(first, WhyLater.later_in_rule)
    numbers = {"rule": named.rule or "default"}
    return Ordering(
        tuple((one.code not in places, places.get(one.code, 0)) for one in able), steps, (numbers,) * len(able)
    )


_ORDERINGS: dict[Strategy, Callable[[Sequence[Candidate], Wanted, RoutingFacts], Ordering]] = {
    Strategy.priority: _priority,
    Strategy.weighted: _weighted,
    Strategy.least_cost: _least_cost,
    Strategy.success_rate: _success_rate,
    Strategy.rules: _rules,
}


def ordering(able: Sequence[Candidate], wanted: Wanted, facts: RoutingFacts) -> Ordering:
    """The order of candidates by the policy: its strategy, then its fallback, then the priority, which is total."""
    policy = facts.policy
    found = _ORDERINGS[policy.strategy](able, wanted, facts)
    for strategy in (policy.fallback, Strategy.priority):
        if found.steps[-1:] != (LAST,):  # the order by priority leaves nobody equal
            found = found.then(_ORDERINGS[strategy](able, wanted, facts))
    return found
