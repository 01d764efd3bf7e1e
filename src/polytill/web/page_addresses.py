"""The address at which a page can be loaded again, for the links to other languages."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request
from starlette.routing import Match


def root_of(request: Request) -> str:
    """The path prefix under which a host application has mounted this one; empty at the root of a host."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def own_address(request: Request, *without: str) -> str:
    """The address of this page with its query, without the parameters named ``without``.

    The response to a form may be a page without an address (a rejected retry, a connection test). The result is then
    the address of the nearest page above it.
    """
    if "\x00" in request.scope["path"]:  # no page can have this address
        return root_of(request) + "/"
    if request.method in ("GET", "HEAD"):
        given = urlsplit(str(request.url)).query.split("&")
        kept = [part for part in given if part and "%00" not in part and part.partition("=")[0] not in without]
        query = "&".join(kept)
        return request.url.path + (f"?{query}" if query else "")
    path = request.url.path
    while path.count("/") > 1 and not _can_be_loaded(request, path):
        path = path.rpartition("/")[0]
    return path


def _can_be_loaded(request: Request, path: str) -> bool:
    scope = {**request.scope, "method": "GET", "path": path}
    # The catch-all route answers every other address with a "not found" page.
    routes = [one for one in request.app.state.pages if not one.path.endswith(":path}")]
    return any(one.matches(scope)[0] is Match.FULL for one in routes)
