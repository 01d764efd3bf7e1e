"""The dispute part of ``settle``: the state of a dispute, the loss from a lost one, and its review cases and events.

An inquiry is a question without funds withdrawn. It has a case and events of its own, and may become a chargeback.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import InvalidAmount
from polytill.domain.event_types import EventType
from polytill.domain.ids import new_id
from polytill.domain.review_cases import CaseKind, CaseResolution, CaseState
from polytill.domain.sources import Source
from polytill.domain.states import REFUND_DONE, CountedAs, DisputeKind, DisputeReason, DisputeState
from polytill.flows.commits import ANOTHER_WAS_FIRST, until_committed
from polytill.flows.context import Context, Practice, log
from polytill.flows.events import is_other_currency, open_case, open_currency_case, record_event
from polytill.flows.finding import AddSteps, Finding
from polytill.flows.payments import returned_amounts, reversals
from polytill.flows.payments.reading import current_attempt
from polytill.flows.payments.returned_amounts import News
from polytill.flows.refunds.settle import settle_refund
from polytill.providers.contract import DisputeFact
from polytill.providers.outcomes import Declined, Reason
from polytill.providers.wire_amounts import from_wire
from polytill.storage import attempts, audit, cases, disputes, payments, refunds
from polytill.storage.attempts import Attempt
from polytill.storage.cases import OperatorCase
from polytill.storage.databases import PracticeDb
from polytill.storage.disputes import Dispute
from polytill.storage.payments import Payment
from polytill.storage.refunds import DISPUTE_WON
from polytill.storage.units import Unit

# The cases of an open dispute, by kind: both end with the dispute.
OPEN_CASES = {
    DisputeKind.inquiry: (CaseKind.inquiry_open, "inquiry"),
    DisputeKind.chargeback: (CaseKind.dispute_open, "open"),
}


class End(NamedTuple):
    """What the end of a dispute leads to: its case, the resolution of the cases that it ends, and its event."""

    case: CaseKind
    resolution: CaseResolution
    event: EventType


ENDS = {
    DisputeState.won: End(CaseKind.dispute_won, CaseResolution.dispute_won, EventType.dispute_won),
    DisputeState.lost: End(CaseKind.dispute_lost, CaseResolution.dispute_lost, EventType.dispute_lost),
    DisputeState.closed: End(CaseKind.dispute_closed, CaseResolution.dispute_closed, EventType.dispute_closed),
}


@dataclass(frozen=True, slots=True)
class DisputeFinding:
    """A fact about a dispute with its source: a ``webhook``, or a ``lookup`` in the provider's listing, which reports
    the current state."""

    fact: DisputeFact
    source: Source

    def still_holds(self, before: Dispute | None) -> bool:
        """Whether it says something about a dispute as it is recorded. A dispute that has ended is not reopened, and gets
        another end only from a source that reports the current state; an inquiry may become a chargeback."""
        if before is None:
            return True
        state = DisputeState(self.fact.state)
        escalated = (before.kind, self.fact.kind) == (DisputeKind.inquiry, DisputeKind.chargeback)
        has_ended = before.state not in (DisputeState.open, state) and not escalated
        return not has_ended or (state is not DisputeState.open and self.source == Source.lookup)


async def apply_dispute_fact(
    practice: Practice, payment: Payment, attempt: Attempt, finding: DisputeFinding, also: AddSteps
) -> None:
    """Record a dispute about an attempt of a payment, and book what a lost one took."""
    fact = _priced(attempt, finding.fact)
    finding = replace(finding, fact=fact)

    async def record() -> None:
        known = {d.provider_dispute_id: d for d in await disputes.of_payment(practice.db, payment.id)}
        before = known.get(fact.provider_dispute_id)
        still_holds = finding.still_holds(before)
        if fact.funds_returned and still_holds:
            await _undo_reversals(practice, _dispute(practice.context, payment, attempt, before, fact))
        fresh = await payments.by_id(practice.db, payment.id)
        assert fresh is not None
        unit = Unit()
        if is_other_currency(fresh, fact):
            open_currency_case(practice.context, unit, fresh, fact)
        elif still_holds:
            await _write(practice, unit, fresh, attempt, before, finding)
        elif before is not None and fact.state != DisputeState.open:
            await _other_end(practice, unit, fresh, before, DisputeState(fact.state))
        also(unit)
        await practice.db.commit(unit)

    await until_committed(record, ANOTHER_WAS_FIRST)


def _priced(attempt: Attempt, fact: DisputeFact) -> DisputeFact:
    """A fact with its amount in its attempt's currency, if the amount came without one."""
    if fact.amount is not None or fact.bare_amount is None:
        return fact
    with suppress(InvalidAmount):
        value, exponent = fact.bare_amount
        return replace(fact, amount=from_wire(value, attempt.currency, exponent))
    return fact


async def attempt_disputed(db: PracticeDb, attempt: Attempt, fact: DisputeFact) -> Attempt:
    """The attempt whose money is disputed. The provider's id tells apart two that were paid under one reference."""
    named = fact.provider_transaction_id
    if named is None or named == attempt.provider_transaction_id:
        return attempt
    owner = await attempts.by_provider_id(db, attempt.config_id, attempt.environment, named)
    return owner if owner is not None and owner.payment_id == attempt.payment_id else attempt


async def _write(
    practice: Practice, unit: Unit, payment: Payment, attempt: Attempt, before: Dispute | None, finding: DisputeFinding
) -> None:
    now, fact = practice.now(), finding.fact
    dispute = _dispute(practice.context, payment, attempt, before, fact)
    owner = attempt
    if dispute.attempt_id != attempt.id:
        owner = await attempts.by_id(practice.db, dispute.attempt_id) or attempt
    current = current_attempt(payment, await attempts.of_payment(practice.db, payment.id)).id
    change = await returned_amounts.book(practice, unit, payment, owner, News("provider", current, dispute=dispute))
    payments.change(unit, payment, change, now, payment.version)
    if before is None:
        disputes.insert(unit, dispute)
    else:
        disputes.change(unit, before, dispute)
    await _follow(practice, unit, payment, before, dispute, finding.source)


async def _undo_reversals(practice: Practice, dispute: Dispute) -> None:
    """Reverse the reversals of a dispute that ended in the practice's favor, if its money is shown as returned.

    Runs before the dispute itself is written, so that after a crash in between the fact is applied again.
    """
    if dispute.state not in reversals.IN_FAVOR:
        return
    made = [r for r in await refunds.of_payment(practice.db, dispute.payment_id) if r.attempt_id == dispute.attempt_id]
    others = [
        d for d in await disputes.of_payment(practice.db, dispute.payment_id) if d.attempt_id == dispute.attempt_id
    ]
    disputed = [*(d for d in others if d.id != dispute.id), dispute]
    found = reversals.by_dispute((r for r in made if r.state in REFUND_DONE or r.is_undone), disputed)
    for refund in found.get(dispute.id, []):
        if refund.state in REFUND_DONE:
            outcome = Declined(Reason.canceled, True, DISPUTE_WON, None, refund.provider_refund_id)
            await settle_refund(practice, refund, Finding(outcome, Source.provider))


def _dispute(
    context: Context, payment: Payment, attempt: Attempt, before: Dispute | None, fact: DisputeFact
) -> Dispute:
    """The dispute in its next state. Facts about an open dispute may arrive in any order: an older webhook that omits a
    value, or reports an earlier stage, does not overwrite what is known."""
    now, state = context.world.now(), DisputeState(fact.state)
    amount = fact.amount.minor if fact.amount else None
    kind, withdrawn, due_at = DisputeKind(fact.kind), fact.funds_withdrawn, fact.due_at
    reason = DisputeReason(fact.reason) if fact.reason else None
    provider_reason, owner, funds_returned = fact.provider_reason, attempt.id, fact.funds_returned
    if before is not None:
        # A loss counts once: a repeat does not change the amount, but adds one that was missing.
        has_ended = before.state is not DisputeState.open and before.state is state
        if amount is None or (has_ended and before.amount is not None):
            amount = before.amount
        if before.kind is DisputeKind.chargeback:
            kind = before.kind
        if state is DisputeState.open:
            withdrawn = withdrawn or before.funds_withdrawn
        elif has_ended:  # a fact that does not show the returned money does not delete the earlier one that did
            funds_returned = funds_returned or before.funds_returned
        due_at, reason = due_at or before.due_at, reason or before.reason
        provider_reason = provider_reason or before.provider_reason
        # The attempt whose loss was booked does not change, either.
        owner = before.attempt_id if before.booked else owner
    return Dispute(
        before.id if before else new_id(context.world), payment.id, payment.practice_id, payment.environment,
        fact.provider_dispute_id, state, fact.provider_state, amount, payment.currency, withdrawn, due_at,
        before.created_at if before else now, now, owner, kind, reason, provider_reason,
        before.booked if before else 0, before.counted_as if before else None, funds_returned,
    )  # fmt: skip


# ── Cases and events ──


async def _follow(
    practice: Practice, unit: Unit, payment: Payment, before: Dispute | None, dispute: Dispute, source: Source
) -> None:
    """Open and close the cases of a dispute that has changed, and add its event."""
    is_news = before is None or before.state is not dispute.state
    escalated = before is not None and before.kind is not dispute.kind
    detail, name = view(dispute), dispute.provider_dispute_id
    is_open = dispute.state is DisputeState.open
    if not (is_news or (escalated and is_open)):
        if is_open and before is not None and _differs(before, dispute):
            updated = EventType.inquiry_updated if _is_inquiry(dispute) else EventType.dispute_updated
            record_event(practice.context, unit, payment, updated, detail)
        return
    for kind, (case, suffix) in OPEN_CASES.items():
        if is_open and kind is dispute.kind:
            open_case(practice.context, unit, payment, case, f"{name}:{suffix}", detail)
        else:
            why = CaseResolution.became_chargeback if is_open else ENDS[dispute.state].resolution
            await _end_case(practice, unit, case, f"{name}:{suffix}", why)
    if dispute.state is DisputeState.lost:
        await _open_again(practice, unit, payment, CaseKind.dispute_lost, f"{name}:lost", detail)
    if not is_open:
        await _end_others(practice, unit, dispute)
    audit.append(unit, practice.now(), source, _audited(dispute), payment.id, detail)
    record_event(
        practice.context, unit, payment, _event(dispute), {**detail, "wasInquiry": True} if escalated else detail
    )
    log.info(
        "dispute_settled",
        practice=practice.id,
        payment=payment.id,
        dispute=name,
        kind=dispute.kind.value,
        state=dispute.state.value,
    )


def view(dispute: Dispute) -> dict[str, Any]:
    """A dispute in cases, events and the API: amounts in minor units of ``currency``."""
    return {
        "dispute": dispute.provider_dispute_id,
        "kind": dispute.kind.value,
        "state": dispute.state.value,
        "providerState": dispute.provider_state,
        "reason": dispute.reason.value if dispute.reason else None,
        "providerReason": dispute.provider_reason,
        "amount": dispute.amount,
        "currency": dispute.currency,
        "dueAt": dispute.due_at,
        "fundsWithdrawn": dispute.funds_withdrawn,
    }


def _differs(before: Dispute, dispute: Dispute) -> bool:
    """Whether a value changed on which a host or a person acts."""
    then, now = view(before), view(dispute)
    return any(then[name] != now[name] for name in ("amount", "dueAt", "fundsWithdrawn"))


def _is_inquiry(dispute: Dispute) -> bool:
    """Whether events call it an inquiry: an inquiry that took money is a dispute."""
    return dispute.kind is DisputeKind.inquiry and dispute.state is not DisputeState.lost


def _event(dispute: Dispute) -> EventType:
    if dispute.state is DisputeState.open:
        return EventType.inquiry_opened if _is_inquiry(dispute) else EventType.dispute_opened
    return EventType.inquiry_closed if _is_inquiry(dispute) else ENDS[dispute.state].event


def _audited(dispute: Dispute) -> AuditAction:
    return AuditAction(f"{'inquiry' if _is_inquiry(dispute) else 'dispute'}.{dispute.state.value}")


async def confirm_end(practice: Practice, dispute: Dispute) -> None:
    """Close the cases about another end of a dispute, because the provider now confirms the recorded one."""
    unit = Unit()
    await _end_others(practice, unit, dispute)
    if unit.steps:
        await practice.db.commit(unit)


async def _end_others(practice: Practice, unit: Unit, dispute: Dispute) -> None:
    """Close the cases about a dispute's end once it is certain. The case of a loss stays open until staff resolve it."""
    name, why = dispute.provider_dispute_id, ENDS[dispute.state].resolution
    for state, end in ENDS.items():
        if state is not DisputeState.lost or state is not dispute.state:
            await _end_case(practice, unit, end.case, f"{name}:{state.value}", why)


async def _open_again(
    practice: Practice, unit: Unit, payment: Payment, kind: CaseKind, subject: str, detail: dict[str, Any]
) -> None:
    """Open a case, or reopen one that was closed because the dispute had another end meanwhile."""
    known = next(iter(await cases.listed(practice.db, CaseState.resolved, kind, subject=subject)), None)
    if known is None or known.detail["resolution"]["action"] not in {end.resolution for end in ENDS.values()}:
        open_case(practice.context, unit, payment, kind, subject, detail)
        return
    cases.reopen(unit, known, detail)
    audit.append(unit, practice.now(), Source.provider, AuditAction.case_reopened, known.id, {"kind": kind})


async def _end_case(practice: Practice, unit: Unit, kind: CaseKind, subject: str, why: CaseResolution) -> None:
    now, resolution = practice.now(), {"action": why}
    for case in await cases.listed(practice.db, kind=kind, subject=subject):
        cases.close(unit, case, resolution, "provider", now)
        audit.append(unit, now, Source.provider, AuditAction.case_resolved, case.id, {"kind": kind, **resolution})


async def _other_end(practice: Practice, unit: Unit, payment: Payment, before: Dispute, state: DisputeState) -> None:
    """Open a case if a dispute gets another end, as on an appeal: nothing tells which end came last."""
    detail = {**view(before), "state": state.value, "was": before.state.value}
    subject = f"{before.provider_dispute_id}:{state.value}"
    await _open_again(practice, unit, payment, ENDS[state].case, subject, detail)


async def count_dispute(
    practice: Practice,
    case: OperatorCase,
    before: Dispute,
    counted_as: CountedAs,
    resolution: dict[str, Any],
    actor: str,
) -> None:
    """Book a lost dispute as staff decided that it counts beside the refunds. Closes the case if all is clear then."""
    payment = await payments.by_id(practice.db, before.payment_id)
    attempt = await attempts.by_id(practice.db, case.subject)
    assert payment is not None
    assert attempt is not None
    current = current_attempt(payment, await attempts.of_payment(practice.db, payment.id)).id
    now = practice.now()
    dispute = replace(before, counted_as=counted_as, updated_at=now)
    news = News(actor, current, dispute=dispute, decision=resolution)
    unit = Unit()
    change = await returned_amounts.book(practice, unit, payment, attempt, news)
    payments.change(unit, payment, change, now, payment.version)
    disputes.change(unit, before, dispute)
    detail = {"dispute": dispute.provider_dispute_id, "note": resolution["note"]}
    audit.append(unit, now, actor, AuditAction(f"dispute.counted_{counted_as.value}"), payment.id, detail)
    await practice.db.commit(unit)
