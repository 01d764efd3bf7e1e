"""A practice's own settings: its country, its time zone, which applies to all its days, months and times, and the
branding of its checkout."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from polytill.domain.localities import time_zones
from polytill.flows.admin.practices import change_practice
from polytill.flows.recovery import checkout
from polytill.storage import practice_profile
from polytill.web.api.models.payment_links import SetBranding
from polytill.web.api.models.practices import ChangePractice
from polytill.web.checkout.pages import Brand, ink_on
from polytill.web.console.flashes import Done
from polytill.web.console.pages import EXPECTED, page_router, shaped
from polytill.web.console.providers import example_of
from polytill.web.console.sessions import PracticeAdmin, PracticeViewer, PracticeVisitor

router = page_router("/practice/{practice_id}")

OURS = "#0b5f5a"  # as in tokens.css


# ── Country and time zone ──


async def _settings(visitor: PracticeVisitor, **more: Any) -> Response:
    entry = visitor.practice
    return visitor.page(
        "practice/settings.html",
        practice=entry,
        zones=sorted(time_zones()),
        now=visitor.context.world.now(),
        **{"given": {"country": entry.country, "timeZone": entry.time_zone}, **more},
    )


@router.get("/settings")
async def show_settings(visitor: PracticeViewer) -> Response:
    """Show country and time zone, with the current time there."""
    return await _settings(visitor)


@router.post("/settings")
async def save_settings(visitor: PracticeAdmin) -> Response:
    """Save the country or the time zone."""
    given = visitor.form.given("country", "timeZone")
    try:
        changes = shaped(ChangePractice, given).changes()
        await change_practice(visitor.context, visitor.practice_id, changes, visitor.actor, by_own_staff=True)
    except EXPECTED as error:
        return await _settings(visitor, error=error, given=given)
    return visitor.see("/settings", Done.saved)


# ── Branding ──


async def _branding(visitor: PracticeVisitor, **more: Any) -> Response:
    entry, color = visitor.practice, await practice_profile.checkout_color(visitor.db)
    shown = color or OURS
    return visitor.page(
        "practice/branding.html",
        brand=Brand(entry.name, shown),
        chosen=color,
        ink=ink_on(shown),
        currency=entry.default_currency,
        example=example_of(entry.default_currency),
        **{"given": shown, **more},
    )


@router.get("/checkout")
async def show_branding(visitor: PracticeViewer) -> Response:
    """Show the color, with a preview, and the form to change it."""
    return await _branding(visitor)


@router.post("/checkout")
async def save_branding(visitor: PracticeAdmin) -> Response:
    """Save the color, or restore the default."""
    text = visitor.form.text("color").lower()
    try:
        color = None if visitor.form.has("reset") else shaped(SetBranding, {"color": text}).color
    except EXPECTED as error:
        errors = {"color": visitor.words("look.no_color")}
        return await _branding(visitor, error=error, given=text[:20], errors=errors)
    await checkout.set_color(visitor.context, visitor.practice_id, color, visitor.actor)
    return visitor.see("/checkout", Done.look)
