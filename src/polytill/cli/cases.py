"""Review cases on the command line."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from polytill.cli.opened import PracticeId, console, fail, opened
from polytill.domain.review_cases import CaseAction
from polytill.domain.states import CountedAs
from polytill.flows.context import Context
from polytill.flows.review import resolve, same_money, staff_decisions
from polytill.storage import cases
from polytill.storage.cases import OperatorCase

cases_app = typer.Typer(no_args_is_help=True, help="Review cases: list and resolve them.")
ACTIONS = (
    "look_up, refund_duplicate, same_account, mark_paid, mark_not_paid, done or not_done (for a refund, capture or cancel"
    " whose outcome is unknown), count_separately or count_once (for a refund and a dispute), or resolve"
)


@cases_app.command("list")
def cases_list(
    practice: Annotated[int | None, typer.Option(help="Only this practice, with the details of each case")] = None,
) -> None:
    """List the open review cases of every practice, or of one."""

    async def read(context: Context) -> list[tuple[int, OperatorCase]]:
        if practice is not None:
            db = await context.opening.practice(practice)
            return [(practice, case) for case in await cases.listed(db, limit=500)]
        found: list[tuple[int, OperatorCase]] = []
        after: int | None = 0
        while after is not None:
            some, after = await resolve.across(context, after)
            found += some
        return found

    table = Table("practice", "case", "kind", "environment", "since", *(["details"] if practice else []))
    for practice_id, case in opened(read):
        seen = [str(case.detail)] if practice else []
        since = f"{case.created_at:%Y-%m-%d %H:%M}"
        table.add_row(str(practice_id), case.id, case.kind.value, case.environment.value, since, *seen)
    console.print(table)


@cases_app.command("resolve")
def cases_resolve(
    practice: PracticeId,
    case: Annotated[str, typer.Argument(help="The case's id")],
    action: Annotated[str, typer.Argument(help=ACTIONS)],
    note: Annotated[
        str, typer.Option(help="How you know, or what you did; required except for `look_up` and `refund_duplicate`")
    ] = "",
    transaction: Annotated[
        str, typer.Option(help="The provider's transaction id or receipt number; required for `mark_paid`")
    ] = "",
    amount: Annotated[
        int | None,
        typer.Option(help="The amount on the provider's statement, in minor units; required for `mark_paid`"),
    ] = None,
    accept_dispute_risk: Annotated[
        bool,
        typer.Option(
            "--accept-dispute-risk", help="Let `refund_duplicate` refund an amount that an open chargeback is about"
        ),
    ] = False,
) -> None:
    """Resolve a review case.

    Looks the payment up, refunds a duplicate payment, decides an unknown outcome, or resolves the case with a note.
    """
    proof = staff_decisions.Proof(note, transaction or None, amount)
    ways: dict[CaseAction, tuple[Any, ...]] = {  # the flow, and its arguments after the case
        CaseAction.look_up: (resolve.look_up, "cli"),
        CaseAction.refund_duplicate: (resolve.refund_duplicate, "cli", accept_dispute_risk),
        CaseAction.same_account: (resolve.same_account, note, "cli"),
        CaseAction.mark_not_paid: (resolve.mark_not_paid, note, "cli"),
        CaseAction.mark_paid: (staff_decisions.mark_paid, proof, "cli"),
        CaseAction.done: (staff_decisions.decide, True, proof, "cli"),
        CaseAction.not_done: (staff_decisions.decide, False, proof, "cli"),
        CaseAction.count_separately: (same_money.count, CountedAs.separate, note, "cli"),
        CaseAction.count_once: (same_money.count, CountedAs.same, note, "cli"),
        CaseAction.resolve: (resolve.resolve, note, "cli"),
    }
    if action not in ways:
        fail(f"The action must be one of {', '.join(ways)}.")
    flow, *arguments = ways[CaseAction(action)]
    found = opened(lambda context: flow(context, practice, case, *arguments))
    status = f"; the payment is {found.payment.status.value}" if found.payment else ""
    console.print(f"The case is {found.case.state.value}{status}.")
