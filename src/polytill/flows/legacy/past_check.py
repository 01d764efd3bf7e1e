"""Asks providers about past payments, one after the other and at a limited rate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from polytill.domain.money import Money
from polytill.domain.past_payments import Certainty, Doubt
from polytill.flows.context import Practice
from polytill.flows.provider_calls import fetched
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Outcome, Pending, Reason, Succeeded, Unknown
from polytill.storage import attempts
from polytill.storage.past_payments import Known, Learned
from polytill.storage.payments import Payment

# Doubts that the provider's word ends. Whether it is disputed, a lookup does not say.
_ANSWERED = frozenset(Doubt) - {Doubt.disputed}


class Checker:
    """Looks past payments up. ``per_second``: calls in a second, at most. ``pause``: waits for some seconds."""

    def __init__(self, per_second: float, pause: Callable[[float], Awaitable[object]]) -> None:
        self._every_s, self._pause = 1 / per_second, pause
        self._next_s = float("-inf")

    async def ask(self, practice: Practice, known: Known, tried: str | None = None) -> Outcome:
        """The provider's answer about a past payment. ``tried``: what may be its reference, if nothing names it for
        certain."""
        attempt = await attempts.by_id(practice.db, known.attempt_id)
        assert attempt is not None
        elapsed_s = practice.context.world.elapsed_s
        if (wait_s := self._next_s - elapsed_s()) > 0:
            await self._pause(wait_s)
        self._next_s = max(self._next_s, elapsed_s()) + self._every_s
        is_named = attempt.provider_transaction_id is not None or tried is None
        return await fetched(practice, attempt if is_named else replace(attempt, id=tried or ""), None)


async def learned_from(practice: Practice, known: Known, payment: Payment, outcome: Outcome) -> Learned | None:
    """What an answer tells of a past payment as it is now. None if it proves nothing."""
    attempt = await attempts.by_id(practice.db, known.attempt_id)
    assert attempt is not None
    doubt = _doubt_of(outcome, Money(attempt.amount, attempt.currency))
    if doubt is None:
        return None
    kept = [Doubt(one) for one in payment.doubts or () if Doubt(one) not in _ANSWERED]
    doubts = tuple([*doubt, *kept])
    if not isinstance(outcome, Succeeded):
        return Learned(Certainty.uncertain, doubts)
    named = outcome.provider_transaction_id if attempt.provider_transaction_id is None else None
    if named is not None:
        owner = await attempts.by_provider_id(practice.db, attempt.config_id, attempt.environment, named)
        if owner is not None and owner.id != attempt.id:  # another installment of the same invoice, perhaps
            return Learned(Certainty.uncertain, (Doubt.no_transaction_id, *kept))
    fee = outcome.fee if payment.provider_fee is None else None
    return Learned(
        Certainty.uncertain if doubts else Certainty.verified,
        doubts,
        named,
        fee.minor if fee and not doubts else None,
        fee.currency if fee and not doubts else None,
        outcome.response if payment.provider_response is None else None,
    )


def _doubt_of(outcome: Outcome, amount: Money) -> list[Doubt] | None:
    """The doubt that an answer leaves, if any. None: it proves nothing."""
    match outcome:
        case Succeeded(authorized_only=False):
            if outcome.amount.currency != amount.currency:
                return [Doubt.other_currency]
            return [] if outcome.amount == amount else [Doubt.other_amount]
        case Succeeded() | Declined() | NeedsAction() | Pending():
            return [Doubt.not_paid]
        case NotSent(reason=Reason.not_found) | Unknown(reason=Reason.not_found):
            return [Doubt.not_found]
        case _:
            return None
