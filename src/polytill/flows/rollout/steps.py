"""The steps of a rollout as a pure function: what is checked before each, and the sentence if it is not made.

    none → legacy     nothing is checked
    legacy → shadow   the field could be read, and polytill's configurations are equal to it
    shadow → live     the same: from now on, polytill decides
    live → shadow     the field has all of polytill's changes, and nobody else has changed it
    shadow → legacy   nothing is checked
    live → closed     as for the way back; then the field is emptied

There is no step out of ``closed``: the field holds nothing any more.
"""

from __future__ import annotations

from collections.abc import Sequence

from polytill.domain.rollout import BACK, FORWARD, NEEDS_EQUAL, ROLLOUT_NEXT, FieldState, RolloutPhase

MOST_NAMED = 5


def needs_equal(phase: RolloutPhase | None, to: RolloutPhase) -> bool:
    """Whether a step needs the field and polytill's configurations to be equal."""
    return (phase, to) in NEEDS_EQUAL


def why_not(phase: RolloutPhase | None, to: RolloutPhase) -> str | None:
    """Why there is no such step; None if there is one. A step to the same phase is none, and not an error: callers
    leave it out."""
    if to in ROLLOUT_NEXT[phase]:
        return None
    if phase is RolloutPhase.closed:
        return (
            "The practice is closed and its field is empty, so there is no way back. Change its providers in polytill."
        )
    ways = [f"forward to {FORWARD[phase]}", *([f"back to {BACK[phase]}"] if phase in BACK else [])]
    where = "not in a rollout" if phase is None else f"in {phase}"
    return f"The practice is {where}, and one step leads {' or '.join(ways)}, not to {to}."


def why_not_equal(to: RolloutPhase, differences: Sequence[str]) -> str | None:
    """Why a step that needs the field and polytill's configurations to be equal is not made; None if they are."""
    if not differences:
        return None
    named = "; ".join(one.rstrip(".") for one in differences[:MOST_NAMED])
    more = f"; and {len(differences) - MOST_NAMED} more" if len(differences) > MOST_NAMED else ""
    return f"The practice cannot move to {to}: the field and polytill's configurations differ ({named}{more})."


_NOT_KNOWN = {
    FieldState.unknown: "its field was not compared yet. Run `polytill rollout sync`, or send the field to polytill",
    FieldState.pending: "its field does not have all of polytill's changes yet. Write them, then report the field to polytill",
    FieldState.conflict: "somebody changed its field while polytill decides. Run `polytill rollout resolve`",
    FieldState.blocked: "its field and polytill's configurations cannot be made equal. `polytill rollout status` says why",
}


def why_not_known(to: RolloutPhase, state: FieldState) -> str | None:
    """The same where the host's database cannot be reached from here, by the last report; None if both are equal."""
    return None if state is FieldState.in_sync else f"The practice cannot move to {to}: {_NOT_KNOWN[state]}."
