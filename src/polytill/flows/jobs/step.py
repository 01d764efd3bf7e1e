"""The contract of a kind of job. A kind is a module of this package with its steps, and one line in ``kinds.py``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from polytill.domain.errors import PolytillError
from polytill.flows.context import Context
from polytill.storage.jobs import Job

# What one step passes to the next: JSON, without secrets, because it is stored in plain text.
State = dict[str, Any]
Step = Callable[[Context, int, State], Awaitable[State]]


class StepFailed(PolytillError):
    """A step failed. Its sentence is stored with the part and shown to the owner."""

    code = "step_failed"


def _anywhere(_: Job) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Kind:
    """What a job of one kind does.

    Each part runs the steps in order, and each step gets the practice's id and the state that the step before it
    returned. The first one gets the job's arguments. A process may die at any time, and then another process starts the
    step again, so a step must be repeatable: what is done already is not done twice. It may even run twice at the same
    time, if the first process was only cut off.

    A step that raises fails its part. A sentence of a ``PolytillError`` is shown; of any other error only the class is.
    After ``NotNow`` the step is tried again a few times. A retry of a part continues at the step that failed.

    Args:
        steps: Functions in order. Their names are shown as the progress of a part, and are texts of the pages
            (``[job_step]``). Records of running parts refer to them, so a released kind never renames or reorders them.
        can_run: Whether this process can work on a job: during an upgrade, processes of two versions run.
    """

    steps: tuple[Step, ...]
    can_run: Callable[[Job], bool] = _anywhere

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the steps in order."""
        return tuple(step.__name__ for step in self.steps)
