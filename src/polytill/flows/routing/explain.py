"""A decision in closed reasons with values, and in English sentences. Pages have the texts of each reason in every language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from polytill.domain.routing import Verdict, WhyExcluded, WhyFirst, WhyLater
from polytill.flows.routing.decision import Decision
from polytill.flows.routing.sentences import sentence


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
        group, detail = "why" if place == 1 else "why_later", sentence(one.why, one.about)
        found.append(Explained(one.code, place, group, one.why, detail, one.about, one.verdict))
    for out in decision.excluded:
        found.append(Explained(out.code, None, "excluded", out.reason, out.detail, out.about))
    return tuple(found)
