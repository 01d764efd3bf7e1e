"""The states of a version of a routing policy: a closed list with a text in every language."""

from __future__ import annotations

from enum import StrEnum


class PolicyState(StrEnum):
    """Whether a version routes payments: not yet, now, or not any more."""

    draft = "draft"
    active = "active"
    retired = "retired"
