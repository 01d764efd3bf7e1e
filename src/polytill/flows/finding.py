"""Findings: an outcome with its source, and whether it still holds for the row that it is written to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from polytill.domain.identifiers import Identifiers
from polytill.domain.sources import Source
from polytill.domain.states import ATTEMPT_CLOSED, REFUNDED_NOTHING, AttemptState
from polytill.providers.outcomes import NeedsAction, NotSent, Outcome, Succeeded
from polytill.storage.attempts import Attempt
from polytill.storage.cases import OperatorCase
from polytill.storage.refunds import Refund
from polytill.storage.units import Unit

AddSteps = Callable[[Unit], None]


class FindingKind(StrEnum):
    """How far a finding depends on the state of the row for which it was made."""

    fact = "fact"  # the provider reported it: it is settled whatever another writer has changed
    conclusion = "conclusion"  # drawn from the row's state: void once another writer has changed the state
    authorization = "authorization"  # news of an authorized amount: void once another writer has closed the attempt


@dataclass(frozen=True, slots=True)
class Finding:
    """An outcome about an attempt or a refund, where it comes from, and its kind.

    ``named``: the identifiers that the outcome names for the row as it was read; None: not read yet.
    """

    outcome: Outcome
    source: Source
    kind: FindingKind = FindingKind.fact
    named: Identifiers | None = None

    def still_holds(self, read: Attempt | Refund, now: Attempt | Refund) -> bool:
        """Whether it says something about a row as it is ``now``. ``read``: the row for which it was made."""
        if isinstance(read, Attempt) and isinstance(now, Attempt):
            return self._holds_for_attempt(read, now)
        assert isinstance(read, Refund)
        assert isinstance(now, Refund)
        return self._holds_for_refund(read, now)

    def is_void(self, read: Attempt | Refund, now: Attempt | Refund) -> bool:
        """Whether nothing of it may be written any more, not even the extra steps of its unit."""
        return self.kind is not FindingKind.fact and not self.still_holds(read, now)

    def is_new_lookup(self, read: Attempt | Refund, now: Attempt | Refund) -> bool:
        """Whether it counts as a lookup of the row: it was looked up, and no other writer has changed the state."""
        return self.source == Source.lookup and now.state is read.state

    def may_be_old(self, read: Attempt | Refund, now: Attempt | Refund) -> bool:
        """Whether it may have been true at an earlier time: a webhook, or another writer has changed the state."""
        return self.source == Source.webhook or now.state is not read.state

    def with_outcome(self, outcome: Outcome) -> Finding:
        """The same finding with another outcome."""
        return self if outcome is self.outcome else replace(self, outcome=outcome, named=None)

    def _holds_for_attempt(self, read: Attempt, now: Attempt) -> bool:
        has_moved = now.state is not read.state
        if self.kind is FindingKind.conclusion and has_moved:
            return False
        if self.kind is FindingKind.authorization and has_moved and now.state in ATTEMPT_CLOSED:
            return False
        if isinstance(self.outcome, NotSent):
            return not has_moved  # others have looked it up since, which may have repeated the call
        if isinstance(self.outcome, NeedsAction) and self.source != Source.answer:
            # It may be about a step that the payer has completed since.
            was_asked = read.state is AttemptState.needs_action
            return not was_asked or (read.state, read.next_action) == (now.state, now.next_action)
        return True

    def _holds_for_refund(self, read: Refund, now: Refund) -> bool:
        """False if the refund has changed since this was observed: its own call's answer was read late, or a webhook
        was applied in parallel with a later one. It does not restore a refund that has ended."""
        has_moved = now.state is not read.state
        if isinstance(self.outcome, NotSent):
            return not has_moved  # others have looked it up since, which may have repeated the call
        answered = getattr(self.outcome, "provider_transaction_id", None)
        is_it = answered is not None and answered == now.provider_refund_id
        return not (is_it and has_moved and now.state in REFUNDED_NOTHING)


def is_authorization(outcome: Outcome) -> bool:
    """Whether an outcome is news of an authorized amount, without money taken."""
    return isinstance(outcome, Succeeded) and outcome.authorized_only


@dataclass(frozen=True, slots=True)
class ExtraSteps:
    """What the unit that settles a finding writes besides it.

    - ``add``: adds further steps (the webhook event of the fact, a requested capture), even if nothing else changes.
    - ``if_other_amount``: added instead of ``add`` if the paid amount is not the attempt's.
    - ``successor``: the next attempt, stored if this one is closed for certain.
    - ``stores_attempt``: the unit stores the attempt, too. ``Duplicate`` if its number is taken.
    - ``resolves``: the review case that ``add`` resolves, as staff decided.
    """

    add: AddSteps | None = None
    successor: Attempt | None = None
    stores_attempt: bool = False
    resolves: OperatorCase | None = None
    if_other_amount: AddSteps | None = None

    def add_to(self, unit: Unit, is_other_amount: bool = False) -> None:
        """Add the further steps to a unit."""
        add = self.if_other_amount if is_other_amount and self.if_other_amount is not None else self.add
        if add is not None:
            add(unit)


NO_STEPS = ExtraSteps()
