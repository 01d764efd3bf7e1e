"""A practice's settings: its country and its time zone, which applies to all its days, months and times."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from polytill.domain.localities import day_of, time_zones
from polytill.flows.admin.practices import PracticeChanges, change_practice
from polytill.web.api.models.practices import ChangePractice
from polytill.web.console.flashes import Done
from polytill.web.console.pages import EXPECTED, PageRoute, errors_by_field, form_of, page, see, shaped
from polytill.web.console.sessions import OfPractice, PracticeAdmin, PracticeViewer

router = APIRouter(prefix="/practice/{practice_id}/settings", route_class=PageRoute, include_in_schema=False)


async def _page(request: Request, found: OfPractice, status: int = 200, **more: Any) -> Response:
    entry, now = found.visitor.practice, found.visitor.context.world.now()
    assert entry is not None
    more.setdefault("given", {"country": entry.country, "timeZone": entry.time_zone})
    return page(
        request,
        "practice/settings.html",
        status,
        visitor=found.visitor,
        practice=entry,
        zones=sorted(time_zones()),
        now=now,
        today=day_of(now, entry.zone),
        **more,
    )


@router.get("")
async def show(request: Request, found: PracticeViewer) -> Response:
    """Show country and time zone, with the current time there."""
    return await _page(request, found)


@router.post("")
async def save(request: Request, found: PracticeAdmin) -> Response:
    """Save the country or the time zone."""
    visitor, given = found.visitor, form_of(request).given("country", "timeZone")
    try:
        body = shaped(ChangePractice, given)
        changes = PracticeChanges(country=body.country, time_zone=body.time_zone)
        await change_practice(visitor.context, visitor.practice_id, changes, visitor.actor, by_own_staff=True)
    except EXPECTED as error:
        return await _page(request, found, error.status, given=given, errors=errors_by_field(error))
    return see(f"{visitor.door}/settings", Done.saved)
