"""The branding of a practice's checkout: its color, with a preview."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from polytill.domain.currencies import exponent_of
from polytill.flows.recovery import checkout
from polytill.storage import practice_profile
from polytill.web.api.models.payment_links import SetBranding
from polytill.web.checkout.pages import Brand, ink_on
from polytill.web.console.flashes import Done
from polytill.web.console.pages import EXPECTED, PageRoute, form_of, page, see, shaped, words_of
from polytill.web.console.sessions import OfPractice, PracticeAdmin, PracticeViewer

router = APIRouter(prefix="/practice/{practice_id}/checkout", route_class=PageRoute, include_in_schema=False)

OURS = "#0b5f5a"  # as in tokens.css


async def _page(request: Request, found: OfPractice, status: int = 200, **more: Any) -> Response:
    entry = found.visitor.practice
    assert entry is not None
    color = await practice_profile.checkout_color(found.db)
    shown = color or OURS
    return page(
        request,
        "practice/branding.html",
        status,
        visitor=found.visitor,
        brand=Brand(entry.name, shown),
        chosen=color,
        ink=ink_on(shown),
        currency=entry.default_currency,
        example=5000 * 10 ** exponent_of(entry.default_currency),
        **{"given": shown, **more},
    )


@router.get("")
async def show(request: Request, found: PracticeViewer) -> Response:
    """Show the color and the form to change it."""
    return await _page(request, found)


@router.post("")
async def save(request: Request, found: PracticeAdmin) -> Response:
    """Save the color, or restore the default."""
    form, visitor = form_of(request), found.visitor
    text = form.text("color").lower()
    try:
        color = None if form.has("reset") else shaped(SetBranding, {"color": text}).color
    except EXPECTED as error:
        errors = {"color": words_of(request)("look.no_color")}
        return await _page(request, found, error.status, given=text[:20], errors=errors)
    await checkout.set_color(visitor.context, visitor.practice_id, color, visitor.actor)
    return see(f"{visitor.door}/checkout", Done.look)
