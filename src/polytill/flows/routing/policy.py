"""A routing policy: the strategy that a practice chose, with its parameters."""

from __future__ import annotations

from dataclasses import dataclass

from polytill.domain.routing import Strategy


@dataclass(frozen=True, slots=True)
class Policy:
    """How to order providers. ``fallback`` orders those that the strategy says nothing about."""

    strategy: Strategy = Strategy.priority
    fallback: Strategy = Strategy.priority


DEFAULT = Policy()
