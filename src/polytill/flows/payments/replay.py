"""Replays past payments under another policy: what would have changed, before anybody switches it on.

Each payment is decided twice with the same facts, by the active policy and by the proposed one, so that only the policy
makes a difference. The configurations and what is known of the providers are those of now, because nothing else is
known; nobody is failing. Whether a customer had paid before is not asked, so a rule about it does not match.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from polytill.domain.states import Environment
from polytill.flows.context import Context, Practice, Snapshot
from polytill.flows.payments.candidates import candidates
from polytill.flows.payments.choose import traits_of, wanted_of
from polytill.flows.payments.previews import Under, estimate, policy_under
from polytill.flows.routing.decision import Decision, decide
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


@dataclass(slots=True)
class Sums:
    """Expectations of one policy for payments in one currency: only payments with an estimate of both policies count."""

    payments: int = 0
    fees: int = 0  # minor units
    with_fees: int = 0
    success_ppm: int = 0  # the sum over ``payments``

    @property
    def mean_success_ppm(self) -> int:
        """The expected share of payments that are paid."""
        return self.success_ppm // self.payments if self.payments else 0


@dataclass(frozen=True, slots=True)
class Change:
    """A payment that another provider would have taken, with the decision under the proposed policy."""

    payment: Payment
    before: str
    decision: Decision


@dataclass(slots=True)
class Replay:
    """The report. ``took``: who really took the payments. Counts are by provider."""

    environment: Environment
    active: int  # the version of the active policy; 0: the default order
    payments: int = 0
    changed: int = 0
    nobody: int = 0  # payments that nobody could take now
    is_complete: bool = True  # False: the time or the number was not enough for the whole period
    oldest: datetime | None = None
    took: Counter[str] = field(default_factory=Counter)
    before: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    moved: Counter[tuple[str, str]] = field(default_factory=Counter)
    sums: dict[str, tuple[Sums, Sums]] = field(default_factory=dict)  # by currency: before, after
    changes: list[Change] = field(default_factory=list)


async def simulate(context: Context, practice_id: int, period: Period, under: Under) -> Replay:
    """Replay payments under a proposed policy. ``Invalid`` if the policy is not valid. Changes nothing."""
    practice = await context.practice(practice_id)
    snapshot = await context.configured(practice.db)
    proposed = await policy_under(practice, period.environment, under)
    active = snapshot.policies.get(period.environment)
    policies = active.policy if active else DEFAULT, proposed
    found = Replay(period.environment, active.version if active else 0)
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
    both = [replace(facts, policy=policy) for policy in policies]
    decided = [decide(everyone, wanted, one) for one in both]
    found.payments += 1
    found.oldest = at
    if payment.provider_code:
        found.took[payment.provider_code] += 1
    if not all(one.ranked for one in decided):
        found.nobody += 1
        return
    before, after = (one.ranked[0] for one in decided)
    found.before[before.code] += 1
    found.after[after.code] += 1
    if before.code != after.code:
        found.changed += 1
        found.moved[before.code, after.code] += 1
        if len(found.changes) < MOST_CHANGES:
            found.changes.append(Change(payment, before.code, decided[1]))
    estimates = [estimate(one.candidate, wanted, its) for one, its in zip((before, after), both, strict=True)]
    are_known = all(one.fee is not None for one in estimates)
    for sums, one in zip(found.sums.setdefault(payment.currency, (Sums(), Sums())), estimates, strict=True):
        sums.payments += 1
        sums.success_ppm += one.success_ppm
        if are_known and one.fee is not None:
            sums.with_fees += 1
            sums.fees += one.fee.money.minor
