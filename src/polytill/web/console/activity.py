"""The audit log of the platform or of a practice, for its staff."""

from __future__ import annotations

from fastapi import Response

from polytill.storage import audit
from polytill.web.api.values import Before
from polytill.web.console.pages import page_router
from polytill.web.console.sessions import Viewer
from polytill.web.console.timeline import told

router = page_router()

PER_PAGE = 50


@router.get("/owner/activity")
@router.get("/practice/{practice_id}/activity")
async def activity(visitor: Viewer, before: Before = None) -> Response:
    """Show the audit log, newest first."""
    lines = await audit.listed(visitor.db, None, before, PER_PAGE + 1)
    names, people = await visitor.provider_names(), await visitor.colleagues()
    return visitor.page(
        "activity.html",
        lines=told(visitor.words, lines[:PER_PAGE], people, names),
        following=lines[PER_PAGE - 1]["id"] if len(lines) > PER_PAGE else None,
    )
