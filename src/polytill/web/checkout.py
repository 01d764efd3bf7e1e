"""The payer's pages: one payment by its client token, and the way back from the provider, which asks at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from polytill.domain.errors import NotFound
from polytill.domain.ids import read_address
from polytill.domain.money import Money
from polytill.flows import reconcile
from polytill.flows.desk import Desk
from polytill.flows.pay import CLIENT_TOKEN, Taken, find, taken
from polytill.storage.databases import PracticeDb
from polytill.web.shapes import next_action_view

router = APIRouter(tags=["checkout"])

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action *; base-uri 'none';"
    " frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

WORDS = {
    "requires_action": ("To be paid", "Go on to pay with the button below."),
    "processing": (
        "We are finding out",
        "The payment is being worked on. Please do not pay again; this page will tell.",
    ),
    "authorized": ("Reserved", "The amount is reserved. There is nothing more to do."),
    "succeeded": ("Paid", "Thank you, the payment went through. There is nothing more to do."),
    "failed": ("Not paid", "The payment did not go through, and no money was taken. Please ask for a new payment."),
    "canceled": ("Called off", "This payment was called off or has expired. Please ask for a new one."),
}


def page(name: str, **values: Any) -> Response:
    """One server-rendered page."""
    html = _templates.get_template(name).render(**values)
    return Response(html, 200, dict(PAGE_HEADERS), "text/html; charset=utf-8")


async def _found(request: Request, token: str) -> tuple[Desk, PracticeDb, Taken]:
    desk: Desk = request.app.state.till.desk
    address = read_address(CLIENT_TOKEN, token, desk.ring.derived("addresses"))
    if address is None:
        raise NotFound("There is no such payment.")
    db, payment = await find(desk, address[0], address[1].decode("ascii", "replace"))
    return desk, db, await taken(db, payment)


@router.get("/pay/{clientToken}", response_class=HTMLResponse)
async def pay_page(request: Request, clientToken: str) -> Response:
    """What is to be paid, and the way to pay it."""
    desk, db, found = await _found(request, clientToken)
    payment = found.payment
    practice = await desk.opening.entry(db.practice_id)
    payable = payment.status.value == "requires_action"
    action = next_action_view(db, found, None) if payable else None
    title, text = WORDS[payment.status.value]
    return page(
        "pay.html", title=title, text=text, practice=practice.name, amount=str(Money(payment.amount, payment.currency)),
        description=payment.description, link=(action or {}).get("url"), status=payment.status.value,
        sandbox=payment.environment.value == "sandbox", again=payment.status.value == "processing",
        instructions=(action or {}).get("instructions"),
    )  # fmt: skip


@router.get("/pay/{clientToken}/return", status_code=303, response_class=RedirectResponse)
async def return_page(request: Request, clientToken: str) -> Response:
    """Back from the provider. What the address says is forgeable: the provider is asked, then the payer is sent on."""
    _, db, found = await _found(request, clientToken)
    desk: Desk = request.app.state.till.desk
    found = await reconcile.confirm(desk, db.practice_id, found.payment.id)
    payment = found.payment
    if payment.return_url is None:
        return RedirectResponse(f"/pay/{clientToken}", 303, {"Cache-Control": "no-store"})
    parts = urlsplit(payment.return_url)
    query = [
        *parse_qsl(parts.query, keep_blank_values=True),
        ("paymentId", payment.id),
        ("status", payment.status.value),
    ]
    if payment.reference is not None:
        query.append(("reference", payment.reference))
    target = urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), parts.fragment))
    return RedirectResponse(target, 303, {"Cache-Control": "no-store"})
