"""Practices, as the owner sees and changes them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from polytill.domain.states import PracticeState
from polytill.flows.admin import practices as admin_practices
from polytill.storage import practices
from polytill.web.api.auth import Owner, PracticeId
from polytill.web.api.bodies import strict_router
from polytill.web.api.models.practices import ChangePractice, CreatePractice, NewPractice, Practice
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
    """Get a practice."""
    return respond(Practice.from_record(await caller.context.opening.entry(practice_id)))


@router.patch("/{practiceId}", response_model=Practice)
async def change_practice(caller: Owner, practice_id: PracticeId, body: ChangePractice) -> Response:
    """Change a practice.

    The name, default currency, country, time zone, external id (null removes it) or state.
    """
    entry = await admin_practices.change_practice(caller.context, practice_id, body.changes(), caller.actor)
    return respond(Practice.from_record(entry))
