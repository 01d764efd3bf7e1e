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
from fastapi import Response

from polytill.web.console.pages import page_router, see
from polytill.web.console.sessions import Admin, Visitor

router = page_router()

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
    response = visitor.see("/shown-once")
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


def _opened(visitor: Visitor) -> dict[str, Any]:
    """The secret with its texts; empty if there is none for this session."""
    try:
        raw = base64.urlsafe_b64decode(visitor.request.cookies.get(COOKIE, ""))
    except ValueError:
        return {}
    for key in _keys(visitor):
        try:
            found: dict[str, Any] = msgspec.json.decode(
                AESGCM(key).decrypt(raw[:_NONCE], raw[_NONCE:], _bound(visitor))
            )
            return found
        except (InvalidTag, ValueError):
            continue
    return {}


@router.get("/owner/shown-once")
@router.get("/practice/{practice_id}/shown-once")
async def show(visitor: Admin) -> Response:
    """Show the link or key that was just created."""
    shown = _opened(visitor)
    if not shown:
        return visitor.see()
    template = "owner/practice_created.html" if shown["kind"] == "key" else "person_link.html"
    del shown["back"]  # the target of its button, not this page
    return visitor.page(template, **shown)


@router.post("/owner/shown-once")
@router.post("/practice/{practice_id}/shown-once")
async def done(visitor: Admin) -> Response:
    """Delete the secret after it was copied."""
    response = see(str(_opened(visitor).get("back") or visitor.door))
    response.delete_cookie(COOKIE, path=f"{visitor.door}/shown-once", httponly=True, samesite="strict")
    return response
