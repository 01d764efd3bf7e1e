"""The refund part of ``settle``: what a fact changes in a refund, its payment's amounts, and the ledger.

A refund holds a reservation, or is booked, or holds nothing; a change of state moves its amount between the three. An
amount that a provider refunds beyond the captured amount is booked apart (``duplicate_refunded``).
``flows/payments/returned_amounts.py`` decides how much of it is the same money as a lost dispute, and whether more was
returned than captured.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import CheckRefused, Duplicate, Stale
from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.review_cases import CaseKind
from polytill.domain.sources import Source
from polytill.domain.states import (
    REFUND_DONE,
    REFUND_RESERVES,
    REFUND_VOID,
    REFUNDED_NOTHING,
    RefundOrigin,
    RefundState,
)
from polytill.flows.commits import ANOTHER_WAS_FIRST, TRIES
from polytill.flows.context import Practice, log
from polytill.flows.events import is_other_currency, open_case, open_currency_case
from polytill.flows.finding import NO_STEPS, AddSteps, ExtraSteps, Finding
from polytill.flows.payments import contradictions, returned_amounts, reversals
from polytill.flows.payments.reading import current_attempt
from polytill.flows.payments.returned_amounts import News
from polytill.flows.provider_calls import OTHER_ACCOUNT
from polytill.flows.provider_messages import messages_of
from polytill.flows.refunds.past import Made, leave_to_staff, name_part, past_sum, when_made
from polytill.flows.refunds.write import OUTCOME_OPEN, Move, as_answered, decide_refund, keep_state, move
from polytill.flows.schedule import next_lookup
from polytill.flows.unresolved import Observed, is_unclear, noted_refund
from polytill.providers.contract import RefundFact
from polytill.providers.outcomes import Declined, NotSent, Outcome, Pending, Reason, Succeeded, Unknown
from polytill.storage import anchors, attempts, audit, payments, refunds
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment
from polytill.storage.refunds import DISPUTE_WON, Refund, duplicate_key
from polytill.storage.units import Unit

# States of a fact in which the money is with the customer, or on its way.
_RETURNS_MONEY = frozenset({"succeeded", "pending", "requires_action"})


async def settle_refund(practice: Practice, refund: Refund, finding: Finding, steps: ExtraSteps = NO_STEPS) -> Refund:
    """Write the meaning of a finding for a refund, as one unit. Returns the refund as it is afterwards."""
    read, is_anothers = refund, False
    for _ in range(TRIES):
        payment = await payments.by_id(practice.db, refund.payment_id)
        assert payment is not None
        another = _fact_of_another(refund, finding.outcome)
        differs = another is None and _is_other_amount(refund, finding.outcome)
        writing = _Writing(practice, payment, refund, finding, steps, read, is_anothers or differs)
        if another is None and not writing.is_other_amount and finding.still_holds(read, refund):
            writing.state = decide_refund(refund, finding.outcome)
        unit = await writing.unit()
        try:
            await practice.db.commit(unit)
        except (Stale, CheckRefused, Duplicate) as refused:
            outcome = finding.outcome
            if isinstance(refused, Duplicate) and not isinstance(outcome, NotSent | Unknown):
                # The refund in the answer is already booked as another refund: it cannot be this one, too.
                is_anothers, finding = True, finding.with_outcome(replace(outcome, provider_transaction_id=None))
            fresh = await refunds.by_id(practice.db, refund.id)
            assert fresh is not None
            refund = fresh
            continue
        writing.log()
        if another is not None:
            attempt = await attempts.by_id(practice.db, refund.attempt_id)
            assert attempt is not None
            await apply_to_the_end(practice, payment, attempt, another, finding.source, lambda _: None)
        return writing.changed
    raise Stale


@dataclass(slots=True)
class _Writing:
    """One try to write a finding about a refund. ``read``: the refund for which it was made. ``state``: the refund's
    next state; None if it stays."""

    practice: Practice
    payment: Payment
    refund: Refund
    finding: Finding
    steps: ExtraSteps
    read: Refund
    is_other_amount: bool
    state: RefundState | None = None
    changed: Refund = field(init=False)

    async def unit(self) -> Unit:
        """The unit of everything that changes, and of the extra steps."""
        practice, payment, refund, outcome = self.practice, self.payment, self.refund, self.finding.outcome
        unit, now, state = Unit(), practice.now(), self.state
        if self.finding.source is Source.staff:
            anchors.hold_decision(unit, practice.db.anchor)
        is_lookup = self.finding.is_new_lookup(self.read, refund)
        against = None
        if self.finding.still_holds(self.read, refund):
            against = await contradictions.refund_against_staff(practice.db, refund, outcome, state)
        if against is not None and contradictions.was_never_made(refund, outcome):
            self.state = state = None  # staff decided that it was made, and that is never reversed
        observed = Observed(outcome, is_lookup, self.steps.resolves)
        queue = await noted_refund(practice, payment, refund, observed, state is not None)
        contradictions.contradict(practice.context, unit, payment, against)
        self._open_cases(unit)
        if state is None:
            self.changed = refund
            keep_state(unit, refund, outcome, is_lookup, now)
        else:
            self.changed = changed = as_answered(refund, state, outcome)
            changed.updated_at = now
            changed.next_lookup_at = next_lookup(state, 0, now)
            await move(practice, unit, payment, Move(refund, changed, self.finding.source))
        self.steps.add_to(unit)
        queue(unit)
        return unit

    def _open_cases(self, unit: Unit) -> None:
        context, refund, outcome = self.practice.context, self.refund, self.finding.outcome
        if self.is_other_amount:
            detail = {"refund": refund.id, "requested": refund.amount}
            open_case(context, unit, self.payment, CaseKind.refund_mismatch, refund.id, detail)
        if isinstance(outcome, Unknown) and outcome.code == OTHER_ACCOUNT:
            detail = {"refund": refund.id, "attempt": refund.attempt_id}
            open_case(context, unit, self.payment, CaseKind.other_account, refund.id, detail)

    def log(self) -> None:
        """Log the result, with the provider's code and message. An answer that cannot be understood is a warning."""
        outcome, before = self.finding.outcome, self.refund
        about = {"practice": self.practice.id, "refund": before.id, "source": self.finding.source}
        about |= messages_of(outcome)
        if self.state is not None:
            log.info("refund_settled", before=before.state.value, after=self.state.value, **about)
        elif is_unclear(outcome):
            log.warning("refund_not_understood", **about)


def _is_other_amount(refund: Refund, outcome: Outcome) -> bool:
    return isinstance(outcome, Succeeded) and outcome.amount != Money(refund.amount, refund.currency)


def _fact_of_another(refund: Refund, outcome: Outcome) -> RefundFact | None:
    """The further refund that an answer about a done refund reports, under another id than the stored one: somebody
    made a refund of the same amount in the dashboard meanwhile, and it was mistaken for ours."""
    if refund.state not in REFUND_DONE or not isinstance(outcome, Succeeded | Pending) or outcome.amount is None:
        return None
    told, known = outcome.provider_transaction_id, refund.provider_refund_id
    if told is None or known is None or told == known:
        return None
    state = "succeeded" if isinstance(outcome, Succeeded) else "pending"
    return RefundFact(state, provider_refund_id=told, amount=outcome.amount, response=outcome.response)


async def learn_dispute(practice: Practice, refund: Refund, provider_dispute_id: str) -> None:
    """Record that the provider paid a dispute by this refund: the same money, which is booked once."""
    for _ in range(TRIES):
        payment = await payments.by_id(practice.db, refund.payment_id)
        attempt = await attempts.by_id(practice.db, refund.attempt_id)
        fresh = await refunds.by_id(practice.db, refund.id)
        assert payment is not None
        assert attempt is not None
        assert fresh is not None
        now = practice.now()
        changed = replace(fresh, provider_dispute_id=provider_dispute_id, updated_at=now)
        current = current_attempt(payment, await attempts.of_payment(practice.db, payment.id)).id
        unit = Unit()
        change = await returned_amounts.book(practice, unit, payment, attempt, News("provider", current, changed))
        payments.change(unit, payment, change, now, payment.version)
        refunds.change(unit, fresh.state, changed)
        detail = {"refund": refund.id, "dispute": provider_dispute_id}
        audit.append(unit, now, Source.provider, AuditAction.refund_of_dispute, payment.id, detail)
        try:
            await practice.db.commit(unit)
            return
        except (Stale, CheckRefused):
            continue
    raise Stale


# ── Facts from a webhook ──


def undecided(known: list[Refund], attempt: Attempt, fact: RefundFact) -> Refund | None:
    """The sum of earlier refunds of a past payment that a fact may be part of, if nothing tells whether it is. Pure."""
    past = past_sum(known, attempt)
    if past is None or fact.amount is None or any(_names(fact, r) for r in known):
        return None
    made = when_made(fact, past)
    # One that failed was counted by the host only if it failed later.
    if made is Made.since or (made is Made.before and fact.state in _RETURNS_MONEY):
        return None
    return None if _matching(known, attempt, fact) else past


def _sum_with(known: list[Refund], attempt: Attempt, fact: RefundFact) -> Refund | None:
    """The sum of earlier refunds that a fact is certainly part of, and not named in yet. Pure."""
    past = past_sum(known, attempt)
    if past is None or fact.state not in _RETURNS_MONEY or any(_names(fact, r) for r in known):
        return None
    return past if when_made(fact, past) is Made.before else None


def _matching(known: list[Refund], attempt: Attempt, fact: RefundFact) -> list[Refund]:
    """Our refunds that a fact about an attempt may be about: by our reference, by the provider's id, else those of the
    attempt by amount and state. The sum of earlier refunds is never one of them."""
    if exact := [r for r in known if _names(fact, r)]:
        return exact
    if fact.is_reversal:  # the provider made it, so it was not requested here
        return []
    assert fact.amount is not None
    same = [r for r in known if r.attempt_id == attempt.id and r.amount == fact.amount.minor and not r.is_past_sum]
    waiting = [r for r in same if r.state in REFUND_RESERVES]
    done = [r for r in same if r.state in REFUND_DONE]
    if fact.provider_refund_id is None:
        # Without an id, the fact may repeat what another refund already has, be older than its end, or be about none.
        return [*waiting, *done, *(r for r in same if r.state in REFUNDED_NOTHING)]
    waiting, done = ([r for r in some if r.provider_refund_id is None] for some in (waiting, done))
    # A refund that is known from a fact without an id has none yet: it is this one.
    return [*waiting, *done] if fact.state == "failed" else waiting or done[:1]


def _names(fact: RefundFact, refund: Refund) -> bool:
    """Whether a fact names this refund: by the provider's id, else by our reference. If a refund made in the dashboard
    was mistaken for one made here, that row is done under the dashboard refund's id. A fact with another id is then
    about the refund that is still unknown. A refund that has not ended may have got another id on the way."""
    named, known = fact.provider_refund_id, refund.provider_refund_id
    is_ours = fact.reference == refund.id
    if named and known and named != known:
        return is_ours and refund.state in REFUND_RESERVES
    return is_ours or (named is not None and named == known)


def _needs_lookup(matching: list[Refund], fact: RefundFact) -> bool:
    """Whether only the provider can tell which of these a webhook is about, and whether it is about any."""
    if fact.state == reversals.UNDONE:
        return False
    if len(matching) > 1:
        return True
    if fact.state == "failed":
        # It may be about a refund that was made in the provider's dashboard. If we applied it to one made here, the
        # amount of that one would be released, and a second refund be possible. An adopted refund holds no reservation;
        # if it is the only one of its amount, nothing else can be meant.
        return any(not _names(fact, r) and r.origin is not RefundOrigin.provider for r in matching)
    # For a refund that has ended: is the webhook older than the end, or was the refund restored? A success without an
    # id may be a known refund, or a further one of the same amount.
    is_over = any(r.state in REFUND_VOID for r in matching)
    return is_over or (fact.state == "succeeded" and not fact.named and any(r.state in REFUND_DONE for r in matching))


async def apply_refund_fact(
    practice: Practice, payment: Payment, attempt: Attempt, fact: RefundFact, source: Source, also: AddSteps
) -> list[Refund]:
    """Settle the one refund that a fact is about, or adopt it. Returns the refunds that must be looked up instead.

    If a total exceeds what is certain, the uncertain refunds are looked up first: the total may include one whose
    outcome is open here, and one that failed if the webhook is older than its end.
    """
    for _ in range(TRIES):
        fresh = await payments.by_id(practice.db, payment.id)
        assert fresh is not None
        fact = await reversals.as_it_stands(practice.db, attempt, fact)
        if is_other_currency(fresh, fact):
            unit = Unit()
            open_currency_case(practice.context, unit, fresh, fact)
            also(unit)
            await practice.db.commit(unit)
            return []
        known = await refunds.of_payment(practice.db, payment.id)
        amount = fact.amount
        if amount is None:  # a cumulative fact: only the amount beyond all known refunds is new
            assert fact.total is not None
            known = [r for r in known if r.attempt_id == attempt.id]
            expected = sum(r.amount for r in known if r.state in REFUND_DONE or r.state is RefundState.pending)
            amount = replace(fact.total, minor=fact.total.minor - expected)
            if amount.minor <= 0:
                await _nothing_new(practice.db, also)
                return []
            over = [r for r in known if r.provider_refund_id and r.state in REFUNDED_NOTHING]
            if uncertain := over + [r for r in known if r.state in OUTCOME_OPEN]:
                return uncertain
            matching: list[Refund] = []
        elif amount.minor == 0:
            await _nothing_new(practice.db, also)
            return []
        elif (unclear := undecided(known, attempt, fact)) is not None:
            await leave_to_staff(practice, fresh, fact, unclear, also)
            return []
        elif (part_of := _sum_with(known, attempt, fact)) is not None:
            with suppress(*ANOTHER_WAS_FIRST):
                await name_part(practice, fresh, attempt, part_of, fact)
            continue  # it is known now, by its name
        else:
            matching = _matching(known, attempt, fact)
        if _needs_lookup(matching, fact):
            return matching
        outcome = _outcome_of(fact, amount)
        if matching:
            await settle_refund(practice, matching[0], Finding(outcome, source), ExtraSteps(also))
            return []
        try:
            await _adopt(practice, fresh, attempt, replace(fact, amount=amount), source, also)
        except (Stale, CheckRefused, Duplicate):
            continue  # another webhook about this payment was first: read again what is known
        return []
    raise Stale


async def apply_to_the_end(
    practice: Practice, payment: Payment, attempt: Attempt, fact: RefundFact, source: Source, also: AddSteps
) -> None:
    """``apply_refund_fact`` if no further lookup can help: a review case opens for what stays unclear."""
    if not await apply_refund_fact(practice, payment, attempt, fact, source, also):
        return
    detail = {"refund": fact.provider_refund_id, "refunded": fact.amount.minor if fact.amount else None}
    unit = Unit()
    open_case(
        practice.context, unit, payment, CaseKind.refund_unclear, f"{payment.id}:{fact.provider_refund_id}", detail
    )
    also(unit)
    await practice.db.commit(unit)


async def _nothing_new(db: PracticeDb, also: AddSteps) -> None:
    unit = Unit()
    also(unit)
    await db.commit(unit)


def _outcome_of(fact: RefundFact, amount: Money) -> Outcome:
    if fact.state == "failed":
        return Declined(Reason.declined, True, "failed", None, fact.provider_refund_id, fact.response)
    if fact.state == reversals.UNDONE:
        return Declined(Reason.canceled, True, DISPUTE_WON, None, fact.provider_refund_id, fact.response)
    if fact.state == "succeeded":
        return Succeeded(amount, fact.provider_refund_id, response=fact.response)
    return Pending(amount, fact.provider_refund_id, fact.response)


async def _adopt(
    practice: Practice, payment: Payment, attempt: Attempt, fact: RefundFact, source: Source, also: AddSteps
) -> None:
    """Store a refund that was made in the provider's dashboard and book it, as one unit: a crash in between would leave
    a row that later totals count, but that is never booked. It reserves nothing."""
    amount, now = fact.amount, practice.now()
    assert amount is not None
    refund_id = new_id(practice.context.world)
    key = f"provider:{refund_id}"
    if current_attempt(payment, await attempts.of_payment(practice.db, payment.id)).id != attempt.id:
        # Of a duplicate payment: it changes nothing that the payment itself has captured.
        key = duplicate_key(attempt.id, await refunds.of_payment(practice.db, payment.id))
    refund = Refund(
        id=refund_id,
        payment_id=payment.id,
        practice_id=payment.practice_id,
        environment=payment.environment,
        attempt_id=attempt.id,
        state=RefundState.sent,
        amount=amount.minor,
        currency=payment.currency,
        reason="Reversed by the provider" if fact.is_reversal else "Made at the provider",
        origin=RefundOrigin.provider,
        idempotency_key=key,
        fingerprint="",
        created_by="provider",
        created_at=now,
        updated_at=now,
        provider_dispute_id=fact.provider_dispute_id,
        is_reversal=fact.is_reversal,
    )
    outcome = _outcome_of(fact, amount)
    state = decide_refund(refund, outcome)
    assert state is not None
    adopted = as_answered(refund, state, outcome)
    adopted.next_lookup_at = next_lookup(state, 0, now)
    known = await refunds.of_payment(practice.db, payment.id)
    against = await contradictions.adopted_against_staff(practice.db, known, attempt, amount.minor, outcome)
    unit = Unit()
    contradictions.contradict(practice.context, unit, payment, against)
    audit.append(
        unit,
        now,
        Source.provider,
        AuditAction.refund_adopted,
        payment.id,
        {"refund": refund_id, "amount": amount.minor},
    )
    await move(practice, unit, payment, Move(refund, adopted, source, is_new=True))
    also(unit)
    await practice.db.commit(unit)
