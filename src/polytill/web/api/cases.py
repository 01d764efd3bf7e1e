"""Review cases over HTTP: a practice's cases with their evidence, and the open cases of all practices for the owner."""

from __future__ import annotations

from typing import Annotated, assert_never

from fastapi import Path, Query, Response

from polytill.domain.review_cases import CaseAction, CaseKind, CaseState
from polytill.domain.states import CountedAs
from polytill.flows.context import Context
from polytill.flows.review import resolve, same_money, staff_decisions
from polytill.flows.review.staff_decisions import Proof
from polytill.storage import cases
from polytill.web.api.auth import Owner, PracticeId, Reads, Refunds
from polytill.web.api.bodies import strict_router
from polytill.web.api.models.cases import ResolveCase, ReviewCase, ReviewCaseEvidence, ReviewCasePage, ReviewCaseSummary
from polytill.web.api.responses import respond
from polytill.web.api.values import After, Limit

router = strict_router("review cases")

CaseId = Annotated[str, Path(alias="caseId", max_length=40)]


@router.get("/api/owner/cases", response_model=ReviewCasePage)
async def list_open_cases(caller: Owner, after: After = 0) -> Response:
    """List open cases of all practices.

    Covers up to 50 practices after the practice id ``after``; pass ``nextAfter`` to continue. Contains no amounts.
    """
    found, following = await resolve.across(caller.context, after)
    return respond(ReviewCasePage([ReviewCaseSummary.of(practice_id, case) for practice_id, case in found], following))


@router.get("/api/practices/{practiceId}/cases", response_model=list[ReviewCase])
async def list_review_cases(
    caller: Reads,
    practice_id: PracticeId,
    status: CaseState | None = None,
    kind: CaseKind | None = None,
    before: Annotated[str | None, Query(max_length=40)] = None,
    limit: Limit = 50,
) -> Response:
    """List a practice's review cases, newest first."""
    practice = await caller.context.practice(practice_id)
    found = await cases.listed(practice.db, status, kind, before, limit)
    return respond([ReviewCase.of(practice_id, case) for case in found])


@router.get("/api/practices/{practiceId}/cases/{caseId}", response_model=ReviewCaseEvidence)
async def get_review_case(caller: Reads, practice_id: PracticeId, case_id: CaseId) -> Response:
    """Get a review case with the records of its payment."""
    return respond(ReviewCaseEvidence.of(practice_id, await resolve.evidence(caller.context, practice_id, case_id)))


@router.post("/api/practices/{practiceId}/cases/{caseId}/resolve", response_model=ReviewCaseEvidence)
async def resolve_review_case(caller: Refunds, practice_id: PracticeId, case_id: CaseId, body: ResolveCase) -> Response:
    """Resolve a review case.

    The action looks the payment up at the provider, refunds a duplicate payment, confirms that keys belong to one
    account, decides an unknown outcome, decides whether a refund and a dispute are the same money, or resolves the case
    with a note.
    """
    found = await apply_action(caller.context, practice_id, case_id, body, caller.actor)
    return respond(ReviewCaseEvidence.of(practice_id, found))


async def apply_action(
    context: Context, practice_id: int, case_id: str, body: ResolveCase, actor: str
) -> resolve.Evidence:
    """Take the action of ``body`` on a case. Return the case as it is then."""
    note = body.note or ""
    match body.action:
        case CaseAction.look_up:
            return await resolve.look_up(context, practice_id, case_id, actor)
        case CaseAction.refund_duplicate:
            return await resolve.refund_duplicate(context, practice_id, case_id, actor, body.accept_dispute_risk)
        case CaseAction.same_account:
            return await resolve.same_account(context, practice_id, case_id, note, actor)
        case CaseAction.mark_not_paid:
            return await resolve.mark_not_paid(context, practice_id, case_id, note, actor)
        case CaseAction.mark_paid:
            proof = Proof(note, body.transaction_id, body.amount)
            return await staff_decisions.mark_paid(context, practice_id, case_id, proof, actor)
        case CaseAction.done | CaseAction.not_done:
            is_done, proof = body.action is CaseAction.done, Proof(note, body.transaction_id)
            return await staff_decisions.decide(context, practice_id, case_id, is_done, proof, actor)
        case CaseAction.count_separately | CaseAction.count_once:
            counted = CountedAs.separate if body.action is CaseAction.count_separately else CountedAs.same
            return await same_money.count(context, practice_id, case_id, counted, note, actor)
        case CaseAction.resolve:
            return await resolve.resolve(context, practice_id, case_id, note, actor)
        case _:
            assert_never(body.action)
