"""Opens a review case for an outcome that stays unknown or pending, and closes the case once the outcome is known.

The worker continues its lookups all the while. Nothing here changes money.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from polytill.domain.clock import wire_time
from polytill.domain.event_types import EventType
from polytill.domain.ids import new_id
from polytill.domain.review_cases import CaseKind, CaseResolution
from polytill.domain.states import AttemptState, RefundState
from polytill.flows.context import Practice
from polytill.flows.events import record_event
from polytill.providers.outcomes import NOT_NOW, NotSent, Outcome, Reason, Unknown
from polytill.storage import attempts, cases
from polytill.storage.attempts import Attempt
from polytill.storage.cases import OperatorCase
from polytill.storage.databases import PracticeDb
from polytill.storage.operations import Operation
from polytill.storage.payments import Payment
from polytill.storage.refunds import Refund
from polytill.storage.units import Unit

# A case opens within the hour. Unknown outcomes are looked up every half minute, unclear answers every five minutes.
UNRESOLVED_AFTER = timedelta(minutes=59, seconds=30)
UNCLEAR_AFTER = timedelta(minutes=50)
UNCLEAR_ASKED_EVERY = timedelta(minutes=5)
# States in which an answer that cannot be understood changes nothing and only leads to further lookups.
MAY_BE_UNCLEAR = frozenset({AttemptState.pending, AttemptState.needs_action, AttemptState.authorized})
UNDERSTOOD = NOT_NOW | {Reason.not_found, Reason.config}
# A bank debit may take days. A case opens this long after the payment should have been paid.
PENDING_AFTER = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Observed:
    """An outcome as a unit settles it. ``is_lookup``: a lookup found it, and no other writer changed the state since.
    ``resolves``: the case that the same unit already resolves, as staff decided."""

    outcome: Outcome
    is_lookup: bool
    resolves: OperatorCase | None = None


class _CaseStep(Enum):
    """What a unit does about the case of an unknown outcome."""

    close = "close"
    open = "open"
    nothing = "nothing"


def _step(is_known: bool, is_long: bool) -> _CaseStep:
    """Close a case once the outcome is known; open one if it has been unknown for long."""
    return _CaseStep.close if is_known else _CaseStep.open if is_long else _CaseStep.nothing


async def noted_refund(
    practice: Practice, payment: Payment, refund: Refund, observed: Observed, is_known: bool
) -> Callable[[Unit], None]:
    """The step that opens or closes a refund's case, for the unit that settles the refund.

    ``is_known``: the refund's state changes now. If the outcome was learned meanwhile, the unit must be ``Stale``: its
    case would be pointless and never close.
    """
    now, outcome, resolves = practice.now(), observed.outcome, observed.resolves
    if refund.state is RefundState.unknown and (is_known or observed.is_lookup):
        is_long = now - refund.updated_at >= UNRESOLVED_AFTER
        said = refund_with_last_words(refund, outcome, now)
        detail = await _evidence_of(practice.db, said, "refund", refund.updated_at, now) if is_long else {}
        return await _noted(practice, payment, refund.id, detail, _step(is_known, is_long), resolves)
    if refund.state is not RefundState.pending or not (is_known or observed.is_lookup):
        return lambda _: None
    subject = f"{refund.id}:unclear"
    if is_unclear(outcome) and not is_known:
        said = refund_with_last_words(refund, outcome, now)
        since = said.unclear_since or now
        is_long = now - since >= UNCLEAR_AFTER
        detail = await _evidence_of(practice.db, said, "refund", since, now) if is_long else {}
        return await _noted(practice, payment, subject, detail, _step(False, is_long))
    understood = refund.unclear_since is not None and (is_known or not isinstance(outcome, Unknown | NotSent))
    return await _noted(practice, payment, subject, {}, _step(understood, False), resolves)


async def noted_operation(
    practice: Practice, payment: Payment, before: Operation, after: Operation, is_known: bool
) -> Callable[[Unit], None]:
    """The same for a capture or cancel whose outcome was unknown."""
    now = practice.now()
    is_long = now - before.created_at >= UNRESOLVED_AFTER
    detail = (
        await _evidence_of(practice.db, after, "operation", before.created_at, now) if is_long and not is_known else {}
    )
    return await _noted(practice, payment, before.id, detail, _step(is_known, is_long))


def is_unclear(outcome: Outcome) -> bool:
    """Whether a provider's answer cannot be understood: a new status or code, a broken body. An outage, "not found" and
    rejected keys do not count."""
    return isinstance(outcome, Unknown) and outcome.reason not in UNDERSTOOD


def with_last_words(attempt: Attempt, outcome: Outcome, now: datetime) -> Attempt:
    """An attempt with the provider's latest message after a lookup. An outage does not replace an earlier message."""
    if not isinstance(outcome, Unknown | NotSent):
        known = attempt.unclear_since is None
        return attempt if known else replace(attempt, reason=None, raw_code=None, detail=None, unclear_since=None)
    if outcome.reason in NOT_NOW or not (outcome.code or outcome.detail):
        return attempt
    unclear = is_unclear(outcome) and attempt.state in MAY_BE_UNCLEAR
    if not unclear and attempt.state is not AttemptState.unknown:
        return attempt
    since = (attempt.unclear_since or now) if unclear else attempt.unclear_since
    return replace(
        attempt, reason=outcome.reason.value, raw_code=outcome.code, detail=outcome.detail, unclear_since=since
    )


def refund_with_last_words(refund: Refund, outcome: Outcome, now: datetime) -> Refund:
    """The same for a refund whose state does not change."""
    if not isinstance(outcome, Unknown | NotSent):
        known = refund.unclear_since is None
        return refund if known else replace(refund, raw_code=None, detail=None, unclear_since=None)
    if outcome.reason in NOT_NOW or not (outcome.code or outcome.detail):
        return refund
    unclear = is_unclear(outcome) and refund.state is RefundState.pending
    if not unclear and refund.state is not RefundState.unknown:
        return refund
    since = (refund.unclear_since or now) if unclear else refund.unclear_since
    return replace(refund, raw_code=outcome.code, detail=outcome.detail, unclear_since=since)


def schedule_lookup(now: datetime, next_at: datetime | None, unclear_since: datetime | None) -> datetime | None:
    """When to look up again: sooner if the last answer could not be understood."""
    return next_at if next_at is None or unclear_since is None else min(next_at, now + UNCLEAR_ASKED_EVERY)


async def noted_attempt(
    practice: Practice, payment: Payment, attempt: Attempt, becomes: Attempt | None, observed: Observed
) -> Callable[[Unit], None]:
    """``noted_refund`` for an attempt that becomes ``becomes`` (None: no change). A pending attempt gets a case, too:
    three days after its payment was due, or if the provider's answers cannot be understood for most of an hour."""
    now, is_known = practice.now(), becomes is not None and becomes.state is not attempt.state
    outcome, asked, resolves = observed.outcome, observed.is_lookup, observed.resolves
    if attempt.state is AttemptState.unknown and (is_known or asked):
        said = with_last_words(attempt, outcome, now)
        is_long = now - attempt.updated_at >= UNRESOLVED_AFTER
        detail = _evidence(said, attempt.updated_at, now)
        return await _noted(practice, payment, attempt.id, detail, _step(is_known, is_long), resolves)
    if attempt.state in MAY_BE_UNCLEAR and asked and is_unclear(outcome) and becomes is None:
        said = with_last_words(attempt, outcome, now)
        since = said.unclear_since or now
        step = _step(False, now - since >= UNCLEAR_AFTER)
        return await _noted(practice, payment, f"{attempt.id}:unclear", _evidence(said, since, now), step)
    understood = attempt.unclear_since is not None and (is_known or not isinstance(outcome, Unknown | NotSent))
    subject = f"{attempt.id}:unclear"
    steps = [await _noted(practice, payment, subject, {}, _CaseStep.close, resolves)] if understood else []
    if attempt.state is AttemptState.pending and (is_known or asked):
        is_long = now - (payment.expires_at or attempt.created_at) >= PENDING_AFTER
        # In addition to the case of an earlier lost answer, which has ended.
        detail = _evidence(attempt, attempt.updated_at, now)
        subject = f"{attempt.id}:pending"
        steps.append(await _noted(practice, payment, subject, detail, _step(is_known, is_long), resolves))

    def add(unit: Unit) -> None:
        for step in steps:
            step(unit)

    return add


def _evidence(attempt: Attempt, since: datetime, now: datetime) -> dict[str, Any]:
    """The facts that a person needs to ask the provider: its answer, the subject, number and times of the lookups."""
    return {
        "attempt": attempt.id,
        "since": wire_time(since),
        "provider": attempt.provider_code,
        "transaction": attempt.provider_transaction_id,
        "reason": attempt.reason,
        "code": attempt.raw_code,
        "message": attempt.detail,
        "created": wire_time(attempt.created_at),
        "lookups": attempt.lookups + 1,
        "last_asked": wire_time(now),
    }


async def _evidence_of(
    db: PracticeDb, row: Refund | Operation, what: str, since: datetime, now: datetime
) -> dict[str, Any]:
    """The same for a refund, capture or cancel."""
    if isinstance(row, Refund):
        own = {"amount": row.amount, "transaction": row.provider_refund_id, "reason": row.failure_reason}
    else:
        own = {"amount": row.amount, "type": row.kind, "reason": row.reason}
    return {
        what: row.id,
        "since": wire_time(since),
        "provider": await attempts.provider_of(db, row.attempt_id),
        **own,
        "code": row.raw_code,
        "message": row.detail,
        "created": wire_time(row.created_at),
        "lookups": row.lookups + 1,
        "last_asked": wire_time(now),
    }


async def _noted(
    practice: Practice,
    payment: Payment,
    subject: str,
    detail: dict[str, Any],
    step: _CaseStep,
    resolves: OperatorCase | None = None,
) -> Callable[[Unit], None]:
    now = practice.now()
    is_known = step is _CaseStep.close
    known = await cases.listed(practice.db, kind=CaseKind.unresolved, subject=subject) if is_known else []
    # A unit must write each row once: of two writes PostgreSQL keeps one.
    known = [case for case in known if resolves is None or case.id != resolves.id]

    def add(unit: Unit) -> None:
        for case in known:
            cases.close(unit, case, {"action": CaseResolution.found_out}, "provider", now)
        if step is _CaseStep.open:
            record_event(
                practice.context,
                unit,
                payment,
                EventType.payment_unresolved,
                detail,
                unless_case=(CaseKind.unresolved, subject),
            )
            cases.open_case(
                unit,
                new_id(practice.context.world),
                payment.practice_id,
                payment.environment,
                cases.NewCase(CaseKind.unresolved, subject, payment.id, detail),
                now,
            )

    return add
