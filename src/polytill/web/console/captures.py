"""Capture, release and cancel from a payment's page: each asks for confirmation and is sent once."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from polytill.domain.errors import CallerError, invalid
from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.states import AttemptState, OperationState, PaymentStatus
from polytill.flows.command import Command
from polytill.flows.payments import capture_cancel
from polytill.flows.payments.reading import PaymentDetails, current_attempt, details_of, find
from polytill.storage import operations
from polytill.storage.payments import Payment
from polytill.web.console.flashes import CANCELS, CAPTURES, Done
from polytill.web.console.pages import amount_of, page_router
from polytill.web.console.sessions import PracticeAdmin, PracticeVisitor

router = page_router("/practice/{practice_id}/payments/{payment_id}")


def can_capture(payment: Payment) -> bool:
    """Whether staff may capture the payment."""
    return payment.status is PaymentStatus.authorized


def can_cancel(found: PaymentDetails) -> bool:
    """Whether staff may cancel or release the payment: it is not paid, and no outcome is unknown."""
    if found.payment.status not in (PaymentStatus.requires_action, PaymentStatus.authorized):
        return False
    return current_attempt(found.payment, found.attempts).state in (AttemptState.needs_action, AttemptState.authorized)


async def _asked(visitor: PracticeVisitor, payment_id: str, kind: str, **more: Any) -> Response:
    practice, payment = await find(visitor.context, visitor.practice_id, payment_id)
    possible = can_capture(payment) if kind == "capture" else can_cancel(await details_of(practice.db, payment))
    if not possible and "error" not in more:
        return visitor.see(f"/payments/{payment_id}", Done.nothing_to_change)
    return visitor.page(
        "practice/operation.html",
        payment=payment,
        kind=kind,
        **{"key": new_id(visitor.context.world), "amount": None, **more},
    )


async def _outcome(visitor: PracticeVisitor, payment_id: str, key: str, kind: str) -> Response:
    """Redirect to the payment with the result of the operation: done, pending or declined."""
    operation = await operations.by_key(visitor.db, key)
    state = operation.state if operation else OperationState.sent
    done = (CAPTURES if kind == "capture" else CANCELS)[state]
    return visitor.see(f"/payments/{payment_id}", done)


@router.get("/capture")
async def capture_page(visitor: PracticeAdmin, payment_id: str) -> Response:
    """Ask how much of the authorized amount to capture."""
    return await _asked(visitor, payment_id, "capture")


@router.post("/capture")
async def capture(visitor: PracticeAdmin, payment_id: str) -> Response:
    """Capture the amount; the rest is released."""
    form, key = visitor.form, visitor.form.key()
    _, payment = await find(visitor.context, visitor.practice_id, payment_id)
    try:
        amount = amount_of(visitor.words, form.text("amount"), payment.currency)
        most = Money(payment.amount_authorized, payment.currency)
        if payment.status is PaymentStatus.authorized and amount > most.minor:
            raise invalid("/amount", f"At most {most} can be captured.", reason="amount_too_large", most=most)
        await capture_cancel.capture(
            visitor.context, visitor.practice_id, payment_id, amount, Command(key, visitor.actor)
        )
    except CallerError as error:
        return await _asked(visitor, payment_id, "capture", error=error, amount=form.text("amount"), key=key)
    return await _outcome(visitor, payment_id, key, "capture")


@router.get("/cancel")
async def cancel_page(visitor: PracticeAdmin, payment_id: str) -> Response:
    """Ask for confirmation to cancel the payment or release the authorized amount."""
    return await _asked(visitor, payment_id, "cancel")


@router.post("/cancel")
async def cancel(visitor: PracticeAdmin, payment_id: str) -> Response:
    """Cancel the payment, or release the authorized amount."""
    key = visitor.form.key()
    try:
        await capture_cancel.cancel(visitor.context, visitor.practice_id, payment_id, Command(key, visitor.actor))
    except CallerError as error:
        return await _asked(visitor, payment_id, "cancel", error=error, key=key)
    return await _outcome(visitor, payment_id, key, "cancel")
