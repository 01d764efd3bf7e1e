"""Retention periods of practices: shown, set, and applied now."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from polytill.cli.backups import AsJson
from polytill.cli.opened import console, fail, opened
from polytill.domain.clock import wire_time
from polytill.domain.retention import RetentionKind
from polytill.flows import retention as flow
from polytill.flows.context import Context
from polytill.flows.retention import Period
from polytill.storage import retention


def _days(given: list[str]) -> dict[RetentionKind, int]:
    days = {}
    for one in given:
        kind, _, number = one.partition("=")
        if kind not in list(RetentionKind) or not number.isascii() or not number.isdecimal() or len(number) > 9:
            fail(f"{one!r} is not KIND=DAYS, such as webhooks=90. The kinds are {', '.join(RetentionKind)}.")
        days[RetentionKind(kind)] = int(number)
    return days


def practices_retention(
    practice: Annotated[
        int | None, typer.Argument(help="The practice's id; without it: the platform's periods")
    ] = None,
    keep: Annotated[list[str] | None, typer.Option(help="KIND=DAYS, such as webhooks=90; 0: for ever")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Use the periods of the settings again")] = False,
    run: Annotated[bool, typer.Option("--run", help="Remove now what is too old")] = False,
    as_json: AsJson = False,
) -> None:
    """Show for how long a practice keeps webhook bodies, providers' answers, events and audit lines, and set it.

    The worker removes what is older once a day. What an open payment, refund or dispute needs is never removed.
    """
    days = _days(keep or [])
    if practice is None and (days or reset or run):
        fail("Give the practice's id. The platform's periods are settings: POLYTILL_WEBHOOK_DAYS and the like.")
    if days and reset:
        fail("Give either periods or --reset.")

    async def work(context: Context) -> list[Period]:
        if practice is None:
            known = await retention.marks(context.owner)
            return [Period(kind, n, False, known.get(kind)) for kind, n in flow.of_settings(context.settings).items()]
        if days or reset:
            await flow.set_periods(context, practice, days, "cli", reset)
        if run:
            await flow.retain(context, practice)
        return await flow.periods_of(context, practice)

    found = opened(work)
    if as_json:
        print(json.dumps([_shown(one) for one in found]))
        return
    table = Table("kept", "days", "set for", "removed", "last run")
    for one in found:
        shown = _shown(one)
        of = "this practice" if one.is_own else "the platform"
        table.add_row(one.kind, str(one.days or "for ever"), of, str(shown["removed"]), shown["ranAt"] or "never")
    console.print(table)


def _shown(one: Period) -> dict[str, Any]:
    return {
        "kind": one.kind.value,
        "days": one.days,
        "isOwn": one.is_own,
        "removed": one.mark.removed if one.mark else 0,
        "ranAt": wire_time(one.mark.ran_at) if one.mark else None,
    }
