"""API keys of the owner and of a practice. A key is shown only once."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request, Response

from polytill.domain.errors import FieldError, Invalid, NotFound, Stale
from polytill.domain.states import ApiKeyKind
from polytill.flows.admin import practices as admin_practices
from polytill.storage import api_keys
from polytill.web.api.auth import Caller, Configures, Owner, PracticeId
from polytill.web.api.bodies import strict_router
from polytill.web.api.models.api_keys import ApiKey, CreateKey, CreateOwnerKey, NewApiKey
from polytill.web.api.responses import respond

router = strict_router("API keys")

KeyId = Annotated[int, Path(alias="keyId", ge=1, le=2**31 - 1)]


@router.get("/api/owner/keys", response_model=list[ApiKey])
async def list_owner_keys(caller: Owner) -> Response:
    """List the owner's keys."""
    return respond([ApiKey.from_record(key) for key in await api_keys.listed(caller.context.owner, None)])


@router.post("/api/owner/keys", status_code=201, response_model=NewApiKey)
async def create_owner_key(caller: Owner, body: CreateOwnerKey) -> Response:
    """Create an owner key.

    The key is shown only once.
    """
    key = await admin_practices.create_key(caller.context, ApiKeyKind.owner, None, body.name, None, caller.actor)
    return respond(NewApiKey(key), 201)


@router.delete("/api/owner/keys/{keyId}", status_code=204)
async def revoke_any_key(request: Request, caller: Owner, key_id: KeyId) -> Response:
    """Revoke a key of any kind."""
    return await _revoke(request, caller, key_id, None)


async def _revoke(request: Request, caller: Caller, key_id: int, practice_id: int | None) -> Response:
    try:
        await admin_practices.revoke_key(caller.context, key_id, practice_id, caller.actor)
    except Stale:
        raise NotFound("There is no such key.") from None
    request.app.state.keys.forget()
    return Response(status_code=204)


@router.get("/api/practices/{practiceId}/keys", response_model=list[ApiKey])
async def list_practice_keys(caller: Configures, practice_id: PracticeId) -> Response:
    """List the practice's API keys."""
    return respond([ApiKey.from_record(key) for key in await api_keys.listed(caller.context.owner, practice_id)])


@router.post("/api/practices/{practiceId}/keys", status_code=201, response_model=NewApiKey)
async def create_practice_key(caller: Configures, practice_id: PracticeId, body: CreateKey) -> Response:
    """Create an API key of the practice.

    The key is shown only once.
    """
    scopes: list[str] | None = list(body.scopes) if body.scopes else None
    beyond = [s for s in scopes or admin_practices.PRACTICE_SCOPES if s not in caller.key.scopes]
    if body.kind == "practice" and beyond:
        raise Invalid([FieldError("/scopes", f"Your own key lacks the scope {beyond[0]!r}.")])
    key = await admin_practices.create_key(
        caller.context, ApiKeyKind(body.kind), practice_id, body.name, scopes, caller.actor
    )
    return respond(NewApiKey(key), 201)


@router.delete("/api/practices/{practiceId}/keys/{keyId}", status_code=204)
async def revoke_practice_key(request: Request, caller: Configures, practice_id: PracticeId, key_id: KeyId) -> Response:
    """Revoke an API key of the practice."""
    return await _revoke(request, caller, key_id, practice_id)
