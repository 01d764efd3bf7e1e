"""Reads a payment with its attempts, and says which attempt counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from polytill.domain.errors import NotFound
from polytill.domain.identifiers import Identifiers
from polytill.domain.states import ATTEMPT_CLOSED, AttemptState, PaymentStatus
from polytill.flows.context import Context, Practice
from polytill.storage import attempts as storage_attempts
from polytill.storage import payment_identifiers, payments
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment


@dataclass(slots=True)
class PaymentDetails:
    """A payment with its attempts. ``replayed``: the idempotency key was known. ``asked``: this request called the
    provider. ``unanswered``: it did, and the outcome is unknown."""

    payment: Payment
    attempts: list[Attempt]
    replayed: bool = False
    unanswered: bool = False
    asked: bool = False
    identifiers: dict[str, Identifiers] = field(default_factory=dict)  # by attempt, if they were read


async def find(context: Context, practice_id: int, payment_id: str) -> tuple[Practice, Payment]:
    """A payment of a practice; ``NotFound`` otherwise."""
    practice = await context.practice(practice_id)
    payment = await payments.by_id(practice.db, payment_id)
    if payment is None:
        raise NotFound("There is no such payment.")
    return practice, payment


async def details_of(db: PracticeDb, payment: Payment) -> PaymentDetails:
    """A payment with its attempts."""
    return PaymentDetails(payment, await storage_attempts.of_payment(db, payment.id))


async def with_identifiers(db: PracticeDb, found: PaymentDetails) -> PaymentDetails:
    """The same, with the providers' identifiers of its attempts."""
    found.identifiers = await payment_identifiers.of_payments(db, [found.payment.id])
    return found


def current_attempt(payment: Payment, attempts: list[Attempt]) -> Attempt:
    """The attempt that counts: the one whose money the payment has, else the newest open one, else the newest."""
    won = [attempt for attempt in attempts if attempt.state is AttemptState.succeeded]
    if won:
        # A second success is a duplicate payment, whatever its number: only its own refund may change it.
        own = [attempt for attempt in won if attempt.provider_transaction_id == payment.provider_transaction_id]
        return (own or won)[0]
    # The payment's own authorization is captured or canceled, even if a link is newer.
    held = [attempt for attempt in attempts if attempt.state is AttemptState.authorized]
    own = [attempt for attempt in held if attempt.provider_transaction_id == payment.provider_transaction_id]
    if payment.status is PaymentStatus.authorized and own:
        return own[-1]
    live = [attempt for attempt in attempts if attempt.state not in ATTEMPT_CLOSED]
    return (live or attempts)[-1]
