"""Practices, as the owner sees and changes them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from polytill.domain.states import PracticeState
from polytill.flows.admin import practices as admin_practices
from polytill.flows.lifecycle import closing
from polytill.storage import practices
from polytill.web.api.auth import Owner, PracticeId
from polytill.web.api.bodies import strict_router
from polytill.web.api.models.practices import ChangePractice, ClosePractice, CreatePractice, NewPractice, Practice
from polytill.web.api.responses import respond
from polytill.web.api.values import After, ExternalId, Limit

router = strict_router("practices", "/api/owner/practices")


@router.get("", response_model=list[Practice])
async def list_practices(
    caller: Owner,
    after: After = 0,
    limit: Limit = 100,
    external_id: Annotated[ExternalId | None, Query(alias="externalId")] = None,
) -> Response:
    """List practices by id.

    Starts after the id ``after``. With ``externalId``: only the practice that has it, or none.
    """
    if external_id is None:
        entries = await practices.listed(caller.context.owner, after, limit)
    else:
        found = await practices.by_external_id(caller.context.owner, external_id)
        entries = [found] if found is not None and found.id > after else []
    return respond([Practice.from_record(entry) for entry in entries if entry.state is not PracticeState.provisioning])


@router.post("", status_code=201, response_model=NewPractice)
async def create_practice(caller: Owner, body: CreatePractice) -> Response:
    """Create a practice with its database.

    The response contains its first key, which is shown only once.
    """
    entry, key = await admin_practices.create_practice(caller.context, body.new(), caller.actor)
    return respond(NewPractice(Practice.from_record(entry), key), 201)


@router.get("/{practiceId}", response_model=Practice)
async def get_practice(caller: Owner, practice_id: PracticeId) -> Response:
    """Get a practice.

    Of a deleted one, only this is left.
    """
    return respond(Practice.from_record(await caller.context.opening.any_entry(practice_id)))


@router.patch("/{practiceId}", response_model=Practice)
async def change_practice(caller: Owner, practice_id: PracticeId, body: ChangePractice) -> Response:
    """Change a practice.

    The name, default currency, country, time zone, external id (null removes it) or state.
    """
    entry = await admin_practices.change_practice(caller.context, practice_id, body.changes(), caller.actor)
    return respond(Practice.from_record(entry))


@router.post("/{practiceId}/close", response_model=Practice)
async def close_practice(caller: Owner, practice_id: PracticeId, body: ClosePractice) -> Response:
    """Close a practice.

    From now on it takes no new payments, payment links or credentials: 403 `practice_closed`. Refunds, webhooks, disputes and
    lookups go on until `runsOutAt`. For a closed practice, `runOutDays` sets another end, counted from now. 409
    `run_out_over` if the run-out has ended.
    """
    entry = await closing.close(caller.context, practice_id, body.run_out_days, caller.actor)
    return respond(Practice.from_record(entry))


@router.post("/{practiceId}/reopen", response_model=Practice)
async def reopen_practice(caller: Owner, practice_id: PracticeId) -> Response:
    """Reopen a closed practice.

    It is active then. 409 `practice_not_closed`, or `run_out_over` if its run-out has ended.
    """
    return respond(Practice.from_record(await closing.reopen(caller.context, practice_id, caller.actor)))
