"""Error pages in the reader's language, for addresses at which no page route handled the error.

A person who opens a damaged link, sends a form that is too large or meets an internal error sees a page. The API sends
problem documents at all of its addresses, whatever the client accepts.
"""

from __future__ import annotations

from fastapi import Request, Response
from starlette._utils import get_route_path
from starlette.types import Scope

from polytill.web.checkout.pages import Brand, show, wants_html
from polytill.web.console import pages

# First path segments of addresses that programs call.
_OF_PROGRAMS = frozenset({"api", "hooks", "static", "healthz", "readyz", "openapi.json"})
_OF_STAFF = frozenset({"owner", "practice"})
_FOR_PAYERS = {404: "not_found", 410: "not_found", 429: "busy", 500: "unavailable", 503: "busy"}


def is_for_people(request: Request) -> bool:
    """Whether the address belongs to the console, or a browser requests another address that is not for programs."""
    first = _first(request.scope)
    return first in _OF_STAFF or (first not in _OF_PROGRAMS and wants_html(request))


def error_page(request: Request, status: int) -> Response | None:
    """The page for an error with this status; None if a problem document is the correct response."""
    if not is_for_people(request):
        return None
    if _first(request.scope) == "pay":
        return show(
            request, "checkout_problem.html", Brand("polytill"), status, sentence=_FOR_PAYERS.get(status, "other")
        )
    return pages.failed(request, status)


def is_of_programs(scope: Scope) -> bool:
    """Whether programs call this address, for example an address of the API."""
    return _first(scope) in _OF_PROGRAMS


def _first(scope: Scope) -> str:
    return get_route_path(scope).lstrip("/").partition("/")[0]
