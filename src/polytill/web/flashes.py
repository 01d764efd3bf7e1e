"""What a page says once about the form that was just sent.

The name of the text travels in a cookie to the one address that follows, and is deleted when it is read. Nothing in an
address makes a page say anything, and a reload or a bookmark says nothing again.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote

from fastapi import Request, Response

from polytill.web.words import Words

COOKIE = "polytill_done"
LASTS_S = 60
# Green is only for what has happened. What is not listed here has.
TONES = {
    "refused": "bad", "refund_not_sent": "bad", "refund_unknown": "warn", "refund_submitted": "info",
    "still_parked": "warn", "not_answered": "warn", "nothing_asked": "warn", "nothing_left": "warn",
    "capture_submitted": "info", "cancel_submitted": "info", "capture_refused": "bad", "cancel_refused": "bad",
    "nothing_to_change": "warn", "by_hand_made": "info", "migration_begun": "info", "migration_goes_on": "info",
    "production_unchecked": "warn", "prepared": "info",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Flash:
    """The name of a text in the group ``done``, and its tone: good, info, warn or bad."""

    name: str
    tone: str


NOTHING = Flash("", "")


def leave(response: Response, address: str, name: str) -> None:
    """Have the page at ``address`` say it, and no other."""
    path = address.partition("#")[0].partition("?")[0]
    value = f"{name}|{quote(path, safe='')}"
    response.set_cookie(COOKIE, value, max_age=LASTS_S, path="/", httponly=True, samesite="lax")


def read(request: Request, words: Words) -> Flash:
    """What this page has to say; nothing for a part of a page that refreshes itself."""
    name, _, path = request.cookies.get(COOKIE, "").partition("|")
    here = unquote(path) == request.url.path and not request.headers.get("hx-request")
    return Flash(name, TONES.get(name, "good")) if here and words.has(f"done.{name}") else NOTHING


def forget(response: Response, flash: Flash) -> None:
    """It was said."""
    if flash.name:
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
