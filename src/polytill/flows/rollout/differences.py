"""Why the old code and polytill chose differently: one pure function over the old choice and our decision."""

from __future__ import annotations

from dataclasses import dataclass

from polytill.domain.rollout import DifferenceReason
from polytill.domain.routing import Strategy, WhyExcluded, WhyFirst, WhyLater
from polytill.flows.routing.decision import Decision, Ranked

# Why the provider that the old code chose cannot take the payment here.
REASONS: dict[WhyExcluded, DifferenceReason] = {
    WhyExcluded.not_enabled: DifferenceReason.not_enabled,
    WhyExcluded.catalog_status: DifferenceReason.provider_unavailable,
    WhyExcluded.handler_missing: DifferenceReason.provider_unavailable,
    WhyExcluded.environment: DifferenceReason.environment,
    WhyExcluded.currency_not_configured: DifferenceReason.currency_missing,
    WhyExcluded.currency_not_supported: DifferenceReason.currency_missing,
    WhyExcluded.payment_method: DifferenceReason.method,
    WhyExcluded.below_minimum: DifferenceReason.limits,
    WhyExcluded.above_maximum: DifferenceReason.limits,
    WhyExcluded.amount_step: DifferenceReason.limits,
}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A difference and a sentence that explains it."""

    reason: DifferenceReason
    detail: str


def disagreement(theirs: str | None, found: Decision, in_sync: bool = True) -> Disagreement | None:
    """Compare the provider that the old code chose (None: none) with ours. None: both chose the same.

    ``in_sync``: whether polytill's configurations follow the field now. If not, nothing else can be concluded.
    """
    ours = found.ranked[0].code if found.ranked else None
    if ours == theirs:
        return None
    if not in_sync:
        return Disagreement(DifferenceReason.not_in_sync, "Our configurations did not follow the field at that time.")
    if theirs is None:
        return Disagreement(DifferenceReason.legacy_chose_nothing, f"The old code found no provider. {found.reason}")
    out = next((one for one in found.excluded if one.code == theirs), None)
    if out is not None:
        return Disagreement(REASONS.get(out.reason, DifferenceReason.other_requirement), out.detail)
    later = next((one for one in found.ranked if one.code == theirs), None)
    if later is not None:
        return Disagreement(_why_later(later, found), found.reason)
    if not found.ranked and not found.excluded:
        return Disagreement(DifferenceReason.we_chose_nothing, "This practice has no configured provider here.")
    return Disagreement(DifferenceReason.not_configured, "This provider is not configured for this practice here.")


def _why_later(theirs: Ranked, found: Decision) -> DifferenceReason:
    if theirs.why is WhyLater.failing:
        return DifferenceReason.provider_failing
    if found.strategy is not Strategy.priority:
        return DifferenceReason.other_strategy
    return DifferenceReason.other_default if found.why is WhyFirst.default else DifferenceReason.other_order
