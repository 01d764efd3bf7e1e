"""What routing recovers in an outage: ``python -m benchmarks.routing_outage [--quick]``. Exits with 1 if a goal is missed.

A simulated day of payments for each of 20 seeds, at three or four providers with their own success rates. The first one of the
practice's order has an outage of one to three hours and, at another time, a partial outage; so has one of the others. Each
payment is paid three times with the same luck: in the fixed order without any outage, in the fixed order, and by
``success_rate`` with health. **Lost** are the payments that the fixed order gets paid only without the outages.

The law of the payment flow holds for all: another provider is called only after an attempt that was not sent, or that the
provider declined for good. An unknown outcome, and a decline on the provider's own page, end the payment. Decisions, health
and pooled shares are the product's own code; results of calls arrive with their delay, and shares once a minute.

The second part decides the same payments by ``priority`` and ``least_cost`` and compares the estimated fees.
"""

from __future__ import annotations

import heapq
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.results import machine
from polytill.domain.routing import Strategy, Verdict
from polytill.domain.states import Environment, ProviderStatus
from polytill.flows.provider_pool import ProviderPool, outcomes_period
from polytill.flows.routing.decision import Ranked, decide
from polytill.flows.routing.eligibility import Candidate, Wanted
from polytill.flows.routing.facts import Charged, Line, RoutingFacts, Statistics, draw_of
from polytill.flows.routing.fees import estimated_fee
from polytill.flows.routing.health import ProviderHealth, begin_probe, observe
from polytill.flows.routing.policy import DEFAULT, Policy
from polytill.storage.catalog import CurrencySupport
from polytill.storage.routing_pool import SCALE, OutcomeKey, Sums

SEEDS, QUICK_SEEDS = 20, 3
PER_MINUTE = 6
LEAST_RECOVERED = 0.9
BEGAN = datetime(2026, 11, 30, tzinfo=UTC)
DAY_S = 86_400.0
TIMEOUT_S, ANSWER_S = 20.0, 1.0
EXCHANGE_S = 60.0
TECHNICAL = 0.003  # of calls, at any time
UNKNOWN = 0.7  # of technical failures: the others are certainly not sent
SLOW = 0.6  # of unknown outcomes: a timeout; the others are answered with a 5xx at once
CUSTOMER_PAYS = 0.9  # the customer's own part of the success: money, PIN
DECLINED_FOR_GOOD = 0.5  # of a provider's declines: at once, so that another provider may follow
SMART = Policy(Strategy.success_rate)


class Outage(NamedTuple):
    """A time in seconds of the day, and the share of calls that fails."""

    code: str
    since_s: float
    until_s: float
    share: float


class Luck(NamedTuple):
    """A payment's luck at one provider, the same in every run."""

    failure: float
    kind: float
    slow: float
    approval: float
    final: float


@dataclass(frozen=True)
class Payment:
    """One payment: when, whether its customer can pay, and its luck at each provider."""

    key: str
    at_s: float
    amount: int
    can_pay: bool
    luck: dict[str, Luck]


@dataclass(frozen=True)
class World:
    """One seed's providers, outages and payments. ``approval``: a provider's own part of the success."""

    approval: dict[str, float]
    outages: tuple[Outage, ...]
    payments: tuple[Payment, ...]
    candidates: tuple[Candidate, ...]


def world_of(seed: int) -> World:
    """The world of a seed. The first provider of the practice's order is the best one, as in a sensible order."""
    chance = random.Random(seed)
    codes = [f"p{number}" for number in range(chance.choice((3, 4)))]
    best = chance.uniform(0.975, 0.99)
    approval = {code: best if code == "p0" else best - chance.uniform(0.005, 0.03) for code in codes}

    def outage(code: str, early: float, share: float) -> Outage:
        since = early + chance.uniform(0, 4) * 3_600
        return Outage(code, since, since + chance.uniform(1, 3) * 3_600, share)

    outages = (
        outage("p0", 3 * 3_600, 1.0),
        outage("p0", 12 * 3_600, chance.uniform(0.3, 0.6)),
        outage(chance.choice(codes[1:]), chance.uniform(2, 14) * 3_600, chance.choice((1.0, 0.5))),
    )
    payments: list[Payment] = []
    at_s = 0.0
    while (at_s := at_s + chance.expovariate(PER_MINUTE / 60)) < DAY_S:
        luck = {code: Luck(*(chance.random() for _ in Luck._fields)) for code in codes}
        amount = int(chance.lognormvariate(8.5, 1.2)) + 1
        payments.append(Payment(f"{seed} {len(payments)}", at_s, amount, chance.random() < CUSTOMER_PAYS, luck))
    return World(approval, outages, tuple(payments), tuple(_candidate(chance, code) for code in codes))


def _candidate(chance: random.Random, code: str) -> Candidate:
    terms = CurrencySupport(
        "NGN",
        False,
        None if chance.random() < 0.1 else chance.randrange(9_000, 39_000),
        chance.choice((None, 0, 10, 30, 100)),
    )
    return Candidate(
        code=code,
        name=code,
        config_id=0,
        environment=Environment.production,
        is_enabled=True,
        catalog_status=ProviderStatus.active,
        handler_missing=None,
        practice_currencies=frozenset({"NGN"}),
        support=terms,
        methods=frozenset({"card"}),
        captures_manually=False,
        is_default=False,
        priority=9 - int(code[1:]),
        catalog_priority=0,
    )


# ── One run ──


@dataclass
class Known:
    """What the platform has learned so far. Results of calls wait in ``coming`` until they have arrived."""

    health: dict[str, ProviderHealth] = field(default_factory=dict)
    pool: ProviderPool = field(default_factory=ProviderPool)
    outcomes: dict[OutcomeKey, Sums] = field(default_factory=dict)
    exchanged_s: float = 0.0
    coming: list[tuple[float, str, bool, str]] = field(default_factory=list)

    def facts(self, payment: Payment, policy: Policy) -> RoutingFacts:
        """The snapshot for a payment."""
        while self.coming and self.coming[0][0] <= payment.at_s:
            at_s, code, failed, attempt = heapq.heappop(self.coming)
            self.health[code] = observe(self.health.get(code, ProviderHealth()), failed, _time(at_s), attempt)
        if payment.at_s - self.exchanged_s >= EXCHANGE_S:
            self.exchanged_s = payment.at_s
            self._exchange(_time(payment.at_s).timestamp())
        at = _time(payment.at_s)
        pooled = self.pool.statistics(Environment.production, "NGN", payment.amount, at.timestamp())
        statistics = replace(pooled, health=dict(self.health))
        return RoutingFacts(at, draw_of(1, payment.key), policy, 1, statistics)

    def count(self, code: str, paid: bool) -> None:
        """Count an attempt that the provider answered."""
        self.pool.count(OutcomeKey(code, Environment.production.value, "NGN", "card"), paid)

    def _exchange(self, now_s: float) -> None:
        counted, _ = self.pool.take()
        for key, (paid, declined) in counted.items():
            before = self.outcomes.get(key, Sums(outcomes_period(now_s), 0, 0))
            self.outcomes[key] = Sums(before.period, before.first + paid * SCALE, before.second + declined * SCALE)
        self.pool.learn(dict(self.outcomes), {})


def _time(at_s: float) -> datetime:
    return BEGAN + timedelta(seconds=at_s)


def run(world: World, policy: Policy, has_outages: bool, with_health: bool) -> set[str]:
    """The keys of the payments that are paid."""
    known, paid = Known(), set()
    outages = world.outages if has_outages else ()
    for payment in world.payments:
        facts = known.facts(payment, policy)
        if not with_health:
            facts = replace(facts, statistics=replace(facts.statistics, health={}))
        ranked = decide(world.candidates, Wanted("NGN", payment.amount, "card"), facts).ranked
        if _is_paid(world, payment, ranked, outages, known):
            paid.add(payment.key)
    return paid


def _is_paid(
    world: World, payment: Payment, ranked: tuple[Ranked, ...], outages: tuple[Outage, ...], known: Known
) -> bool:
    for number, one in enumerate(ranked, 1):
        code, attempt = one.code, f"{payment.key} {number}"
        if one.verdict is Verdict.probe:
            probed = begin_probe(known.health[code], attempt, _time(payment.at_s))
            if probed is None and number < len(ranked):
                continue  # another payment has the probe
            known.health[code] = probed or known.health[code]
        luck = payment.luck[code]
        share = max(
            [TECHNICAL, *(o.share for o in outages if o.code == code and o.since_s <= payment.at_s < o.until_s)]
        )
        if luck.failure < share:
            is_unknown = luck.kind < UNKNOWN
            delay = TIMEOUT_S if is_unknown and luck.slow < SLOW else ANSWER_S
            heapq.heappush(known.coming, (payment.at_s + delay, code, True, attempt))
            if is_unknown:
                return False  # it could still be paid: nobody else is asked
            continue
        heapq.heappush(known.coming, (payment.at_s + ANSWER_S, code, False, attempt))
        if payment.can_pay and luck.approval < world.approval[code]:
            known.count(code, True)
            return True
        known.count(code, False)
        if luck.final >= DECLINED_FOR_GOOD:
            return False  # declined on the provider's page, where the customer may still try again
    return False


# ── The figures ──


class Figures(NamedTuple):
    """The payments of one seed: all, paid in each run, lost by the fixed order, recovered, and paid by that order only."""

    payments: int
    without_outage: int
    fixed: int
    smart: int
    lost: int
    recovered: int
    only_fixed: int


def measured(seed: int) -> Figures:
    """One seed."""
    world = world_of(seed)
    never_down = run(world, DEFAULT, has_outages=False, with_health=False)
    fixed = run(world, DEFAULT, has_outages=True, with_health=False)
    smart = run(world, SMART, has_outages=True, with_health=True)
    lost = never_down - fixed
    return Figures(
        len(world.payments), len(never_down), len(fixed), len(smart), len(lost), len(lost & smart), len(fixed - smart)
    )


def fees(seed: int) -> Counter[str]:
    """The estimated fees of a seed's payments in both orders, and how many payments would cost more by ``least_cost``."""
    chance, world = random.Random(f"fees {seed}"), world_of(seed)
    charged: dict[Line, Charged] = {
        (one.code, "NGN", None): Charged(50, 500_000, chance.randrange(5_000, 20_000))
        for one in world.candidates
        if chance.random() < 0.5
    }
    known, found = Statistics(charged=charged), Counter[str]()
    for payment in world.payments[:1_000]:
        wanted = Wanted("NGN", payment.amount, "card")
        by = {}
        for policy in (DEFAULT, Policy(Strategy.least_cost)):
            facts = RoutingFacts(_time(payment.at_s), draw_of(1, payment.key), policy, 1, known)
            first = decide(world.candidates, wanted, facts).candidates[0]
            by[policy.strategy] = estimated_fee(first, wanted, known, DEFAULT.enough_payments)
        usual, cheap = by[Strategy.priority], by[Strategy.least_cost]
        if usual is None:
            found["without an estimate"] += 1
            continue
        found["payments"] += 1
        found["priority"] += usual.money.minor
        found["least_cost"] += cheap.money.minor if cheap else 0
        found["dearer"] += cheap is None or cheap.money.minor > usual.money.minor
    return found


def _table(title: str, columns: list[str], rows: Iterator[list[str]]) -> Table:
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    return table


def main(arguments: list[str], show: Callable[[object], None]) -> int:
    """Run all seeds, print the figures, and return 0 if both goals are met."""
    seeds = range(1, (QUICK_SEEDS if "--quick" in arguments else SEEDS) + 1)
    found = {seed: measured(seed) for seed in seeds}
    sums = Figures(*(sum(column) for column in zip(*found.values(), strict=True)))
    columns = [
        "seed",
        "payments",
        "paid: no outage",
        "fixed order",
        "success_rate",
        "lost by fixed",
        "recovered",
        "only fixed",
    ]
    rows = [[str(name), *map(_shown, figures), _share(figures)] for name, figures in [*found.items(), ("all", sums)]]
    show(machine())
    show(_table("an outage of the first provider", [*columns, "share"], iter(rows)))
    least = min(figures.recovered / figures.lost for figures in found.values())
    recovered = sums.recovered / sums.lost
    net = (sums.smart - sums.fixed) / (sums.without_outage - sums.fixed)
    show(
        f"recovered of the lost payments: {recovered:.1%} (goal {LEAST_RECOVERED:.0%}); in the worst seed {least:.1%};"
        f" less those that only the fixed order got paid: {net:.1%}"
    )
    cost = sum((fees(seed) for seed in seeds), Counter[str]())
    saved = 1 - cost["least_cost"] / cost["priority"]
    show(
        f"least_cost: of {cost['payments']:,} payments with an estimate, {cost['dearer']} cost more than by priority;"
        f" all together {saved:.1%} less"
    )
    return 0 if recovered >= LEAST_RECOVERED and not cost["dearer"] else 1


def _shown(number: int) -> str:
    return f"{number:,}"


def _share(figures: Figures) -> str:
    return f"{figures.recovered / figures.lost:.1%}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Console(width=140).print))
