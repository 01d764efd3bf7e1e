"""Moves of many practices in parts: what one request moves, and where the next one continues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from polytill.domain.rollout import RolloutPhase
from polytill.storage.practice_rollouts import Rollout


@dataclass(frozen=True, slots=True)
class Batch:
    """One part of a move. ``next_after``: the id after which the next part begins; None if this is the last one."""

    now: list[Rollout]
    unchanged: list[Rollout]  # in the phase already
    left: int
    next_after: int | None


def batch_of(chosen: Sequence[Rollout], to: RolloutPhase, after: int, most: int) -> Batch:
    """The part of the chosen practices after an id. By id and not by what is left: a practice that is refused stays
    chosen, and would be in the way of the others for ever."""
    following = sorted((one for one in chosen if one.practice_id > after), key=lambda one: one.practice_id)
    waiting = [one for one in following if one.phase is not to]
    now, later = waiting[:most], waiting[most:]
    next_after = now[-1].practice_id if later else None
    end = 2**31 if next_after is None else next_after
    unchanged = [one for one in following if one.phase is to and one.practice_id <= end]
    return Batch(now, unchanged, len(later), next_after)
