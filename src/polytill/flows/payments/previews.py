"""Decisions about payments that nobody makes: who would take them, under which policy, and at what cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from polytill.domain.errors import Invalid, NotFound
from polytill.domain.metadata import read_metadata
from polytill.domain.routing import Verdict
from polytill.domain.states import CaptureMode, Environment
from polytill.flows import active_policies, pool_exchange
from polytill.flows.context import Context, Practice, Snapshot
from polytill.flows.payments import customers
from polytill.flows.payments.candidates import candidates
from polytill.flows.payments.choose import facts_of, traits_of
from polytill.flows.routing.comparison import Estimate, estimate
from polytill.flows.routing.decision import Decision, decide
from polytill.flows.routing.eligibility import Candidate, Wanted, environment_of
from polytill.flows.routing.facts import RoutingFacts, draw_of
from polytill.flows.routing.health import verdict
from polytill.flows.routing.policy import DEFAULT, Policy
from polytill.flows.routing.policy_reading import parse_draft
from polytill.providers.contract import Customer
from polytill.storage import routing_policies
from polytill.storage.provider_configs import Configuration
from polytill.storage.routing_policies import NO_POLICY


@dataclass(frozen=True, slots=True)
class Hypothetical:
    """A payment that might be made. None: not known, so that it excludes no provider and no rule asks about it."""

    currency: str
    amount: int | None = None  # minor units
    payment_method: str | None = None
    capture: CaptureMode = CaptureMode.automatic
    customer: Customer | None = None
    metadata: dict[str, str] | None = None
    environment: Environment | None = None
    provider_code: str | None = None
    at: datetime | None = None  # None: now
    key: str | None = None  # its idempotency key, which decides who is drawn
    customer_is_known: bool | None = None


@dataclass(frozen=True, slots=True)
class Under:
    """The policy of a preview: the active one, a version (0: the default order), or one that is not stored."""

    version: int | None = None
    document: Any = None


ACTIVE = Under()


@dataclass(frozen=True, slots=True)
class Preview:
    """A decision about a hypothetical payment, and what is expected of each provider that can take it."""

    environment: Environment
    at: datetime
    decision: Decision
    estimates: Mapping[str, Estimate] = field(default_factory=dict)


async def preview(context: Context, practice_id: int, wish: Hypothetical, under: Under = ACTIVE) -> Preview:
    """Decide who would take a payment. ``Invalid`` if the payment or the policy is not valid."""
    practice = await context.practice(practice_id)
    snapshot = await context.configured(practice.db)
    customer, metadata = wish.customer, read_metadata(wish.metadata)
    if customer is not None:
        customer = customers.read_customer(customer, customers.countries_of(snapshot.place, wish.currency))
    wanted = Wanted(
        wish.currency, wish.amount, wish.payment_method, wish.capture, customer.fields() if customer else None,
        wish.environment, wish.provider_code,
        phone=customers.charged_phone(customer, None, wish.currency) if customer else None,
    )  # fmt: skip
    everyone = await candidates(context, snapshot, wish.currency)
    environment = environment_of(everyone, wanted)
    facts = await facts_under(practice, snapshot, wanted, everyone, under)
    traits = traits_of(snapshot, wish.currency, customer or Customer(), metadata)
    facts = replace(
        facts,
        traits=replace(traits, customer_is_known=wish.customer_is_known),
        draw=draw_of(practice_id, wish.key) if wish.key else 0,
        at=wish.at.astimezone(snapshot.place.zone) if wish.at else facts.at,
    )
    found = decide(everyone, wanted, facts)
    return Preview(environment, facts.at, found, {one.code: estimate(one, wanted, facts) for one in found.candidates})


async def facts_under(
    practice: Practice, snapshot: Snapshot, wanted: Wanted, everyone: Sequence[Candidate], under: Under
) -> RoutingFacts:
    """The facts of now, under another policy if one is given. ``NotFound`` for a version that does not exist."""
    facts = facts_of(practice.context, snapshot, wanted, everyone)
    if under == ACTIVE:
        return facts
    policy = await policy_under(practice, environment_of(everyone, wanted), under)
    return replace(facts, policy=policy, version=under.version or None)


async def policy_under(practice: Practice, environment: Environment, under: Under) -> Policy:
    """A policy that is not the active one. ``Invalid`` if it is not valid, ``NotFound`` if it does not exist."""
    if under.document is not None:
        found = parse_draft(under.document, frozenset(await practice.context.catalog()))
        if found.policy is None:
            raise Invalid(
                [replace(one, pointer=f"/policy{one.pointer}") for one in found.errors], code="invalid_policy"
            )
        return found.policy
    if under.version in (None, NO_POLICY):
        return DEFAULT
    stored = await routing_policies.version(practice.db, environment, under.version)
    if stored is None:
        raise NotFound(f"There is no version {under.version} of the routing policy for {environment}.")
    known, _ = active_policies.read_again(stored.content)
    return known or DEFAULT


async def costs(context: Context, snapshot: Snapshot, currency: str, amount: int) -> dict[str, Estimate]:
    """What each configured provider would charge for an amount (minor units), whether or not it can take it."""
    everyone, wanted = await candidates(context, snapshot, currency), Wanted(currency, amount)
    facts = facts_of(context, snapshot, wanted, everyone)
    return {one.code: estimate(one, wanted, facts) for one in everyone}


def health_of(context: Context, configuration: Configuration) -> Verdict:
    """Whether the provider of a configuration works now, as far as this process knows."""
    at = context.shared_after(0)
    key = configuration.provider_code, configuration.environment.value
    witness = pool_exchange.witness_of(context, configuration.practice_id)
    return verdict(context.provider_health.seen(key, at, witness=witness), at)
