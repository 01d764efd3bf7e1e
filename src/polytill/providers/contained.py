"""Isolates the code of handlers: an exception in one handler ends nothing else."""

from __future__ import annotations

import asyncio


class ProcessStopped(BaseException):
    """The process must end. No product code may catch it: the simulated world stops a node with it."""


def cause_of(error: BaseException) -> str:
    """The type of an error and the name that it misses. The message of a plug-in's error may quote a secret."""
    name = getattr(error, "name", None) if isinstance(error, ImportError | AttributeError | NameError) else None
    return f"{type(error).__name__} ({name})" if isinstance(name, str) and name else type(error).__name__


def ends_only_itself(error: BaseException) -> bool:
    """Whether an exception from a handler is a fault of that handler alone. If False, it ends the process or our own
    task and must be raised again. ``SystemExit`` is such a fault, because a handler must not stop the service."""
    if isinstance(error, asyncio.CancelledError):
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return True
        return task is None or task.cancelling() == 0
    return not isinstance(error, KeyboardInterrupt | GeneratorExit | ProcessStopped)
