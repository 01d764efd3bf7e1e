"""Whether a provider's "canceled" or "expired" ends the payment, or only an attempt, so that another may follow."""

from __future__ import annotations

from dataclasses import replace

from polytill.domain.states import AttemptState, OperationKind
from polytill.flows.context import Practice
from polytill.providers.outcomes import Declined, Outcome
from polytill.storage import operations
from polytill.storage.attempts import Attempt
from polytill.storage.payments import Payment


async def as_closed(practice: Practice, payment: Payment, attempt: Attempt, outcome: Outcome) -> Outcome:
    """The outcome, without ``closed_for_certain`` if the payment itself ends: staff are canceling it, it has expired,
    or an authorization was released."""
    if not isinstance(outcome, Declined) or not outcome.closed_for_certain:
        return outcome
    is_over = payment.expires_at is not None and payment.expires_at <= practice.now()
    is_hold = attempt.state is AttemptState.authorized
    if (
        is_over
        or is_hold
        or any(one.kind is OperationKind.cancel for one in await operations.open_of_payment(practice.db, payment.id))
    ):
        return replace(outcome, closed_for_certain=False)
    return outcome
