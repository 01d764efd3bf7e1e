"""A decision in closed reasons with values, and in English sentences. Pages have the texts of each reason in every language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from polytill.domain.routing import Verdict, WhyExcluded, WhyFirst, WhyLater
from polytill.flows.routing.decision import Decision

_FIRST = {
    WhyFirst.none: "No configured provider can take this payment in {currency}.",
    WhyFirst.requested: "The request names {provider}.",
    WhyFirst.default: "{provider} is this practice's default for {currency}.",
    WhyFirst.only: "{provider} is the only provider that can take this payment.",
    WhyFirst.priority: "{provider} has the practice's highest priority ({priority}).",
    WhyFirst.recommended: "{provider} is recommended for {currency}.",
    WhyFirst.catalog_priority: "{provider} has the catalog's highest priority ({catalog_priority}).",
    WhyFirst.code: "{provider} comes first by code.",
    WhyFirst.healthy: "{provider} is the first provider that works; {failing} has technical failures.",
}
_LATER = {
    WhyLater.not_default: "{first} is this practice's default for {currency}.",
    WhyLater.lower_priority: "{first} has a higher priority ({first_priority}) than {provider} ({priority}).",
    WhyLater.not_recommended: "{first} is recommended for {currency}.",
    WhyLater.lower_catalog_priority: "{first} has a higher priority in the catalog ({first_catalog_priority}) than"
    " {provider} ({catalog_priority}).",
    WhyLater.later_code: "{first} comes before {provider} by code.",
    WhyLater.failing: "{provider} has technical failures.",
}


@dataclass(frozen=True, slots=True)
class Explained:
    """Why one provider has its place, or none. ``place`` starts at 1; None: excluded. ``group`` names the texts."""

    code: str
    place: int | None
    group: str  # "why", "why_later" or "excluded"
    reason: WhyFirst | WhyLater | WhyExcluded
    detail: str  # in English
    about: Mapping[str, Any] = field(default_factory=dict)  # values for the sentence
    verdict: Verdict | None = None  # None: excluded


def explain(decision: Decision) -> tuple[Explained, ...]:
    """Why each provider has its place, in order, then why each other one is excluded, by code."""
    found = []
    for place, one in enumerate(decision.ranked, 1):
        group, detail = "why" if place == 1 else "why_later", _detail(one.why, one.about)
        found.append(Explained(one.code, place, group, one.why, detail, one.about, one.verdict))
    for out in decision.excluded:
        found.append(Explained(out.code, None, "excluded", out.reason, out.detail, out.about))
    return tuple(found)


def reason(decision: Decision) -> str:
    """Why the first provider is first, in English; why there is none."""
    first = decision.ranked[0] if decision.ranked else None
    return _detail(decision.why, first.about if first else {"currency": decision.currency})


def _detail(why: WhyFirst | WhyLater, about: Mapping[str, Any]) -> str:
    # Two enums may have members of the same value, so each has its own sentences.
    sentence = _FIRST[why] if isinstance(why, WhyFirst) else _LATER[why]
    return sentence.format(**about)
