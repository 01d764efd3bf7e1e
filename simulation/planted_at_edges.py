"""Deliberate bugs from reports about other systems: each was a fault of a real product."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from polytill.domain.errors import InvalidAmount
from polytill.domain.states import DisputeKind, DisputeState
from polytill.flows.command import Command
from polytill.flows.context import Context
from polytill.flows.payments import decide as payments_decide
from polytill.flows.payments import returned_amounts, settle
from polytill.flows.recovery import checkout
from polytill.flows.refunds import create as create_refunds
from polytill.flows.refunds import disputes as settle_disputes
from polytill.flows.refunds.create import RefundRequest
from polytill.providers.contract import DisputeFact
from polytill.providers.outcomes import Declined, Outcome, Reason, Unknown
from polytill.providers.paystack import disputes
from polytill.storage import payment_identifiers
from simulation.planting import Swap, bug_at_edges


@bug_at_edges
def refund_and_dispute_booked_twice() -> list[Swap]:
    """A lost dispute costs its full amount even if a refund has already paid it."""

    def whole(taken: int, refunded: Any, disputed: Any, are_refunded: bool) -> Any:
        lost = [one for one in disputed if one.state is DisputeState.lost and one.amount]
        return returned_amounts.Shares({one.id: one.amount for one in lost})

    return [(returned_amounts, "share", whole)]


@bug_at_edges
def disputed_money_refunded_unasked() -> list[Swap]:
    """The money of an open chargeback is refunded like any other, without asking to accept the risk."""
    create = create_refunds.create_refund

    async def never_asked(
        context: Context, practice_id: int, payment_id: str, request: RefundRequest, command: Command
    ) -> Any:
        return await create(context, practice_id, payment_id, replace(request, accept_dispute_risk=True), command)

    return [(create_refunds, "create_refund", never_asked)]


@bug_at_edges
def inquiry_taken_for_chargeback() -> list[Swap]:
    """An inquiry is recorded as a chargeback."""
    apply = settle_disputes._priced

    def as_chargeback(attempt: Any, fact: DisputeFact) -> DisputeFact:
        return replace(apply(attempt, fact), kind=DisputeKind.chargeback)

    return [(settle_disputes, "_priced", as_chargeback)]


@bug_at_edges
def inquiry_told_as_dispute() -> list[Swap]:
    """The host application receives an inquiry as a dispute."""
    return [(settle_disputes, "_is_inquiry", lambda dispute: False)]


@bug_at_edges
def dispute_case_never_ends() -> list[Swap]:
    """The review case of a dispute stays open after the dispute has ended."""

    async def stays(*_: Any) -> None:
        return None

    return [(settle_disputes, "_end_case", stays)]


@bug_at_edges
def dispute_without_currency_dropped() -> list[Swap]:
    """A dispute without a currency cannot be read."""
    money = disputes._money

    def only_with_currency(data: Any, *rest: Any) -> Any:
        if data.get("currency") is None:
            raise InvalidAmount("no currency")
        return money(data, *rest)

    return [(disputes, "_money", only_with_currency)]


@bug_at_edges
def escalation_ignored() -> list[Swap]:
    """An inquiry that became a chargeback stays an inquiry."""
    make = settle_disputes._dispute

    def stays(context: Any, payment: Any, attempt: Any, before: Any, fact: DisputeFact) -> Any:
        found = make(context, payment, attempt, before, fact)
        return replace(found, kind=before.kind) if before is not None else found

    return [(settle_disputes, "_dispute", stays)]


@bug_at_edges
def over_return_unseen() -> list[Swap]:
    """More is returned than was taken, and no review case opens."""

    async def unseen(*_: Any) -> None:
        return None

    return [(returned_amounts, "_follow_cases", unseen)]


@bug_at_edges
def new_result_code_stays_unknown() -> list[Swap]:
    """A final decline with a new code leaves the attempt open."""
    decide = payments_decide.decide

    def only_known(payment: Any, attempt: Any, outcome: Outcome, *rest: Any) -> Any:
        if isinstance(outcome, Declined) and "next" in f"{outcome.code} {outcome.detail}".lower():
            outcome = Unknown(Reason.unreadable, outcome.code, outcome.detail)
        return decide(payment, attempt, outcome, *rest)

    return [(settle, "decide", only_known)]


@bug_at_edges
def corrected_data_not_kept() -> list[Swap]:
    """The customer enters another phone number, and the prompt goes to the old one."""

    return [(checkout, "_as_corrected", lambda payment, typed: payment)]


@bug_at_edges
def identifiers_not_kept() -> list[Swap]:
    """The provider's identifiers of a payment are not stored, so nobody finds it by the customer's receipt."""
    return [(payment_identifiers, "insert", lambda *args: None)]
