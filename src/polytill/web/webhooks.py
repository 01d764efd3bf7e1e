"""Incoming webhooks. The address contains only a token; the body is read raw, once, up to a limit."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from polytill.domain.errors import NotFound
from polytill.flows.webhooks import forward, receive
from polytill.web.api.models.webhooks import WebhookReceived
from polytill.web.api.responses import respond

router = APIRouter(tags=["webhooks"])


@router.post("/hooks/{token}", response_model=WebhookReceived)
async def receive_webhook(request: Request, token: str) -> Response:
    """Receive a webhook from a provider.

    200 once it is stored, 401 for an invalid signature, 404 for an unknown token, 410 if its practice was deleted or its
    run-out has ended, 413 if it is too large, 503 while the provider's handler is missing.
    """
    context = request.app.state.till.context
    body = await request.body()
    headers: dict[str, str] = {}
    for name, value in request.headers.items():  # a header that is sent twice is a list (RFC 9110, 5.3)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    try:
        event = await forward.receive(context, token, headers, body, request.query_params.get("reference"))
    except NotFound:
        raise NotFound("There is no such webhook address.") from None
    told = await receive.response_body(context, event) if event else {}
    return respond({"received": True, "status": event.state.value if event else "received", **told})
