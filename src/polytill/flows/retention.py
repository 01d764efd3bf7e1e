"""Retention: the worker removes what is older than its period, in small transactions, and counts it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import PolytillError, invalid
from polytill.domain.ids import first_id
from polytill.domain.retention import FOR_EVER, LEAST_DAYS, MOST_DAYS, RetentionKind, is_allowed
from polytill.flows.context import Context, Practice, log
from polytill.flows.erasure import erase_late
from polytill.settings import Settings
from polytill.storage import audit, retention
from polytill.storage.databases import Database, Tx
from polytill.storage.retention import Page, RetentionMark
from polytill.storage.units import Unit

ROWS = 200  # of one transaction
PAGES = 50  # of one kind in one run; the next run goes on


@dataclass(frozen=True, slots=True)
class Period:
    """The period of one kind in one practice, and what came of it.

    Args:
        kind: What has the period.
        days: For how many days it is kept; 0: for ever.
        is_own: Whether the practice has a period of its own.
        mark: How far removal has come; None: it has not run yet.
    """

    kind: RetentionKind
    days: int
    is_own: bool
    mark: RetentionMark | None


def of_settings(settings: Settings) -> dict[RetentionKind, int]:
    """The periods of the platform, in days."""
    return {
        RetentionKind.webhooks: settings.webhook_days,
        RetentionKind.responses: settings.response_days,
        RetentionKind.events: settings.event_days,
        RetentionKind.audit: settings.audit_days,
    }


async def periods_of(context: Context, practice_id: int) -> list[Period]:
    """The periods of a practice."""
    own = await retention.periods(context.owner, practice_id)
    marks = await retention.marks((await context.practice(practice_id)).db)
    every = of_settings(context.settings) | own
    return [Period(kind, every[kind], kind in own, marks.get(kind)) for kind in RetentionKind]


async def set_periods(
    context: Context, practice_id: int, days: Mapping[RetentionKind, int], actor: str, forget: bool = False
) -> None:
    """Give a practice periods of its own, or let it have those of the settings again (``forget``). ``Invalid`` if one is
    shorter than the least period, which finished work needs."""
    await context.opening.entry(practice_id)
    for kind, number in days.items():
        if not is_allowed(kind, number):
            least = LEAST_DAYS[kind]
            raise invalid(f"/{kind}", f"Give 0 (for ever), or {least} to {MOST_DAYS} days.", reason="retention_days")
    unit, now = Unit(), context.world.now()
    if forget:
        retention.forget_periods(unit, practice_id)
    else:
        retention.set_periods(unit, practice_id, days)
    detail = {kind.value: number for kind, number in days.items()}
    audit.append(unit, now, actor, AuditAction.practice_retention_set, f"practice:{practice_id}", detail)
    await context.owner.commit(unit)


async def retain(context: Context, practice_id: int) -> dict[RetentionKind, int]:
    """Remove what is too old in a practice, and what providers have sent about erased customers. Returns the number of
    removed rows and documents by kind. A database that is behind is left as it is."""
    practice = await context.practice(practice_id)
    await context.opening.must_be_current(practice_id)
    await erase_late(practice)
    days = of_settings(context.settings) | await retention.periods(context.owner, practice_id)
    known = await retention.marks(practice.db)
    removed = {}
    for kind in RetentionKind:
        if days[kind] != FOR_EVER:
            before = practice.now() - timedelta(days=days[kind])
            mark = known.get(kind)
            removed[kind] = await _kind(practice, kind, before, mark.reached if mark else "")
    if any(removed.values()):
        log.info("retention_removed", practice=practice_id, **{kind.value: n for kind, n in removed.items()})
    return removed


Turn = Callable[[Tx, Any], Awaitable[Page]]


async def _kind(practice: Practice, kind: RetentionKind, before: datetime, reached: str) -> int:
    now, oldest = practice.now(), first_id(before)
    match kind:
        case RetentionKind.webhooks:
            turn: Turn = lambda tx, at: retention.expire_webhooks(tx, at, oldest, now, ROWS)  # noqa: E731
        case RetentionKind.responses:
            turn = lambda tx, at: retention.expire_responses(tx, at, oldest, now, ROWS)  # noqa: E731
        case RetentionKind.events:
            turn = lambda tx, at: retention.expire_events(tx, at, before, ROWS)  # noqa: E731
        case RetentionKind.audit:
            turn = lambda tx, at: retention.expire_audit(tx, at, before, ROWS)  # noqa: E731
    stays = kind in (RetentionKind.webhooks, RetentionKind.responses)
    return await _pages(practice.db, partial(RetentionMark, kind), turn, reached if stays else 0, now)


async def _pages(db: Database, mark: Callable[..., RetentionMark], turn: Turn, start: Any, now: datetime) -> int:
    """Walk from the oldest row on. The mark stays before the first row that is old enough and still needed, so that the
    next run looks at it again."""
    at, reached, is_held, removed = start, start, False, 0
    for _ in range(PAGES):
        async with db.transaction() as tx:
            page = await turn(tx, at)
            is_held = is_held or page.kept is not None
            if page.last is not None and not is_held:
                reached = page.last
            retention.keep_mark(tx, mark(str(reached or ""), page.removed, now))
        removed += page.removed
        if page.last is None:
            break
        at = page.last
    return removed


async def retain_in_background(context: Context, practice_id: int) -> None:
    """As ``retain``, for the worker: what a practice cannot do now, the next run does."""
    try:
        await retain(context, practice_id)
    except PolytillError as error:
        log.warning("retention_waits", practice=practice_id, error=type(error).__name__)


async def retain_feed(context: Context) -> int:
    """Remove what is too old from the owner's feed. Returns the number of events."""
    days, now = context.settings.event_days, context.world.now()
    if days == FOR_EVER:
        return 0
    before = now - timedelta(days=days)

    async def turn(tx: Tx, at: Any) -> Page:
        return await retention.expire_feed(tx, at, before, ROWS)

    return await _pages(context.owner, partial(RetentionMark, RetentionKind.events), turn, 0, now)
