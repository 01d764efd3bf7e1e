"""Selects the state in which a payment is shown to its customer. Pure, so that each state can be tested alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from polytill.domain.states import AttemptState, PaymentStatus
from polytill.flows.payments.reading import PaymentDetails, current_attempt
from polytill.flows.recovery.checkout import Step
from polytill.providers.outcomes import Reason

# Seconds before each refresh: short at first, then longer; after the last, the customer must refresh the page.
ROUNDS = (2, 2, 3, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 30, 30, 30, 60, 60)

# Nothing was charged and nobody declined: a retry may work shortly.
NOT_REACHED = frozenset(
    {Reason.unreachable, Reason.provider_unavailable, Reason.timeout, Reason.rate_limited, Reason.conflict}
)
SAID_TO_PAYER = frozenset(
    {Reason.insufficient_funds, Reason.expired_card, Reason.incorrect_details, Reason.authentication_required}
)
# The customer's data may be the reason: it can be corrected before the retry.
CORRECTABLE = frozenset({Reason.validation, Reason.incorrect_details})
# Pages that refresh automatically, and say so; after the last refresh they say that instead.
WAITING = frozenset({"finding", "pending", "unreachable", "instructions"})


@dataclass(frozen=True, slots=True)
class State:
    """``name`` is the section of the texts, ``text`` the sentence in it, ``tone`` the style: plain, wait, good, bad,
    over."""

    name: str
    tone: str
    text: str = "text"


def state_of(found: PaymentDetails, step: Step | None, retry: bool, back: str | None, now: datetime) -> State:
    """The state of a payment. ``back``: the result in the return address, which affects only the wording."""
    payment = found.payment
    match payment.status:
        case PaymentStatus.succeeded:
            return _paid(found, back)
        case PaymentStatus.authorized:
            return State("authorized", "good")
        case PaymentStatus.canceled:
            return State("expired" if payment.cancel_reason == Reason.expired else "canceled", "over")
        case PaymentStatus.failed:
            return _failed(payment.failure_reason, retry)
        case PaymentStatus.processing:
            pending = current_attempt(found.payment, found.attempts).state is AttemptState.pending
            return State("pending" if pending else "finding", "wait")
        case PaymentStatus.requires_action:
            if back == "unanswered" and not _is_told_how(step):  # the instructions are still valid
                return State("unreachable", "wait")
            if payment.expires_at is not None and payment.expires_at <= now:
                return State("expired", "over")
            return _to_be_paid(current_attempt(found.payment, found.attempts).reason, step, back)


def _paid(found: PaymentDetails, back: str | None) -> State:
    payment = found.payment
    if payment.amount_refunded >= payment.amount_captured:
        return State("refunded", "good")
    if payment.amount_refunded > 0:
        return State("part_refunded", "good")
    return State("paid" if back else "already", "good")


def _failed(reason: str | None, retry: bool) -> State:
    if not retry:
        return State("failed", "bad")
    if reason in NOT_REACHED:
        return State("not_reached", "wait")
    return State("failed_again", "bad", "details" if reason in CORRECTABLE else "text")


def _is_told_how(step: Step | None) -> bool:
    """Whether the customer gets instructions to pay elsewhere: in person or by bank transfer."""
    return step is not None and step.instructions is not None and step.url is None and step.wants is None


def _to_be_paid(declined: str | None, step: Step | None, back: str | None) -> State:
    if step is None:
        return State("finding", "wait")
    if step.wants is not None:
        return State("input", "plain", step.wants.value)
    if declined == Reason.declined or declined in SAID_TO_PAYER:
        return State("declined", "bad", declined if declined in SAID_TO_PAYER else "text")
    if _is_told_how(step):
        return State("instructions", "plain")
    return State("returned" if back else "open", "plain")


def wait_of(state: State, looked: int) -> int | None:
    """Seconds until the page refreshes automatically; None if it does not, or has refreshed often enough."""
    return ROUNDS[looked] if state.name in WAITING and looked < len(ROUNDS) else None
