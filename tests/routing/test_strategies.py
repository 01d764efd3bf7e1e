"""Each strategy by examples, and the law of its numbers: shares, fees, expected success."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.money import Money
from polytill.domain.routing import FeeSource, Strategy, WhyFirst, WhyLater
from polytill.flows.routing.decision import Decision
from polytill.flows.routing.eligibility import Candidate, Wanted
from polytill.flows.routing.facts import Charged, Line, Statistics, Traffic, draw_of
from polytill.flows.routing.fees import estimated_fee
from polytill.flows.routing.health import ProviderHealth, observe
from polytill.flows.routing.policy import Policy
from polytill.flows.routing.success import PRIOR_PPM, PULL, conversion
from polytill.storage.catalog import CurrencySupport
from tests.routing.making import ANY, NOON, decided

CARD = Wanted("NGN", 10_000, "card")


def one(code: str, percent: int | None = None, fixed: int | None = None, **more: Any) -> Candidate:
    support = CurrencySupport("NGN", transaction_fee_percent=percent, transaction_fee_fixed=fixed)
    return replace(ANY, **{"code": code, "name": code.title(), "support": support, **more})


A, B, C = one("a", priority=3), one("b", priority=2), one("c", priority=1)


def order(found: Decision) -> str:
    return "".join(each.code for each in found.ranked)


# ── weighted ──


def weighted(**weights: int) -> Policy:
    return Policy(Strategy.weighted, weights=weights)


def test_shares_converge_to_weights_and_a_provider_that_drops_out_moves_only_its_own_payments() -> None:
    policy, total = weighted(a=50, b=30, c=20), 4_000
    draws = [draw_of(1, f"payment {number}") for number in range(total)]
    chosen = {draw: order(decided([A, B, C], CARD, policy=policy, draw=draw)) for draw in draws}
    firsts = Counter(each[0] for each in chosen.values())
    for code, share in (("a", 0.5), ("b", 0.3), ("c", 0.2)):
        # Five standard deviations: the draws are fixed, so this never fails by chance.
        assert abs(firsts[code] / total - share) < 5 * (share * (1 - share) / total) ** 0.5
    for draw in draws[:1_000]:
        left = order(decided([A, C], CARD, policy=policy, draw=draw))
        assert left == chosen[draw].replace("b", "")


def test_no_weight_is_no_share_and_its_place_is_last() -> None:
    policy = weighted(b=1, c=0)
    for draw in range(50):
        found = decided([A, B, C], CARD, policy=policy, draw=draw)
        assert order(found) == "bac"
        assert [each.why for each in found.ranked] == [WhyFirst.drawn, WhyLater.no_weight, WhyLater.no_weight]
    assert order(decided([A, C], CARD, policy=policy)) == "ac"


# ── least_cost ──


CHEAP = Policy(Strategy.least_cost)


def fee(candidate: Candidate, amount: int = 10_000, charged: dict[Line, Charged] | None = None) -> Any:
    found = estimated_fee(candidate, replace(CARD, amount=amount), Statistics(charged=charged or {}), 20)
    return None if found is None else (found.money.minor, found.source)


@pytest.mark.parametrize(
    ("percent", "fixed", "charged", "expected"),
    [
        (15_000, 100, None, (250, "catalog")),
        (15_000, None, None, (150, "catalog")),
        (None, 100, None, (100, "catalog")),
        (15_001, 0, None, (151, "catalog")),  # 150.01, rounded up
        (0, 0, None, (0, "catalog")),
        (None, None, None, None),
        # Twenty payments of 10,000 that cost 250 each by the terms, and half of that in truth.
        (15_000, 100, Charged(20, 200_000, 2_500), (125, "charged")),
        (15_000, 100, Charged(19, 190_000, 2_375), (250, "catalog")),
        (15_000, 100, Charged(20, 200_000, 0), (0, "charged")),
        (None, None, Charged(20, 200_000, 2_001), (101, "charged")),
        (0, 0, Charged(20, 200_000, 2_000), (100, "charged")),
        (None, None, Charged(20, 0, 2_000), None),
    ],
)
def test_fees(percent: int | None, fixed: int | None, charged: Charged | None, expected: object) -> None:
    assert fee(one("a", percent, fixed), charged={("a", "NGN", "card"): charged} if charged else None) == expected


def test_fees_of_the_method_count_before_those_of_all_methods() -> None:
    few, many = Charged(19, 190_000, 190), Charged(50, 500_000, 50_000)
    lines: dict[Line, Charged] = {("a", "NGN", "card"): few, ("a", "NGN", None): many}
    assert fee(one("a"), charged=lines) == (1_000, FeeSource.charged)
    assert fee(one("a"), charged={**lines, ("a", "NGN", "card"): Charged(20, 200_000, 200)}) == (10, FeeSource.charged)


def test_the_lowest_fee_is_first_and_an_unknown_one_last() -> None:
    found = decided([one("a", None, None, priority=9), one("b", 20_000), one("c", 10_000)], CARD, policy=CHEAP)
    assert order(found) == "cba"
    assert [each.why for each in found.ranked] == [WhyFirst.cheapest, WhyLater.dearer, WhyLater.fee_unknown]
    assert found.ranked[1].about["fee"] == Money(200, "NGN")
    assert found.ranked[1].about["first_fee"] == Money(100, "NGN")
    # The cheapest depends on the amount; without an amount, the priority decides.
    flat, share = one("a", 0, 500), one("b", 10_000, 0, priority=1)
    assert order(decided([flat, share], replace(CARD, amount=100_000), policy=CHEAP)) == "ab"
    assert order(decided([flat, share], CARD, policy=CHEAP)) == "ba"
    assert order(decided([flat, share], replace(CARD, amount=None), policy=CHEAP)) == "ba"


terms = st.none() | st.integers(0, 100_000)


@given(
    st.lists(st.tuples(terms, terms, st.integers(0, 3)), min_size=1, max_size=5),
    st.integers(1, 10**12),
    st.dictionaries(
        st.sampled_from("01234"), st.tuples(st.integers(0, 50), st.integers(0, 10**9), st.integers(0, 10**7))
    ),
)
def test_least_cost_never_costs_more_than_priority(
    offers: list[tuple[int | None, int | None, int]], amount: int, seen: dict[str, tuple[int, int, int]]
) -> None:
    everyone = [one(str(n), percent, fixed, priority=priority) for n, (percent, fixed, priority) in enumerate(offers)]
    wanted = replace(CARD, amount=amount)
    facts = Statistics(charged={(code, "NGN", None): Charged(*sums) for code, sums in seen.items()})
    cheap = decided(everyone, wanted, policy=CHEAP, statistics=facts).candidates[0]
    usual = decided(everyone, wanted, statistics=facts).candidates[0]
    by_cost, by_priority = (estimated_fee(each, wanted, facts, CHEAP.enough_payments) for each in (cheap, usual))
    if by_priority is not None:
        assert by_cost is not None
        assert by_cost.money.minor <= by_priority.money.minor


# ── success_rate ──


BEST = Policy(Strategy.success_rate, explore_percent=0)


def traffic(**lines: tuple[int, int]) -> Statistics:
    found: dict[Line, Traffic] = {}
    for code, (paid, declined) in lines.items():
        for method in ("card", None):
            found[code, "NGN", method] = Traffic(paid * 1_000, declined * 1_000)
    return Statistics(found)


def test_the_best_share_is_first_and_few_attempts_are_pulled_to_the_pool() -> None:
    found = decided([A, B, C], CARD, policy=BEST, statistics=traffic(a=(800, 200), b=(950, 50), c=(1, 0)))
    assert order(found)[0] == "b"
    assert found.why is WhyFirst.success_rate
    assert {each.why for each in found.ranked[1:]} == {WhyLater.less_successful}
    # One attempt that was paid does not make a provider the best one; thirty do, beside one that often fails.
    assert order(decided([A, B], CARD, policy=BEST, statistics=traffic(a=(950, 50), b=(1, 0)))) == "ab"
    assert order(decided([A, B], CARD, policy=BEST, statistics=traffic(a=(600, 400), b=(30, 0)))) == "ba"
    # Without any attempt, the priority decides.
    assert order(decided([C, B, A], CARD, policy=BEST)) == "abc"


def test_the_formula() -> None:
    assert conversion(Statistics(), "a", "NGN", None).ppm == PRIOR_PPM
    facts = traffic(a=(60, 40), b=(100, 0))
    # Of the other provider only, then of this provider's other lines (none), then of the line itself.
    others = (100 * 1_000_000 + PULL * PRIOR_PPM) // (100 + PULL)
    expected = (60 * 1_000_000 + PULL * others) // (100 + PULL)
    found = conversion(facts, "a", "NGN", "card")
    assert abs(found.ppm - expected) <= 1
    share = expected / 1_000_000
    assert abs(found.lower_ppm - 1_000_000 * (share - (share * (1 - share) / (100 + PULL + 1)) ** 0.5)) <= 2
    assert found.attempts == 100
    elsewhere = (60 * 1_000_000 + PULL * others) // (100 + PULL)
    assert abs(conversion(facts, "a", "GHS", "card").ppm - elsewhere) <= 1
    everyone = (160 * 1_000_000 + PULL * PRIOR_PPM) // (200 + PULL)
    assert abs(conversion(facts, "new", "NGN", "card").ppm - everyone) <= 1


def test_technical_failures_lower_the_expected_success_before_the_provider_is_skipped() -> None:
    sick = ProviderHealth()
    for number in range(12):
        sick = observe(sick, number % 3 == 0, NOON)
    facts = replace(traffic(a=(950, 50), b=(850, 150)), health={"a": sick})
    found = decided([A, B], CARD, policy=BEST, statistics=facts)
    assert order(found) == "ba"
    assert found.ranked[1].about["works_ppm"] == 750_000
    assert found.ranked[1].verdict == "healthy"


def test_a_fixed_share_explores_every_provider() -> None:
    policy, facts, total = replace(BEST, explore_percent=10), traffic(a=(990, 10), b=(500, 500), c=(500, 500)), 3_000
    found = [decided([A, B, C], CARD, policy=policy, statistics=facts, draw=draw_of(1, f"{n}")) for n in range(total)]
    explored = [each for each in found if each.why is WhyFirst.explored]
    assert 0.08 < len(explored) / total < 0.12
    firsts = Counter(order(each)[0] for each in explored)
    assert min(firsts.values()) > len(explored) / 5
    assert {each.why for one_found in explored for each in one_found.ranked[1:]} == {WhyLater.explored_other}
    assert {order(each)[0] for each in found if each.why is not WhyFirst.explored} == {"a"}
