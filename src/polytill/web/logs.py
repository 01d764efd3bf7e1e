"""Structured logs. No log call may contain keys or secrets; redaction is the safety net for that rule."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from types import NoneType
from typing import Any

import structlog

from polytill.domain.secret import without_secrets

_PLAIN = (str, int, float, bool, NoneType)


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace everything that looks like a key in any value, including tracebacks (runs after ``format_exc_info``)."""
    for name, value in event.items():
        if not isinstance(value, _PLAIN):
            event[name] = str(value)
    # Search the whole event once; check each value only if something was found.
    whole = "\n".join([value for value in event.values() if isinstance(value, str)])
    if without_secrets(whole) != whole:
        for name, value in event.items():
            if isinstance(value, str):
                event[name] = without_secrets(value)
    return event


_encode = json.JSONEncoder(default=str).encode


def as_json_line(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    """A log line as JSON. The encoder is made once, unlike structlog's."""
    return _encode(event)


def setup(*, as_json: bool | None = None, level: int = logging.INFO) -> None:
    """Log to standard error: readable on a terminal, JSON elsewhere."""
    plain = sys.stderr.isatty() if as_json is None else not as_json
    renderer: Any = structlog.dev.ConsoleRenderer() if plain else as_json_line
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
