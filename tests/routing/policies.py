"""Policies of every strategy, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from polytill.domain.routing import Strategy
from polytill.flows.routing.policy import Policy

policies = st.builds(
    Policy,
    st.sampled_from(list(Strategy)),
    st.sampled_from(list(Strategy)),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 100)),
    st.integers(1, 50),
    st.integers(0, 100),
)
