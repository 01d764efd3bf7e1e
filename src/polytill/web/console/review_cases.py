"""A practice's review cases with their evidence, and its parked webhooks.

Offers only the actions of ``flows/review/resolve.py``: none of them guesses about money.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Response

from polytill.domain.review_cases import CaseAction, CaseKind, CaseState
from polytill.domain.states import AttemptState
from polytill.flows.context import Practice
from polytill.flows.payments import duplicates
from polytill.flows.payments.reading import PaymentDetails
from polytill.flows.review import resolve, staff_decisions
from polytill.flows.review.resolve import Evidence
from polytill.flows.webhooks import receive
from polytill.storage import cases, overview, webhook_events
from polytill.storage.attempts import Attempt
from polytill.storage.cases import OperatorCase
from polytill.web.api.cases import apply_action
from polytill.web.api.models.cases import ResolveCase
from polytill.web.api.values import BeforeId
from polytill.web.console.flashes import REFUNDS, REPLAYS, Done
from polytill.web.console.pages import EXPECTED, amount_of, page_router
from polytill.web.console.sessions import PracticeAdmin, PracticeViewer, PracticeVisitor
from polytill.web.console.timeline import who
from polytill.web.payment_status import of_taken

router = page_router("/practice/{practice_id}/attention")

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
# The message if the provider was called and did not answer.
UNANSWERED = {CaseAction.look_up: Done.not_answered, CaseAction.same_account: Done.resolved}
# Names under which a case stores an amount in minor units.
AMOUNTS = frozenset({"amount", "requested", "taken", "captured", "refunded", "disputed", "lost", "beyond"})
CaseId = Annotated[str, Path(max_length=40)]


@router.get("")
async def show(visitor: PracticeViewer, closed: bool = False, before: BeforeId = None) -> Response:
    """List review cases, newest first, open or resolved, and parked webhooks."""
    rows = await cases.listed(visitor.db, CaseState.resolved if closed else CaseState.open, None, before, SHOWN + 1)
    parked = [] if closed or before else await webhook_events.listed(visitor.db, "parked", limit=SHOWN)
    unknown = [] if closed or before else await overview.unknown(visitor.db, SHOWN)
    return visitor.page(
        "practice/attention.html",
        rows=rows[:SHOWN],
        parked=parked,
        closed=closed,
        unknown=unknown,
        following=rows[SHOWN - 1].id if len(rows) > SHOWN else None,
        parked_in_all=len(parked) if len(parked) < SHOWN else await webhook_events.count(visitor.db, "parked"),
    )


@router.post("/webhooks/{event_id}")
async def replay(visitor: PracticeAdmin, event_id: Annotated[str, Path(max_length=40)]) -> Response:
    """Process a parked webhook again."""
    event = await receive.replay(visitor.context, visitor.practice_id, event_id)
    return visitor.see("/attention", REPLAYS[event.state])


@router.get("/{case_id}")
async def one(visitor: PracticeViewer, case_id: CaseId) -> Response:
    """Show one review case: its evidence beside our records."""
    return await _page(visitor, case_id)


@router.get("/{case_id}/refund")
async def refund_question(visitor: PracticeAdmin, case_id: CaseId) -> Response:
    """Ask for confirmation before a duplicate payment is refunded, as before any other refund."""
    evidence = await resolve.evidence(visitor.context, visitor.practice_id, case_id)
    left = _duplicate_left(evidence)
    if left <= 0:
        return visitor.see(f"/attention/{case_id}")
    return visitor.page("practice/case_refund.html", found=evidence, duplicate=left, disputed=_is_disputed(evidence))


@router.post("/{case_id}")
async def decide(visitor: PracticeAdmin, case_id: CaseId) -> Response:
    """Look the payment up, refund a duplicate payment, confirm that keys belong to one account, decide an unknown
    outcome, or resolve the case with a note."""
    context, practice_id, form = visitor.context, visitor.practice_id, visitor.form
    action = CaseAction.__members__.get(form.text("action"))
    if action is None:
        return visitor.see(f"/attention/{case_id}")
    typed = form.given("note", "transactionId", "amount")
    try:
        amount = None
        if action is CaseAction.mark_paid and "amount" in typed:
            payment = (await resolve.evidence(context, practice_id, case_id)).payment
            amount = amount_of(visitor.words, typed["amount"], payment.currency) if payment else None
        # Not validated as the API's bodies are: the flow checks it, and its errors have texts in each language.
        wish = ResolveCase.model_construct(
            action=action,
            note=typed.get("note"),
            transaction_id=typed.get("transactionId"),
            amount=amount,
            accept_dispute_risk=form.text("accept") == "yes",
        )
        evidence = await apply_action(context, practice_id, case_id, wish, visitor.actor)
    except EXPECTED as error:
        return await _page(visitor, case_id, error=error, **typed)
    done = DONE[action] if evidence.answered else UNANSWERED[action]
    return visitor.see(f"/attention/{case_id}", _refund_said(evidence) if done is Done.refund_submitted else done)


def _refund_said(found: Evidence) -> Done:
    """The message after a refund of a duplicate payment: by the state of its newest refund, not of the case, which ends
    only when the money is refunded."""
    its = [one for one in found.refunds if one.attempt_id == found.case.subject]
    return REFUNDS[max(its, key=lambda one: (one.created_at, one.id)).state] if its else Done.refund_not_sent


async def _page(visitor: PracticeVisitor, case_id: str, **more: Any) -> Response:
    context = visitor.context
    evidence = await resolve.evidence(context, visitor.practice_id, case_id)
    currency = evidence.payment.currency if evidence.payment else None
    return visitor.page(
        "practice/case.html",
        found=evidence,
        names=await visitor.provider_names(),
        shown=of_taken(PaymentDetails(evidence.payment, evidence.attempts)) if evidence.payment else None,
        duplicate=_duplicate_left(evidence),
        disputed=_is_disputed(evidence),
        unfindable=await resolve.unfindable(Practice(context, visitor.db), evidence.case),
        seen=_flat(_noted(evidence.case), currency),
        resolution=await _resolution(visitor, evidence.case),
        undecided=await staff_decisions.undecided(visitor.db, evidence.case),
        stuck=staff_decisions.decided_on(await staff_decisions.stuck_of(visitor.db, evidence.case)),
        **{"note": "", "transactionId": "", "amount": "", **more},
    )


def _noted(case: OperatorCase) -> dict[str, Any]:
    """The details of the case from when it was opened, without its resolution."""
    return {name: value for name, value in case.detail.items() if name not in ("resolution", "ended_before")}


async def _resolution(visitor: PracticeVisitor, case: OperatorCase) -> dict[str, str]:
    """The resolution: the action, who took it, and the required note."""
    said = case.detail.get("resolution") or {}
    by = who(visitor.words, case.resolved_by, await visitor.colleagues()) if case.resolved_by else ""
    return {"action": str(said.get("action", "")), "note": str(said.get("note") or ""), "by": by}


def _duplicate_left(found: Evidence) -> int:
    """The amount of a duplicate payment that can still be refunded, in minor units; zero for other cases."""
    if found.case.kind is not CaseKind.duplicate_payment or found.case.state is not CaseState.open:
        return 0
    held = _attempt(found)
    if held is None or held.state is not AttemptState.succeeded:
        return 0
    return duplicates.left(held, found.refunds, found.disputes)


def _attempt(found: Evidence) -> Attempt | None:
    return next((one for one in found.attempts if one.id == found.case.subject), None)


def _is_disputed(found: Evidence) -> bool:
    """Whether an open chargeback is about the duplicate payment of a case."""
    held = _attempt(found)
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
