"""Reads a webhook by its handler; one that cannot be read is stored for later."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote, unquote_plus

from polytill.domain.ids import new_id
from polytill.domain.secret import without_secrets
from polytill.domain.states import Environment, EventState
from polytill.flows.context import Practice
from polytill.flows.handler_guard import answered_wrongly, clean, handler_failed
from polytill.flows.webhooks.unsigned import short_key
from polytill.providers.contained import ends_only_itself
from polytill.providers.contract import ADDRESS_REFERENCE, Handler, WebhookProof, WebhookResult, redact
from polytill.providers.http import parse_json, to_json
from polytill.providers.well_formed import wrong_in
from polytill.providers.wire_json import REMOVED
from polytill.storage.provider_configs import Configuration
from polytill.storage.webhook_events import WebhookEvent


class WrongAnswer(Exception):
    """A handler read a webhook, and its result does not conform to the contract."""


def facts_of(handler: Handler, body: bytes) -> WebhookResult:
    """The facts of a webhook, read by its handler; ``WrongAnswer`` if the result does not conform to the contract."""
    result = handler.process_webhook(body)
    if wrong := wrong_in(result, WebhookResult):
        answered_wrongly(handler, "process_webhook", wrong)
        raise WrongAnswer(wrong)
    return result


def unreadable(handler: Handler, body: bytes, error: BaseException) -> WebhookResult:
    """The result for a webhook that this version cannot read: it is parked for review or a later version."""
    key = f"unreadable:{hashlib.sha256(body).hexdigest()}"
    # Without a signature anybody may have sent it, so it counts as an unsigned webhook; their number is limited.
    is_hint = handler.webhook_proof is not WebhookProof.signature
    return WebhookResult("unreadable", key, "park", must_fetch=is_hint, reason=why_unreadable(handler, error))


def kept_body(handler: Handler, body: bytes) -> Any:
    """The body to store of a webhook that cannot be read, without the handler's redacted fields: its JSON, or the text
    of anything else, such as a form. None if they cannot be removed, or if it is not text."""
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
    # Anybody can send such a body: store only what can be a form or a document, and none that contains a key.
    if not ("=" in text or text.lstrip().startswith(("<", "[", '"'))) or clean(handler, text) != text:
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
    """The body of a stored webhook, to be read again: text as it was sent, or JSON."""
    return kept.encode("utf-8") if isinstance(kept, str) else to_json(kept)


def why_unreadable(handler: Handler, error: BaseException) -> str:
    """The reason that is stored with a webhook that cannot be read."""
    if isinstance(error, WrongAnswer):
        return f"unreadable: {error}"
    if not isinstance(error, ValueError):  # a bug in the handler; the text of a foreign error may quote the body
        handler_failed(handler.code, "process_webhook", error)
        return f"unreadable: {type(error).__name__}"
    return without_secrets(f"unreadable: {str(error) or type(error).__name__}"[:200])


def naming(body: bytes, reference: str) -> bytes:
    """A webhook's body with the reference from its address; unchanged if it is not a JSON object."""
    try:
        event = parse_json(body)
    except ValueError:
        return body
    return to_json({**event, ADDRESS_REFERENCE: reference}) if isinstance(event, dict) else body


def event_of(
    practice: Practice, configuration: Configuration, environment: Environment, handler: Handler, body: bytes
) -> tuple[WebhookEvent, WebhookResult]:
    """A verified webhook as it is stored, and what its handler read in it."""
    try:
        result = facts_of(handler, body)
        kept: object = result.body
    except BaseException as error:
        if not ends_only_itself(error):
            raise
        result, kept = unreadable(handler, body, error), kept_body(handler, body)
    mismatch = result.environment is not None and result.environment is not environment
    state = EventState.ignored if result.action == "ignore" and not mismatch else EventState.received
    event = WebhookEvent(
        id=new_id(practice.context.world),
        practice_id=practice.id,
        environment=environment,
        config_id=configuration.id,
        provider_code=configuration.provider_code,
        dedupe_key=short_key(result.dedupe_key),
        event_type=result.event_type[:200],
        state=state,
        body=kept,
        must_fetch=result.must_fetch,
        received_at=practice.now(),
        reason=result.reason,
    )
    return event, result
