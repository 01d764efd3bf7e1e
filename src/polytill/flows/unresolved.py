"""What stays unknown: put before a person after an hour, and taken from the queue again once it is known.

The worker goes on asking all the while. Nothing here decides anything about money.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from polytill.domain.clock import wire_time
from polytill.domain.ids import new_id
from polytill.flows.desk import Desk
from polytill.flows.notify import tell
from polytill.storage import cases, webhook_events
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment
from polytill.storage.units import Unit

UNRESOLVED = "unresolved"
UNRESOLVED_AFTER = timedelta(hours=1)


async def noted(
    desk: Desk, db: PracticeDb, payment: Payment, what: str, subject: str, since: datetime, is_known: bool
) -> Callable[[Unit], None]:
    """What the unit that settles something unknown adds to the queue: its case after an hour, or that case's end.

    ``what`` is attempt, refund or operation, ``subject`` its id; it has been unknown ``since`` then. The unit must be
    ``Stale`` where it was found out meanwhile: a case would be about nothing, and never end.
    """
    now = desk.world.now()
    known = await cases.listed(db, kind=UNRESOLVED, subject=subject) if is_known else []
    is_long = now - since >= UNRESOLVED_AFTER

    def add(unit: Unit) -> None:
        for case in known:
            cases.close(unit, case, {"action": "found_out"}, "provider", now)
        if not is_known and is_long:
            detail = {what: subject, "since": wire_time(since)}
            tell(desk, unit, payment, "payment.unresolved", detail, unless_case=(UNRESOLVED, subject))
            webhook_events.open_case(
                unit, new_id(desk.world), payment.practice_id, payment.environment, UNRESOLVED, subject, payment.id,
                detail, now,
            )  # fmt: skip

    return add
