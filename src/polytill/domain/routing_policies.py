"""The states of a version of a routing policy, and the reasons of attempts: closed lists with a text in every language."""

from __future__ import annotations

from enum import StrEnum


class PolicyState(StrEnum):
    """Whether a version routes payments: not yet, now, or not any more."""

    draft = "draft"
    active = "active"
    retired = "retired"


class WhyAttempt(StrEnum):
    """Why an attempt was made at its provider. ``decided``: the decision of the payment; ``next``: the attempt before it
    ended for certain, and this provider follows; ``retried``: the customer tried again; ``renewed``: at the same
    provider, because the link of the attempt before it ended."""

    decided = "decided"
    next = "next"
    retried = "retried"
    renewed = "renewed"
