"""Where an exception was raised, for logs: our own frames first, and never its message, which may quote data."""

from __future__ import annotations

import traceback

OURS = 6
OTHERS = 2
_FOLDER = "/polytill/"


def places(error: BaseException) -> list[str]:
    """``file:line function`` of our frames, the deepest first, then of the deepest frames of libraries. The causes of
    the exception are included: a translated error was raised far from its origin."""
    frames: list[traceback.FrameSummary] = []
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        frames += reversed(traceback.extract_tb(one.__traceback__))
        one = one.__cause__
    ours = [frame for frame in frames if _FOLDER in frame.filename]
    others = [frame for frame in frames if _FOLDER not in frame.filename]
    return list(dict.fromkeys(map(_said, [*ours[:OURS], *others[:OTHERS]])))


def _said(frame: traceback.FrameSummary) -> str:
    name = frame.filename.rpartition(_FOLDER if _FOLDER in frame.filename else "/")[2]
    return f"{name}:{frame.lineno} {frame.name}"
