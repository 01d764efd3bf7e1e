"""CSV exports: a practice's payments under the current filters, and all ledger lines of a month.

Both are read and streamed in pieces, without an upper limit. The last line says that the table is complete and how many
rows it has, so an interrupted file does not end with it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Query, Response
from fastapi.responses import StreamingResponse

from polytill.domain.identifiers import Identifiers
from polytill.domain.localities import day_of, start_of
from polytill.domain.money import to_major
from polytill.domain.spreadsheets import cell
from polytill.flows.payments.pages import cursor_after
from polytill.storage import ledger, overview, payment_identifiers, payment_lists
from polytill.storage.overview import Sums
from polytill.storage.payments import Payment
from polytill.web.console.overview import month_of
from polytill.web.console.pages import page_router
from polytill.web.console.payments import Wanted, environment_of, filters_of
from polytill.web.console.sessions import PracticeViewer, PracticeVisitor

router = page_router("/practice/{practice_id}")

CHUNK = 500
COLUMNS = (
    "id", "created", "utc offset", "status", "environment", "currency", "amount", "captured", "refunded",
    "lost to disputes", "duplicate received", "duplicate returned", "fee", "net", "other fee", "other fee currency",
    "provider", "provider transaction", "method", "e-mail", "name", "reference", "description",
    "number", "identifiers",
)  # fmt: skip
BOOKING_COLUMNS = (
    "booked",
    "utc offset",
    "entry",
    "fact",
    "account",
    "provider",
    "method",
    "environment",
    "currency",
    "amount",
    "payment",
    "refund",
)


def _rows(rows: list[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


def _major(minor: int, currency: str) -> str:
    return str(to_major(minor, currency))


def _when(moment: datetime, visitor: PracticeVisitor) -> list[str]:
    local = moment.astimezone(visitor.practice.zone)
    return [f"{local:%Y-%m-%d %H:%M:%S}", local.isoformat()[-len("+00:00") :]]


def _line(payment: Payment, books: dict[str, Sums], called: list[str], visitor: PracticeVisitor) -> list[str]:
    """One payment. All amounts are its current ledger sums; fees in another currency have their own columns."""
    currency = payment.currency
    own = books.get(currency, Sums())
    others = {other: sums.fees for other, sums in sorted(books.items()) if other != currency and sums.fees}
    amounts = (
        payment.amount,
        own.gross,
        own.refunded,
        own.disputed,
        own.duplicates_received,
        own.duplicates_returned,
        own.fees,
        own.net,
    )
    return [
        payment.id,
        *_when(payment.created_at, visitor),
        payment.status.value,
        payment.environment.value,
        currency,
        *(_major(amount, currency) for amount in amounts),
        "; ".join(_major(fee, other) for other, fee in others.items()),
        "; ".join(others),
        payment.provider_code or "",
        cell(payment.provider_transaction_id),
        payment.payment_method or "",
        cell(payment.customer_email),
        cell(payment.customer_name),
        cell(payment.reference),
        cell(payment.description),
        payment.number,
        cell(" ".join(called)),
    ]


def _names(called: list[Identifiers], ours: list[str]) -> list[str]:
    """Each identifier of a payment's attempts once, including our references, which providers list."""
    theirs = [value for one in called for values in one.values() for value in values]
    return list(dict.fromkeys((*theirs, *ours)))


def _table(
    visitor: PracticeVisitor, name: str, columns: tuple[str, ...], read: AsyncIterator[list[list[str]]]
) -> Response:
    async def lines() -> AsyncIterator[str]:
        sent = 0
        yield "\ufeff" + _rows([list(columns)])  # the byte order mark that makes spreadsheets read UTF-8
        async for rows in read:
            sent += len(rows)
            yield _rows(rows)
        yield _rows([[f"# complete: {sent} rows"]])

    today = day_of(visitor.context.world.now(), visitor.practice.zone)
    file = f"{name}-{visitor.practice_id}-{today:%Y-%m-%d}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{file}"', "Cache-Control": "no-store"}
    return StreamingResponse(lines(), 200, headers, "text/csv; charset=utf-8")


@router.get("/payments.csv")
async def payments(visitor: PracticeViewer, wanted: Wanted) -> Response:
    """Export the payments under the current filters, newest first."""

    async def read() -> AsyncIterator[list[list[str]]]:
        cursor = None
        while rows := await payment_lists.listed(visitor.db, filters_of(visitor, wanted, cursor), CHUNK):
            ids = [payment.id for payment in rows]
            books = await overview.of_payments(visitor.db, ids)
            called = await payment_identifiers.by_payment(visitor.db, ids)
            ours = await payment_identifiers.references(visitor.db, ids)
            yield [
                _line(payment, books[payment.id], _names(called.get(payment.id, []), ours.get(payment.id, [])), visitor)
                for payment in rows
            ]
            cursor = cursor_after(rows[-1])

    return _table(visitor, "payments", COLUMNS, read())


@router.get("/bookings.csv")
async def bookings(
    visitor: PracticeViewer,
    month: Annotated[str, Query(max_length=7)] = "",
    environment: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Export all ledger lines of a month by booking day: their sums are the month's."""
    zone = visitor.practice.zone
    chosen = await environment_of(visitor, environment)
    first = month_of(month, day_of(visitor.context.world.now(), zone))
    since, until = start_of(first, zone), start_of((first + timedelta(days=31)).replace(day=1), zone)

    async def read() -> AsyncIterator[list[list[str]]]:
        after = 0
        while rows := await ledger.entries(visitor.db, chosen, since, until, after, CHUNK):
            yield [
                [
                    *_when(r["created_at"], visitor),
                    r["entry_id"],
                    r["fact"],
                    r["account"],
                    r["provider_code"],
                    r["method"],
                    chosen.value,
                    r["currency"],
                    _major(r["amount"], r["currency"]),
                    r["payment_id"],
                    r["refund_id"] or "",
                ]
                for r in rows
            ]
            after = rows[-1]["id"]

    return _table(visitor, f"bookings-{first:%Y-%m}", BOOKING_COLUMNS, read())
