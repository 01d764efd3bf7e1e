"""What all practices know together about providers: outcomes and real fees. Anonymous sums in the owner database.

A count fades: it is halved in every period, which is a half-life. Halving is a shift of bits, so that one upsert on both
engines fades a row and adds to it, whoever wrote it last.
"""

from __future__ import annotations

from typing import NamedTuple

from polytill.storage.databases import OwnerDb, Writes

SCALE = 1000  # a count of one, as it is stored
MOST_ROWS = 5000  # read at once; the newest
_FORGOTTEN_AFTER = 40  # periods after which nothing is left of any count


class OutcomeKey(NamedTuple):
    """Attempts that are counted together. ``method`` is empty if the payment named none."""

    provider_code: str
    environment: str
    currency: str
    method: str


class FeeKey(NamedTuple):
    """Fees that are counted together. ``band``: the number of bits of the amount in minor units."""

    provider_code: str
    environment: str
    currency: str
    method: str
    band: int


class Sums(NamedTuple):
    """Two scaled sums of one period: paid and declined attempts, or payments and their shares in ppm."""

    period: int
    first: int
    second: int


def _upsert(table: str, key: tuple[str, ...], columns: tuple[str, str]) -> str:
    numbers = ", ".join(f"${number}" for number in range(1, len(key) + 4))
    later = f"excluded.period - {table}.period"

    def faded(column: str) -> str:
        return (
            f"{column} = CASE WHEN {later} > {_FORGOTTEN_AFTER} THEN 0 WHEN {later} > 0"
            f" THEN {table}.{column} >> CAST({later} AS INTEGER) ELSE {table}.{column} END + excluded.{column}"
        )

    return (
        f"INSERT INTO {table} ({', '.join(key)}, period, {', '.join(columns)}) VALUES ({numbers})"  # noqa: S608
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {faded(columns[0])}, {faded(columns[1])},"
        f" period = CASE WHEN {later} > 0 THEN excluded.period ELSE {table}.period END"
    )


_OUTCOMES = ("provider_code", "environment", "currency", "method"), ("paid", "declined")
_FEES = ("provider_code", "environment", "currency", "method", "band"), ("payments", "share_ppm")
_ADD_OUTCOMES = _upsert("routing_outcomes", *_OUTCOMES)
_ADD_FEES = _upsert("routing_fees", *_FEES)


def add_outcomes(unit: Writes, key: OutcomeKey, period: int, paid: int, declined: int) -> None:
    """Add counted attempts of a period."""
    unit.add(_ADD_OUTCOMES, *key, period, paid * SCALE, declined * SCALE)


def add_fees(unit: Writes, key: FeeKey, period: int, payments: int, share_ppm: int) -> None:
    """Add the fees of a number of payments: the sum of their shares of the amounts."""
    unit.add(_ADD_FEES, *key, period, payments * SCALE, share_ppm * SCALE)


async def outcomes(owner: OwnerDb) -> dict[OutcomeKey, Sums]:
    """The sums of paid and declined attempts."""
    rows = await owner.fetch(
        "SELECT provider_code, environment, currency, method, period, paid, declined FROM routing_outcomes"
        " ORDER BY period DESC, provider_code, environment, currency, method LIMIT $1",
        MOST_ROWS,
    )
    return {OutcomeKey(*(row[n] for n in range(4))): Sums(row[4], row[5], row[6]) for row in rows}


async def fees(owner: OwnerDb) -> dict[FeeKey, Sums]:
    """The sums of payments with a known fee, and of its share of the amount."""
    rows = await owner.fetch(
        "SELECT provider_code, environment, currency, method, band, period, payments, share_ppm FROM routing_fees"
        " ORDER BY period DESC, provider_code, environment, currency, method, band LIMIT $1",
        MOST_ROWS,
    )
    return {FeeKey(*(row[n] for n in range(5))): Sums(row[5], row[6], row[7]) for row in rows}


def faded(sums: Sums, period: int) -> tuple[int, int]:
    """Both sums as they count in ``period``, still scaled."""
    later = min(max(period - sums.period, 0), _FORGOTTEN_AFTER + 1)
    return sums.first >> later, sums.second >> later
