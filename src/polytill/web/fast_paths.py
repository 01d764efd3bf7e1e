"""The two busiest addresses without the framework: creating a payment, and receiving a webhook.

The framework's routing, dependencies and exit stacks cost as much as everything that a payment does in its own code. A
request that is plainly well-formed goes straight to its operation. Every other request takes the framework's way, and
errors become the same responses. Both operations stay routes of the framework, which documents them.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

from starlette._utils import get_route_path
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polytill.domain.errors import PolytillError
from polytill.web import problems
from polytill.web.api.bodies import StrictRequest

# Answers a request, given the variable part of its path. None: the framework shall answer.
Operation = Callable[[StrictRequest, str], Awaitable[Response | None]]

# The framework observes this request for OpenTelemetry, so its own routing must name the route.
_OBSERVED = "fastapi.telemetry"
_PATH = re.compile(r"/api/practices/(?P<payments>[1-9][0-9]{0,8})/payments|/hooks/(?P<hooks>[^/]+)")


class FastPaths:
    """Innermost middleware: answers what it can, and passes everything else on.

    Args:
        app: The framework's routes.
        operations: By the names in ``_PATH``: the operation, and its route, which names the address in metrics and logs.
    """

    def __init__(self, app: ASGIApp, operations: Mapping[str, tuple[Operation, BaseRoute]]) -> None:
        self._app = app
        self._operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        found = None
        if scope["type"] == "http" and scope["method"] == "POST" and _OBSERVED not in scope:
            found = _PATH.fullmatch(get_route_path(scope))
        if found is None or found.lastgroup is None:
            await self._app(scope, receive, send)
            return
        operation, scope["route"] = self._operations[found.lastgroup]
        request = StrictRequest(scope, receive)
        try:
            response = await operation(request, found[found.lastgroup])
        except (PolytillError, HTTPException) as error:
            response = problems.response_to(request, error)
        if response is None:
            await self._app(scope, _again(await request.body(), receive), send)
        else:
            await response(scope, receive, send)


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was read already, to be read once more."""
    given = False

    async def receiving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving
