"""Where a page can be loaded once more: for the links to it in another language."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request
from starlette.routing import Match


def own_address(request: Request, *without: str) -> str:
    """The address of this page with its query, less the parameters named ``without``.

    A form may be answered with a page that has no address of its own (a refused retry, a connection test): then it is
    the address of the page above.
    """
    if "\x00" in request.scope["path"]:  # an address that nobody can load
        return "/"
    if request.method in ("GET", "HEAD"):
        given = [part for part in urlsplit(str(request.url)).query.split("&") if "%00" not in part]
        parts = [part for part in given if part.partition("=")[0] not in without]
        query = "&".join(part for part in parts if part)
        return request.url.path + (f"?{query}" if query else "")
    path = request.url.path
    while path.count("/") > 1 and not _can_be_loaded(request, path):
        path = path.rpartition("/")[0]
    return path


def _can_be_loaded(request: Request, path: str) -> bool:
    scope = {**request.scope, "method": "GET", "path": path}
    # What is at no other address answers everything, with a page that says so.
    routes = [one for one in request.app.state.pages if not one.path.endswith(":path}")]
    return any(one.matches(scope)[0] is Match.FULL for one in routes)
