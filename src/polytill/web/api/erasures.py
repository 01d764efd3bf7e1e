"""Erasing one customer's personal data, for the platform and for the practice itself."""

from __future__ import annotations

from fastapi import Response

from polytill.flows.erasure import erase
from polytill.web.api.auth import Caller, Configures, Owner, PracticeId
from polytill.web.api.bodies import strict_router
from polytill.web.api.models.erasures import CustomerErasure, EraseCustomer
from polytill.web.api.responses import respond

router = strict_router("personal data", "/api/practices/{practiceId}/customer-erasures")
owner_router = strict_router("personal data", "/api/owner/practices/{practiceId}/customer-erasures")


async def _erased(caller: Caller, practice_id: int, body: EraseCustomer) -> Response:
    found = await erase(caller.context, practice_id, body.customer(), caller.actor, body.dry_run)
    return respond(CustomerErasure.of(found, body.dry_run))


@router.post("", response_model=CustomerErasure)
async def erase_customer(caller: Configures, practice_id: PracticeId, body: EraseCustomer) -> Response:
    """Erase one customer's personal data in all rows of the practice; amounts and books stay.

    It can be repeated. Payments that are still under way are kept and named.
    """
    return await _erased(caller, practice_id, body)


@owner_router.post("", response_model=CustomerErasure)
async def erase_customer_of_practice(caller: Owner, practice_id: PracticeId, body: EraseCustomer) -> Response:
    """Erase one customer's personal data in all rows of a practice; amounts and books stay.

    It can be repeated. Payments that are still under way are kept and named.
    """
    await caller.context.opening.entry(practice_id)
    return await _erased(caller, practice_id, body)
