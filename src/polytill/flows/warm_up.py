"""Opens the databases of the practices that were used last, when a process starts.

A first visit costs a connection and several queries, on a server several times the processor time of a later one. A
process that was just restarted would pay that for every practice at once, while all of them wait.
"""

from __future__ import annotations

from contextlib import suppress

from polytill.domain.errors import PolytillError
from polytill.flows.context import Context, log
from polytill.storage import leases

MOST = 500


async def warm_up(context: Context) -> None:
    """Open practices one after the other, those used last first, while half of this process's connections are free."""
    opened = 0
    for practice_id in await leases.newest(context.owner, MOST):
        if not _has_room(context):
            break
        with suppress(PolytillError):  # whoever needs this practice is told
            practice = await context.practice(practice_id)
            await context.configured(practice.db)
            opened += 1
    log.info("warmed_up", practices=opened)


def _has_room(context: Context) -> bool:
    budgets = context.opening.budgets_by_name().values()
    return all(budget.total <= budget.limit // 2 and not budget.waiting for budget in budgets)
