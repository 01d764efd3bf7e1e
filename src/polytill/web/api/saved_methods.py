"""Saved methods, which a practice may charge again. Their tokens are never shown."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Response

from polytill.domain.contacts import InvalidContact, read_email
from polytill.domain.errors import Invalid
from polytill.domain.states import Environment
from polytill.flows.payments import saved_methods as saving
from polytill.flows.payments.customers import wrong
from polytill.flows.payments.pages import default_environment
from polytill.storage import saved_methods
from polytill.web.api.auth import Pays, PracticeId, Reads
from polytill.web.api.bodies import strict_router
from polytill.web.api.models.saved_methods import ListedSavedMethod, SavedMethodPage
from polytill.web.api.responses import respond
from polytill.web.api.values import PageLimit

router = strict_router("saved methods", "/api/practices/{practiceId}/saved-methods")


@router.get("", response_model=SavedMethodPage)
async def list_saved_methods(
    caller: Reads,
    practice_id: PracticeId,
    environment: Environment | None = None,
    customer_email: Annotated[str | None, Query(alias="customerEmail", max_length=254)] = None,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9a-z-]{20,36}$")] = None,
    limit: PageLimit = 50,
) -> Response:
    """List saved methods of one environment that can be charged, newest first."""
    practice = await caller.context.practice(practice_id)
    environment = environment or await default_environment(practice)
    try:
        email = read_email(customer_email)
    except InvalidContact as error:
        raise Invalid([wrong("query:customerEmail", error)], str(error)) from None
    customer = saving.customer_key(email)
    found = await saved_methods.listed(practice.db, environment, customer, cursor, limit + 1)
    following = found[limit - 1].id if len(found) > limit else None
    now = caller.context.world.now()
    data = [ListedSavedMethod.at(now, kept) for kept in await saving.shown(practice.db, found[:limit])]
    return respond(SavedMethodPage(data, following))


@router.delete("/{savedMethodId}", status_code=204)
async def remove_saved_method(
    caller: Pays, practice_id: PracticeId, method_id: Annotated[str, Path(alias="savedMethodId", max_length=40)]
) -> Response:
    """Remove a saved method with all its copies.

    It can no longer be charged here. It is detached at the provider if the provider supports that.
    """
    await saving.remove(caller.context, practice_id, method_id, caller.actor)
    return Response(status_code=204)
