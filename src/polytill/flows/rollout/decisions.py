"""What polytill would choose for a payment of the old code, and the comparison of both choices.

The old code asks outside of its own payment: nothing here creates a payment or changes one.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from polytill.domain.errors import Duplicate
from polytill.domain.rollout import DifferenceReason, RolloutPhase, WhoDecides, who_decides
from polytill.domain.states import Environment
from polytill.flows.context import Context, Practice
from polytill.flows.legacy import names
from polytill.flows.payments.choose import ForPayment
from polytill.flows.payments.choose import choose as choose_provider
from polytill.flows.rollout import host
from polytill.flows.rollout.basis import basis_of, counts
from polytill.flows.rollout.differences import Disagreement, disagreement
from polytill.flows.routing.decision import Decision
from polytill.flows.routing.eligibility import Wanted
from polytill.flows.routing.facts import draw_of
from polytill.storage import practice_rollouts, rollout_differences
from polytill.storage.rollout_differences import Difference
from polytill.storage.units import Unit


@dataclass(frozen=True, slots=True)
class Asked:
    """A payment of the old code. ``amount`` in minor units; None: not known."""

    currency: str
    amount: int | None = None
    payment_method: str | None = None
    environment: Environment | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Our choice, and whose choice counts for this practice."""

    phase: RolloutPhase | None
    use: WhoDecides
    decision: Decision

    @property
    def provider_code(self) -> str | None:
        """The provider that a payment would use here; None: none can take it."""
        return self.decision.ranked[0].code if self.decision.ranked else None


@dataclass(frozen=True, slots=True)
class Compared:
    """Both choices. ``agrees`` None: nothing was compared, because the practice is not in ``shadow``."""

    choice: Choice
    agrees: bool | None
    reason: DifferenceReason | None = None
    detail: str | None = None


async def choose(context: Context, practice_id: int, asked: Asked, reference: str = "") -> Choice:
    """Choose a provider as a payment with this reference would. The phase is at most a second old; it is read from the
    practice's own database, so that an outage of the owner database changes no answer."""
    practice = await context.practice(practice_id)
    snapshot = await context.configured(practice.db)
    wanted = Wanted(asked.currency, asked.amount, asked.payment_method, environment=asked.environment)
    draw = draw_of(practice_id, reference) if reference else 0
    found = await choose_provider(context, snapshot, wanted, ForPayment(draw))
    return Choice(snapshot.rollout, who_decides(snapshot.rollout), found)


async def compare(context: Context, practice_id: int, asked: Asked, provider: str | None, reference: str) -> Compared:
    """Compare the old code's choice with ours, and count an agreement or record a difference, once for each reference: of
    a decision that is reported again, the first report counts.

    ``provider`` is the old code's own spelling; None: it chose none. Only ``shadow`` compares.
    """
    choice = await choose(context, practice_id, asked, reference)
    if choice.phase is not RolloutPhase.shadow:
        return Compared(choice, None)
    known = await practice_rollouts.of_practice(context.owner, practice_id)
    practice = await context.practice(practice_id)
    basis = await basis_of(practice.db, practice_id, await host.reading_of(context))
    in_sync = known is not None and counts(known, basis)
    theirs = None if provider is None else await provider_of(context, provider)
    found = disagreement(theirs, choice.decision, in_sync)
    unit = Unit()
    rollout_differences.compared(unit, practice_id, reference, practice.now())
    if found is None:
        practice_rollouts.agreed(unit, practice_id)
    else:
        rollout_differences.record(unit, _difference(practice, asked, choice, found, (theirs, reference)))
    with suppress(Duplicate):
        await context.owner.commit(unit)
    return Compared(choice, True) if found is None else Compared(choice, False, found.reason, found.detail)


async def forget_old(context: Context) -> None:
    """Delete differences that are older than ``POLYTILL_DIFFERENCE_DAYS``. For the worker."""
    unit = Unit()
    kept = timedelta(days=context.settings.difference_days)
    rollout_differences.forget_before(unit, context.world.now() - kept)
    await context.owner.commit(unit)


async def provider_of(context: Context, written: str) -> str:
    """The code of the provider that the old code's spelling means, by the host's mapping."""
    reading = await host.reading_of(context)
    return reading.mapping.provider_of(written) or names.normal(written) or written


def _difference(
    practice: Practice, asked: Asked, choice: Choice, found: Disagreement, theirs: tuple[str | None, str]
) -> Difference:
    ranked = choice.decision.candidates
    environment = asked.environment or (ranked[0].environment if ranked else Environment.production)
    provider, reference = theirs
    return Difference(
        practice_id=practice.id,
        reference=reference,
        reason=found.reason,
        environment=environment,
        currency=asked.currency,
        detail=found.detail,
        amount=asked.amount,
        payment_method=asked.payment_method,
        legacy_provider=provider,
        our_provider=choice.provider_code,
        at=practice.now(),
    )
