"""Makes rows of earlier versions searchable: numbers, identifiers, search rows, keys of saved methods, and e-mails in
their normal form.

Text cannot be folded in SQL, so this is code, in short transactions: after a migration until nothing is left, and in
each sweep of a worker for rows that a node of the earlier version has written meanwhile.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from polytill.domain.contacts import stored_phone
from polytill.domain.errors import Duplicate, Stale
from polytill.domain.identifiers import Identifiers, new_number
from polytill.flows.admin.staff import normalized
from polytill.flows.commits import until_committed
from polytill.flows.context import Context, Practice
from polytill.flows.identifiers import identifiers_of
from polytill.flows.payments.saved_methods import customer_key, is_same_card
from polytill.storage import attempts as storage_attempts
from polytill.storage import (
    disputes,
    payment_identifiers,
    payment_search,
    payments,
    refunds,
    saved_methods,
    search_blocks,
    staff,
)
from polytill.storage.attempts import Attempt
from polytill.storage.databases import OwnerDb, PracticeDb
from polytill.storage.payments import Payment
from polytill.storage.units import Unit

BATCH = 100
SEARCH_ROWS = 200
BLOCKS = 8  # the limit for one sweep


@dataclass(frozen=True, slots=True)
class _Row:
    """A payment with its attempts and their identifiers."""

    payment: Payment
    attempts: list[tuple[Attempt, Identifiers]]


async def index_all(practice: Practice) -> int:
    """Index all rows of a practice that are not searchable yet. Return the number of rows."""
    done = await fold_emails(practice.context, practice.db)
    while found := await index_some(practice):
        done += found
    done += await _search_rows(practice.db)
    while await close_blocks(practice.db):
        pass
    return done


async def _search_rows(db: PracticeDb) -> int:
    """Create missing search rows: a migration that changes their form drops them."""
    done, last = 0, ""
    while True:
        found, after = await payment_search.payments_without(db, last, SEARCH_ROWS)
        if after is None:
            return done
        async with db.transaction() as tx:
            for payment in found:
                payment_search.insert(tx, payment_search.row_of(payment))
        done, last = done + len(found), after


async def close_blocks(db: PracticeDb, most: int = BLOCKS) -> int:
    """Group search rows that are in no block yet. Return the number of new blocks; it stops if another node does the
    same."""
    done = 0
    for environment in await search_blocks.with_enough(db):
        while done < most and (rows := await search_blocks.waiting(db, environment)):
            unit = Unit()
            search_blocks.close(unit, environment, await search_blocks.last_number(db) + 1, rows)
            try:
                await db.commit(unit)
            except (Duplicate, Stale):
                return done
            done += 1
    return done


async def index_some(practice: Practice, limit: int = BATCH) -> int:
    """Index a few payments and saved methods that an earlier version has written."""
    waiting = [await _row(practice, payment) for payment in await payments.without_number(practice.db, limit)]
    try:
        done = await _write(practice, waiting)
    except (Duplicate, Stale):  # a number is taken, or another node does the same: one after the other
        done = sum([await _written(practice, row) for row in waiting])
    without_keys = await saved_methods.without_keys(practice.db, limit)
    unit = Unit()
    for one in without_keys:
        customer = customer_key(one.customer_email, stored_phone(one.customer_phone, one.currency))
        card = is_same_card(one.id, one.config_id, one.fingerprint, customer)
        saved_methods.set_keys(unit, one.id, card, customer)
    await practice.db.commit(unit)
    return done + len(without_keys) + await _name_others(practice.db, limit)


async def _name_others(db: PracticeDb, limit: int) -> int:
    """Set the search keys of a few refunds and disputes that an earlier version has written."""
    of_refunds, of_disputes = (
        await refunds.without_search_keys(db, limit),
        await disputes.without_search_keys(db, limit),
    )
    if of_refunds or of_disputes:
        async with db.transaction() as tx:
            for refund_id, name in of_refunds:
                refunds.set_search_key(tx, refund_id, name)
            for dispute_id, name in of_disputes:
                disputes.set_search_key(tx, dispute_id, name)
    return len(of_refunds) + len(of_disputes)


async def fold_emails(context: Context, db: OwnerDb | PracticeDb) -> int:
    """Write people's e-mails in the current form for comparison. If two become equal, an admin must resolve it."""
    done = 0
    for person in await staff.listed(db):
        if person.email == normalized(person.email):
            continue
        unit = Unit()
        staff.set_email(unit, person.id, normalized(person.email), context.world.now())
        try:
            await db.commit(unit)
            done += 1
        except Duplicate:
            continue
    return done


async def _row(practice: Practice, payment: Payment) -> _Row:
    attempts = await storage_attempts.of_payment(practice.db, payment.id)
    found = []
    for attempt in attempts:
        # The payment has one set of identifiers: those of the attempt whose transaction it has.
        own = payment.provider_transaction_id == attempt.provider_transaction_id
        response = payment.provider_response if own and payment.provider_code == attempt.provider_code else None
        named = await identifiers_of(practice.context, attempt, attempt.provider_transaction_id, response)
        found.append((attempt, named))
    return _Row(payment, found)


async def _write(practice: Practice, rows: list[_Row]) -> int:
    if not rows:
        return 0
    now = practice.now()
    async with practice.db.transaction() as tx:
        for row in rows:
            payment = row.payment
            payment.number = new_number(practice.context.world, practice.context.numbers.digits(practice.id))
            payments.set_number(tx, payment)
            payment_search.insert(tx, payment_search.row_of(payment))
            for attempt, found in row.attempts:
                payment_identifiers.insert(tx, attempt, found, now)
    return len(rows)


async def _written(practice: Practice, row: _Row) -> int:
    async def write() -> int:
        try:
            return await _write(practice, [row])
        except Duplicate:  # another payment has the generated number
            practice.context.numbers.taken(practice.id)
            raise

    with suppress(Stale):  # another node was first
        return await until_committed(write, (Duplicate,))
    return 0
