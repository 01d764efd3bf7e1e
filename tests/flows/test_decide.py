"""What an outcome means: every outcome against every state of an attempt and of its payment, and long runs of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from polytill.domain.money import Money
from polytill.domain.states import (
    ATTEMPT_CLOSED,
    ATTEMPT_NEXT,
    PAYMENT_NEXT,
    AttemptState,
    CaptureMode,
    Environment,
    PaymentStatus,
)
from polytill.flows.payments.decide import Verdict, decide
from polytill.providers.outcomes import (
    Declined,
    NeedsAction,
    NextAction,
    NextKind,
    NotSent,
    Pending,
    Reason,
    Succeeded,
    Unknown,
)
from polytill.storage.attempts import Attempt
from polytill.storage.payments import Payment, applied

NOW = datetime(2026, 1, 1, tzinfo=UTC)
A, P = AttemptState, PaymentStatus
NGN = Money(1000, "NGN")
PAYMENT = Payment(
    "p", 1, Environment.sandbox, P.processing, 1000, "NGN", None, "automatic", None, None, None, None, None, None, None,
    False, "k", "h", "t", None, NOW, NOW, "123456",
)  # fmt: skip
ATTEMPT = Attempt("a", "p", 1, Environment.sandbox, 1, "paystack", 1, 1, A.sent, 1000, "NGN", NOW, NOW)
OUTCOMES: dict[str, Any] = {
    "succeeded": Succeeded(NGN, "t", Money(15, "NGN")),
    "without fee": Succeeded(NGN, "t"),
    "authorized": Succeeded(NGN, "t", authorized_only=True),
    "link": NeedsAction(NextAction(NextKind.redirect, "https://x"), NGN, "t"),
    "no link": NeedsAction(None),
    "pending": Pending(NGN, "t"),
    "declined": Declined(Reason.declined, True, "51"),
    "canceled": Declined(Reason.canceled, True),
    "expired": Declined(Reason.expired, True),
    "may try again": Declined(Reason.declined, False, "51"),
    "not sent": NotSent(Reason.rate_limited),
    "unknown": Unknown(Reason.timeout),
    "too little": Succeeded(Money(999, "NGN"), "t"),
    "too much": Succeeded(Money(1001, "NGN"), "t"),
    "other currency": Succeeded(Money(1000, "USD"), "t"),
    "nothing": Succeeded(Money(0, "NGN"), "t"),
    "authorized too little": Succeeded(Money(999, "NGN"), "t", authorized_only=True),
}
WRONG = ("too little", "too much", "other currency", "nothing", "authorized too little")


def payment_in(status: PaymentStatus) -> Payment:
    held = 1000 if status in (P.authorized, P.succeeded) else 0
    return replace(PAYMENT, status=status, amount_authorized=held, amount_captured=held if status is P.succeeded else 0)


def change_of(verdict: Verdict) -> dict[str, int]:
    change = verdict.change
    return {} if change is None else {"authorized": change.add_authorized, "captured": change.add_captured}


@pytest.mark.parametrize(("name", "state", "status"), list(product(OUTCOMES, A, P)))
def test_nothing_illegal(name: str, state: AttemptState, status: PaymentStatus) -> None:
    payment, attempt = payment_in(status), replace(ATTEMPT, state=state)
    before = (replace(payment), replace(attempt))
    verdict = decide(payment, attempt, OUTCOMES[name])
    assert (payment, attempt) == before, "deciding changes nothing"
    if verdict.attempt is not None:
        after = verdict.attempt.state
        assert after is state or after in ATTEMPT_NEXT[state], f"{state} → {after}"
        assert verdict.attempt.amount == 1000
    if verdict.change is not None:
        after_status = verdict.change.status
        assert after_status is status or after_status in PAYMENT_NEXT[status], f"{status} → {after_status}"
        moved = applied(replace(payment), verdict.change, NOW)
        assert 0 <= moved.amount_captured <= moved.amount_authorized <= 1000
        assert verdict.attempt is not None, "a payment does not change without its attempt"
    assert all(entry.amount > 0 for entry in verdict.entries)
    booked = sum(entry.amount for entry in verdict.entries if entry.fact == "payment")
    assert booked == (verdict.change.add_captured if verdict.change else 0)
    if name in WRONG and state is not A.succeeded:
        assert (verdict.attempt, verdict.change, verdict.entries) == (None, None, [])


@pytest.mark.parametrize(("name", "state"), list(product(WRONG, sorted(set(A) - {A.succeeded}))))
def test_another_amount_than_asked_for_is_parked_for_a_person(name: str, state: str) -> None:
    if name.startswith("authorized") and A.authorized not in ATTEMPT_NEXT[A(state)]:
        return
    verdict = decide(PAYMENT, replace(ATTEMPT, state=A(state)), OUTCOMES[name])
    [case] = verdict.cases
    named = getattr(OUTCOMES[name], "provider_transaction_id", None)
    assert (case.kind, case.subject) == ("amount_mismatch", f"a:{named}" if named else "a")
    assert case.detail["expected"] == {"amount": 1000, "currency": "NGN"}
    assert (verdict.attempt, verdict.change, verdict.entries) == (None, None, [])


@pytest.mark.parametrize("state", sorted(set(A) - {A.succeeded}))
@pytest.mark.parametrize("status", [P.requires_action, P.processing, P.failed, P.canceled])
def test_a_success_is_booked_whenever_it_comes(state: str, status: PaymentStatus) -> None:
    verdict = decide(payment_in(status), replace(ATTEMPT, state=A(state), reason="x"), OUTCOMES["succeeded"])
    assert verdict.attempt is not None
    assert verdict.change is not None
    assert (verdict.attempt.state, verdict.attempt.reason) == (A.succeeded, None)
    assert verdict.change.status is P.succeeded
    assert change_of(verdict) == {"authorized": 1000, "captured": 1000}
    facts = [(e.fact, e.debit, e.credit, e.amount) for e in verdict.entries]
    assert facts == [("payment", "provider:paystack", "payments", 1000), ("fee", "fees", "provider:paystack", 15)]
    assert verdict.cases == []


@pytest.mark.parametrize("state", sorted(set(A) - {A.succeeded}))
def test_a_second_success_is_a_duplicate(state: str) -> None:
    verdict = decide(payment_in(P.succeeded), replace(ATTEMPT, state=A(state)), OUTCOMES["succeeded"])
    assert verdict.attempt is not None
    assert verdict.attempt.state is A.succeeded
    assert verdict.change is None
    facts = [(e.fact, e.debit, e.credit, e.amount) for e in verdict.entries]
    assert facts == [
        ("duplicate_payment", "provider:paystack", "duplicate_payments", 1000),
        ("fee", "fees", "provider:paystack", 15),
    ]
    assert [case.kind for case in verdict.cases] == ["duplicate_payment"]


def test_a_second_authorization_is_a_case() -> None:
    verdict = decide(payment_in(P.authorized), ATTEMPT, OUTCOMES["authorized"])
    assert [case.kind for case in verdict.cases] == ["duplicate_authorization"]
    assert verdict.change is None


@pytest.mark.parametrize("name", ["canceled", "expired", "declined"])
def test_releasing_the_second_hold_leaves_the_first(name: str) -> None:
    payment = replace(payment_in(P.authorized), provider_transaction_id="t")
    first = replace(ATTEMPT, state=A.authorized, provider_transaction_id="t")
    second = replace(first, id="b", number=2, provider_transaction_id="t2")
    assert decide(payment, second, OUTCOMES[name]).change is None
    released = decide(payment, first, OUTCOMES[name])
    if name == "declined":
        assert released == Verdict()  # what is held is canceled or expires
    else:
        assert released.change is not None
        assert released.change.status is P.canceled


def test_the_same_success_twice_is_no_news() -> None:
    payment = replace(payment_in(P.succeeded), provider_fee=15, provider_transaction_id="t")
    attempt = replace(ATTEMPT, state=A.succeeded, provider_transaction_id="t")
    assert decide(payment, attempt, OUTCOMES["succeeded"]) == Verdict()


def test_a_fee_that_is_learnt_later() -> None:
    payment = replace(payment_in(P.succeeded), provider_transaction_id="t")
    attempt = replace(ATTEMPT, state=A.succeeded, provider_transaction_id="t")
    verdict = decide(payment, attempt, OUTCOMES["succeeded"])
    assert verdict.change is not None
    assert (verdict.change.provider_fee, change_of(verdict)) == (15, {"authorized": 0, "captured": 0})
    assert [(e.fact, e.amount) for e in verdict.entries] == [("fee", 15)]
    other = replace(attempt, provider_transaction_id="other")
    assert decide(payment, other, replace(OUTCOMES["succeeded"], provider_transaction_id="other")) == Verdict()


@pytest.mark.parametrize("state", sorted(ATTEMPT_CLOSED | {A.succeeded}))
@pytest.mark.parametrize(
    "name", ["declined", "canceled", "expired", "may try again", "not sent", "pending", "link", "unknown"]
)
def test_a_late_failure_is_ignored(state: str, name: str) -> None:
    verdict = decide(payment_in(P.succeeded), replace(ATTEMPT, state=A(state)), OUTCOMES[name])
    assert verdict == Verdict()


@pytest.mark.parametrize("name", ["declined", "canceled", "expired", "not sent"])
def test_another_attempts_failure_does_not_undo_a_success(name: str) -> None:
    verdict = decide(payment_in(P.succeeded), ATTEMPT, OUTCOMES[name])
    assert verdict.change is None
    assert verdict.attempt is not None
    assert verdict.attempt.state in ATTEMPT_CLOSED


def test_unknown_says_nothing_about_what_is_known() -> None:
    for state in set(A) - {A.sent}:
        assert decide(PAYMENT, replace(ATTEMPT, state=state), OUTCOMES["unknown"]) == Verdict()


def test_a_successor_is_used_only_where_the_attempt_is_closed() -> None:
    following = replace(ATTEMPT, id="b", number=2)
    used = {name: decide(PAYMENT, ATTEMPT, outcome, following).uses_successor for name, outcome in OUTCOMES.items()}
    assert {name for name, yes in used.items() if yes} == {"declined", "canceled", "expired", "not sent"}
    assert not decide(payment_in(P.succeeded), ATTEMPT, OUTCOMES["declined"], following).uses_successor


@pytest.mark.parametrize(("amount", "fits"), [(1000, True), (400, True), (1, True), (0, False), (1001, False)])
def test_part_of_what_is_held_may_be_captured(amount: int, fits: bool) -> None:
    payment = replace(payment_in(P.authorized), capture_mode=CaptureMode.manual)
    verdict = decide(payment, replace(ATTEMPT, state=A.authorized), Succeeded(Money(amount, "NGN"), "t"))
    assert change_of(verdict) == ({"authorized": 0, "captured": amount} if fits else {})
    assert bool(verdict.cases) is not fits


class Runs(RuleBasedStateMachine):
    """Any facts about three attempts of one payment, in any order: the invariants hold after each."""

    def __init__(self) -> None:
        super().__init__()
        self.payment = replace(PAYMENT)
        self.attempts = [replace(ATTEMPT, id=f"a{n}", number=n) for n in range(3)]
        self.lines: list[tuple[str, int]] = []
        self.won: set[str] = set()

    @rule(
        number=st.integers(0, 2),
        name=st.sampled_from(sorted(OUTCOMES)),
        manual=st.booleans(),
        part=st.integers(1, 1000),
    )
    def fact(self, number: int, name: str, manual: bool, part: int) -> None:
        outcome, attempt = OUTCOMES[name], self.attempts[number]
        if manual and name == "succeeded" and attempt.state is A.authorized:
            self.payment.capture_mode, outcome = CaptureMode.manual, replace(outcome, amount=Money(part, "NGN"))
        if getattr(outcome, "provider_transaction_id", None):
            outcome = replace(outcome, provider_transaction_id=f"t{number}")
        had = self.payment.amount_captured
        verdict = decide(self.payment, attempt, outcome)
        if verdict.attempt is not None:
            assert verdict.attempt.state in ATTEMPT_NEXT[attempt.state] | {attempt.state}
            self.attempts[number] = verdict.attempt
        if verdict.change is not None:
            assert verdict.change.status in PAYMENT_NEXT[self.payment.status] | {self.payment.status}
            self.payment = applied(self.payment, verdict.change, NOW)
        for entry in verdict.entries:
            self.lines += [(entry.debit, entry.amount), (entry.credit, -entry.amount)]
        assert self.payment.amount_captured >= had, "captured money never disappears"

    @invariant()
    def checks_hold(self) -> None:
        p = self.payment
        assert 0 <= p.amount_refunded + p.refund_reserved <= p.amount_captured <= p.amount_authorized <= 1000
        assert (p.status is P.succeeded) == (p.amount_captured > 0)

    @invariant()
    def the_ledger_agrees(self) -> None:
        assert sum(amount for _, amount in self.lines) == 0
        balance = {account: sum(a for name, a in self.lines if name == account) for account, _ in self.lines}
        assert -balance.get("payments", 0) == self.payment.amount_captured
        won = sum(attempt.state is A.succeeded for attempt in self.attempts)
        assert balance.get("duplicate_payments", 0) <= 0
        assert (balance.get("payments", 0) + balance.get("duplicate_payments", 0) != 0) == (won > 0)

    @invariant()
    def a_hold_is_somewhere(self) -> None:
        if self.payment.status is P.authorized:
            [holder] = [a for a in self.attempts if a.provider_transaction_id == self.payment.provider_transaction_id]
            assert holder.state is A.authorized


TestRuns = Runs.TestCase
TestRuns.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
