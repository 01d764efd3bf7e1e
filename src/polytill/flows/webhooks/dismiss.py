"""Dismisses parked webhooks in bulk: staff need nothing of them. They stay stored, and can still be replayed."""

from __future__ import annotations

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import invalid
from polytill.domain.text import visible
from polytill.flows.context import Context
from polytill.storage import audit, webhook_events
from polytill.storage.webhook_events import Which

MAX_NOTE = 500
# Webhooks that one call dismisses, at most; the oldest first.
MOST_AT_ONCE = 10_000
SUBJECT = "webhooks"


async def count(context: Context, practice_id: int, which: Which) -> int:
    """How many parked webhooks a selection has."""
    practice = await context.practice(practice_id)
    return await webhook_events.count_parked(practice.db, which)


async def dismiss(context: Context, practice_id: int, which: Which, note: str, actor: str) -> int:
    """Dismiss the selected parked webhooks, up to ``MOST_AT_ONCE``, with a reason. Return how many were dismissed.

    The audit log gets one line with the number, the selection and the reason. ``Invalid`` without a reason.
    """
    note = visible(note)
    if not note:
        raise invalid("/note", "Say why these webhooks are dismissed.", reason="say_why_dismissed")
    if len(note) > MAX_NOTE:
        raise invalid("/note", f"The reason has at most {MAX_NOTE} characters.", reason="note_too_long")
    practice = await context.practice(practice_id)
    now = context.world.now()
    async with practice.db.transaction() as tx:
        dismissed = await webhook_events.dismiss(tx, which, note, MOST_AT_ONCE)
        if dismissed:
            detail = {"count": dismissed, "note": note, **which.named()}
            audit.append(tx, now, actor, AuditAction.webhooks_dismissed, SUBJECT, detail)
    return dismissed
