"""Payment links: staff request an amount, and anybody who opens the link can pay it.

A single-use link has one payment, created by its first customer and shown to all others: two payments of one link can
never both be payable. That payment stays payable as long as the link. A reusable link creates one for each customer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, NotFound, Stale, TooMany, invalid
from polytill.domain.ids import address, new_id
from polytill.domain.money import Money
from polytill.domain.states import Environment, LinkState
from polytill.flows.command import Command
from polytill.flows.context import Context, Practice
from polytill.flows.payments.choose import choose
from polytill.flows.payments.create import create_payment, refused
from polytill.flows.payments.customers import unless_blank
from polytill.flows.payments.reading import PaymentDetails, details_of
from polytill.flows.payments.request import PaymentRequest
from polytill.flows.payments.retries import is_over_for_certain, may_try_again
from polytill.flows.practice_state import why_nothing_new
from polytill.flows.routing.eligibility import Wanted, Way, ways_of
from polytill.providers.contract import Customer
from polytill.storage import audit, payment_links, payments
from polytill.storage.payment_links import PaymentLink
from polytill.storage.payments import Payment
from polytill.storage.units import Unit

LINK_TOKEN = b"payment link"
LASTS_DAYS, LONGEST_DAYS = 30, 366
BEGUN_A_MINUTE = 30


@dataclass(frozen=True, slots=True)
class LinkWish:
    """A request to create a link. ``amount`` is in minor units; without ``expires_at`` a link lasts thirty days."""

    amount: int
    currency: str
    description: str
    reference: str | None = None
    single_use: bool = True
    expires_at: datetime | None = None
    environment: Environment | None = None


def link_token(context: Context, link: PaymentLink) -> str:
    """The token in a link's address. A key authenticates it, so nothing needs to be stored."""
    return address(LINK_TOKEN, link.practice_id, link.id.encode(), context.ring.derived("addresses")[0])


def link_address(context: Context, link: PaymentLink) -> str:
    """The address at which customers open the link."""
    return f"{context.settings.public_url}/pay/link/{link_token(context, link)}"


async def create_link(context: Context, practice_id: int, wish: LinkWish, actor: str) -> PaymentLink:
    """Create a link if a provider of the practice can take its payment."""
    if (refusal := why_nothing_new(await context.opening.entry(practice_id))) is not None:
        raise refusal
    now = context.world.now()
    expires_at = wish.expires_at or now + timedelta(days=LASTS_DAYS)
    if not now < expires_at <= now + timedelta(days=LONGEST_DAYS):
        raise invalid("/expiresAt", f"A link ends in the future, and within {LONGEST_DAYS} days.")
    practice = await context.practice(practice_id)
    snapshot = await context.configured(practice.db)
    wanted = Wanted(wish.currency, wish.amount, environment=wish.environment)
    found = await choose(context, snapshot, wanted)
    if not found.ranked:
        raise refused(found, wish.currency)
    link = PaymentLink(
        new_id(context.world),
        practice_id,
        found.candidates[0].environment,
        wish.amount,
        wish.currency,
        wish.description,
        unless_blank(wish.reference),
        wish.single_use,
        LinkState.open,
        expires_at,
        actor,
        now,
        now,
    )
    unit = Unit()
    payment_links.insert(unit, link)
    detail = {"amount": wish.amount, "currency": wish.currency, "singleUse": wish.single_use}
    audit.append(unit, now, actor, AuditAction.payment_link_created, link.id, detail)
    await practice.db.commit(unit)
    return link


async def find_link(context: Context, practice_id: int, link_id: str) -> tuple[Practice, PaymentLink]:
    """A link of a practice; ``NotFound`` otherwise."""
    practice = await context.practice(practice_id)
    link = await payment_links.by_id(practice.db, link_id)
    if link is None:
        raise NotFound("There is no such payment link.")
    return practice, link


async def link_behind(context: Context, token: str) -> tuple[Practice, PaymentLink]:
    """The link that a token names; ``NotFound`` for an invalid token."""
    found = context.ring.read_address(LINK_TOKEN, token)
    if found is None:
        raise NotFound("There is no such payment link.")
    return await find_link(context, found[0], found[1].decode("ascii", "replace"))


async def close_link(context: Context, practice_id: int, link_id: str, actor: str) -> PaymentLink:
    """Close a link: no payment can start through it any more. A payment that has started is canceled separately."""
    practice, link = await find_link(context, practice_id, link_id)
    if link.state is LinkState.open:
        now = context.world.now()
        unit = Unit()
        payment_links.close(unit, link_id, now)
        audit.append(unit, now, actor, AuditAction.payment_link_closed, link_id)
        with suppress(Stale):  # another request closed it at the same time
            await practice.db.commit(unit)
        _, link = await find_link(context, practice_id, link_id)
    return link


async def only_payment(practice: Practice, link: PaymentLink) -> Payment | None:
    """The payment of a single-use link that its customers are sent to. None if a new one may start, because there is
    none yet or the last one has failed for good. While it could still be paid, there is no other."""
    if not link.single_use or not (begun := await payment_links.payments_of(practice.db, link.id)):
        return None
    payment = await payments.by_id(practice.db, begun[0])
    if payment is None:
        return None
    found = await details_of(practice.db, payment)
    is_open = link.status(practice.now()) == "open"
    over = is_over_for_certain(payment, found.attempts)
    return None if is_open and over and not may_try_again(practice.context, payment, found.attempts) else payment


async def way_back(practice: Practice, found: PaymentDetails) -> str | None:
    """The token of the link on which the customer of a payment that failed for good can start another one."""
    maker, _, link_id = found.payment.created_by.partition(":")
    if maker != "link" or not is_over_for_certain(found.payment, found.attempts):
        return None
    link = await payment_links.by_id(practice.db, link_id)
    if link is None or link.status(practice.now()) != "open":
        return None
    return link_token(practice.context, link) if await only_payment(practice, link) is None else None


async def ways(practice: Practice, link: PaymentLink) -> list[Way]:
    """The providers that can take a link's payment now, best first; of those that need the same fields only the first."""
    wanted = Wanted(link.currency, link.amount, environment=link.environment)
    found = await choose(practice.context, await practice.context.configured(practice.db), wanted)
    return ways_of(found.candidates)


def _key(link: PaymentLink, payer_key: str) -> str:
    # The space keeps it different from every Idempotency-Key of the API.
    if not link.single_use:
        return f"link {link.id} {payer_key}"
    return f"link {link.id} {link.started + 1}" if link.started else f"link {link.id}"


class _OutOfDate(Exception):
    """Another payment has started through the link since it was read, or something else changed. Nothing was written."""


async def begin(
    context: Context,
    practice_id: int,
    link_id: str,
    customer: Customer,
    payer_key: str,
    provider_code: str | None = None,
) -> PaymentDetails:
    """Start a customer's payment, at the provider that they chose or the best one. The same ``payer_key`` (any, on a
    single-use link) returns the same payment."""
    for _ in range(2 * BEGUN_A_MINUTE):  # a request that loses this often reaches the rate limit first
        with suppress(_OutOfDate):
            return await _begin(context, practice_id, link_id, customer, payer_key, provider_code)
    raise Stale


async def _begin(
    context: Context, practice_id: int, link_id: str, customer: Customer, payer_key: str, provider_code: str | None
) -> PaymentDetails:
    practice, link = await find_link(context, practice_id, link_id)
    now = context.world.now()
    begun = await only_payment(practice, link)
    if begun is not None:
        return await details_of(practice.db, begun)
    known = None if link.single_use else await payments.by_key(practice.db, _key(link, payer_key))
    if known is None:
        _refuse_unless_open(link, now)
        if await payment_links.started_since(practice.db, link.id, now - timedelta(minutes=1)) >= BEGUN_A_MINUTE:
            raise TooMany
    usual = now + timedelta(seconds=context.settings.payment_expires_s)
    request = PaymentRequest(
        amount=Money(link.amount, link.currency),
        customer=customer,
        description=link.description,
        reference=link.reference,
        environment=link.environment,
        provider_code=provider_code,
        expires_at=link.expires_at if link.single_use else min(usual, link.expires_at),
    )
    # The link identifies the request: whoever opens it a second time may type other customer data.
    command = Command(_key(link, payer_key), f"link:{link.id}").about("payment link", link.id)
    return await create_payment(context, practice_id, request, command, _used(link, now))


def _used(link: PaymentLink, now: datetime) -> Callable[[Unit, Payment], None]:
    tried = False

    def also(unit: Unit, payment: Payment) -> None:
        nonlocal tried
        if tried:  # the link must be read again before its use is written once more
            raise _OutOfDate
        tried = True
        payment_links.use(unit, link, payment.id, now)

    return also


def _refuse_unless_open(link: PaymentLink, now: datetime) -> None:
    status = link.status(now)
    if status != "open":
        raise Conflict(f"This payment link is {status}.", code="link_not_open")
