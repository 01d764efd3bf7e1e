"""Policies of every strategy, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from polytill.domain.routing import Strategy
from polytill.flows.routing.conditions import All, AmountWithin, AnyOf, Between, Not, OneOf
from polytill.flows.routing.policy import Policy
from polytill.flows.routing.rules import Rule, RuleSet

providers = st.lists(st.sampled_from("abcdef"), max_size=4, unique=True).map(tuple)
conditions = st.recursive(
    st.sampled_from(
        [
            OneOf("currency", frozenset({"NGN"})),
            OneOf("method", frozenset({"card"})),
            AmountWithin("NGN", 100, 500),
            Between(0, 720),
        ]
    ),
    lambda part: (
        st.lists(part, max_size=3).map(tuple).flatmap(lambda p: st.sampled_from([All(p), AnyOf(p)])) | part.map(Not)
    ),
    max_leaves=4,
)
rule_sets = st.builds(
    RuleSet, st.lists(st.builds(Rule, st.just("Some rule"), conditions, providers), max_size=3).map(tuple), providers
)

policies = st.builds(
    Policy,
    st.sampled_from(list(Strategy)),
    st.sampled_from(list(Strategy)),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 100)),
    st.integers(1, 50),
    st.integers(0, 100),
    st.none() | rule_sets,
)
