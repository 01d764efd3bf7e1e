"""The rollout of all practices in numbers, for pages, API, command line and metrics."""

from __future__ import annotations

from dataclasses import dataclass

from polytill.flows.context import Context
from polytill.flows.rollout.readers import Readers, readers
from polytill.storage import practice_rollouts, rollout_differences

OVERVIEW_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class Overview:
    """How many practices are in each phase, and how many fields in each state; what the comparisons found; and who still
    reads the field. The names are those of the closed types."""

    phases: dict[str, int]
    not_in_rollout: int
    field_states: dict[str, int]
    agreements: int
    differences: dict[str, int]
    readers: Readers


async def overview(context: Context) -> Overview:
    """Read the numbers."""
    owner = context.owner
    everyone, phases = await practice_rollouts.count(owner), await practice_rollouts.count_by_phase(owner)
    states = await practice_rollouts.count_by_field_state(owner)
    differences = await rollout_differences.count_by_reason(owner)
    return Overview(
        {phase.value: number for phase, number in phases.items()},
        everyone - sum(phases.values()),
        {state.value: number for state, number in states.items()},
        await practice_rollouts.agreements(owner),
        {reason.value: number for reason, number in differences.items()},
        await readers(context),
    )


async def read_overview(context: Context) -> Overview:
    """Read the numbers, and keep them for this process's metrics."""
    context.rollout_overview = found = await overview(context)
    return found
