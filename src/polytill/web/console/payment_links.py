"""A practice's payment links: create a link, send it, show its QR code, close it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import Path, Response

from polytill.domain.currencies import CURRENCIES
from polytill.domain.typed_amounts import typed_whole
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
from polytill.web.api.values import BeforeId
from polytill.web.console.flashes import Done
from polytill.web.console.pages import EXPECTED, Problems, amount_of, page_router, shaped
from polytill.web.console.sessions import PracticeAdmin, PracticeViewer, PracticeVisitor
from polytill.web.payment_status import of_payments

router = page_router("/practice/{practice_id}/links")

SHOWN = 50
FIELDS = ("amount", "currency", "description", "reference", "days", "use")


@router.get("")
async def show(visitor: PracticeViewer, before: BeforeId = None) -> Response:
    """Show the links, newest first, and the form for a new one."""
    return await _page(visitor, before)


async def _page(visitor: PracticeVisitor, before: str | None = None, **more: Any) -> Response:
    context = visitor.context
    snapshot = await context.configured(visitor.db)
    in_use = {code for one in snapshot.live.values() for code in one.supported_currencies}
    rows = await payment_links.listed(visitor.db, before, SHOWN + 1)
    now = context.world.now()
    return visitor.page(
        "practice/links.html",
        currencies=sorted(in_use),
        rows=[(link, link.status(now), link_address(context, link)) for link in rows[:SHOWN]],
        following=rows[SHOWN - 1].id if len(rows) > SHOWN else None,
        before=before,
        **{"given": {"currency": snapshot.currency, "days": str(LASTS_DAYS), "use": "single"}, **more},
    )


@router.post("")
async def make(visitor: PracticeAdmin) -> Response:
    """Create a link."""
    try:
        link = await create_link(visitor.context, visitor.practice_id, _wish(visitor), visitor.actor)
    except EXPECTED as error:
        return await _page(visitor, error=error, given=visitor.form.given(*FIELDS))
    return visitor.see(f"/links#{link.id}")


def _wish(visitor: PracticeVisitor) -> LinkWish:
    form, currency = visitor.form, visitor.form.text("currency")
    typed: dict[str, Any] = {"currency": currency, **form.given("description", "reference")}
    problems, amount, days = Problems(), 1, 1
    with problems.caught():
        shaped(CreatePaymentLink, {"amount": 1, **typed})
    if currency in CURRENCIES:
        with problems.caught():
            amount = amount_of(visitor.words, form.text("amount"), currency)
    with problems.caught("/days"):
        days = typed_whole(form.text("days"), 1, LONGEST_DAYS)
    problems.settle()
    ends = visitor.context.world.now() + timedelta(days=days)
    typed |= {"amount": amount, "singleUse": form.text("use") != "many", "expiresAt": ends}
    return shaped(CreatePaymentLink, typed).wish()


@router.get("/{link_id}")
async def payments_of_link(
    visitor: PracticeViewer, link_id: Annotated[str, Path(pattern=r"^[0-9a-z]{26}$")]
) -> Response:
    """Show the payments that started through a link; redirect to the payment if there is only one."""
    practice, link = await find_link(visitor.context, visitor.practice_id, link_id)
    ids = await payment_links.payments_of(practice.db, link.id)
    if len(ids) == 1:
        return visitor.see(f"/payments/{ids[0]}")
    begun = [one for payment_id in ids if (one := await payments.by_id(practice.db, payment_id)) is not None]
    return visitor.page(
        "practice/link_payments.html", link=link, rows=begun, shown=await of_payments(practice.db, begun)
    )


@router.post("/{link_id}/close")
async def close(visitor: PracticeAdmin, link_id: str) -> Response:
    """Close a link, so that no payment can start through it."""
    await close_link(visitor.context, visitor.practice_id, link_id, visitor.actor)
    return visitor.see("/links", Done.link_closed)
