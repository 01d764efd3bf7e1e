"""A routing policy: the strategy that a practice chose, with its parameters. ``policy_reading.py`` reads it from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from polytill.domain.routing import Strategy
from polytill.flows.routing.rules import RuleSet

# The fewest attempts or payments from which anything is concluded. It also keeps a single payment from being read off.
SMALLEST_POOL = 30
ENOUGH_PAYMENTS = SMALLEST_POOL
EXPLORE_PERCENT = 5


@dataclass(frozen=True, slots=True)
class Policy:
    """How to order providers. ``fallback`` orders those that the strategy leaves equal, for example without a weight.

    ``weights``: relative shares by provider, for `weighted`. ``enough_payments``: from how many payments on the fees
    that were really charged count, for `least_cost`. ``explore_percent``: the share of payments that tries a provider at
    random, for `success_rate`.
    """

    strategy: Strategy = Strategy.priority
    fallback: Strategy = Strategy.priority
    weights: Mapping[str, int] = field(default_factory=dict)
    enough_payments: int = ENOUGH_PAYMENTS
    explore_percent: int = EXPLORE_PERCENT
    rules: RuleSet | None = None  # for `rules`


DEFAULT = Policy()
