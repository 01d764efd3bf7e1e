"""Decisions about providers in sentences, in the reader's language: for pages and for the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from polytill.domain.routing import Verdict
from polytill.domain.routing_policies import WhyAttempt
from polytill.flows.payments.decisions import AttemptReason, PaymentDecision
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


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """Why an attempt was made. ``lines``: of its own decision, if the customer tried again."""

    reason: AttemptReason
    sentence: str
    lines: list[Line]


def attempt_lines(words: Words, found: PaymentDecision, names: Mapping[str, str]) -> list[AttemptLine]:
    """One line for each attempt of a payment."""
    first = sentence_of(words, found.decision.explained[0]) if found.decision.explained else ""
    made = []
    for one in found.attempts:
        own = lines_of(words, one.decision.explained, names) if one.decision else []
        made.append(AttemptLine(one, _sentence_of_attempt(words, one, own[0].sentence if own else first, names), own))
    return made


def _sentence_of_attempt(words: Words, one: AttemptReason, first: str, names: Mapping[str, str]) -> str:
    """``first``: the sentence about the first provider of the decision that it follows."""
    if one.why is WhyAttempt.decided:
        return first
    provider = words.declared(names.get(one.attempt.provider_code, one.attempt.provider_code))
    after = words.declared(names.get(one.after or "", one.after or ""))
    said = words(f"why_attempt.{one.why}", provider=provider, after=after)
    return f"{said} {first}" if one.why is WhyAttempt.retried else said
