"""The gradual rollout of a practice: from the old code and its field to polytill, step by step, with a way back.

The field is the host application's JSON column with payment providers (``paymentProviders`` in the founding document).
In ``legacy`` and ``shadow`` the field decides and our configurations follow it. In ``live`` our configurations decide
and the field follows them. In ``closed`` the field is empty.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

BUCKETS = 10_000


class RolloutPhase(StrEnum):
    """Who decides which provider takes a payment of a practice. A practice without a phase is not in a rollout."""

    legacy = "legacy"
    shadow = "shadow"
    live = "live"
    closed = "closed"


# A step of a rollout. Nothing leads out of ``closed``, because the field is empty then.
ROLLOUT_NEXT: dict[RolloutPhase | None, frozenset[RolloutPhase]] = {
    None: frozenset({RolloutPhase.legacy}),
    RolloutPhase.legacy: frozenset({RolloutPhase.shadow}),
    RolloutPhase.shadow: frozenset({RolloutPhase.live, RolloutPhase.legacy}),
    RolloutPhase.live: frozenset({RolloutPhase.closed, RolloutPhase.shadow}),
    RolloutPhase.closed: frozenset(),
}
FORWARD: dict[RolloutPhase | None, RolloutPhase] = {
    None: RolloutPhase.legacy,
    RolloutPhase.legacy: RolloutPhase.shadow,
    RolloutPhase.shadow: RolloutPhase.live,
    RolloutPhase.live: RolloutPhase.closed,
}
BACK: dict[RolloutPhase | None, RolloutPhase] = {
    RolloutPhase.shadow: RolloutPhase.legacy,
    RolloutPhase.live: RolloutPhase.shadow,
}
# The field decides in these, so our configurations are changed only by following it.
FIELD_DECIDES = frozenset({RolloutPhase.legacy, RolloutPhase.shadow})
# Steps that are made only if the field and our configurations are equal: whoever decides next must know the same.
NEEDS_EQUAL = frozenset(
    {
        (RolloutPhase.legacy, RolloutPhase.shadow),
        (RolloutPhase.shadow, RolloutPhase.live),
        (RolloutPhase.live, RolloutPhase.shadow),
        (RolloutPhase.live, RolloutPhase.closed),
    }
)


class FieldState(StrEnum):
    """What is known of a practice's field. ``unknown``: it was not read yet. ``pending``: it does not have our changes
    yet. ``conflict``: somebody changed it while our configurations decide. ``blocked``: it and our configurations cannot be
    made equal; the detail says why."""

    unknown = "unknown"
    in_sync = "in_sync"
    pending = "pending"
    conflict = "conflict"
    blocked = "blocked"


class DifferenceReason(StrEnum):
    """Why the old code and polytill chose differently for the same payment.

    ``other_strategy``: a routing policy orders by something else than defaults and priorities. ``provider_failing``: the
    old code's provider is failing now. ``not_in_sync``: our configurations did not follow the field at that time.
    ``legacy_chose_nothing`` and ``we_chose_nothing``: only the other one found a provider.
    """

    other_default = "other_default"
    other_order = "other_order"
    other_strategy = "other_strategy"
    provider_failing = "provider_failing"
    not_configured = "not_configured"
    not_enabled = "not_enabled"
    currency_missing = "currency_missing"
    limits = "limits"
    method = "method"
    environment = "environment"
    provider_unavailable = "provider_unavailable"
    other_requirement = "other_requirement"
    not_in_sync = "not_in_sync"
    legacy_chose_nothing = "legacy_chose_nothing"
    we_chose_nothing = "we_chose_nothing"


class WhoDecides(StrEnum):
    """Whose choice the host application uses for a payment."""

    legacy = "legacy"
    polytill = "polytill"


def who_decides(phase: RolloutPhase | None) -> WhoDecides:
    """Whose choice counts in a phase. A practice that is not in a rollout stays with the old code: it may be imported
    and not moved yet."""
    return WhoDecides.polytill if phase in (RolloutPhase.live, RolloutPhase.closed) else WhoDecides.legacy


def bucket_of(practice_id: int, external_id: str | None) -> int:
    """The practice's place from 0 to ``BUCKETS - 1`` for a rollout by percentage. It never changes, so that a larger
    percentage always includes the practices of a smaller one."""
    name = external_id if external_id is not None else f"polytill:{practice_id}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % BUCKETS


def is_within(practice_id: int, external_id: str | None, percent: int) -> bool:
    """Whether a percentage of all practices includes this one."""
    return bucket_of(practice_id, external_id) < percent * BUCKETS // 100
