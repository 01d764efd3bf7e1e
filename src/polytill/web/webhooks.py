"""Incoming webhooks. The address contains only a token; the body is read raw, once, up to a limit."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from polytill.domain.errors import NotFound, TooLarge
from polytill.flows.webhooks import receive
from polytill.web.api.models.webhooks import WebhookReceived
from polytill.web.api.responses import respond

router = APIRouter(tags=["webhooks"])


async def read_limited(request: Request, limit: int) -> bytes:
    """The raw body. Raises ``TooLarge`` as soon as it exceeds the limit."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise TooLarge
    chunks, total = [], 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > limit:
            raise TooLarge
        chunks.append(chunk)
    return b"".join(chunks)


@router.post("/hooks/{token}", response_model=WebhookReceived)
async def receive_webhook(request: Request, token: str) -> Response:
    """Receive a webhook from a provider.

    200 once it is stored, 401 for an invalid signature, 404 for an unknown token, 413 if it is too large, 503 while the
    provider's handler is missing.
    """
    context = request.app.state.till.context
    body = await read_limited(request, receive.MAX_BODY_BYTES)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.raw}
    try:
        event = await receive.receive(context, token, headers, body, request.query_params.get("reference"))
    except NotFound:
        raise NotFound("There is no such webhook address.") from None
    told = await receive.response_body(context, event) if event else {}
    return respond({"received": True, "status": event.state.value if event else "received", **told})
