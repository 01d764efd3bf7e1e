"""A practice's payments: the list with its filters, the history of one payment, and refunds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from polytill.domain.errors import CallerError, Forbidden, Invalid, invalid
from polytill.domain.ids import new_id
from polytill.domain.localities import bounds_of
from polytill.domain.money import Money
from polytill.domain.review_cases import CaseKind
from polytill.domain.search import LONGEST_QUERY
from polytill.domain.states import AttemptState, Environment, PaymentStatus
from polytill.flows.command import Command
from polytill.flows.context import Practice
from polytill.flows.payments.create import PaymentDetails, details_of, find, with_identifiers
from polytill.flows.payments.pages import cursor_after, read_cursor
from polytill.flows.payments.returned_amounts import refundable, undisputed
from polytill.flows.recovery import lookup
from polytill.flows.refunds.create import RefundRequest, create_refund
from polytill.providers.manual import ManualProvider
from polytill.storage import audit, cases, operations, overview, payment_lists, refunds, staff, webhook_events
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.overview import Sums
from polytill.storage.payment_lists import STANDINGS, Filters
from polytill.storage.payments import Payment
from polytill.storage.refunds import Refund
from polytill.web import payment_status
from polytill.web.api.models.attempts import external_identifiers
from polytill.web.console import flashes
from polytill.web.console.captures import can_cancel, can_capture
from polytill.web.console.disputes import cards, has_open_inquiry
from polytill.web.console.duplicates import Duplicate, duplicates_of
from polytill.web.console.flashes import Done
from polytill.web.console.pages import (
    PageRoute,
    amount_of,
    errors_by_field,
    first_of,
    form_of,
    page,
    provider_names,
    see,
    words_of,
)
from polytill.web.console.sessions import OfPractice, PracticeAdmin, PracticeViewer
from polytill.web.console.timeline import story_of, told

router = APIRouter(prefix="/practice/{practice_id}", route_class=PageRoute, include_in_schema=False)

PER_PAGE = 25
LINES, DELIVERIES = 200, 100  # the maximum number of past entries on one payment's page


async def environment_of(practice: Practice, wanted: str | None) -> Environment:
    """The environment to show: as requested, else production if any provider is configured for it. Never both."""
    chosen = first_of([e.value for e in Environment], wanted)
    if chosen:
        return Environment(chosen)
    snapshot = await practice.context.configured(practice.db)
    live = any(c.environment is Environment.production for c in snapshot.configurations.values() if not c.removed_at)
    return Environment.production if live else Environment.sandbox


@dataclass(frozen=True, slots=True)
class Sought:
    """The filters in the address."""

    q: str = ""
    status: str = ""
    provider: str = ""
    since: str = ""
    until: str = ""
    environment: str = ""

    def query(self, **more: str) -> str:
        """The filters as a query string, for links."""
        values = {name: getattr(self, name) for name in self.__slots__} | more
        return urlencode({name: value for name, value in values.items() if value})

    @property
    def any(self) -> bool:
        """Whether any filter is set."""
        return any((self.q, self.status, self.provider, self.since, self.until))


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        return None


async def sought(
    found: PracticeViewer,
    q: str = "",
    status: Annotated[str, Query(max_length=40)] = "",
    provider: Annotated[str, Query(max_length=40)] = "",
    since: Annotated[str, Query(max_length=10)] = "",
    until: Annotated[str, Query(max_length=10)] = "",
    environment: Annotated[str, Query(max_length=20)] = "",
) -> Sought:
    """Read the filters of an address; invalid ones are ignored, not rejected."""
    chosen = await environment_of(Practice(found.visitor.context, found.db), environment)
    return Sought(
        q.strip()[:LONGEST_QUERY],
        first_of([*(s.value for s in PaymentStatus), *STANDINGS], status) or "",
        provider,
        since if _day(since) else "",
        until if _day(until) else "",
        chosen.value,
    )


def filters_of(found: OfPractice, wanted: Sought, cursor: str | None) -> Filters:
    """The filters of an address for the database. Days belong to the practice's calendar."""
    assert found.visitor.practice is not None
    since, until = bounds_of(_day(wanted.since), _day(wanted.until), found.visitor.practice.zone)
    return Filters(
        Environment(wanted.environment),
        first_of([s.value for s in PaymentStatus], wanted.status),
        wanted.provider or None,
        created_from=since,
        created_to=until,
        before=read_cursor(cursor),
        search=wanted.q or None,
        standing=first_of(STANDINGS, wanted.status),
    )


@router.get("")
async def door(found: PracticeViewer) -> Response:
    """Redirect to the first page after signing in."""
    return see(f"{found.visitor.door}/payments")


Wanted = Annotated[Sought, Depends(sought)]


@router.get("/payments")
async def list_payments(
    request: Request, found: PracticeViewer, wanted: Wanted, cursor: Annotated[str | None, Query(max_length=200)] = None
) -> Response:
    """List payments, newest first."""
    context = found.visitor.context
    rows = await payment_lists.listed(found.db, filters_of(found, wanted, cursor), PER_PAGE + 1)
    catalog = await context.catalog()
    snapshot = await context.configured(found.db)
    return page(
        request,
        "practice/payments.html",
        visitor=found.visitor,
        rows=rows[:PER_PAGE],
        wanted=wanted,
        shown=await payment_status.of_payments(found.db, rows[:PER_PAGE]),
        following=cursor_after(rows[PER_PAGE - 1]) if len(rows) > PER_PAGE else None,
        cursor=cursor,
        names=provider_names(words_of(request), catalog.values()),
        statuses=list(PaymentStatus),
        standings=list(STANDINGS),
        configured=any(not c.removed_at for c in snapshot.configurations.values()),
        providers=sorted(snapshot.configurations),
    )


# ── One payment ──


@router.get("/payments/{payment_id}")
async def show(request: Request, found: PracticeViewer, payment_id: str) -> Response:
    """Show one payment with its history."""
    return await _page(request, found, payment_id)


async def _page(request: Request, found: OfPractice, payment_id: str, status: int = 200, **more: Any) -> Response:
    context, db = found.visitor.context, found.db
    _, payment = await find(context, db.practice_id, payment_id)
    whole = await with_identifiers(db, await details_of(db, payment))
    known_refunds = await refunds.of_payment(db, payment_id)
    catalog = await context.catalog()
    names = provider_names(words_of(request), catalog.values())
    people = {f"user:{p.id}": p.name or p.email for p in await staff.listed(db)}
    lines = await audit.listed(db, payment_id, limit=LINES)
    deliveries = await webhook_events.listed(db, payment_id=payment_id, limit=DELIVERIES)
    steps = len(lines) if len(lines) < LINES else await audit.count(db, payment_id)
    steps += len(deliveries) if len(deliveries) < DELIVERIES else await webhook_events.count(db, None, payment_id)
    books = (await overview.of_payments(db, [payment_id]))[payment_id]
    return page(
        request, "practice/payment.html", status, visitor=found.visitor, payment=payment, attempts=whole.attempts,
        shown=payment_status.of_taken(whole),
        called={one.id: external_identifiers(one, whole.identifiers.get(one.id, {})) for one in whole.attempts},
        operations=await operations.of_payment(db, payment_id),
        refunds=known_refunds, refundable=max(0, refundable(payment)), names=names, capture=can_capture(payment),
        duplicates=await _duplicates(db, whole.attempts, known_refunds), cancel=can_cancel(whole),
        disputes=await cards(db, payment), undisputed=undisputed(payment), books=books.get(payment.currency, Sums()),
        fees={currency: sums.fees for currency, sums in sorted(books.items()) if sums.fees},
        steps=steps, listed=len(lines) + len(deliveries),
        manual=payment.provider_code == ManualProvider.code and payment.status is PaymentStatus.requires_action,
        story=story_of(words_of(request), payment, lines, deliveries, names, people), **more,
    )  # fmt: skip


def refund_request(asked: PaymentDetails) -> Done:
    """The message after a lookup: only a provider's answer is news."""
    return Done.not_answered if asked.unanswered else Done.asked if asked.asked else Done.nothing_asked


async def _duplicates(db: PracticeDb, attempts: list[Attempt], known: list[Refund]) -> list[Duplicate]:
    """The duplicates of a payment. Without a second success no case is read, as for most payments."""
    paid = [one for one in attempts if one.state is AttemptState.succeeded]
    if len(paid) < 2:
        return []
    found = [
        case for one in paid for case in await cases.listed(db, None, kind=CaseKind.duplicate_payment, subject=one.id)
    ]
    return duplicates_of(attempts, known, found)


@router.post("/payments/{payment_id}/check")
async def ask(request: Request, found: PracticeAdmin, payment_id: str) -> Response:
    """Look the payment up at the provider now."""
    asked = await lookup.confirm(found.visitor.context, found.visitor.practice_id, payment_id)
    return see(f"{found.visitor.door}/payments/{payment_id}", refund_request(asked))


# ── Refunds: the amount, the confirmation, then exactly one refund ──


def _amount(request: Request, payment: Payment, text: str) -> int:
    left = max(0, refundable(payment))
    minor = amount_of(words_of(request), text, payment.currency)
    if minor > left:
        most = Money(left, payment.currency)
        raise invalid("/amount", f"At most {most} can be refunded.", reason="refund_exceeds_captured", left=most)
    return minor


@router.get("/payments/{payment_id}/refund")
@router.get("/payments/{payment_id}/refund/confirm")
async def refund_page(request: Request, found: PracticeAdmin, payment_id: str) -> Response:
    """Ask how much to refund."""
    return await _refund_form(request, found, payment_id)


async def _refund_form(
    request: Request, found: OfPractice, payment_id: str, status: int = 200, **more: Any
) -> Response:
    _, payment = await find(found.visitor.context, found.visitor.practice_id, payment_id)
    if refundable(payment) <= 0:
        return see(f"{found.visitor.door}/payments/{payment_id}", Done.nothing_left)
    return page(
        request,
        "practice/refund.html",
        status,
        visitor=found.visitor,
        payment=payment,
        refundable=refundable(payment),
        undisputed=undisputed(payment),
        inquiry=await has_open_inquiry(found.db, payment),
        **{"amount": None, "reason": "", **more},
    )


@router.post("/payments/{payment_id}/refund/confirm")
async def refund_question(request: Request, found: PracticeAdmin, payment_id: str) -> Response:
    """Ask for confirmation of the amount and customer. A form, not an address: the reason is confidential, and
    addresses are stored in histories and logs."""
    form, visitor = form_of(request), found.visitor
    _, payment = await find(visitor.context, visitor.practice_id, payment_id)
    typed = {"amount": form.text("amount"), "reason": form.text("reason")[:500]}
    if refundable(payment) <= 0:
        return await _refund_form(request, found, payment_id)
    try:
        minor = _amount(request, payment, typed["amount"])
    except Invalid as error:
        return await _refund_form(request, found, payment_id, error.status, errors=errors_by_field(error), **typed)
    return page(
        request,
        "practice/refund_sure.html",
        visitor=visitor,
        payment=payment,
        refundable=refundable(payment),
        minor=minor,
        key=new_id(visitor.context.world),
        reason=typed["reason"],
        undisputed=undisputed(payment),
        inquiry=await has_open_inquiry(found.db, payment),
    )


@router.post("/payments/{payment_id}/refund")
async def refund(request: Request, found: PracticeAdmin, payment_id: str) -> Response:
    """Create the refund. The key in the form makes a repeated submission harmless."""
    form, visitor = form_of(request), found.visitor
    _, payment = await find(visitor.context, visitor.practice_id, payment_id)
    key, reason = form.text("key"), form.text("reason")[:500] or None
    if not 20 <= len(key) <= 40 or not key.isalnum() or not form.text("minor").isdecimal():
        raise Forbidden(
            "This form is out of date. Nothing was changed. Load the page again.", reason="form_out_of_date"
        )
    minor = int(form.text("minor")[:16])
    try:
        made, _ = await create_refund(
            visitor.context,
            visitor.practice_id,
            payment.id,
            RefundRequest(minor, reason, form.text("accept") == "yes"),
            Command(key, visitor.actor),
        )
    except CallerError as error:
        return await _page(request, found, payment_id, error.status, errors={"": error})
    return see(f"{visitor.door}/payments/{payment_id}", flashes.REFUNDS[made.state])


# ── Activity ──


@router.get("/activity")
async def activity(
    request: Request, found: PracticeViewer, before: Annotated[int | None, Query(ge=1, le=2**53)] = None
) -> Response:
    """Show the practice's audit log."""
    lines = await audit.listed(found.db, None, before, 51)
    names = provider_names(words_of(request), (await found.visitor.context.catalog()).values())
    people = {f"user:{p.id}": p.name or p.email for p in await staff.listed(found.db)}
    return page(
        request,
        "activity.html",
        visitor=found.visitor,
        lines=told(words_of(request), lines[:50], people, names),
        following=lines[49]["id"] if len(lines) > 50 else None,
    )
