"""Error responses: ``application/problem+json`` (RFC 9457) or a page for people. Neither contains secrets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from msgspec import UNSET
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Mount

from polytill.domain.errors import CheckRefused, Conflict, Duplicate, FieldError, Invalid, NotNow, PolytillError, Stale
from polytill.domain.places import places
from polytill.domain.secret import without_secrets
from polytill.flows.context import log
from polytill.web.api.bodies import BodyRefused
from polytill.web.api.models.problems import FieldProblem, Problem
from polytill.web.metrics import pattern_of

TITLES = {
    400: "Unreadable request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    410: "Gone",
    413: "Too large",
    422: "Invalid request",
    429: "Too many requests",
    500: "Internal error",
    502: "Rejected by the provider",
    503: "Service unavailable",
}

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
MAX_ERRORS = 50
MAX_POINTER = 200


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    errors: list[FieldError] | None = None,
    retry_after_s: int | None = None,
) -> Response:
    """One problem document; at the address of a page, the error page for this status."""
    as_page: Callable[[Request, int], Response | None] = request.app.state.error_page
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    if (shown := as_page(request, status)) is not None:
        shown.headers.update(headers)
        return shown
    # A pointer contains names that the caller chose, and a sentence may, too: people paste keys into the wrong fields.
    wrong = [
        FieldProblem(without_secrets(e.pointer[:MAX_POINTER]), without_secrets(e.detail))
        for e in (errors or [])[:MAX_ERRORS]
    ]
    body = Problem(
        type=f"https://polytill.dev/problems/{code}",
        title=TITLES.get(status, "Error"),
        status=status,
        detail=without_secrets(detail),
        code=code,
        request_id=getattr(request.state, "request_id", None),
        errors=wrong or UNSET,
    )
    headers["Cache-Control"] = "no-store"
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(msgspec.json.encode(body), status, headers, "application/problem+json")


def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, PolytillError)
    if isinstance(error, Stale):
        error = NotNow("Too many concurrent changes to one record. Try again later.")
    elif isinstance(error, Duplicate | CheckRefused):
        error = Conflict("The request conflicts with stored records.")
    if error.status >= 500:
        log_failure("request_failed", request, error)
    retry = 1 if error.status == 429 else error.retry_after_s
    errors = error.errors if isinstance(error, Invalid) else None
    return problem(request, error.status, error.code, error.public or error.detail, errors, retry)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = []
    for found in error.errors():
        if found["type"] in ("json_invalid", "json_type"):
            return problem(request, 400, "unreadable", "The request body is not valid JSON.")
        where = [str(part) for part in found["loc"]]
        place, path = (where[0], where[1:]) if where else ("body", [])
        if place == "body":
            pointer = "/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in path)
        else:
            pointer = f"{place}:{'/'.join(path)}"
        errors.append(FieldError(pointer, sentence(found)))
    detail = errors[0].detail if len(errors) == 1 else "Some fields are not valid."
    if any(found["type"] == "missing" and found["loc"] == ("header", "Idempotency-Key") for found in error.errors()):
        return problem(request, 400, "idempotency_key_missing", "The Idempotency-Key header is missing.", errors)
    return problem(request, 422, "invalid", detail, errors)


def sentence(found: dict[str, Any]) -> str:
    """Pydantic's message about one field, without the input that it may quote. Only limits of the schema are passed on."""
    message = str(found.get("msg", "This is not valid.")).removeprefix("Value error, ")
    if found["type"] == "extra_forbidden":
        return "This field does not exist."
    if found["type"] == "missing":
        return "This field is required."
    if found["loc"] == ("header", "Idempotency-Key"):
        return "The Idempotency-Key must be 1 to 200 visible ASCII characters without spaces."
    return message[0].upper() + message[1:] + ("" if message.endswith(".") else ".")


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, BodyRefused):
        return _known(request, error.error)
    codes = {400: "unreadable", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    details = {404: "This address does not exist.", 405: "This address does not support this method."}
    status = error.status_code
    response = problem(request, status, codes.get(status, "error"), details.get(status, TITLES.get(status, "Error")))
    response.headers.update(error.headers or {})
    if status == 405 and (methods := _methods_at(request)):
        response.headers["Allow"] = ", ".join(methods)
    return response


def response_to(request: Request, error: PolytillError | HTTPException) -> Response:
    """The response to an error, as for a request that the framework answers."""
    return _known(request, error) if isinstance(error, PolytillError) else _http(request, error)


def _methods_at(request: Request) -> list[str]:
    """The methods of an address. The framework reports only those of the first route that it matched."""
    # A mount sets its own Allow header.
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    return [
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


def log_failure(event: str, request: Request, error: Exception) -> None:
    """Log an error that the caller did not cause. Its text may quote data, so only its type, its code and its code
    locations are logged."""
    code = {"code": error.code} if isinstance(error, PolytillError) else {}
    log.error(event, error=type(error).__name__, **code, route=pattern_of(request.scope), places=places(error))


def unexpected(request: Request, error: Exception) -> Response:
    """The response to an internal error."""
    log_failure("unexpected_error", request, error)
    return problem(request, 500, "internal", "An internal error occurred. It was logged under this requestId.")


def install(app: FastAPI, error_page: Callable[[Request, int], Response | None]) -> None:
    """Send every error as a problem document, or as the page that ``error_page`` returns for it."""
    app.state.error_page = error_page
    app.add_exception_handler(PolytillError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
