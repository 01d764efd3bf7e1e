"""What a handler reads in a webhook, and what is kept of one that it cannot read."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote, unquote_plus

from polytill.domain.secret import without_secrets
from polytill.flows.handler_guard import answered_wrongly, handler_failed
from polytill.providers.contract import Handler, WebhookProof, WebhookResult, redact
from polytill.providers.http import parse_json, to_json
from polytill.providers.well_formed import wrong_in
from polytill.providers.wire_json import REMOVED


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
    """A webhook that cannot be read, for example by this version: it is stored for a person, and for a later version."""
    key = f"unreadable:{hashlib.sha256(body).hexdigest()}"
    # Where nothing is signed, anybody may have made it up: it counts with the hints, which are bounded.
    is_hint = handler.webhook_proof is not WebhookProof.signature
    return WebhookResult("unreadable", key, "park", must_fetch=is_hint, reason=why_unreadable(handler, error))


def kept_body(handler: Handler, body: bytes) -> Any:
    """What is stored of a webhook that cannot be read: its JSON, or the text of anything else, such as a form. Without
    the handler's redacted fields; None where they cannot be removed, or where it is not text.
    """
    try:
        event = parse_json(body)
    except ValueError:
        event = None
    if isinstance(event, dict | list):
        return redact(event, handler.redacted)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if "\0" in text:  # PostgreSQL cannot store it
        return None
    fields = [(field, _is_redacted(field, handler.redacted)) for field in text.split("&")]
    plain = unquote_plus("&".join(field for field, is_redacted in fields if not is_redacted))
    if any(name in plain for name in handler.redacted):
        return None
    removed = f"={quote(REMOVED)}"
    return "&".join(field.partition("=")[0] + removed if is_redacted else field for field, is_redacted in fields)


def _is_redacted(field: str, redacted: frozenset[str]) -> bool:
    """Whether a field of a form must not be stored. ``card[token]=…`` is the field ``token`` of ``card``."""
    name, equals, _ = field.partition("=")
    return bool(equals) and any(part.rstrip("]") in redacted for part in unquote_plus(name).split("["))


def sent_again(kept: Any) -> bytes:
    """The body of a stored webhook, to be read again: text as it was sent, and JSON."""
    return kept.encode("utf-8") if isinstance(kept, str) else to_json(kept)


def why_unreadable(handler: Handler, error: BaseException) -> str:
    """The reason that is stored with a webhook that cannot be read."""
    if isinstance(error, WrongAnswer):
        return f"unreadable: {error}"
    if not isinstance(error, ValueError):  # a mistake of the handler; the text of a foreign error may quote the body
        handler_failed(handler.code, "process_webhook", error)
        return f"unreadable: {type(error).__name__}"
    return without_secrets(f"unreadable: {str(error) or type(error).__name__}"[:200])
