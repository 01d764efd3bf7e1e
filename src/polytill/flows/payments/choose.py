"""The decision who takes a payment, with the facts of this practice at this time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from polytill.domain.contacts import stored_phone
from polytill.domain.routing import Verdict
from polytill.domain.values import with_changes
from polytill.flows import pool_exchange
from polytill.flows.context import Context, Practice, Snapshot
from polytill.flows.payments import customers
from polytill.flows.payments.candidates import Routed, candidates
from polytill.flows.provider_health import Holder
from polytill.flows.routing.decision import Decision, decide
from polytill.flows.routing.eligibility import Candidate, Wanted, environment_of
from polytill.flows.routing.facts import NO_TRAITS, RoutingFacts, Statistics, Traits
from polytill.flows.routing.health import ProviderHealth
from polytill.providers.contract import Customer
from polytill.storage import payment_search
from polytill.storage.payments import Payment

MOST_DECISIONS = 100  # of one currency that a snapshot keeps


@dataclass(frozen=True, slots=True)
class ForPayment:
    """What is known of the payment that is decided, besides what it requires.

    ``draw``: ``draw_of`` the payment; 0 for a preview of no certain payment. ``traits``: what rules may ask. ``holder``: it
    is made now (``ProvidersHealth.holding``); only then it may probe a provider that is failing. ``tried``: the providers
    that come after the others, because the payment was tried there.
    """

    draw: int = 0
    traits: Traits = NO_TRAITS
    holder: Holder | None = None
    tried: frozenset[str] = frozenset()


async def choose(context: Context, snapshot: Snapshot, wanted: Wanted, payment: ForPayment = ForPayment()) -> Decision:
    """Decide who takes a payment, by the practice's configurations and policies."""
    holder = payment.holder
    everyone = await candidates(context, snapshot, wanted.currency)
    if holder is not None:
        keys = [(one.code, one.environment.value) for one in everyone if one.is_enabled]
        pool_exchange.permit_unasked(context, holder[0], keys)
    if _is_by_default_order(context, snapshot, wanted, payment):
        return _decided_alike(context, snapshot, wanted, everyone)
    facts = facts_of(context, snapshot, wanted, everyone, holder)
    facts = with_changes(facts, draw=payment.draw, traits=payment.traits, tried=payment.tried)
    found = decide(everyone, wanted, facts)
    # Nothing has waited since the health was read, so no other payment of this process has the permit.
    if holder is not None and found.ranked and found.ranked[0].verdict is Verdict.probe:
        context.provider_health.reserve((found.ranked[0].code, environment_of(everyone, wanted).value), holder)
    return found


def _is_by_default_order(context: Context, snapshot: Snapshot, wanted: Wanted, payment: ForPayment) -> bool:
    """Whether a decision depends only on the snapshot, the catalog and the kind of payment: no policy asks about the
    payment, no provider is failing, and nothing is charged to a phone or by its own details."""
    if snapshot.policies or context.provider_health.any_failures or payment.tried:
        return False
    return wanted.phone is None and wanted.details is None


def _decided_alike(context: Context, snapshot: Snapshot, wanted: Wanted, everyone: Sequence[Candidate]) -> Decision:
    """The decision by the default order, made once for all payments of a kind with any amount that every provider takes."""
    routed: Routed = snapshot.routed[wanted.currency]
    requires = wanted.payment_method, wanted.capture, wanted.customer_fields, wanted.saved_method
    kind = (*requires, wanted.environment, wanted.provider_code)
    alike = routed.take_alike(wanted.amount)
    known = routed.decisions.get(kind) if alike else None
    if known is None:
        known = decide(everyone, wanted, facts_of(context, snapshot, wanted, everyone))
        if alike and len(routed.decisions) < MOST_DECISIONS:
            routed.decisions[kind] = known
    return known


def facts_of(
    context: Context, snapshot: Snapshot, wanted: Wanted, everyone: Sequence[Candidate], holder: Holder | None = None
) -> RoutingFacts:
    """The active policy, what is known of the providers, and the time on the practice's clock. Reads no database."""
    environment = environment_of(everyone, wanted)
    at = context.shared_after(0).astimezone(snapshot.place.zone)
    statistics = context.pool.statistics(environment, wanted.currency, wanted.amount, at.timestamp())
    if context.provider_health.any_failures:
        health = _health(context, snapshot, everyone, at, holder)
        statistics = Statistics(statistics.traffic, statistics.charged, health)
    active = snapshot.policies.get(environment)
    if active is None:
        return RoutingFacts(at=at, statistics=statistics)
    return RoutingFacts(at=at, policy=active.policy, version=active.version, statistics=statistics)


def _health(
    context: Context, snapshot: Snapshot, everyone: Iterable[Candidate], at: datetime, holder: Holder | None
) -> dict[str, ProviderHealth]:
    found = {}
    for one in everyone:
        witness = pool_exchange.witness_of(context, snapshot.configurations[one.code].practice_id)
        found[one.code] = context.provider_health.seen((one.code, one.environment.value), at, holder, witness)
    return found


def traits_of(snapshot: Snapshot, currency: str, customer: Customer, metadata: Mapping[str, str] | None) -> Traits:
    """What rules may ask about a payment, from what was given."""
    phone = stored_phone(customer.phone, currency)
    return Traits(
        country=snapshot.place.country,
        metadata=metadata,
        email_domain=customer.email.rpartition("@")[2].lower() if customer.email else None,
        phone_country=phone.country if phone else None,
    )


async def traits_for(
    practice: Practice, snapshot: Snapshot, wanted: Wanted, customer: Customer, metadata: Mapping[str, str] | None
) -> Traits:
    """What the rules of the active policies may ask about a payment. Nothing is read unless one of them asks for it."""
    if not snapshot.policies:
        return NO_TRAITS
    traits = traits_of(snapshot, wanted.currency, customer, metadata)
    environment = environment_of(await candidates(practice.context, snapshot, wanted.currency), wanted)
    active = snapshot.policies.get(environment)
    if active is None or not active.asks_customer or customer.email is None:
        return traits
    is_known = await payment_search.has_paid(practice.db, environment, customer.email)
    return replace(traits, customer_is_known=is_known)


def wanted_of(payment: Payment) -> Wanted:
    """What a payment that exists requires. A payment that charges a saved method is never tried elsewhere."""
    customer = Customer(payment.customer_email, payment.customer_name, payment.customer_phone)
    return Wanted(
        payment.currency,
        payment.amount,
        payment.payment_method,
        payment.capture_mode,
        customers.given(customer, payment.method_details),
        payment.environment,
        payment.provider_code if payment.pinned_provider else None,
        "/saveMethod" if payment.save_method else None,
        payment.method_details,
        customers.charged_phone(customer, payment.method_details, payment.currency),
    )
