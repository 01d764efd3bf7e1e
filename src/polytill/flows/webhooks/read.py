"""What a handler reads in a webhook, and what is kept of one that it cannot read."""

from __future__ import annotations

import hashlib

from polytill.domain.secret import without_secrets
from polytill.flows.handler_guard import answered_wrongly, handler_failed
from polytill.providers.contract import Handler, WebhookProof, WebhookResult, redact
from polytill.providers.http import parse_json
from polytill.providers.well_formed import wrong_in


class WrongAnswer(Exception):
    """A handler read a webhook, and what it says is not what the contract declares."""


def facts_of(handler: Handler, body: bytes) -> WebhookResult:
    """What a webhook says, read by its handler; ``WrongAnswer`` where that is not what the contract declares."""
    result = handler.process_webhook(body)
    if wrong := wrong_in(result, WebhookResult):
        answered_wrongly(handler, "process_webhook", wrong)
        raise WrongAnswer(wrong)
    return result


def unreadable(handler: Handler, body: bytes, error: BaseException) -> WebhookResult:
    """A delivery that cannot be read, as by this version: what it says is kept for a person, and for a later version."""
    try:
        event = parse_json(body)
    except ValueError:
        event = None
    kept = redact(event, handler.redacted) if isinstance(event, dict) else None
    key = f"unreadable:{hashlib.sha256(body).hexdigest()}"
    # Where nothing is signed, anybody may have made it up: it counts with the hints, which are bounded.
    is_hint = handler.webhook_proof is not WebhookProof.signature
    return WebhookResult(
        "unreadable", key, "park", must_fetch=is_hint, reason=why_unreadable(handler, error), body=kept
    )


def why_unreadable(handler: Handler, error: BaseException) -> str:
    """The reason that is stored with a webhook that cannot be read."""
    if isinstance(error, WrongAnswer):
        return f"unreadable: {error}"
    if not isinstance(error, ValueError):  # a mistake of the handler; the text of a foreign error may quote the body
        handler_failed(handler.code, "process_webhook", error)
        return f"unreadable: {type(error).__name__}"
    return without_secrets(f"unreadable: {str(error) or type(error).__name__}"[:200])
