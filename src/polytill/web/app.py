"""The HTTP service: its routers, middleware, health checks and API documentation."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from starlette._utils import get_route_path
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polytill.app import Polytill
from polytill.background import beside, renew_for_ever, sweep_for_ever
from polytill.domain.errors import TooLarge
from polytill.domain.ids import new_id
from polytill.flows import presence, provider_waits
from polytill.flows.webhooks.receive import MAX_BODY_BYTES
from polytill.version import VERSION
from polytill.web import problems, webhooks
from polytill.web.admission import Admission, Refused
from polytill.web.api import (
    api_keys,
    cases,
    document,
    erasures,
    events,
    jobs,
    payment_links,
    payments,
    platform,
    practices,
    provider_configs,
    records,
    rollout,
    routing,
    saved_methods,
    service,
)
from polytill.web.api import catalog as catalog_api
from polytill.web.api.auth import KeyCache
from polytill.web.api.bodies import BodyRefused
from polytill.web.api.cors import CrossOrigin
from polytill.web.checkout import payment
from polytill.web.checkout import payment_links as checkout_payment_links
from polytill.web.checkout.pages import page
from polytill.web.console import (
    activity,
    captures,
    catalog,
    clusters,
    exports,
    manual_payments,
    overview,
    people,
    provider_settings,
    providers,
    review_cases,
    shown_once,
    sign_in,
)
from polytill.web.console import erasure as console_erasure
from polytill.web.console import jobs as console_jobs
from polytill.web.console import owner as console_owner
from polytill.web.console import payment_links as console_payment_links
from polytill.web.console import payments as console_payments
from polytill.web.console import practice as console_practice
from polytill.web.console import rollout as console_rollout
from polytill.web.console import routing as console_routing
from polytill.web.console import webhooks as console_webhooks
from polytill.web.error_pages import error_page, is_of_programs
from polytill.web.fast_paths import FastPaths, Operation
from polytill.web.metrics import RequestMetrics
from polytill.web.page_addresses import root_of

# The pages for signed-in people.
_CONSOLE = (
    sign_in,
    console_owner,
    clusters,
    console_rollout,
    console_jobs,
    catalog,
    console_payments,
    captures,
    shown_once,
    overview,
    providers,
    provider_settings,
    console_routing,
    console_payment_links,
    review_cases,
    console_webhooks,
    people,
    activity,
    console_practice,
    exports,
    manual_payments,
    console_erasure,
)
PAGES = (*(module.router for module in _CONSOLE), sign_in.nowhere)

READ_ON_BYTES = 16 * 1024 * 1024


class Surroundings:
    """Outermost middleware: sets the request id and fixed headers, and turns unexpected exceptions into responses."""

    def __init__(self, app: ASGIApp, till: Polytill, metrics: RequestMetrics) -> None:
        self._app = app
        self._context, self._world = till.context, till.context.world
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD" and not is_of_programs(scope):
            # Link previews and monitors send HEAD. The server omits the body.
            scope = {**scope, "method": "GET"}
        request_id = new_id(self._world)
        scope.setdefault("state", {})["request_id"] = request_id
        started = self._world.time_s()
        answering = False

        async def sending(message: Message) -> None:
            nonlocal answering
            if message["type"] == "http.response.start":
                answering = True
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
                self._metrics.count(scope, message["status"], self._world.time_s() - started)
            await send(message)

        # Every log line of this request carries its id.
        outside = structlog.contextvars.bind_contextvars(requestId=request_id)
        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            return  # no client is left to respond to
        except Exception as error:
            # The server would log the exception's text, which may quote the request.
            response = problems.unexpected(Request(scope), error)
            if answering:
                raise RuntimeError("a response was interrupted; its cause was logged") from None
            await response(scope, receive, sending)
        finally:
            structlog.contextvars.reset_contextvars(**outside)
        # The lifespan of a mounted app does not run, so it can check for a worker only on a request. The response is
        # sent already.
        await presence.warn_without_worker(self._context)


def _limited(receive: Receive) -> Receive:
    """Reject a body without a Content-Length while it is read, as soon as it exceeds the limit."""
    total = 0

    async def receiving() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > MAX_BODY_BYTES:
            await _read_on(receive, message, total)
            raise BodyRefused(TooLarge())
        return message

    return receiving


async def _read_on(receive: Receive, message: Message | None, total: int) -> None:
    """Read and discard the rest of the body, up to a bound: a client that is cut off while sending never reads the
    response."""
    while total <= READ_ON_BYTES and (message is None or message.get("more_body", False)):
        message = await receive()
        total += len(message.get("body", b""))


class Admitting:
    """Middleware that refuses requests at once while the process is overloaded: 503 with ``Retry-After``.

    Webhooks are always taken: a provider repeats a refused one much later, and the payment would wait as long. So are the
    health checks.
    """

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app, self._admission = app, admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        first, practice = _whose(scope) if scope["type"] == "http" else ("", "")
        if scope["type"] != "http" or first in _ALWAYS_TAKEN:
            await self._app(scope, receive, send)
            return
        reason = self._admission.admit(practice)
        if reason is not None:
            detail = f"{_TOO_BUSY[reason]} Try again in {RETRY_AFTER_S} seconds."
            response = problems.problem(Request(scope), 503, reason.value, detail, retry_after_s=RETRY_AFTER_S)
            await response(scope, receive, send)
            return
        loop, waits = asyncio.get_running_loop(), provider_waits.measured()
        began_s = loop.time()
        try:
            await self._app(scope, receive, send)
        finally:
            self._admission.end(practice, loop.time() - began_s - waits.total_s)


RETRY_AFTER_S = 2
_ALWAYS_TAKEN = frozenset({"hooks", "healthz", "readyz", "static"})
_TOO_BUSY = {
    Refused.overloaded: "This server gets more requests than it can answer.",
    Refused.server_full: "This server has too many requests in progress.",
    Refused.practice_full: "This practice has too many requests in progress.",
}


def _whose(scope: Scope) -> tuple[str, str]:
    """The first part of a request's path, and the practice that it names: empty if it names none."""
    parts = get_route_path(scope).split("/", 4)
    first = parts[1] if len(parts) > 1 else ""
    if first == "api" and len(parts) > 3 and parts[2] == "practices":
        return first, parts[3]
    return first, parts[2] if first == "practice" and len(parts) > 2 else ""


class Refusals:
    """Rejects bodies whose Content-Length exceeds the limit, and NUL characters in the address."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http":
            response = None
            if "\x00" in scope["path"]:
                response = problems.problem(Request(scope), 404, "not_found", "This address does not exist.")
            elif b"%00" in scope["query_string"]:
                detail = "The query contains a NUL character."
                response = problems.problem(Request(scope), 400, "unreadable", detail)
            for name, value in scope["headers"]:
                if name == b"content-length" and value.isdigit() and int(value) > MAX_BODY_BYTES:
                    detail = "The request body exceeds the size limit of this address."
                    response = problems.problem(Request(scope), 413, "too_large", detail)
                    await _read_on(receive, None, 0)
            if response is not None:
                await response(scope, receive, send)
                return
            receive = _limited(receive)
        await self._app(scope, receive, send)


def make_app(till: Polytill, *, sweeping: bool = True) -> FastAPI:
    """Build the service over an opened installation. ``sweeping``: whether it also runs lookups in the background."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # This process writes leases, whichever process sweeps.
        async with beside(renew_for_ever(till.context, "serve", runs_worker=sweeping)), beside(admission.watch()):
            if not sweeping:
                yield
                return
            async with beside(sweep_for_ever(till.context)):
                yield

    admission = Admission(till.context.settings.most_requests)
    app = _with_routes(lifespan)
    app.state.till = till
    app.state.admission = admission
    app.state.keys = KeyCache(till.context)
    metrics = RequestMetrics(till, admission)
    app.state.metrics = metrics
    app.add_middleware(FastPaths, operations=_fast_operations())
    app.add_middleware(Refusals)
    app.add_middleware(Admitting, admission=admission)
    app.add_middleware(Surroundings, till=till, metrics=metrics)
    app.add_middleware(CrossOrigin)  # outermost, so that a script can also read the response to an internal error
    return app


def _fast_operations() -> dict[str, tuple[Operation, BaseRoute]]:
    operations: dict[str, tuple[APIRouter, Any, Operation]] = {
        "payments": (payments.router, payments.create_payment, payments.create_quickly),
        "hooks": (webhooks.router, webhooks.receive_webhook, webhooks.receive_webhook),
    }
    return {
        name: (quick, next(route for route in router.routes if getattr(route, "endpoint", None) is endpoint))
        for name, (router, endpoint, quick) in operations.items()
    }


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document, without an installation."""
    return _with_routes().openapi()


def _with_routes(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None) -> FastAPI:
    app = FastAPI(
        title="polytill",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=document.PROBLEMS,
        generate_unique_id_function=document.operation_id,
        redirect_slashes=False,
        description="Payments for multi-tenant software: one catalog, one database for every practice, one API.",
    )
    problems.install(app, error_page)
    for module in (
        payments,  # the busiest first: routes are tried in order
        webhooks,
        catalog_api,
        practices,
        api_keys,
        platform,
        events,
        cases,
        routing,
        provider_configs,
        records,
        payment_links,
        saved_methods,
        rollout,
        jobs,
        erasures,
        service,
    ):
        app.include_router(module.router)
    app.include_router(erasures.owner_router)
    pages = (checkout_payment_links.router, payment.router, *PAGES)
    for router in pages:
        app.include_router(router)
    app.state.pages = [one for router in pages for one in router.routes]
    _add_documents(app)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    return app


def _add_documents(app: FastAPI) -> None:
    document.install(app)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        """The API documentation as a page, without external assets."""
        return page("docs.html", root=root_of(request), version=app.version, groups=_groups(app.openapi()))


def _groups(openapi: dict[str, Any]) -> dict[str, list[tuple[str, str, dict[str, Any], str | None]]]:
    """The operations of an OpenAPI document grouped by tag: method, path, operation, and the fields of its body."""
    groups: dict[str, list[tuple[str, str, dict[str, Any], str | None]]] = defaultdict(list)
    schemas = openapi.get("components", {}).get("schemas", {})
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            name = str(body.get("$ref", "")).rpartition("/")[2]
            fields = schemas.get(name, body).get("properties")
            shown = json.dumps(fields, indent=2) if fields else None
            groups[operation["tags"][0]].append((method.upper(), path, operation, shown))
    return groups
