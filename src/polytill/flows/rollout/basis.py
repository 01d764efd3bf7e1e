"""What a comparison of the field with polytill's configurations was made with, and whether it still counts.

Both sides may change without the other: somebody writes the field, a configuration is changed here, the mapping is
corrected, or the catalog gets a currency. "In sync" is therefore recorded together with the field's hash, the number of
changes of the configurations, and a digest of mapping and catalog. It counts only while all of them are what they were.
"""

from __future__ import annotations

from polytill.domain.rollout import FieldState, RolloutPhase
from polytill.flows.rollout.field import Reading
from polytill.storage import practice_profile
from polytill.storage.databases import PracticeDb, Tx
from polytill.storage.practice_rollouts import Rollout


async def basis_of(db: PracticeDb | Tx, practice_id: int, reading: Reading) -> str:
    """What a comparison is made with. Read it before the configurations: a change that comes in between then only makes
    the comparison not count."""
    return (await phase_and_basis(db, practice_id, reading))[1]


async def phase_and_basis(db: PracticeDb | Tx, practice_id: int, reading: Reading) -> tuple[RolloutPhase | None, str]:
    """The practice's own phase, and what a comparison is made with now."""
    phase, changes = await practice_profile.rollout(db, practice_id)
    return phase, f"{changes}:{reading.digest}"


def counts(known: Rollout, basis: str) -> bool:
    """Whether a comparison found both equal, and still counts."""
    return known.field_state is FieldState.in_sync and known.compared_with == basis


def state_now(known: Rollout, basis: str) -> FieldState:
    """The recorded state of a field, unless it says "in sync" and that does not count any more."""
    if known.field_state is not FieldState.in_sync or counts(known, basis):
        return known.field_state
    return FieldState.pending if known.phase is RolloutPhase.live else FieldState.unknown
