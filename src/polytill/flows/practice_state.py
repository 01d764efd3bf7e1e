"""What a practice's state allows: whether something new may begin, and whether what exists goes on."""

from __future__ import annotations

from polytill.domain.errors import Forbidden, PracticeClosed, PracticeEnded
from polytill.domain.states import PracticeState
from polytill.flows.context import Context
from polytill.storage.practices import PracticeEntry


def why_nothing_new(entry: PracticeEntry) -> Forbidden | None:
    """Why a practice takes no new payments and payment links. None if it does."""
    if entry.state is PracticeState.closed:
        return PracticeClosed()
    if entry.state is not PracticeState.active:
        return Forbidden("This practice is suspended.", reason="practice_suspended")
    return None


async def may_have_credentials(context: Context, practice_id: int) -> None:
    """``PracticeClosed`` if the practice gets no new credentials: provider keys and API keys."""
    if (await context.opening.entry(practice_id)).state is PracticeState.closed:
        raise PracticeClosed


async def may_go_on(context: Context, practice_id: int) -> None:
    """``PracticeEnded`` after the run-out of a closed practice."""
    entry = await context.opening.entry(practice_id)
    if entry.is_over(context.world.now()):
        raise PracticeEnded
