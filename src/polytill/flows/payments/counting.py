"""Counts the results of attempts for routing: each attempt once, without its practice, its payment or its amount."""

from __future__ import annotations

from polytill.domain.states import AttemptState
from polytill.flows.context import Context
from polytill.flows.payments.decide import Verdict
from polytill.providers.manual import ManualProvider
from polytill.providers.outcomes import Reason
from polytill.storage.attempts import Attempt
from polytill.storage.payments import Payment
from polytill.storage.routing_pool import OutcomeKey

_PAID = frozenset({AttemptState.succeeded, AttemptState.authorized})
# The practice's own keys, or our own request: no other practice would be declined for it.
_NOT_COUNTED = frozenset({Reason.config, Reason.validation, Reason.integrator_bug, Reason.duplicate})


def count(context: Context, payment: Payment, before: Attempt, verdict: Verdict) -> None:
    """Count an attempt that was paid or declined just now. It is called after the commit, which only one process makes.

    A customer who leaves and a link that expires say nothing about the provider. Calls that failed for a technical reason
    are part of its health.
    """
    if before.provider_code == ManualProvider.code:  # staff decide its result
        return
    if payment.certainty is not None:  # taken over: an old fee, and a method in the words of another system
        return
    method = payment.payment_method or ""
    key = OutcomeKey(before.provider_code, before.environment.value, before.currency, method)
    after = verdict.attempt
    if after is not None and before.state not in _PAID and before.state is not AttemptState.declined:
        if after.state in _PAID:
            context.pool.count(key, True)
        elif after.state is AttemptState.declined and after.reason not in _NOT_COUNTED:
            context.pool.count(key, False)
    change = verdict.change
    if change is not None and change.provider_fee is not None and change.provider_fee_currency == payment.currency:
        context.pool.charge(key, payment.amount_captured + change.add_captured, change.provider_fee)
