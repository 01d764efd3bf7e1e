"""Decisions about providers in sentences, in the reader's language: for pages and for the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from polytill.domain.routing import Verdict
from polytill.domain.routing_policies import WhyAttempt
from polytill.flows.payments.decisions import AttemptReason
from polytill.flows.routing.comparison import Estimate
from polytill.flows.routing.explain import Explained
from polytill.web.words import Words


@dataclass(frozen=True, slots=True)
class Line:
    """Why one provider has its place, or none (``place`` None), and what is expected of it."""

    code: str
    name: str
    place: int | None
    reason: str
    sentence: str
    verdict: Verdict | None
    estimate: Estimate | None = None


def sentence_of(words: Words, one: Explained) -> str:
    """Why a provider has its place."""
    return words.named(one.group, one.reason, one.detail, one.about)


def lines_of(
    words: Words,
    explained: tuple[Explained, ...],
    names: Mapping[str, str],
    estimates: Mapping[str, Estimate] | None = None,
) -> list[Line]:
    """One line for each provider, those that can take the payment first and in order."""
    return [
        Line(
            one.code,
            names.get(one.code, one.code),
            one.place,
            one.reason.value,
            sentence_of(words, one),
            one.verdict,
            (estimates or {}).get(one.code),
        )
        for one in explained
    ]


def sentence_of_attempt(words: Words, one: AttemptReason, first: str, names: Mapping[str, str]) -> str:
    """Why an attempt was made. ``first``: the sentence about the first provider of the decision."""
    if one.why is WhyAttempt.decided:
        return first
    provider = words.declared(names.get(one.attempt.provider_code, one.attempt.provider_code))
    after = words.declared(names.get(one.after or "", one.after or ""))
    return words(f"why_attempt.{one.why}", provider=provider, after=after)
