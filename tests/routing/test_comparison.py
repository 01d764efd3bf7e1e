"""Comparing two policies: the counts agree with the decisions, and nothing is invented."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.routing import Strategy
from polytill.flows.routing.comparison import Past, compare
from polytill.flows.routing.decision import decide
from polytill.flows.routing.policy import DEFAULT, Policy
from tests.routing.policies import policies
from tests.routing.test_decision import everyone, facts, wanteds

pasts = st.lists(
    st.builds(Past, wanteds, everyone.map(tuple), facts, st.none() | st.sampled_from("abc")), min_size=1, max_size=3
)


@given(pasts, policies, policies, st.data())
def test_the_counts_agree_with_the_decisions(
    given_pasts: list[Past], before: Policy, after: Policy, data: st.DataObject
) -> None:
    found = compare(given_pasts, before, after)
    assert compare(data.draw(st.permutations(given_pasts)), before, after) == found
    chosen = [
        [decide(one.candidates, one.wanted, replace(one.facts, policy=policy)).ranked[:1] for policy in (before, after)]
        for one in given_pasts
    ]
    taken = [(first[0].code, second[0].code) for first, second in chosen if first and second]
    assert found.payments == len(given_pasts)
    assert found.nobody == len(given_pasts) - len(taken)
    assert sorted(found.before.elements()) == sorted(first for first, _ in taken)
    assert sorted(found.after.elements()) == sorted(second for _, second in taken)
    assert sorted(found.moved.elements()) == sorted(pair for pair in taken if pair[0] != pair[1])
    assert found.changed == found.moved.total()
    assert sorted(found.took.elements()) == sorted(one.took for one in given_pasts if one.took)
    for sums in found.sums.values():
        assert sums[0].payments == sums[1].payments == len(taken)
        assert sums[0].with_fees == sums[1].with_fees <= len(taken)
        assert all(0 <= one.mean_success_ppm <= 1_000_000 for one in sums)


@given(pasts, policies)
def test_the_same_policy_changes_nothing(given_pasts: list[Past], policy: Policy) -> None:
    found = compare(given_pasts, policy, policy)
    assert found.changed == 0
    assert all(before == after for before, after in found.sums.values())


@given(pasts)
def test_the_lowest_fee_costs_no_more_than_the_order_by_priority(given_pasts: list[Past]) -> None:
    for before, after in compare(given_pasts, DEFAULT, Policy(Strategy.least_cost)).sums.values():
        assert after.fees <= before.fees
