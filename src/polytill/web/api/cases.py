"""Review cases over HTTP: a practice's cases with their evidence, and the open cases of all practices for the owner."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response

from polytill.domain.clock import wire_time
from polytill.domain.review_cases import CaseKind
from polytill.domain.states import CountedAs
from polytill.flows.review import resolve, same_money, staff_decisions
from polytill.flows.review.staff_decisions import Proof
from polytill.storage import cases
from polytill.storage.cases import OperatorCase
from polytill.web.api import answers, shapes, views
from polytill.web.api.auth import Owner, PracticeId, Reads, Refunds
from polytill.web.api.bodies import StrictRoute
from polytill.web.api.dispute_shapes import Dispute, dispute_view
from polytill.web.api.owner import After, Limit
from polytill.web.api.views import answer

router = APIRouter(tags=["cases"], route_class=StrictRoute)

CaseId = Annotated[str, Path(alias="caseId", max_length=40)]


class CaseSummary(answers.Answer):
    """A review case as the platform sees it: its practice and kind, without the practice's amounts."""

    practice_id: int
    id: str
    kind: CaseKind
    environment: answers.Environment
    status: Literal["open", "resolved"]
    created_at: answers.Moment


class CasePage(answers.Answer):
    """Open cases of some practices; ``nextAfter`` is null at the end."""

    data: list[CaseSummary]
    next_after: int | None


class Case(CaseSummary):
    """A review case as its practice sees it."""

    subject: str
    payment_id: str | None
    detail: dict[str, Any]
    resolved_at: answers.Moment | None
    resolved_by: str | None


class CaseEvidence(answers.Answer):
    """A review case with the records of its payment."""

    case: Case
    payment: answers.PaymentSummary | None
    attempts: list[answers.Attempt]
    refunds: list[answers.Refund]
    disputes: list[Dispute]


class ResolveShape(shapes.Shape):
    """How to resolve a case. Every action except ``look_up`` and ``refund_duplicate`` needs a note. ``mark_paid`` needs
    the provider's ``transactionId`` and the ``amount`` on its statement (minor units); ``done`` for a refund may
    contain the ``transactionId``. ``acceptDisputeRisk`` lets ``refund_duplicate`` refund an amount that an open chargeback
    is about."""

    action: Literal[
        "look_up",
        "refund_duplicate",
        "same_account",
        "mark_not_paid",
        "mark_paid",
        "done",
        "not_done",
        "count_separately",
        "count_once",
        "resolve",
    ]
    note: shapes.Text | None = None
    transaction_id: shapes.Text | None = None
    amount: shapes.Amount | None = None
    accept_dispute_risk: bool = False


def _summary(practice_id: int, case: OperatorCase) -> dict[str, Any]:
    return {
        "practiceId": practice_id,
        "id": case.id,
        "kind": case.kind.value,
        "environment": case.environment.value,
        "status": case.state,
        "createdAt": wire_time(case.created_at),
    }


def _view(practice_id: int, case: OperatorCase) -> dict[str, Any]:
    return {
        **_summary(practice_id, case),
        "subject": case.subject,
        "paymentId": case.payment_id,
        "detail": case.detail,
        "resolvedAt": wire_time(case.resolved_at),
        "resolvedBy": case.resolved_by,
    }


def evidence_view(practice_id: int, found: resolve.Evidence) -> dict[str, Any]:
    """A case with its evidence as JSON."""
    return {
        "case": _view(practice_id, found.case),
        "payment": views.payment_summary(found.payment) if found.payment else None,
        "attempts": [views.attempt_view(attempt) for attempt in found.attempts],
        "refunds": [views.refund_view(refund) for refund in found.refunds],
        "disputes": [dispute_view(dispute) for dispute in found.disputes],
    }


@router.get("/api/owner/cases", response_model=CasePage)
async def cases_everywhere(caller: Owner, after: After = 0) -> Response:
    """List open cases of all practices.

    Covers up to 50 practices after the practice id ``after``; pass ``nextAfter`` to continue. Contains no amounts.
    """
    found, following = await resolve.across(caller.context, after)
    return answer({"data": [_summary(practice_id, case) for practice_id, case in found], "nextAfter": following})


@router.get("/api/practices/{practiceId}/cases", response_model=list[Case])
async def list_cases(
    caller: Reads,
    practice_id: PracticeId,
    status: Literal["open", "resolved"] | None = None,
    kind: CaseKind | None = None,
    before: Annotated[str | None, Query(max_length=40)] = None,
    limit: Limit = 50,
) -> Response:
    """List a practice's review cases, newest first."""
    practice = await caller.context.practice(practice_id)
    return answer([_view(practice_id, case) for case in await cases.listed(practice.db, status, kind, before, limit)])


@router.get("/api/practices/{practiceId}/cases/{caseId}", response_model=CaseEvidence)
async def get_case(caller: Reads, practice_id: PracticeId, case_id: CaseId) -> Response:
    """Get a review case with the records of its payment."""
    return answer(evidence_view(practice_id, await resolve.evidence(caller.context, practice_id, case_id)))


@router.post("/api/practices/{practiceId}/cases/{caseId}/resolve", response_model=CaseEvidence)
async def resolve_case(caller: Refunds, practice_id: PracticeId, case_id: CaseId, body: ResolveShape) -> Response:
    """Resolve a review case.

    The action looks the payment up at the provider, refunds a duplicate payment, confirms that keys belong to one
    account, decides an unknown outcome, decides whether a refund and a dispute are the same money, or resolves the case
    with a note.
    """
    context, actor = caller.context, caller.actor
    if body.action == "look_up":
        found = await resolve.look_up(context, practice_id, case_id, actor)
    elif body.action == "refund_duplicate":
        found = await resolve.refund_duplicate(context, practice_id, case_id, actor, body.accept_dispute_risk)
    elif body.action == "same_account":
        found = await resolve.same_account(context, practice_id, case_id, body.note or "", actor)
    elif body.action == "mark_not_paid":
        found = await resolve.mark_not_paid(context, practice_id, case_id, body.note or "", actor)
    elif body.action == "mark_paid":
        proof = Proof(body.note or "", body.transaction_id, body.amount)
        found = await staff_decisions.mark_paid(context, practice_id, case_id, proof, actor)
    elif body.action in ("done", "not_done"):
        is_done, proof = body.action == "done", Proof(body.note or "", body.transaction_id)
        found = await staff_decisions.decide(context, practice_id, case_id, is_done, proof, actor)
    elif body.action in ("count_separately", "count_once"):
        counted = CountedAs.separate if body.action == "count_separately" else CountedAs.same
        found = await same_money.count(context, practice_id, case_id, counted, body.note or "", actor)
    else:
        found = await resolve.resolve(context, practice_id, case_id, body.note or "", actor)
    return answer(evidence_view(practice_id, found))
