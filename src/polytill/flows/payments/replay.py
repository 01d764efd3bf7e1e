"""Replays past payments under another policy: what would have changed, before anybody switches it on.

Each payment is decided twice with the same facts, by the active policy and by the proposed one, so that only the policy
makes a difference. The configurations and what is known of the providers are those of now, because nothing else is
known; nobody is failing. Whether a customer had paid before is not asked, so a rule about it does not match.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

from polytill.domain.states import Environment
from polytill.flows.context import Context, Practice, Snapshot
from polytill.flows.payments.candidates import candidates
from polytill.flows.payments.choose import traits_of, wanted_of
from polytill.flows.payments.previews import Under, policy_under
from polytill.flows.routing.comparison import Comparison, Past
from polytill.flows.routing.decision import Decision
from polytill.flows.routing.facts import RoutingFacts, draw_of
from polytill.flows.routing.policy import DEFAULT, Policy
from polytill.providers.contract import Customer
from polytill.storage import payment_lists
from polytill.storage.payment_lists import Filters
from polytill.storage.payments import Payment

MOST_PAYMENTS = 5000
LONGEST_S = 10.0
PAGE = 200
MOST_CHANGES = 20  # that are reported one by one


@dataclass(frozen=True, slots=True)
class Period:
    """The payments to replay: the newest ones of one environment, up to ``limit``. ``until`` is exclusive."""

    environment: Environment
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class Change:
    """A payment that another provider would have taken, with the decision under the proposed policy."""

    payment: Payment
    before: str
    decision: Decision


@dataclass(slots=True)
class Replay(Comparison):
    """The report about the payments of one environment."""

    environment: Environment = Environment.production
    active: int = 0  # the version of the active policy; 0: the default order
    is_complete: bool = True  # False: the time or the number was not enough for the whole period
    oldest: datetime | None = None
    changes: list[Change] = field(default_factory=list)


async def simulate(context: Context, practice_id: int, period: Period, under: Under) -> Replay:
    """Replay payments under a proposed policy. ``Invalid`` if the policy is not valid. Changes nothing."""
    practice = await context.practice(practice_id)
    snapshot = await context.configured(practice.db)
    proposed = await policy_under(practice, period.environment, under)
    active = snapshot.policies.get(period.environment)
    policies = active.policy if active else DEFAULT, proposed
    found = Replay(environment=period.environment, active=active.version if active else 0)
    async for payment in _past(practice, period, found):
        await _replayed(practice, snapshot, payment, policies, found)
    return found


async def _past(practice: Practice, period: Period, found: Replay) -> AsyncIterator[Payment]:
    clock = practice.context.world.elapsed_s
    begun_s, before, left = clock(), None, min(period.limit, MOST_PAYMENTS)
    while left > 0 and clock() - begun_s < LONGEST_S:
        asked = min(PAGE, left)
        filters = Filters(period.environment, created_from=period.since, created_to=period.until, before=before)
        page = await payment_lists.listed(practice.db, filters, asked)
        for payment in page:
            yield payment
        if len(page) < asked:
            return
        left, before = left - asked, (page[-1].created_at, page[-1].id)
    found.is_complete = False


async def _replayed(
    practice: Practice, snapshot: Snapshot, payment: Payment, policies: tuple[Policy, Policy], found: Replay
) -> None:
    wanted = wanted_of(payment)
    everyone = await candidates(practice.context, snapshot, payment.currency)
    at = payment.created_at
    known = practice.context.pool.statistics(
        payment.environment, payment.currency, payment.amount, practice.now().timestamp()
    )
    customer = Customer(payment.customer_email, payment.customer_name, payment.customer_phone)
    facts = RoutingFacts(
        at=at.astimezone(snapshot.place.zone),
        draw=draw_of(practice.id, payment.idempotency_key),
        statistics=known,
        traits=traits_of(snapshot, payment.currency, customer, payment.metadata),
    )
    found.oldest = at
    changed = found.add(Past(wanted, tuple(everyone), facts, payment.provider_code), *policies)
    if changed is not None and len(found.changes) < MOST_CHANGES:
        before, after = changed
        found.changes.append(Change(payment, before.ranked[0].code, after))
