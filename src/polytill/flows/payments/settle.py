"""Settles payments: the only place that changes a payment's money state, by a provider's answer, a webhook or a lookup.

``decide`` is pure: it gives the meaning of an outcome for a payment and an attempt. ``settle`` writes it as one unit,
compare-and-set on both rows; if another writer was first, it reads again and decides again. A provider's fact is never
rejected: one that does not fit is booked for what it is and opens a review case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import CheckRefused, Duplicate, Stale
from polytill.domain.ids import new_id
from polytill.domain.review_cases import CaseKind
from polytill.domain.sources import Source
from polytill.domain.states import PaymentStatus
from polytill.flows.commits import TRIES
from polytill.flows.context import Practice, log
from polytill.flows.events import record_event
from polytill.flows.finding import NO_STEPS, AddSteps, ExtraSteps, Finding
from polytill.flows.identifiers import named_by_outcome
from polytill.flows.payment_events import OF_CASE, record_status_event
from polytill.flows.payments import contradictions, counting, returned_amounts, saved_methods
from polytill.flows.payments.decide import Verdict, decide
from polytill.flows.payments.ended_attempts import as_closed
from polytill.flows.payments.settle_attempt import schedule_next_lookup, timed
from polytill.flows.provider_messages import messages_of
from polytill.flows.unresolved import Observed, is_unclear, noted_attempt
from polytill.providers.outcomes import Succeeded
from polytill.storage import anchors, attempts, audit, cases, ledger, payment_identifiers, payments
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Change, Payment
from polytill.storage.units import Unit


async def settle(
    practice: Practice, payment: Payment, attempt: Attempt, finding: Finding, steps: ExtraSteps = NO_STEPS
) -> tuple[Payment, Attempt]:
    """Write the meaning of a finding, with ledger, audit and cases, as one unit. Returns both rows as updated.

    A fact that says nothing about the row as another writer has left it changes nothing, but ``steps`` are written. Of
    another finding that no longer holds, nothing is written. ``Duplicate`` if ``steps`` store the attempt and its number
    is taken.
    """
    read = attempt
    for _ in range(TRIES):
        finding = finding.with_outcome(await as_closed(practice, payment, attempt, finding.outcome))
        verdict = Verdict()
        if finding.still_holds(read, attempt):
            verdict = decide(payment, attempt, finding.outcome, steps.successor)
        writing = _Writing(practice, payment, attempt, finding, verdict, steps, read)
        unit = await writing.unit()
        try:
            await practice.db.commit(unit)
        except (Stale, CheckRefused, Duplicate) as refused:  # Duplicate: another task stored its successor first
            if steps.stores_attempt and isinstance(refused, Duplicate):
                raise
            payment, attempt = await _again(practice.db, payment, attempt)
            if finding.is_void(read, attempt):
                return payment, attempt
            continue
        writing.log()
        counting.count(practice.context, payment, attempt, verdict)
        if verdict.change is not None:
            payment = payments.applied(payment, verdict.change, writing.now)
        return payment, verdict.attempt or attempt
    raise Stale


@dataclass(slots=True)
class _Writing:
    """One try to write a finding. ``read``: the attempt for which the finding was made."""

    practice: Practice
    payment: Payment
    attempt: Attempt
    finding: Finding
    verdict: Verdict
    steps: ExtraSteps
    read: Attempt
    now: datetime = field(init=False)

    async def unit(self) -> Unit:
        """The unit of everything that the verdict changes, and of the extra steps."""
        practice, payment, attempt, verdict = self.practice, self.payment, self.attempt, self.verdict
        outcome, is_lookup = self.finding.outcome, self.finding.is_new_lookup(self.read, attempt)
        may_be_old = self.finding.may_be_old(self.read, attempt)
        against = await contradictions.against_staff(practice, payment, attempt, outcome, may_be_old)
        # Read before the unit starts, so that an exception here leaves no work open.
        observed = Observed(outcome, is_lookup, self.steps.resolves)
        queue = await noted_attempt(practice, payment, attempt, verdict.attempt, observed)
        named = self.finding.named if attempt is self.read else None
        if named is None:
            named = await named_by_outcome(practice.context, attempt, outcome)
        self.now = now = practice.now()
        unit = Unit()
        if self.finding.source is Source.staff:
            anchors.hold_decision(unit, practice.db.anchor)
        if verdict.change is not None:
            version = await returned_amounts.captured(practice, unit, payment, attempt, verdict.change)
            payments.change(unit, payment, verdict.change, now, version)
        if verdict.attempt is not None:
            self._add_attempt(unit, verdict.attempt)
        elif is_lookup:
            schedule_next_lookup(unit, payment, attempt, outcome, now)
        if verdict.uses_successor and self.steps.successor is not None:
            attempts.insert(unit, self.steps.successor)
        payment_identifiers.insert(unit, attempt, named, now)
        self._add_books(unit)
        contradictions.contradict(practice.context, unit, payment, against)
        if payment.save_method and isinstance(outcome, Succeeded) and outcome.saved_method and not verdict.cases:
            saved_methods.store(practice, unit, payment, attempt, outcome.saved_method, now)
        self.steps.add_to(unit, any(case.kind is CaseKind.amount_mismatch for case in verdict.cases))
        queue(unit)
        return unit

    def _add_attempt(self, unit: Unit, changed: Attempt) -> None:
        verdict = self.verdict
        timed(self.practice, self.payment, self.attempt, changed, verdict, self.now)
        if self.steps.stores_attempt:
            attempts.insert(unit, changed)
        else:
            attempts.change(unit, self.attempt, changed)

    def _add_books(self, unit: Unit) -> None:
        """Add ledger lines, events, cases and the audit line."""
        context, payment, verdict, now = self.practice.context, self.payment, self.verdict, self.now
        of_practice = payment.practice_id, payment.environment
        for entry in verdict.entries:
            ledger.book(unit, new_id(context.world), payment, entry, entry.at or now)
        if verdict.change is not None and (verdict.change.status is not payment.status or verdict.change.add_captured):
            record_status_event(context, unit, payment, verdict.change)
        for case in verdict.cases:
            unless_case = (case.kind, case.subject)
            record_event(context, unit, payment, OF_CASE[case.kind], case.detail, unless_case=unless_case)
            case_id = new_id(context.world)
            cases.open_case(
                unit, case_id, *of_practice, cases.NewCase(case.kind, case.subject, payment.id, case.detail), now
            )
        if verdict.attempt is not None:
            detail = {
                "attempt": self.attempt.id,
                "provider": self.attempt.provider_code,
                "from": self.attempt.state.value,
                "to": verdict.attempt.state.value,
                "reason": verdict.attempt.reason,
            }
            status = verdict.change.status if verdict.change else payment.status
            audit.append(unit, now, self.finding.source, AuditAction(f"payment.{status.value}"), payment.id, detail)

    def log(self) -> None:
        """Log the result, with the provider's code and message. An answer that cannot be understood is a warning."""
        told = {
            "practice": self.practice.id,
            "payment": self.payment.id,
            "attempt": self.attempt.id,
            "provider": self.attempt.provider_code,
            "source": self.finding.source,
            "outcome": type(self.finding.outcome).__name__,
            **messages_of(self.finding.outcome),
        }
        if self.verdict.change is not None:
            log.info(
                "payment_settled", before=self.payment.status.value, after=self.verdict.change.status.value, **told
            )
        elif is_unclear(self.finding.outcome):
            log.warning("attempt_not_understood", **told)
        elif self.verdict.attempt is not None:
            log.info("attempt_settled", **told)


async def reopen(
    practice: Practice, payment: Payment, attempt: Attempt, source: Source, decided: Mapping[str, Any], also: AddSteps
) -> Payment:
    """Try a failed payment again: store its next attempt, and the decision that chose it. ``Stale`` if it is no longer
    failed, ``Duplicate`` if another task was first. The caller must know that every earlier attempt is closed for
    certain."""
    now = practice.now()
    change = Change(PaymentStatus.processing, provider_code=attempt.provider_code, clear_reasons=True)
    unit = Unit()
    payments.change(unit, payment, change, now)
    attempts.insert(unit, attempt)
    audit.append(unit, now, source, AuditAction.payment_tried_again, payment.id, {"attempt": attempt.id, **decided})
    also(unit)
    await practice.db.commit(unit)
    return payments.applied(payment, change, now)


async def _again(db: PracticeDb, payment: Payment, attempt: Attempt) -> tuple[Payment, Attempt]:
    """Both rows as they are now; a new attempt is not stored yet."""
    fresh = await payments.by_id(db, payment.id)
    assert fresh is not None
    return fresh, await attempts.by_id(db, attempt.id) or attempt
