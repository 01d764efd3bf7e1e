"""A practice's review cases with their evidence, and its parked webhooks.

Offers only the actions of ``flows/review/resolve.py``: none of them guesses about money.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from polytill.domain.review_cases import CaseAction, CaseKind, CaseState
from polytill.domain.states import AttemptState, CountedAs
from polytill.flows.context import Practice
from polytill.flows.payments import duplicates
from polytill.flows.payments.create import PaymentDetails
from polytill.flows.review import resolve, same_money, staff_decisions
from polytill.flows.review.resolve import Evidence
from polytill.flows.review.staff_decisions import Proof
from polytill.flows.webhooks import receive
from polytill.storage import cases, overview, staff, webhook_events
from polytill.storage.cases import OperatorCase
from polytill.web.console.flashes import REFUNDS, REPLAYS, Done
from polytill.web.console.pages import (
    EXPECTED,
    PageRoute,
    amount_of,
    errors_by_field,
    form_of,
    page,
    provider_names,
    see,
    words_of,
)
from polytill.web.console.sessions import OfPractice, PracticeAdmin, PracticeViewer
from polytill.web.console.timeline import who
from polytill.web.payment_status import Shown, of_taken

router = APIRouter(prefix="/practice/{practice_id}/attention", route_class=PageRoute, include_in_schema=False)

SHOWN = 50
# The message after each action.
DONE: dict[CaseAction, Done] = {
    CaseAction.look_up: Done.asked,
    CaseAction.refund_duplicate: Done.refund_submitted,
    CaseAction.same_account: Done.asked,
    CaseAction.mark_not_paid: Done.marked_not_paid,
    CaseAction.resolve: Done.resolved,
    CaseAction.mark_paid: Done.marked_paid,
    CaseAction.done: Done.marked_done,
    CaseAction.not_done: Done.marked_not_done,
    CaseAction.count_separately: Done.counted_separate,
    CaseAction.count_once: Done.counted_same,
}
# Names under which a case stores an amount in minor units.
AMOUNTS = frozenset({"amount", "requested", "taken", "captured", "refunded", "disputed", "lost", "beyond"})
# The actions that decide an unknown outcome, or a refund and a dispute.
Decision = Literal[
    CaseAction.mark_paid, CaseAction.done, CaseAction.not_done, CaseAction.count_separately, CaseAction.count_once
]
CaseId = Annotated[str, Path(max_length=40)]


@router.get("")
async def show(
    request: Request,
    found: PracticeViewer,
    closed: bool = False,
    before: Annotated[str | None, Query(pattern=r"^[0-9a-z]{26}$")] = None,
) -> Response:
    """List review cases, newest first, open or resolved, and parked webhooks."""
    rows = await cases.listed(found.db, CaseState.resolved if closed else CaseState.open, None, before, SHOWN + 1)
    parked = [] if closed or before else await webhook_events.listed(found.db, "parked", limit=SHOWN)
    unknown = [] if closed or before else await overview.unknown(found.db, SHOWN)
    return page(
        request,
        "practice/attention.html",
        visitor=found.visitor,
        rows=rows[:SHOWN],
        parked=parked,
        closed=closed,
        unknown=unknown,
        following=rows[SHOWN - 1].id if len(rows) > SHOWN else None,
        parked_in_all=len(parked) if len(parked) < SHOWN else await webhook_events.count(found.db, "parked"),
    )


@router.post("/webhooks/{event_id}")
async def replay(found: PracticeAdmin, event_id: Annotated[str, Path(max_length=40)]) -> Response:
    """Process a parked webhook again."""
    visitor = found.visitor
    event = await receive.replay(visitor.context, visitor.practice_id, event_id)
    return see(f"{visitor.door}/attention", REPLAYS[event.state])


@router.get("/{case_id}")
async def one(request: Request, found: PracticeViewer, case_id: CaseId) -> Response:
    """Show one review case: its evidence beside our records."""
    return await _page(request, found, case_id)


@router.get("/{case_id}/refund")
async def refund_question(request: Request, found: PracticeAdmin, case_id: CaseId) -> Response:
    """Ask for confirmation before a duplicate payment is refunded, as before any other refund."""
    evidence = await resolve.evidence(found.visitor.context, found.visitor.practice_id, case_id)
    left = _duplicate_left(evidence)
    if left <= 0:
        return see(f"{found.visitor.door}/attention/{case_id}")
    return page(
        request,
        "practice/case_refund.html",
        visitor=found.visitor,
        found=evidence,
        duplicate=left,
        disputed=_is_disputed(evidence),
    )


@router.post("/{case_id}")
async def decide(request: Request, found: PracticeAdmin, case_id: CaseId) -> Response:
    """Look the payment up, refund a duplicate payment, confirm that keys belong to one account, decide an unknown
    outcome, or resolve the case with a note."""
    visitor, form = found.visitor, form_of(request)
    context, practice_id, actor = visitor.context, visitor.practice_id, visitor.actor
    action = CaseAction.__members__.get(form.text("action"))
    if action is None:
        return see(f"{visitor.door}/attention/{case_id}")
    done = DONE[action]
    try:
        match action:
            case CaseAction.look_up:
                asked = await resolve.look_up(context, practice_id, case_id, actor)
                done = done if asked.answered else Done.not_answered
            case CaseAction.refund_duplicate:
                evidence = await resolve.refund_duplicate(
                    context, practice_id, case_id, actor, form.text("accept") == "yes"
                )
                done = _refund_said(evidence)
            case CaseAction.same_account:
                asked = await resolve.same_account(context, practice_id, case_id, form.text("note"), actor)
                done = done if asked.answered else Done.resolved
            case CaseAction.mark_not_paid:
                await resolve.mark_not_paid(context, practice_id, case_id, form.text("note"), actor)
            case CaseAction.resolve:
                await resolve.resolve(context, practice_id, case_id, form.text("note"), actor)
            case _:
                await _decide(request, found, case_id, action)
    except EXPECTED as error:
        typed = {name: form.text(name) for name in ("note", "transactionId", "amount")}
        return await _page(request, found, case_id, error.status, errors=errors_by_field(error), **typed)
    return see(f"{visitor.door}/attention/{case_id}", done)


async def _decide(request: Request, found: OfPractice, case_id: str, action: Decision) -> None:
    """Apply a staff decision about an unknown outcome, or about a refund and a dispute."""
    visitor, form = found.visitor, form_of(request)
    context, practice_id, actor, note = visitor.context, visitor.practice_id, visitor.actor, form.text("note")
    transaction = form.text("transactionId") or None
    if action is CaseAction.mark_paid:
        case = await resolve.evidence(context, practice_id, case_id)
        typed = form.text("amount")
        amount = amount_of(words_of(request), typed, case.payment.currency) if case.payment and typed else None
        await staff_decisions.mark_paid(context, practice_id, case_id, Proof(note, transaction, amount), actor)
    elif action is CaseAction.done or action is CaseAction.not_done:
        proof = Proof(note, transaction)
        await staff_decisions.decide(context, practice_id, case_id, action is CaseAction.done, proof, actor)
    else:
        counted = CountedAs.separate if action is CaseAction.count_separately else CountedAs.same
        await same_money.count(context, practice_id, case_id, counted, note, actor)


def _refund_said(found: Evidence) -> Done:
    """The message after a refund of a duplicate payment: by the state of its newest refund, not of the case, which ends
    only when the money is refunded."""
    its = [one for one in found.refunds if one.attempt_id == found.case.subject]
    return REFUNDS[max(its, key=lambda one: (one.created_at, one.id)).state] if its else Done.refund_not_sent


async def _page(request: Request, found: OfPractice, case_id: str, status: int = 200, **more: Any) -> Response:
    context = found.visitor.context
    evidence = await resolve.evidence(context, found.visitor.practice_id, case_id)
    currency = evidence.payment.currency if evidence.payment else None
    stuck = staff_decisions.decided_on(await staff_decisions.stuck_of(found.db, evidence.case))
    names = provider_names(words_of(request), (await context.catalog()).values())
    return page(
        request,
        "practice/case.html",
        status,
        visitor=found.visitor,
        found=evidence,
        names=names,
        shown=_shown(evidence),
        duplicate=_duplicate_left(evidence),
        disputed=_is_disputed(evidence),
        unfindable=await resolve.unfindable(Practice(context, found.db), evidence.case),
        seen=_flat(_noted(evidence.case), currency),
        resolution=await _resolution(request, found, evidence.case),
        undecided=await staff_decisions.undecided(found.db, evidence.case),
        stuck=stuck,
        **{"note": "", "transactionId": "", "amount": "", **more},
    )


def _noted(case: OperatorCase) -> dict[str, Any]:
    """The details of the case from when it was opened, without its resolution."""
    return {name: value for name, value in case.detail.items() if name not in ("resolution", "ended_before")}


async def _resolution(request: Request, found: OfPractice, case: OperatorCase) -> dict[str, str]:
    """The resolution: the action, who took it, and the required note."""
    said = case.detail.get("resolution") or {}
    people = {f"user:{p.id}": p.name or p.email for p in await staff.listed(found.db)}
    by = who(words_of(request), case.resolved_by, people) if case.resolved_by else ""
    return {"action": str(said.get("action", "")), "note": str(said.get("note") or ""), "by": by}


def _duplicate_left(found: Evidence) -> int:
    """The amount of a duplicate payment that can still be refunded, in minor units; zero for other cases."""
    if found.case.kind is not CaseKind.duplicate_payment or found.case.state is not CaseState.open:
        return 0
    held = next((a for a in found.attempts if a.id == found.case.subject and a.state is AttemptState.succeeded), None)
    return duplicates.left(held, found.refunds, found.disputes) if found.payment and held else 0


def _shown(found: Evidence) -> Shown | None:
    return of_taken(PaymentDetails(found.payment, found.attempts)) if found.payment else None


def _is_disputed(found: Evidence) -> bool:
    """Whether an open chargeback is about the duplicate payment of a case."""
    held = next((a for a in found.attempts if a.id == found.case.subject), None)
    return held is not None and duplicates.disputed(held, found.disputes) > 0


def _flat(
    detail: dict[str, Any], currency: str | None, above: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], Any, str | None]]:
    """The details of a case, flat: the path of names, the value, and the currency if it is an amount."""
    lines: list[tuple[tuple[str, ...], Any, str | None]] = []
    currency = detail.get("currency") or currency
    for name, value in detail.items():
        if isinstance(value, dict):
            lines += _flat(value, currency, (*above, name))
        elif value is not None and name != "currency":
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            if shown != "":
                lines.append(((*above, name), shown, currency if name in AMOUNTS else None))
    return lines
