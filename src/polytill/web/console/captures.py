"""Capture, release and cancel from a payment's page: each asks for confirmation and is sent once."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from polytill.domain.errors import CallerError, Forbidden, invalid
from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.states import AttemptState, OperationState, PaymentStatus
from polytill.flows.command import Command
from polytill.flows.payments import capture_cancel
from polytill.flows.payments.create import PaymentDetails, current_attempt, details_of, find
from polytill.storage import operations
from polytill.storage.payments import Payment
from polytill.web.console.flashes import CANCELS, CAPTURES, Done
from polytill.web.console.pages import Form, PageRoute, amount_of, errors_by_field, form_of, page, see, words_of
from polytill.web.console.sessions import OfPractice, PracticeAdmin

router = APIRouter(
    prefix="/practice/{practice_id}/payments/{payment_id}", route_class=PageRoute, include_in_schema=False
)


def can_capture(payment: Payment) -> bool:
    """Whether staff may capture the payment."""
    return payment.status is PaymentStatus.authorized


def can_cancel(found: PaymentDetails) -> bool:
    """Whether staff may cancel or release the payment: it is not paid, and no outcome is unknown."""
    if found.payment.status not in (PaymentStatus.requires_action, PaymentStatus.authorized):
        return False
    return current_attempt(found.payment, found.attempts).state in (AttemptState.needs_action, AttemptState.authorized)


def form_key(form: Form) -> str:
    """The idempotency key that makes a repeated submission of the same form harmless."""
    key = form.text("key")
    if not 20 <= len(key) <= 40 or not key.isascii() or not key.isalnum():
        raise Forbidden(
            "This form is out of date. Nothing was changed. Load the page again.", reason="form_out_of_date"
        )
    return key


async def _asked(
    request: Request, found: OfPractice, payment_id: str, kind: str, status: int = 200, **more: Any
) -> Response:
    practice, payment = await find(found.visitor.context, found.visitor.practice_id, payment_id)
    possible = can_capture(payment) if kind == "capture" else can_cancel(await details_of(practice.db, payment))
    if not possible and status == 200:
        return see(f"{found.visitor.door}/payments/{payment_id}", Done.nothing_to_change)
    return page(
        request,
        "practice/operation.html",
        status,
        visitor=found.visitor,
        payment=payment,
        kind=kind,
        release=payment.status is PaymentStatus.authorized,
        **{"key": new_id(found.visitor.context.world), "amount": None, **more},
    )


async def _outcome(found: OfPractice, payment_id: str, key: str, kind: str) -> Response:
    """Redirect to the payment with the result of the operation: done, pending or declined."""
    operation = await operations.by_key(found.db, key)
    state = operation.state if operation else OperationState.sent
    done = (CAPTURES if kind == "capture" else CANCELS)[state]
    return see(f"{found.visitor.door}/payments/{payment_id}", done)


@router.get("/capture")
async def capture_page(request: Request, found: PracticeAdmin, payment_id: str) -> Response:
    """Ask how much of the authorized amount to capture."""
    return await _asked(request, found, payment_id, "capture")


@router.post("/capture")
async def capture(request: Request, found: PracticeAdmin, payment_id: str) -> Response:
    """Capture the amount; the rest is released."""
    form, visitor = form_of(request), found.visitor
    key = form_key(form)
    _, payment = await find(visitor.context, visitor.practice_id, payment_id)
    try:
        amount = amount_of(words_of(request), form.text("amount"), payment.currency)
        most = Money(payment.amount_authorized, payment.currency)
        if payment.status is PaymentStatus.authorized and amount > most.minor:
            raise invalid("/amount", f"At most {most} can be captured.", reason="amount_too_large", most=most)
        await capture_cancel.capture(
            visitor.context, visitor.practice_id, payment_id, amount, Command(key, visitor.actor)
        )
    except CallerError as error:
        return await _asked(
            request,
            found,
            payment_id,
            "capture",
            error.status,
            errors=errors_by_field(error),
            amount=form.text("amount"),
            key=key,
        )
    return await _outcome(found, payment_id, key, "capture")


@router.get("/cancel")
async def cancel_page(request: Request, found: PracticeAdmin, payment_id: str) -> Response:
    """Ask for confirmation to cancel the payment or release the authorized amount."""
    return await _asked(request, found, payment_id, "cancel")


@router.post("/cancel")
async def cancel(request: Request, found: PracticeAdmin, payment_id: str) -> Response:
    """Cancel the payment, or release the authorized amount."""
    form, visitor = form_of(request), found.visitor
    key = form_key(form)
    try:
        await capture_cancel.cancel(visitor.context, visitor.practice_id, payment_id, Command(key, visitor.actor))
    except CallerError as error:
        return await _asked(request, found, payment_id, "cancel", error.status, errors=errors_by_field(error), key=key)
    return await _outcome(found, payment_id, key, "cancel")
