"""Foreign code fails by itself: what a handler raises ends nothing else, whatever it is."""

from __future__ import annotations

import asyncio


class ProcessStopped(BaseException):
    """The process ends here. Nothing of the product may catch it: the simulated world stops a node with it."""


def ends_only_itself(error: BaseException) -> bool:
    """Whether what a handler's code raised is a mistake of that code. False: it ends the process or our own task, and has
    to be raised further. ``SystemExit`` is such a mistake: no handler decides that the service stops."""
    if isinstance(error, asyncio.CancelledError):
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return True
        return task is None or task.cancelling() == 0
    return not isinstance(error, KeyboardInterrupt | GeneratorExit | ProcessStopped)
