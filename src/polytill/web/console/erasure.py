"""Erasing one customer's personal data: who, what it would change, and then the erasure.

The identifiers travel in forms only: addresses are stored in histories and logs.
"""

from __future__ import annotations

from typing import Any

from fastapi import Response

from polytill.flows.erasure import Customer, erase
from polytill.web.api.models.erasures import EraseCustomer
from polytill.web.console.pages import EXPECTED, errors_by_field, page_router, shaped
from polytill.web.console.sessions import PracticeAdmin, PracticeVisitor

router = page_router("/practice/{practice_id}/erase")

FIELDS = ("email", "phone", "reference")


def _page(visitor: PracticeVisitor, **more: Any) -> Response:
    return visitor.page("practice/erase.html", **{"given": {}, "found": None, "is_done": False, **more})


@router.get("")
async def ask(visitor: PracticeAdmin) -> Response:
    """Ask who is to be erased."""
    return _page(visitor)


@router.post("/confirm")
async def count(visitor: PracticeAdmin) -> Response:
    """Show what the erasure would change."""
    return await _run(visitor, is_dry=True)


@router.post("")
async def erase_now(visitor: PracticeAdmin) -> Response:
    """Erase, and show what is left to do."""
    return await _run(visitor, is_dry=False)


async def _run(visitor: PracticeVisitor, is_dry: bool) -> Response:
    given = visitor.form.given(*FIELDS)
    try:
        who: Customer = shaped(EraseCustomer, given).customer()
        found = await erase(visitor.context, visitor.practice_id, who, visitor.actor, is_dry)
    except EXPECTED as error:
        return _page(visitor, error=error, given=given, errors=errors_by_field(error))
    names = await visitor.provider_names()
    return _page(visitor, given=given, found=found, is_done=not is_dry, names=names)
