"""What stays unknown or pending: put before a person in time, and taken from the queue again once it is known.

The worker goes on asking all the while. Nothing here decides anything about money.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from polytill.domain.clock import wire_time
from polytill.domain.ids import new_id
from polytill.domain.states import AttemptState
from polytill.flows.desk import Desk
from polytill.flows.notify import tell
from polytill.storage import cases, webhook_events
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Attempt, Payment
from polytill.storage.units import Unit

UNRESOLVED = "unresolved"
UNRESOLVED_AFTER = timedelta(hours=1)
# A bank debit may take days. Nobody waits longer than this after the payment should have been paid.
PENDING_AFTER = timedelta(days=3)


async def noted(
    desk: Desk, db: PracticeDb, payment: Payment, what: str, subject: str, since: datetime, is_known: bool
) -> Callable[[Unit], None]:
    """What the unit that settles something unknown adds to the queue: its case after an hour, or that case's end.

    ``what`` is attempt, refund or operation, ``subject`` its id; it has been unknown ``since`` then. The unit must be
    ``Stale`` where it was found out meanwhile: a case would be about nothing, and never end.
    """
    is_long = desk.world.now() - since >= UNRESOLVED_AFTER
    return await _noted(desk, db, payment, subject, {what: subject, "since": wire_time(since)}, is_known, is_long)


async def noted_attempt(
    desk: Desk, db: PracticeDb, payment: Payment, attempt: Attempt, becomes: Attempt | None, asked: bool
) -> Callable[[Unit], None]:
    """``noted`` for an attempt that becomes another (None: nothing is new). ``asked``: its provider was, and it stands as
    it did. One that is pending is put before a person, too: three days after its payment was to be paid."""
    is_known = becomes is not None and becomes.state is not attempt.state
    if attempt.state is AttemptState.unknown and (is_known or asked):
        return await noted(desk, db, payment, "attempt", attempt.id, attempt.updated_at, is_known)
    if attempt.state is AttemptState.pending and (is_known or asked):
        is_long = desk.world.now() - (payment.expires_at or attempt.created_at) >= PENDING_AFTER
        # Beside the case of an answer that was lost before, which has ended.
        subject, detail = f"{attempt.id}:pending", {"attempt": attempt.id, "since": wire_time(attempt.updated_at)}
        return await _noted(desk, db, payment, subject, detail, is_known, is_long)
    return lambda _: None


async def _noted(
    desk: Desk, db: PracticeDb, payment: Payment, subject: str, detail: dict[str, Any], is_known: bool, is_long: bool
) -> Callable[[Unit], None]:
    now = desk.world.now()
    known = await cases.listed(db, kind=UNRESOLVED, subject=subject) if is_known else []

    def add(unit: Unit) -> None:
        for case in known:
            cases.close(unit, case, {"action": "found_out"}, "provider", now)
        if not is_known and is_long:
            tell(desk, unit, payment, "payment.unresolved", detail, unless_case=(UNRESOLVED, subject))
            webhook_events.open_case(
                unit, new_id(desk.world), payment.practice_id, payment.environment, UNRESOLVED, subject, payment.id,
                detail, now,
            )  # fmt: skip

    return add
