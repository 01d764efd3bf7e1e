"""Lists of payments: filters, search and pages, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from polytill.domain.contacts import email_key
from polytill.domain.identifiers import identifier_key
from polytill.domain.search import Term, read_query
from polytill.domain.states import Environment
from polytill.domain.text import compact, normal, visible
from polytill.storage import search_blocks
from polytill.storage.columns import Condition
from polytill.storage.databases import PracticeDb
from polytill.storage.payment_search import Identified, are_many, fits, identifiers_typed, named
from polytill.storage.payments import PAYMENTS, Payment
from polytill.storage.search_blocks import Found

# The number of blocks read first and then per step, and how many workers may create while a search reads.
FIRST_BLOCKS, MORE_BLOCKS, LATER_BLOCKS = 16, 64, 8
MOST_IDENTIFIED = 500
_AS_IT_IS, _OF_NO_INDEX = "", " || ''"


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of a list of payments. ``before`` is the cursor: (created_at, id) of the last row seen."""

    environment: Environment
    status: str | None = None
    provider_code: str | None = None
    currency: str | None = None
    reference: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    before: tuple[datetime, str] | None = None
    standing: str | None = None  # one of STANDINGS
    search: str | None = None  # as staff type it: ``domain/search.py``
    number: str | None = None
    customer_email: str | None = None
    provider_transaction_id: str | None = None  # any identifier that a provider uses for it


# What happened to a payment after it was paid, beside its status.
STANDINGS = {
    "refunded": "p.amount_refunded > 0 AND p.amount_refunded >= p.amount_captured",
    "part_refunded": "p.amount_refunded > 0 AND p.amount_refunded < p.amount_captured",
    "disputed": "EXISTS (SELECT 1 FROM disputes d WHERE d.payment_id = p.id AND d.state = 'open')",
}
_COLUMNS = PAYMENTS.of("p")


async def listed(db: PracticeDb, filters: Filters, limit: int) -> list[Payment]:
    """Payments of one environment, newest first."""
    if not filters.search or not visible(filters.search):
        return await _walked(db, filters, (), limit)
    terms = read_query(filters.search)
    if not terms:
        return []
    if await are_many(db, filters.environment, identifiers_typed(terms), MOST_IDENTIFIED):
        return await _walked(db, filters, terms, limit, Identified.many)
    while (holding := await search_blocks.holding(db, filters.environment, terms)) is not None:
        found = await _in_blocks(db, filters, terms, holding, limit)
        # Rows that moved to later blocks than were read, while we read, may be missing.
        if await search_blocks.last_number(db) <= holding.last + LATER_BLOCKS:
            return found
    return await _walked(db, filters, terms, limit)


async def _in_blocks(
    db: PracticeDb, filters: Filters, terms: tuple[Term, ...], holding: Found, limit: int
) -> list[Payment]:
    """Matches among few rows: those of the blocks that may have one, those in no block yet, and the payments with an
    identifier that was typed."""
    found: dict[str, Payment] = {}

    async def look(query: _Query) -> None:
        found.update((payment.id, payment) for payment in await query.rows(db, limit))

    if identifiers_typed(terms):
        await look(_Query.of_named(filters, terms))
    before = filters.before[0] if filters.before else None
    blocks = [block for block in holding.blocks if before is None or block.oldest_at <= before]
    at, size = 0, FIRST_BLOCKS
    while at < len(blocks) and not _is_full(found, limit, blocks[at].newest_at):
        await look(_Query.of_blocks(filters, terms, [block.number for block in blocks[at : at + size]], size))
        at, size = at + size, MORE_BLOCKS
    # Last: a row that left one of the blocks while they were read was corrected, and is in none now.
    later = [0, *range(holding.last + 1, holding.last + 1 + LATER_BLOCKS)]
    await look(_Query.of_blocks(filters, terms, later, len(later)))
    return sorted(found.values(), key=_place, reverse=True)[:limit]


def _place(payment: Payment) -> tuple[datetime, str]:
    return payment.created_at, payment.id


def _is_full(found: dict[str, Payment], limit: int, newest_at: datetime) -> bool:
    """Whether a page is full of payments newer than anything left to read."""
    return sum(payment.created_at > newest_at for payment in found.values()) >= limit


async def _walked(
    db: PracticeDb, filters: Filters, terms: tuple[Term, ...], limit: int, identified: Identified = Identified.few
) -> list[Payment]:
    """Matches by a walk from the newest payment to the end of a page."""
    narrow = bool(terms) or filters.reference is not None or filters.customer_email is not None
    query = _Query(filters, "payment_search AS s CROSS JOIN payments AS p" if narrow else "payments AS p", narrow, True)
    if terms:
        query.parts.append(fits(terms, query, identified))
    return await query.rows(db, limit)


class _Query(Condition):
    """One statement that lists payments. "CROSS" makes SQLite keep the order of its tables."""

    def __init__(self, filters: Filters, source: str, narrow: bool = True, is_walk: bool = False) -> None:
        super().__init__(filters.environment)
        self.source = source
        self.order = ("s.created_at", "s.payment_id") if narrow else ("p.created_at", "p.id")
        if narrow:
            self.parts.append("p.id = s.payment_id")
        # An expression matches no index. Otherwise SQLite walks all payments in their order to find one by its number.
        is_walk = is_walk and filters.number is None and filters.provider_transaction_id is None
        self.parts.append(f"{'s' if narrow else 'p'}.environment{_AS_IT_IS if is_walk else _OF_NO_INDEX} = $1")
        self._filter(filters)

    @classmethod
    def of_blocks(cls, filters: Filters, terms: tuple[Term, ...], numbers: list[int], places: int) -> _Query:
        """Rows of blocks. One statement text for any number of blocks up to ``places``."""
        query = cls(filters, "payment_search AS s CROSS JOIN payments AS p")
        padded = numbers + [-1] * (places - len(numbers))
        query.parts.append(f"s.block IN ({', '.join(query.add(number) for number in padded)})")
        query.parts.append(fits(terms, query, Identified.never))
        return query

    @classmethod
    def of_named(cls, filters: Filters, terms: tuple[Term, ...]) -> _Query:
        """Rows of payments with an identifier that was typed."""
        query = cls(filters, "payments AS p CROSS JOIN payment_search AS s")
        ids = " UNION ".join(named(key, query) for key in identifiers_typed(terms))
        query.parts += [f"p.id IN ({ids})", "s.environment = $1", "s.created_at = p.created_at"]
        query.parts.append(fits(terms, query, Identified.few))
        return query

    def _filter(self, filters: Filters) -> None:
        created_at, _ = self.order
        number, reference, email = filters.number, filters.reference, filters.customer_email
        for comparison, value in (
            ("p.status =", filters.status),
            ("p.provider_code =", filters.provider_code),
            ("p.currency =", filters.currency),
            ("p.practice_id = (SELECT practice_id FROM identity) AND p.number =", number and compact(number)),
            (f"{created_at} >=", filters.created_from),
            (f"{created_at} <", filters.created_to),
            ("s.reference =", reference and normal(reference)),
            ("s.email =", email and email_key(email)),
        ):
            self.compare(comparison, value)
        if filters.standing is not None:
            self.parts.append(STANDINGS[filters.standing])
        if filters.provider_transaction_id is not None:
            key = identifier_key(filters.provider_transaction_id)
            self.parts.append(f"p.id IN ({named(key, self)})")
        if filters.before is not None:
            at, last = (self.add(value) for value in filters.before)
            self.parts.append(f"({', '.join(self.order)}) < ({at}, {last})")

    async def rows(self, db: PracticeDb, limit: int) -> list[Payment]:
        """The payments, newest first."""
        created_at, name = self.order
        rows = await db.fetch(
            f"SELECT {_COLUMNS} FROM {self.source} WHERE {self}"  # noqa: S608
            f" ORDER BY {created_at} DESC, {name} DESC LIMIT {self.add(limit)}",
            *self.args,
        )
        return [PAYMENTS.read(row) for row in rows]
