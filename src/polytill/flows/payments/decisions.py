"""The decision of a payment as its audit line stores it: short, and enough to say again why each provider has its place.

Only what cannot be derived is stored: reasons, and the values that their sentences name.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.money import Money
from polytill.domain.routing import Strategy, Verdict, WhyExcluded, WhyFirst, WhyLater
from polytill.domain.routing_policies import WhyAttempt
from polytill.flows.routing.decision import Decision
from polytill.flows.routing.explain import Explained
from polytill.flows.routing.sentences import values_of
from polytill.storage import audit
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment

# They follow from the rest.
_DERIVED = frozenset({"provider", "first", "currency"})


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """Why each provider had its place when a payment was created, in order, then why each other one had none."""

    strategy: Strategy
    version: int | None  # of the practice's policy; None: the default order
    explained: tuple[Explained, ...]


def stored(found: Decision) -> dict[str, Any]:
    """The detail of the audit line of a payment."""
    first, later = found.ranked[:1], found.ranked[1:]
    values = {one.code: kept for one in found.ranked if (kept := _kept(one.about, values_of(one.why)))}
    values |= {out.code: kept for out in found.excluded if (kept := _kept(out.about, out.about))}
    detail: dict[str, Any] = {
        "why": found.why,
        "order": [one.code for one in (*first, *later)],
        "later": {one.code: one.why for one in later},
        "excluded": {one.code: one.reason for one in found.excluded},
        "values": {code: {name: _put(value) for name, value in kept.items()} for code, kept in values.items()},
        "health": {one.code: one.verdict for one in found.ranked if one.verdict is not Verdict.healthy},
        "strategy": found.strategy if found.version is not None else None,
        "policy": found.version,
    }
    return {name: value for name, value in detail.items() if value}


def read(detail: Mapping[str, Any], currency: str, names: Mapping[str, str]) -> StoredDecision | None:
    """The decision of an audit line. ``names``: of providers, by code. None if a newer version wrote it with reasons
    that are not known here."""
    try:
        return _read(detail, currency, names)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _read(detail: Mapping[str, Any], currency: str, names: Mapping[str, str]) -> StoredDecision:
    order: list[str] = detail.get("order", [])
    values, health = detail.get("values", {}), detail.get("health", {})
    general: dict[str, Any] = {"currency": currency}
    if order:
        general["first"] = names.get(order[0], order[0])

    def about(code: str) -> dict[str, Any]:
        given = {name: _taken(value) for name, value in values.get(code, {}).items()}
        return {**general, "provider": names.get(code, code), **given}

    found = []
    for place, code in enumerate(order, 1):
        why = WhyFirst(detail["why"]) if place == 1 else WhyLater(detail["later"][code])
        group = "why" if place == 1 else "why_later"
        verdict = Verdict(health.get(code, Verdict.healthy))
        found.append(Explained(code, place, group, why, "", about(code), verdict))
    for code, why_not in detail.get("excluded", {}).items():
        found.append(Explained(code, None, "excluded", WhyExcluded(why_not), "", about(code)))
    return StoredDecision(Strategy(detail.get("strategy", Strategy.priority)), detail.get("policy"), tuple(found))


@dataclass(frozen=True, slots=True)
class AttemptReason:
    """Why an attempt was made. ``after``: the provider of the attempt before it. ``decision``: of its own, if the customer
    tried again; the attempts after it follow that one."""

    attempt: Attempt
    why: WhyAttempt
    after: str | None
    decision: StoredDecision | None = None


@dataclass(frozen=True, slots=True)
class PaymentDecision:
    """The decision of a payment, and why each of its attempts was made."""

    payment: Payment
    decision: StoredDecision
    attempts: tuple[AttemptReason, ...]


async def of_payment(
    db: PracticeDb, payment: Payment, attempts: Sequence[Attempt], names: Mapping[str, str]
) -> PaymentDecision | None:
    """Why each provider of a payment had its place. None if nothing was decided here, as for a payment that was taken
    over from another system."""
    lines = await audit.details(db, payment.id, AuditAction.payment_created)
    if not lines or "why" not in lines[0]:
        return None
    retried: dict[str, Mapping[str, Any]] = {}
    if len(attempts) > 1:
        found = await audit.details(db, payment.id, AuditAction.payment_tried_again)
        retried = {str(detail.get("attempt")): detail for detail in found}
    reasons = []
    for before, attempt in zip((None, *attempts), attempts, strict=False):
        why = WhyAttempt.next
        if before is None:
            why = WhyAttempt.decided
        elif attempt.id in retried:
            why = WhyAttempt.retried
        elif attempt.provider_code == before.provider_code:
            why = WhyAttempt.renewed
        own = read(retried[attempt.id], payment.currency, names) if why is WhyAttempt.retried else None
        reasons.append(AttemptReason(attempt, why, before.provider_code if before else None, own))
    decision = read(lines[0], payment.currency, names)
    return PaymentDecision(payment, decision, tuple(reasons)) if decision else None


def _kept(about: Mapping[str, Any], named: Container[str]) -> dict[str, Any]:
    wanted = {name: value for name, value in about.items() if name.removesuffix("_ppm") in named or name in named}
    return {name: value for name, value in wanted.items() if name not in _DERIVED}


def _put(value: Any) -> Any:
    return {"amount": value.minor, "currency": value.currency} if isinstance(value, Money) else value


def _taken(value: Any) -> Any:
    is_money = isinstance(value, dict) and value.keys() == {"amount", "currency"}
    return Money(value["amount"], value["currency"]) if is_money else value
