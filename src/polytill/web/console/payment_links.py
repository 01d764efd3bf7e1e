"""A practice's payment links: create a link, send it, show its QR code, close it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from polytill.domain.currencies import CURRENCIES
from polytill.domain.typed_amounts import TypedAmountError, typed_whole
from polytill.flows.payments.payment_links import (
    LASTS_DAYS,
    LONGEST_DAYS,
    LinkWish,
    close_link,
    create_link,
    find_link,
    link_address,
)
from polytill.storage import payment_links, payments
from polytill.web.api.models.payment_links import CreatePaymentLink
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
from polytill.web.console.sessions import OfPractice, PracticeAdmin, PracticeViewer
from polytill.web.payment_status import of_payments

router = APIRouter(prefix="/practice/{practice_id}/links", route_class=PageRoute, include_in_schema=False)

SHOWN = 50
FIELDS = ("amount", "currency", "description", "reference", "days", "use")


@router.get("")
async def show(
    request: Request, found: PracticeViewer, before: Annotated[str | None, Query(pattern=r"^[0-9a-z]{26}$")] = None
) -> Response:
    """Show the links, newest first, and the form for a new one."""
    return await _page(request, found, before)


async def _page(
    request: Request, found: OfPractice, before: str | None = None, status: int = 200, **more: Any
) -> Response:
    context = found.visitor.context
    snapshot = await context.configured(found.db)
    in_use = {code for c in snapshot.configurations.values() if c.removed_at is None for code in c.supported_currencies}
    rows = await payment_links.listed(found.db, before, SHOWN + 1)
    now = context.world.now()
    more.setdefault("given", {"currency": snapshot.currency, "days": str(LASTS_DAYS), "use": "single"})
    return page(
        request,
        "practice/links.html",
        status,
        visitor=found.visitor,
        currencies=sorted(in_use),
        rows=[(link, link.status(now), link_address(context, link)) for link in rows[:SHOWN]],
        following=rows[SHOWN - 1].id if len(rows) > SHOWN else None,
        before=before,
        **more,
    )


@router.post("")
async def make(request: Request, found: PracticeAdmin) -> Response:
    """Create a link."""
    form, visitor = form_of(request), found.visitor
    try:
        link = await create_link(visitor.context, visitor.practice_id, _wish(request, found, form), visitor.actor)
    except EXPECTED as error:
        given = {name: form.text(name) for name in FIELDS}
        return await _page(request, found, status=error.status, errors=errors_by_field(error), given=given)
    return see(f"{visitor.door}/links#{link.id}")


def _wish(request: Request, found: OfPractice, form: Form) -> LinkWish:
    words, currency = words_of(request), form.text("currency")
    typed = {"currency": currency, **form.given("description", "reference")}
    problems, amount, days = Problems(), 1, 1
    with problems.caught():
        shaped(CreatePaymentLink, {"amount": 1, **typed})
    if currency in CURRENCIES:
        with problems.caught():
            amount = amount_of(words, form.text("amount"), currency)
    with problems.caught():
        days = _days(form.text("days"))
    problems.settle()
    wish = shaped(CreatePaymentLink, {"amount": amount, **typed}).wish()
    ends = found.visitor.context.world.now() + timedelta(days=days)
    return LinkWish(wish.amount, wish.currency, wish.description, wish.reference, form.text("use") != "many", ends)


def _days(text: str) -> int:
    try:
        return typed_whole(text, 1, LONGEST_DAYS)
    except TypedAmountError as error:
        raise error.at("/days") from None


@router.get("/{link_id}")
async def payments_of_link(
    request: Request, found: PracticeViewer, link_id: Annotated[str, Path(pattern=r"^[0-9a-z]{26}$")]
) -> Response:
    """Show the payments that started through a link; redirect to the payment if there is only one."""
    practice, link = await find_link(found.visitor.context, found.visitor.practice_id, link_id)
    ids = await payment_links.payments_of(practice.db, link.id)
    if len(ids) == 1:
        return see(f"{found.visitor.door}/payments/{ids[0]}")
    begun = [one for payment_id in ids if (one := await payments.by_id(practice.db, payment_id)) is not None]
    return page(
        request,
        "practice/link_payments.html",
        visitor=found.visitor,
        link=link,
        rows=begun,
        shown=await of_payments(practice.db, begun),
    )


@router.post("/{link_id}/close")
async def close(found: PracticeAdmin, link_id: str) -> Response:
    """Close a link, so that no payment can start through it."""
    visitor = found.visitor
    await close_link(visitor.context, visitor.practice_id, link_id, visitor.actor)
    return see(f"{visitor.door}/links", Done.link_closed)
