"""The identifiers in a provider's answer, as its handler declares them, and the attempt that a fact is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from polytill.domain.errors import NotNow
from polytill.domain.identifiers import IdentifierKind, Identifiers
from polytill.domain.money import Money
from polytill.domain.states import AttemptState, Environment
from polytill.flows.context import Context
from polytill.flows.handler_guard import declared
from polytill.flows.handlers import handler_for
from polytill.providers.contract import Fact, PaymentFact, RefundFact
from polytill.providers.outcomes import Outcome, Succeeded
from polytill.storage import attempts, payment_identifiers, payments, refunds
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment
from polytill.storage.units import Unit


async def identifiers_of(
    context: Context, attempt: Attempt, transaction_id: str | None, response: object
) -> Identifiers:
    """The provider's main id of a payment, and the identifiers in its answer. Only the main id if there is no handler
    to read the answer, or no catalog: what is known of money is written without waiting for either."""
    try:
        handler = await handler_for(context, attempt)
    except NotNow:
        handler = None
    found: Identifiers = {IdentifierKind.transaction: (transaction_id,)} if transaction_id else {}
    if handler is not None and response is not None:
        for kind, values in declared(handler, "read_identifiers", dict, {}, response).items():
            found[kind] = tuple(dict.fromkeys((*found.get(kind, ()), *values)))
    return found


async def named_by_outcome(context: Context, attempt: Attempt, outcome: Outcome) -> Identifiers:
    """The identifiers that an outcome names for an attempt. Those of an earlier failed transaction are left out, and
    those of another transaction under the same reference: that one gets its own attempt
    (``flows/payments/second_transactions.py``)."""
    named = getattr(outcome, "provider_transaction_id", None)
    known = attempt.provider_transaction_id
    if attempt.state is AttemptState.succeeded and (
        not isinstance(outcome, Succeeded) or (named and known and named != known)
    ):
        return {}
    return await identifiers_of(context, attempt, named, getattr(outcome, "response", None))


async def identified_by_unsigned(
    context: Context, attempt: Attempt, fact: PaymentFact, outcome: Outcome
) -> Identifiers:
    """Identifiers that only an unsigned webhook names, such as M-Pesa's receipt number. They are accepted if the
    provider itself says that this very transaction is paid."""
    told, named = fact.outcome, fact.provider_transaction_id
    if not isinstance(outcome, Succeeded) or not isinstance(told, Succeeded) or named is None:
        return {}
    if named != outcome.provider_transaction_id:
        return {}
    known = await identifiers_of(context, attempt, named, outcome.response)
    others = await identifiers_of(context, attempt, None, told.response)
    return {kind: values for kind, values in others.items() if kind not in known}


async def with_unsigned_identifiers(
    context: Context, attempt: Attempt, fact: PaymentFact, outcome: Outcome, also: Callable[[Unit], None]
) -> Callable[[Unit], None]:
    """``also``, extended by the identifiers that only the unsigned webhook names."""
    told = await identified_by_unsigned(context, attempt, fact, outcome)

    def with_names(unit: Unit) -> None:
        payment_identifiers.insert(unit, attempt, told, context.world.now())
        also(unit)

    return with_names


@dataclass(frozen=True, slots=True)
class Named:
    """The attempt that a fact names, with its payment. ``owner``: the attempt that has the fact's provider id, if the
    fact is about a payment."""

    attempt: Attempt
    payment: Payment
    owner: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """The configuration and environment from which a fact comes."""

    config_id: int
    environment: Environment

    def may_name(self, attempt: Attempt, payment: Payment, fact: Fact) -> bool:
        """Whether a fact that has an attempt's reference is about it. Pure.

        Ours are unique. That of a past payment was given by the host's own code, which may use it again: with another
        provider, in another environment, or for another transaction. If that of the payment is not known, another amount
        tells.
        """
        if payment.certainty is None:
            return True
        known, named = attempt.provider_transaction_id, fact.provider_transaction_id
        is_other = bool(known and named and known != named)
        if known is None and isinstance(fact, PaymentFact) and isinstance(fact.outcome, Succeeded):
            is_other = fact.outcome.amount != Money(attempt.amount, attempt.currency)
        return (attempt.config_id, attempt.environment) == (self.config_id, self.environment) and not is_other


async def named_by_fact(db: PracticeDb, config_id: int, environment: Environment, fact: Fact) -> Named | None:
    """The attempt that a fact is about, as ``attempt_of`` finds it, with its payment: one read for a payment's fact."""
    if not isinstance(fact, PaymentFact):
        attempt = await attempt_of(db, config_id, environment, fact)
        payment = await payments.by_id(db, attempt.payment_id) if attempt else None
        return Named(attempt, payment) if attempt and payment else None
    reference, transaction = str(fact.reference or ""), fact.provider_transaction_id or None
    found = await attempts.named(db, reference, config_id, environment, transaction)
    owned = [one for one in found if transaction and one[0].provider_transaction_id == transaction]
    owned = [one for one in owned if (one[0].config_id, one[0].environment) == (config_id, environment)]
    about = Account(config_id, environment)
    by_name = (one for one in found if one[0].id == reference and about.may_name(*one, fact))
    named = next(by_name, owned[0] if owned else None)
    return Named(*named, owned[0][0] if owned else None) if named else None


async def attempt_of(db: PracticeDb, config_id: int, environment: Environment, fact: Fact) -> Attempt | None:
    """The attempt that a fact is about: by our reference, by that of a refund of it, or by the provider's ids."""
    reference = fact.reference if isinstance(fact, PaymentFact) else fact.payment_reference
    if reference:
        found = await attempts.by_reference(db, str(reference))
        if found is not None and Account(config_id, environment).may_name(*found, fact):
            return found[0]
    if isinstance(fact, RefundFact) and fact.reference:
        refund = await refunds.by_id(db, fact.reference)
        if refund is not None:
            return await attempts.by_id(db, refund.attempt_id)
    if fact.provider_transaction_id:
        return await attempts.by_provider_id(db, config_id, environment, fact.provider_transaction_id)
    if not isinstance(fact, PaymentFact) and fact.provider_charge_id:
        return await payment_identifiers.attempt_of_charge(db, config_id, environment, fact.provider_charge_id)
    return None
