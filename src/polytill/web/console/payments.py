"""A practice's payments: the list with its filters, the history of one payment, and refunds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Query, Response

from polytill.domain.errors import CallerError, Invalid, invalid
from polytill.domain.ids import new_id
from polytill.domain.localities import bounds_of
from polytill.domain.money import Money
from polytill.domain.review_cases import CaseKind
from polytill.domain.search import LONGEST_QUERY
from polytill.domain.states import AttemptState, Environment, PaymentStatus
from polytill.flows.command import Command
from polytill.flows.context import Practice
from polytill.flows.payments import decisions
from polytill.flows.payments.decisions import PaymentDecision
from polytill.flows.payments.pages import page_of, read_cursor
from polytill.flows.payments.reading import PaymentDetails, details_of, find, with_identifiers
from polytill.flows.payments.returned_amounts import refundable, undisputed
from polytill.flows.recovery import lookup
from polytill.flows.refunds.create import RefundRequest, create_refund
from polytill.providers.manual import ManualProvider
from polytill.storage import audit, cases, operations, overview, refunds, webhook_events
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
from polytill.web.console.pages import amount_of, first_of, out_of_date, page_router
from polytill.web.console.sessions import PracticeAdmin, PracticeViewer, PracticeVisitor
from polytill.web.console.timeline import story_of
from polytill.web.decision_sentences import attempt_lines, lines_of
from polytill.web.words import Words

router = page_router("/practice/{practice_id}")

PER_PAGE = 25
LINES, DELIVERIES = 200, 100  # the maximum number of past entries on one payment's page


async def environment_of(visitor: PracticeVisitor, wanted: str) -> Environment:
    """The environment to show: as requested, else production if any provider is configured for it. Never both."""
    if wanted in Environment.__members__:
        return Environment(wanted)
    snapshot = await visitor.context.configured(visitor.db)
    live = any(one.environment is Environment.production for one in snapshot.live.values())
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
    visitor: PracticeViewer,
    q: str = "",
    status: Annotated[str, Query(max_length=40)] = "",
    provider: Annotated[str, Query(max_length=40)] = "",
    since: Annotated[str, Query(max_length=10)] = "",
    until: Annotated[str, Query(max_length=10)] = "",
    environment: Annotated[str, Query(max_length=20)] = "",
) -> Sought:
    """Read the filters of an address; invalid ones are ignored, not rejected."""
    chosen = await environment_of(visitor, environment)
    return Sought(
        q.strip()[:LONGEST_QUERY],
        first_of((*PaymentStatus, *STANDINGS), status) or "",
        provider,
        since if _day(since) else "",
        until if _day(until) else "",
        chosen.value,
    )


def filters_of(visitor: PracticeVisitor, wanted: Sought, cursor: str | None) -> Filters:
    """The filters of an address for the database. Days belong to the practice's calendar."""
    since, until = bounds_of(_day(wanted.since), _day(wanted.until), visitor.practice.zone)
    return Filters(
        Environment(wanted.environment),
        first_of(PaymentStatus, wanted.status),
        wanted.provider or None,
        created_from=since,
        created_to=until,
        before=read_cursor(cursor),
        search=wanted.q or None,
        standing=first_of(STANDINGS, wanted.status),
    )


@router.get("")
async def door(visitor: PracticeViewer) -> Response:
    """Redirect to the first page after signing in."""
    return visitor.see("/payments")


Wanted = Annotated[Sought, Depends(sought)]


@router.get("/payments")
async def list_payments(
    visitor: PracticeViewer, wanted: Wanted, cursor: Annotated[str | None, Query(max_length=200)] = None
) -> Response:
    """List payments, newest first."""
    practice = Practice(visitor.context, visitor.db)
    rows, following = await page_of(practice, filters_of(visitor, wanted, cursor), PER_PAGE)
    snapshot = await visitor.context.configured(visitor.db)
    return visitor.page(
        "practice/payments.html",
        rows=rows,
        wanted=wanted,
        shown=await payment_status.of_payments(visitor.db, rows),
        following=following,
        cursor=cursor,
        names=await visitor.provider_names(),
        statuses=list(PaymentStatus),
        standings=list(STANDINGS),
        configured=bool(snapshot.live),
        providers=sorted(snapshot.configurations),
    )


# ── One payment ──


@router.get("/payments/{payment_id}")
async def show(visitor: PracticeViewer, payment_id: str) -> Response:
    """Show one payment with its history."""
    return await _page(visitor, payment_id)


async def _page(visitor: PracticeVisitor, payment_id: str, **more: Any) -> Response:
    db = visitor.db
    _, payment = await find(visitor.context, db.practice_id, payment_id)
    whole = await with_identifiers(db, await details_of(db, payment))
    known_refunds = await refunds.of_payment(db, payment_id)
    names, people = await visitor.provider_names(), await visitor.colleagues()
    lines = await audit.listed(db, payment_id, limit=LINES)
    deliveries = await webhook_events.listed(db, payment_id=payment_id, limit=DELIVERIES)
    steps = len(lines) if len(lines) < LINES else await audit.count(db, payment_id)
    steps += len(deliveries) if len(deliveries) < DELIVERIES else await webhook_events.count(db, None, payment_id)
    books = (await overview.of_payments(db, [payment_id]))[payment_id]
    decided = await decisions.of_payment(db, payment, whole.attempts, names)
    return visitor.page(
        "practice/payment.html", payment=payment, attempts=whole.attempts,
        shown=payment_status.of_taken(whole),
        called={one.id: external_identifiers(one, whole.identifiers.get(one.id, {})) for one in whole.attempts},
        operations=await operations.of_payment(db, payment_id),
        refunds=known_refunds, refundable=max(0, refundable(payment)), names=names, capture=can_capture(payment),
        duplicates=await _duplicates(db, whole.attempts, known_refunds), cancel=can_cancel(whole),
        disputes=await cards(db, payment), undisputed=undisputed(payment), books=books.get(payment.currency, Sums()),
        fees={currency: sums.fees for currency, sums in sorted(books.items()) if sums.fees},
        steps=steps, listed=len(lines) + len(deliveries),
        manual=payment.provider_code == ManualProvider.code and payment.status is PaymentStatus.requires_action,
        story=story_of(visitor.words, payment, lines, deliveries, names, people),
        **_decision(visitor.words, decided, names), **more,
    )  # fmt: skip


def _decision(words: Words, decided: PaymentDecision | None, names: dict[str, str]) -> dict[str, Any]:
    """Why this provider, and why not each other one."""
    if decided is None:
        return {"decided": None}
    lines = lines_of(words, decided.decision.explained, names)
    attempts = attempt_lines(words, decided, names)
    return {"decided": decided, "decided_lines": lines, "decided_attempts": attempts}


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
async def ask(visitor: PracticeAdmin, payment_id: str) -> Response:
    """Look the payment up at the provider now."""
    asked = await lookup.confirm(visitor.context, visitor.practice_id, payment_id)
    return visitor.see(f"/payments/{payment_id}", refund_request(asked))


# ── Refunds: the amount, the confirmation, then exactly one refund ──


def _amount(words: Words, payment: Payment, text: str) -> int:
    left = max(0, refundable(payment))
    minor = amount_of(words, text, payment.currency)
    if minor > left:
        most = Money(left, payment.currency)
        raise invalid("/amount", f"At most {most} can be refunded.", reason="refund_exceeds_captured", left=most)
    return minor


@router.get("/payments/{payment_id}/refund")
@router.get("/payments/{payment_id}/refund/confirm")
async def refund_page(visitor: PracticeAdmin, payment_id: str) -> Response:
    """Ask how much to refund."""
    _, payment = await find(visitor.context, visitor.practice_id, payment_id)
    return await _refund_form(visitor, payment)


async def _refund_form(visitor: PracticeVisitor, payment: Payment, **more: Any) -> Response:
    if refundable(payment) <= 0:
        return visitor.see(f"/payments/{payment.id}", Done.nothing_left)
    return await _refund_page(visitor, payment, "practice/refund.html", **{"amount": None, "reason": "", **more})


async def _refund_page(visitor: PracticeVisitor, payment: Payment, template: str, **more: Any) -> Response:
    return visitor.page(
        template,
        payment=payment,
        refundable=refundable(payment),
        undisputed=undisputed(payment),
        inquiry=await has_open_inquiry(visitor.db, payment),
        **more,
    )


@router.post("/payments/{payment_id}/refund/confirm")
async def refund_question(visitor: PracticeAdmin, payment_id: str) -> Response:
    """Ask for confirmation of the amount and customer. A form, not an address: the reason is confidential, and
    addresses are stored in histories and logs."""
    form = visitor.form
    _, payment = await find(visitor.context, visitor.practice_id, payment_id)
    typed = {"amount": form.text("amount"), "reason": form.text("reason")[:500]}
    try:
        minor = _amount(visitor.words, payment, typed["amount"])
    except Invalid as error:
        return await _refund_form(visitor, payment, error=error, **typed)
    key = new_id(visitor.context.world)
    return await _refund_page(
        visitor, payment, "practice/refund_sure.html", minor=minor, key=key, reason=typed["reason"]
    )


@router.post("/payments/{payment_id}/refund")
async def refund(visitor: PracticeAdmin, payment_id: str) -> Response:
    """Create the refund. The key in the form makes a repeated submission harmless."""
    form = visitor.form
    _, payment = await find(visitor.context, visitor.practice_id, payment_id)
    key, reason = form.key(), form.text("reason")[:500] or None
    if not form.text("minor").isdecimal():
        raise out_of_date()
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
        return await _page(visitor, payment_id, error=error, errors={"": error})
    return visitor.see(f"/payments/{payment_id}", flashes.REFUNDS[made.state])
