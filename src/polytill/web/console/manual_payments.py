"""Manual payments: cash and bank transfers that staff create and then confirm when they have the money.

Two steps, as with refunds: first the purpose, then the counted amount. Only ``flows/payments/manual.py`` books the
money.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from polytill.domain.currencies import CURRENCIES
from polytill.domain.errors import FieldError, Forbidden, NotFound
from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.states import PaymentStatus
from polytill.flows.command import Command
from polytill.flows.payments.create import create_payment, find
from polytill.flows.payments.manual import Received, confirm_manual_payment
from polytill.flows.payments.request import PaymentRequest
from polytill.providers.contract import Customer
from polytill.providers.manual import ManualProvider
from polytill.storage.payments import Payment
from polytill.storage.provider_configs import Configuration
from polytill.web.api.models.payments import CreatePayment
from polytill.web.console.flashes import Done
from polytill.web.console.pages import (
    EXPECTED,
    Form,
    PageRoute,
    Problems,
    amount_of,
    errors_by_field,
    form_of,
    page,
    see,
    shaped,
    words_of,
)
from polytill.web.console.sessions import OfPractice, PracticeAdmin
from polytill.web.console.texts import Words

router = APIRouter(prefix="/practice/{practice_id}", route_class=PageRoute, include_in_schema=False)

MANUAL = ManualProvider.code
FIELDS = ("amount", "currency", "method", "name", "email", "description", "reference")
LONGEST = 500


async def _configuration(found: OfPractice) -> Configuration | None:
    """The practice's configuration of manual payments; None if it is missing or switched off."""
    configuration = (await found.visitor.context.configured(found.db)).configurations.get(MANUAL)
    if configuration is None or configuration.removed_at is not None or not configuration.is_enabled:
        return None
    return configuration


# ── A new manual payment ──


async def _page(request: Request, found: OfPractice, status: int = 200, **more: Any) -> Response:
    context, configuration = found.visitor.context, await _configuration(found)
    snapshot = await context.configured(found.db)
    more.setdefault("given", {"currency": snapshot.currency})
    more.setdefault("key", new_id(context.world))
    return page(
        request,
        "practice/manual_payment.html",
        status,
        visitor=found.visitor,
        configuration=configuration,
        methods=ManualProvider.catalog.methods,
        currencies=[(code, code) for code in configuration.supported_currencies] if configuration else [],
        **more,
    )


@router.get("/manual")
async def new(request: Request, found: PracticeAdmin) -> Response:
    """Show the form for a new manual payment."""
    return await _page(request, found)


@router.post("/manual")
async def take(request: Request, found: PracticeAdmin) -> Response:
    """Create the payment. It waits until staff confirm the money on the next page."""
    form, visitor = form_of(request), found.visitor
    key = _key(form)
    try:
        made = await create_payment(
            visitor.context, visitor.practice_id, _wish(request, form), Command(key, visitor.actor)
        )
    except EXPECTED as error:
        given = {name: form.text(name) for name in FIELDS}
        errors = {
            name.replace("customer/", "").replace("paymentMethod", "method"): text
            for name, text in errors_by_field(error).items()
        }
        return await _page(request, found, error.status, given=given, key=key, errors=errors)
    return see(f"{visitor.door}/payments/{made.payment.id}/manual", Done.manual_payment_created)


def _key(form: Form) -> str:
    key = form.text("key")
    if not 20 <= len(key) <= 40 or not key.isalnum():
        raise Forbidden(
            "This form is out of date. Nothing was changed. Load the page again.", reason="form_out_of_date"
        )
    return key


def _wish(request: Request, form: Form) -> PaymentRequest:
    words, currency = words_of(request), form.text("currency")
    body = {"currency": currency, "paymentMethod": form.text("method"), **form.given("description", "reference")}
    if customer := form.given("name", "email"):
        body["customer"] = customer  # type: ignore[assignment]
    problems, amount = Problems(), 1
    with problems.caught():
        shaped(CreatePayment, {**body, "amount": 1})
    if currency in CURRENCIES:
        with problems.caught():
            amount = amount_of(words, form.text("amount"), currency)
    problems.settle()
    checked = shaped(CreatePayment, {**body, "amount": amount})
    who = checked.customer
    return PaymentRequest(
        Money(amount, currency),
        checked.payment_method,
        Customer(who.email, who.name, who.phone) if who else Customer(),
        checked.description,
        checked.reference,
        provider_code=MANUAL,
    )


# ── Confirmation ──


async def _payment(found: OfPractice, payment_id: str) -> Payment:
    _, payment = await find(found.visitor.context, found.visitor.practice_id, payment_id)
    if payment.provider_code != MANUAL:
        raise NotFound
    return payment


async def _confirm_page(
    request: Request, found: OfPractice, payment: Payment, status: int = 200, **more: Any
) -> Response:
    return page(
        request,
        "practice/manual_payment_confirm.html",
        status,
        visitor=found.visitor,
        payment=payment,
        **{"given": {}, **more},
    )


@router.get("/payments/{payment_id}/manual")
async def counted(request: Request, found: PracticeAdmin, payment_id: str) -> Response:
    """Ask for the amount that was counted and what was seen."""
    payment = await _payment(found, payment_id)
    if payment.status is not PaymentStatus.requires_action:
        return see(f"{found.visitor.door}/payments/{payment_id}")
    return await _confirm_page(request, found, payment)


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
async def confirm(request: Request, found: PracticeAdmin, payment_id: str) -> Response:
    """Book the payment: the counted amount, the note, and the name of a receipt."""
    form, visitor, words = form_of(request), found.visitor, words_of(request)
    payment = await _payment(found, payment_id)
    note, proof = form.text("note")[:LONGEST], form.text("proof")[:LONGEST] or None
    try:
        amount = _counted(words, form.text("amount"), payment, note)
        received = Received(amount, note, proof)
        await confirm_manual_payment(visitor.context, visitor.practice_id, payment_id, received, visitor.actor)
    except EXPECTED as error:
        given = {"amount": form.text("amount"), "note": note, "proof": proof}
        return await _confirm_page(request, found, payment, error.status, given=given, errors=errors_by_field(error))
    return see(f"{visitor.door}/payments/{payment_id}", Done.booked)
