"""Guards against bugs in handlers: logs them, checks the types of their answers, and removes keys from the answers."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from polytill.domain.secret import Secret, without_secrets
from polytill.domain.values import with_changes
from polytill.flows.context import log
from polytill.providers.contained import ends_only_itself
from polytill.providers.contract import Fact, Handler, Page
from polytill.providers.http import to_json
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Outcome, Reason, Unknown
from polytill.providers.well_formed import without_response, wrong_in


def handler_failed(code: str, verb: str, error: BaseException) -> None:
    """Log a bug in a handler, with the lines of its own code. Only the exception's type is logged, because its text may
    quote the request."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/polytill/flows/" not in f.filename][-4:]
    places = [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
    log.error("handler_failed", provider=code, verb=verb, error=type(error).__name__, places=places)


def answered_wrongly(handler: Handler | type[Handler], verb: str, wrong: str) -> None:
    """Log an answer that the contract does not allow, with the line at which the handler's method begins."""
    log.error("handler_failed", provider=handler.code, verb=verb, error=wrong, places=_place_of(handler, verb))


def declared(
    handler: Handler | type[Handler], name: str, kind: type | tuple[type, ...], instead: Any, *given: Any
) -> Any:
    """The answer of a synchronous handler method, of type ``kind``; ``instead`` if it raises or answers another type."""
    try:
        answer = getattr(handler, name)(*given)
    except BaseException as error:
        if not ends_only_itself(error):
            raise
        handler_failed(handler.code, name, error)
        return instead
    if isinstance(answer, kind):
        return answer
    answered_wrongly(handler, name, f"the answer is {type(answer).__name__}")
    return instead


def takes(handler: type[Handler] | None, currency: str) -> bool:
    """Whether a provider can take a currency, according to its handler."""
    return handler is None or bool(declared(handler, "takes_currency", bool, False, currency))


def understood(handler: Handler, verb: str, outcome: object) -> Outcome:
    """A handler's outcome, safe to store. One with a wrong type in it proves nothing about money: ``Unknown``."""
    if not isinstance(outcome, Outcome):
        answered_wrongly(handler, verb, f"no outcome: {type(outcome).__name__}")
        return Unknown(Reason.unreadable, type(outcome).__name__, "The provider's handler answered with no outcome.")
    kept = without_response(outcome)
    if kept is not outcome:
        answered_wrongly(handler, verb, "response is no JSON that can be kept")
    if wrong := wrong_in(kept, type(kept)):
        answered_wrongly(handler, verb, wrong)
        return Unknown(Reason.unreadable, "wrong_type", f"The provider's handler answered wrongly: {wrong}.")
    return without_keys(handler, kept)


def listed(handler: Handler | type[Handler], verb: str, page: object) -> Page[Any] | None:
    """A listing page without invalid entries, which count as unread. None if the answer is not a page."""
    if (
        not isinstance(page, Page)
        or wrong_in(replace(page, facts=()), Page)
        or not isinstance(page.facts, tuple | list)
    ):
        if page is not None:
            answered_wrongly(handler, verb, f"no page: {type(page).__name__}")
        return None
    wrong = {at: found for at, fact in enumerate(page.facts) if (found := wrong_in(fact, Fact))}
    for found in dict.fromkeys(wrong.values()):
        answered_wrongly(handler, verb, found)
    facts = tuple(fact for at, fact in enumerate(page.facts) if at not in wrong)
    return Page(facts, page.next, page.unread + len(wrong))


def own_copy(params: Any) -> Any:
    """The same parameters with copied mappings, so that a handler cannot change ours."""
    if isinstance(params, Mapping):
        return dict(params)
    if not is_dataclass(params) or isinstance(params, type):
        return params
    names = _with_mappings(type(params))
    copies = {name: own_copy(value) for name in names if (value := getattr(params, name)) is not None}
    return with_changes(params, **copies) if copies else params


@cache
def _with_mappings(kind: Any) -> tuple[str, ...]:
    """The fields of a dataclass that are mappings, or that have some in them. None of another class."""
    if not is_dataclass(kind):
        return ()
    hints = get_type_hints(kind)
    return tuple(field.name for field in fields(kind) if field.init and _may_be_mapping(hints[field.name]))


def _may_be_mapping(hint: Any) -> bool:
    if hint is Any:
        return True
    kind: Any = get_origin(hint) or hint
    is_mapping = inspect.isclass(kind) and issubclass(kind, Mapping)
    return is_mapping or bool(_with_mappings(kind)) or any(map(_may_be_mapping, get_args(hint)))


# ── Keys in answers ──


def without_keys(handler: Handler, outcome: Outcome) -> Outcome:
    """An outcome without keys in the texts that are stored and shown, because a provider or a handler may quote one."""
    secrets = _secrets_of(handler)
    if isinstance(outcome, Declined | NotSent | Unknown):
        outcome = replace(outcome, code=clean(handler, outcome.code), detail=clean(handler, outcome.detail))
    if isinstance(outcome, NeedsAction):
        outcome = _clean_action(handler, outcome)
    response = getattr(outcome, "response", None)
    if response is not None and secrets:
        text = to_json(response).decode()
        if any(secret in text for secret in secrets):
            return replace(outcome, response=_cut(response, secrets))
    return outcome


def _clean_action(handler: Handler, outcome: NeedsAction) -> NeedsAction:
    last, action = outcome.last_decline, outcome.action
    if last is not None:
        last = replace(last, code=clean(handler, last.code), detail=clean(handler, last.detail))
    if action is not None and any(secret in f"{action.url} {action.instructions}" for secret in _secrets_of(handler)):
        action = replace(action, url=clean(handler, action.url), instructions=clean(handler, action.instructions))
    if last is outcome.last_decline and action is outcome.action:
        return outcome
    return replace(outcome, last_decline=last, action=action)


def clean(handler: Handler, text: str | None) -> str | None:
    """A text without the handler's own keys and without anything that looks like a key."""
    if not text:
        return text
    for secret in _secrets_of(handler):
        text = text.replace(secret, "[removed]")
    return without_secrets(text)


def _secrets_of(handler: Handler) -> list[str]:
    config = handler.config
    held = (config.secret_key, *config.webhook_secrets, *config.config.values())
    return [secret.reveal() for secret in held if isinstance(secret, Secret) and secret]


def _cut(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, dict):
        return {_cut(key, secrets): _cut(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(item, secrets) for item in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "[removed]")
    return value


# ── Places ──


def _place_of(handler: Handler | type[Handler], verb: str) -> list[str]:
    code = getattr(inspect.unwrap(getattr(handler, verb, None) or handler.__init__), "__code__", None)  # type: ignore[misc]
    return [f"{_short(code.co_filename)}:{code.co_firstlineno} {verb}"] if code else []


def _short(filename: str) -> str:
    return "/".join(filename.replace("\\", "/").split("/")[-2:])
