"""Links and keys that are shown once, on a page of their own after the form that created them.

The form redirects to the page, so that a reload or another language shows it again instead of losing it. The secret is
in a cookie that is sent only to this page, sealed for this session, for ten minutes or until the reader is done. No
address, log or table contains it.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import APIRouter, Request, Response

from polytill.web.console.pages import PageRoute, form_of, page, see
from polytill.web.console.sessions import OwnerAdmin, PracticeAdmin, Visitor

router = APIRouter(route_class=PageRoute, include_in_schema=False)

COOKIE = "polytill_shown"
LASTS_S = 600
_NONCE = 12


def _keys(visitor: Visitor) -> list[bytes]:
    return visitor.context.ring.derived("polytill shown once")


def _bound(visitor: Visitor) -> bytes:
    return f"{visitor.door} {visitor.session.id}".encode()


def show_once(visitor: Visitor, back: str, **secret: str) -> Response:
    """Redirect to the page that shows the secret. ``secret`` contains ``kind`` ("link" or "key") and the page's texts."""
    nonce = visitor.context.world.random_bytes(_NONCE)
    sealed = AESGCM(_keys(visitor)[0]).encrypt(nonce, msgspec.json.encode({"back": back, **secret}), _bound(visitor))
    response = see(f"{visitor.door}/shown-once")
    response.set_cookie(
        COOKIE,
        base64.urlsafe_b64encode(nonce + sealed).decode(),
        max_age=LASTS_S,
        path=f"{visitor.door}/shown-once",
        httponly=True,
        samesite="strict",
        secure=visitor.context.settings.public_url.startswith("https:"),
    )
    return response


def _opened(request: Request, visitor: Visitor) -> dict[str, Any] | None:
    try:
        raw = base64.urlsafe_b64decode(request.cookies.get(COOKIE, ""))
    except ValueError:
        return None
    for key in _keys(visitor):
        try:
            found: dict[str, Any] = msgspec.json.decode(
                AESGCM(key).decrypt(raw[:_NONCE], raw[_NONCE:], _bound(visitor))
            )
            return found
        except (InvalidTag, ValueError):
            continue
    return None


def _page(request: Request, visitor: Visitor) -> Response:
    shown = _opened(request, visitor)
    if shown is None:
        return see(visitor.door)
    template = "owner/practice_created.html" if shown["kind"] == "key" else "person_link.html"
    told = {name: value for name, value in shown.items() if name != "back"}  # the target of its button, not this page
    return page(request, template, visitor=visitor, **told)


def _done(visitor: Visitor, request: Request) -> Response:
    shown = _opened(request, visitor) or {}
    response = see(str(shown.get("back") or visitor.door))
    response.delete_cookie(COOKIE, path=f"{visitor.door}/shown-once", httponly=True, samesite="strict")
    return response


@router.get("/owner/shown-once")
async def owner_page(request: Request, visitor: OwnerAdmin) -> Response:
    """Show the link or key that was just created."""
    return _page(request, visitor)


@router.post("/owner/shown-once")
async def owner_done(request: Request, visitor: OwnerAdmin) -> Response:
    """Delete the secret after it was copied."""
    form_of(request)
    return _done(visitor, request)


@router.get("/practice/{practice_id}/shown-once")
async def practice_page(request: Request, found: PracticeAdmin) -> Response:
    """Show the link that was just created."""
    return _page(request, found.visitor)


@router.post("/practice/{practice_id}/shown-once")
async def practice_done(request: Request, found: PracticeAdmin) -> Response:
    """Delete the secret after it was copied."""
    form_of(request)
    return _done(found.visitor, request)
