"""Manual payments: cash and bank transfers that staff create and then confirm when they have the money.

Two steps, as with refunds: first the purpose, then the counted amount. Only ``flows/payments/manual.py`` books the
money.
"""

from __future__ import annotations

from typing import Any

from fastapi import Response

from polytill.domain.currencies import CURRENCIES
from polytill.domain.errors import FieldError, NotFound
from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.states import PaymentStatus
from polytill.flows.command import Command
from polytill.flows.payments.create import create_payment
from polytill.flows.payments.manual import Received, confirm_manual_payment
from polytill.flows.payments.reading import find
from polytill.flows.payments.request import PaymentRequest
from polytill.providers.manual import ManualProvider
from polytill.storage.payments import Payment
from polytill.web.api.models.payments import CreatePayment
from polytill.web.console.flashes import Done
from polytill.web.console.pages import EXPECTED, Problems, amount_of, errors_by_field, page_router, shaped
from polytill.web.console.sessions import PracticeAdmin, PracticeVisitor
from polytill.web.words import Words

router = page_router("/practice/{practice_id}")

MANUAL = ManualProvider.code
FIELDS = ("amount", "currency", "method", "name", "email", "description", "reference")
LONGEST = 500


# ── A new manual payment ──


async def _page(visitor: PracticeVisitor, **more: Any) -> Response:
    snapshot = await visitor.context.configured(visitor.db)
    configuration = snapshot.live.get(MANUAL)
    if configuration is not None and not configuration.is_enabled:
        configuration = None
    return visitor.page(
        "practice/manual_payment.html",
        configuration=configuration,
        methods=ManualProvider.catalog.methods,
        currencies=[(code, code) for code in configuration.supported_currencies] if configuration else [],
        **{"given": {"currency": snapshot.currency}, "key": new_id(visitor.context.world), **more},
    )


@router.get("/manual")
async def new(visitor: PracticeAdmin) -> Response:
    """Show the form for a new manual payment."""
    return await _page(visitor)


@router.post("/manual")
async def take(visitor: PracticeAdmin) -> Response:
    """Create the payment. It waits until staff confirm the money on the next page."""
    key = visitor.form.key()
    try:
        command = Command(key, visitor.actor)
        made = await create_payment(visitor.context, visitor.practice_id, _wish(visitor), command)
    except EXPECTED as error:
        errors = {
            name.replace("customer/", "").replace("paymentMethod", "method"): text
            for name, text in errors_by_field(error).items()
        }
        return await _page(visitor, error=error, given=visitor.form.given(*FIELDS), key=key, errors=errors)
    return visitor.see(f"/payments/{made.payment.id}/manual", Done.manual_payment_created)


def _wish(visitor: PracticeVisitor) -> PaymentRequest:
    form, currency = visitor.form, visitor.form.text("currency")
    body: dict[str, Any] = form.given("description", "reference")
    body |= {"currency": currency, "paymentMethod": form.text("method"), "providerCode": MANUAL}
    body["customer"] = form.given("name", "email") or None
    problems, amount = Problems(), 1
    with problems.caught():
        shaped(CreatePayment, {**body, "amount": 1})
    if currency in CURRENCIES:
        with problems.caught():
            amount = amount_of(visitor.words, form.text("amount"), currency)
    problems.settle()
    return shaped(CreatePayment, {**body, "amount": amount}).request()


# ── Confirmation ──


async def _payment(visitor: PracticeVisitor, payment_id: str) -> Payment:
    _, payment = await find(visitor.context, visitor.practice_id, payment_id)
    if payment.provider_code != MANUAL:
        raise NotFound
    return payment


async def _confirm_page(visitor: PracticeVisitor, payment: Payment, **more: Any) -> Response:
    return visitor.page("practice/manual_payment_confirm.html", payment=payment, **more)


@router.get("/payments/{payment_id}/manual")
async def counted(visitor: PracticeAdmin, payment_id: str) -> Response:
    """Ask for the amount that was counted and what was seen."""
    payment = await _payment(visitor, payment_id)
    if payment.status is not PaymentStatus.requires_action:
        return visitor.see(f"/payments/{payment_id}")
    return await _confirm_page(visitor, payment)


def _counted(words: Words, text: str, payment: Payment, note: str) -> int:
    """Read the counted amount; collect all other errors of the form with it."""
    problems, amount = Problems(), 0
    with problems.caught():
        amount = amount_of(words, text, payment.currency)
    if amount and amount != payment.amount:
        exactly = Money(payment.amount, payment.currency)
        wrong = FieldError("/amount", f"The amount must be exactly {exactly}.", "another_amount", {"amount": exactly})
        problems.errors.append(wrong)
    if not note:
        problems.errors.append(FieldError("/note", "Describe what you saw.", "say_what_you_saw"))
    problems.settle()
    return amount


@router.post("/payments/{payment_id}/manual")
async def confirm(visitor: PracticeAdmin, payment_id: str) -> Response:
    """Book the payment: the counted amount, the note, and the name of a receipt."""
    form = visitor.form
    payment = await _payment(visitor, payment_id)
    note, proof = form.text("note")[:LONGEST], form.text("proof")[:LONGEST] or None
    try:
        amount = _counted(visitor.words, form.text("amount"), payment, note)
        received = Received(amount, note, proof)
        await confirm_manual_payment(visitor.context, visitor.practice_id, payment_id, received, visitor.actor)
    except EXPECTED as error:
        given = {"amount": form.text("amount"), "note": note, "proof": proof}
        return await _confirm_page(visitor, payment, error=error, given=given)
    return visitor.see(f"/payments/{payment_id}", Done.booked)
