"""Payment links: staff ask for an amount, and whoever opens the link begins a payment of it.

A link of single use has one payment for ever, made by the first who asks and shown to everybody else: there are never
two payable links for one amount. That payment stays payable as long as the link. A reusable link makes a payment for
each payer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from polytill.domain.errors import Conflict, Forbidden, NotFound, Stale, TooMany, invalid
from polytill.domain.ids import address, new_id, read_address
from polytill.domain.states import Environment
from polytill.flows.desk import Desk
from polytill.flows.pay import PaymentRequest, Taken, candidates, create_payment, refused
from polytill.flows.route import Wanted, route
from polytill.providers.contract import Customer
from polytill.storage import audit, payment_links, payments
from polytill.storage.databases import PracticeDb
from polytill.storage.payment_links import PaymentLink
from polytill.storage.payments import Payment
from polytill.storage.units import Unit

LINK_TOKEN = b"payment link"
LASTS_DAYS, LONGEST_DAYS = 30, 366
BEGUN_A_MINUTE = 30


@dataclass(frozen=True, slots=True)
class LinkWish:
    """What staff ask for. ``amount`` is minor units; without ``expires_at`` a link lasts thirty days."""

    amount: int
    currency: str
    description: str
    reference: str | None = None
    single_use: bool = True
    expires_at: datetime | None = None
    environment: Environment | None = None


def link_token(desk: Desk, link: PaymentLink) -> str:
    """The token in a link's address: proven by a key, so that nothing needs to be stored."""
    return address(LINK_TOKEN, link.practice_id, link.id.encode(), desk.ring.derived("addresses")[0])


def link_address(desk: Desk, link: PaymentLink) -> str:
    """Where payers open it."""
    return f"{desk.settings.public_url}/pay/link/{link_token(desk, link)}"


async def create_link(desk: Desk, practice_id: int, wish: LinkWish, actor: str) -> PaymentLink:
    """Make a link that somebody here can really take a payment for."""
    entry = await desk.opening.entry(practice_id)
    if entry.state != "active":
        raise Forbidden("This practice is suspended.", reason="practice_suspended")
    now = desk.world.now()
    expires_at = wish.expires_at or now + timedelta(days=LASTS_DAYS)
    if not now < expires_at <= now + timedelta(days=LONGEST_DAYS):
        raise invalid("/expiresAt", f"A link ends in the future, and within {LONGEST_DAYS} days.")
    db = await desk.opening.practice(practice_id)
    snapshot = await desk.configured(db)
    wanted = Wanted(wish.currency, wish.amount, environment=wish.environment)
    found = route(await candidates(desk, snapshot, wish.currency), wanted)
    if not found.ranked:
        raise refused(found, wish.currency)
    link = PaymentLink(
        new_id(desk.world), practice_id, found.ranked[0].environment, wish.amount, wish.currency, wish.description,
        wish.reference, wish.single_use, "open", expires_at, actor, now, now,
    )  # fmt: skip
    unit = Unit()
    payment_links.insert(unit, link)
    detail = {"amount": wish.amount, "currency": wish.currency, "singleUse": wish.single_use}
    audit.append(unit, now, actor, "payment_link.created", link.id, detail)
    await db.commit(unit)
    return link


async def find_link(desk: Desk, practice_id: int, link_id: str) -> tuple[PracticeDb, PaymentLink]:
    """A link of a practice; ``NotFound`` otherwise."""
    db = await desk.opening.practice(practice_id)
    link = await payment_links.by_id(db, link_id)
    if link is None:
        raise NotFound("There is no such payment link.")
    return db, link


async def link_behind(desk: Desk, token: str) -> tuple[PracticeDb, PaymentLink]:
    """The link that a token names; ``NotFound`` for a token that is not ours."""
    found = read_address(LINK_TOKEN, token, desk.ring.derived("addresses"))
    if found is None:
        raise NotFound("There is no such payment link.")
    return await find_link(desk, found[0], found[1].decode("ascii", "replace"))


async def close_link(desk: Desk, practice_id: int, link_id: str, actor: str) -> PaymentLink:
    """No payment begins through it any more; one that has begun is called off on its own. Closed stays closed."""
    db, link = await find_link(desk, practice_id, link_id)
    if link.state == "open":
        now = desk.world.now()
        unit = Unit()
        payment_links.close(unit, link_id, now)
        audit.append(unit, now, actor, "payment_link.closed", link_id)
        with suppress(Stale):  # another closed it at the same time
            await db.commit(unit)
        _, link = await find_link(desk, practice_id, link_id)
    return link


async def only_payment(db: PracticeDb, link: PaymentLink) -> Payment | None:
    """The one payment of a link of single use, once it has begun."""
    return await payments.by_key(db, _key(link, "")) if link.single_use else None


def _key(link: PaymentLink, payer_key: str) -> str:
    # With a space in it: no Idempotency-Key of the API can be the same.
    return f"link {link.id}" if link.single_use else f"link {link.id} {payer_key}"


class _OutOfDate(Exception):
    """Since the link was read, another payment began through it, or something else changed; nothing was written."""


async def begin(desk: Desk, practice_id: int, link_id: str, customer: Customer, payer_key: str) -> Taken:
    """A payer begins to pay. The same ``payer_key`` (and on a link of single use any) gives the same payment."""
    for _ in range(2 * BEGUN_A_MINUTE):  # who comes too late so often meets the limit before
        with suppress(_OutOfDate):
            return await _begin(desk, practice_id, link_id, customer, payer_key)
    raise Stale


async def _begin(desk: Desk, practice_id: int, link_id: str, customer: Customer, payer_key: str) -> Taken:
    db, link = await find_link(desk, practice_id, link_id)
    now = desk.world.now()
    known = await payments.by_key(db, _key(link, payer_key))
    if known is None:
        _refuse_unless_open(link, now)
        if await payment_links.started_since(db, link.id, now - timedelta(minutes=1)) >= BEGUN_A_MINUTE:
            raise TooMany
    usual = now + timedelta(seconds=desk.settings.payment_expires_s)
    request = PaymentRequest(
        amount=link.amount, currency=link.currency, idempotency_key=_key(link, payer_key),
        request_hash=f"link {link.id}", customer=customer, description=link.description, reference=link.reference,
        environment=link.environment,
        expires_at=link.expires_at if link.single_use else min(usual, link.expires_at),
    )  # fmt: skip
    return await create_payment(desk, practice_id, request, f"link:{link.id}", _used(link, now))


def _used(link: PaymentLink, now: datetime) -> Callable[[Unit, Payment], None]:
    tried = False

    def also(unit: Unit, payment: Payment) -> None:
        nonlocal tried
        if tried:  # the link has to be read anew before its use is written once more
            raise _OutOfDate
        tried = True
        payment_links.use(unit, link, payment.id, now)

    return also


def _refuse_unless_open(link: PaymentLink, now: datetime) -> None:
    status = link.status(now)
    if status != "open":
        raise Conflict(f"This payment link is {status}.", code="link_not_open")
