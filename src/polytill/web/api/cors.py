"""Cross-origin requests (CORS): scripts on any page can read the three calls of a publishable key, and no others.

The key is public, so every origin may read; cookies are not used, so credentials are never allowed. A secret key never
belongs in a browser: a call with one gets the usual response, which the browser withholds from the script. Source:
https://fetch.spec.whatwg.org/#http-cors-protocol.
"""

from __future__ import annotations

import re

from starlette._utils import get_route_path
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polytill.web.api.auth import SECRET_KEY_PREFIXES

# The operations of a publishable key: ``ReadsPublic`` in the API modules. A test compares the two.
_PUBLISHABLE = re.compile(
    r"/api/practices/[^/]+/(payment-providers/available|payment-providers/for-currency/[^/]+|payments/[^/]+)"
)
_METHODS = "GET"
_REQUEST_HEADERS = "Authorization, Content-Type"
_ANSWER_HEADERS = "X-Request-Id, Retry-After"
_PREFLIGHT_MAX_AGE_S = 7200  # the maximum in Chromium


class CrossOrigin:
    """Answers preflights of the publishable calls, and lets scripts read the responses to these calls, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or not _PUBLISHABLE.fullmatch(get_route_path(scope)):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["method"] == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers:
            await _preflight()(scope, receive, send)
            return
        allowed = scope["method"] == "GET" and "origin" in headers and not _secret_key(headers)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.add_vary_header("Origin")
                if allowed:
                    answer["Access-Control-Allow-Origin"] = "*"
                    answer["Access-Control-Expose-Headers"] = _ANSWER_HEADERS
            await send(message)

        await self._app(scope, receive, sending)


def _secret_key(headers: Headers) -> bool:
    given = " ".join(headers.getlist("authorization"))
    return any(prefix in given for prefix in SECRET_KEY_PREFIXES)


def _preflight() -> Response:
    """The allowed method and headers. A preflight contains no key, so every origin gets the same response."""
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": _REQUEST_HEADERS,
            "Access-Control-Max-Age": str(_PREFLIGHT_MAX_AGE_S),
            "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        },
    )
