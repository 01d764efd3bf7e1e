"""Payments and refunds of a practice. Once a row exists, the response is the payment, whatever its status."""

from __future__ import annotations

import hmac
import re
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from fastapi import Depends, Header, Path, Query, Request, Response
from pydantic import ValidationError

from polytill.domain.errors import Forbidden, NotFound, invalid
from polytill.domain.localities import bounds_of
from polytill.domain.secret import Secret
from polytill.domain.states import ApiKeyKind, Environment
from polytill.flows.command import Command
from polytill.flows.payments import capture_cancel, saved_methods
from polytill.flows.payments import create as creating
from polytill.flows.payments import manual as payments_manual
from polytill.flows.payments.create import client_token
from polytill.flows.payments.pages import default_environment, page_of, read_cursor
from polytill.flows.payments.public_keys import public_key_of
from polytill.flows.payments.reading import PaymentDetails, details_of, find, with_identifiers
from polytill.flows.recovery import lookup, payment_input
from polytill.flows.refunds import create as create_refunds
from polytill.flows.refunds.create import RefundRequest
from polytill.storage import disputes, overview, payment_lists
from polytill.storage import operations as storage_operations
from polytill.web.api.auth import Caller, Pays, PracticeCaller, PracticeId, Reads, ReadsPublic, Refunds
from polytill.web.api.bodies import StrictRequest, strict_router
from polytill.web.api.models import payments as models
from polytill.web.api.models.next_actions import PaymentInput
from polytill.web.api.models.refunds import CreateRefund, Refund
from polytill.web.api.requests import EmptyBody
from polytill.web.api.responses import respond
from polytill.web.api.values import Currency, DayOrMoment, PageLimit

router = strict_router("payments", "/api/practices/{practiceId}/payments")

PaymentId = Annotated[str, Path(alias="paymentId", max_length=40)]
_Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Your own value; the same key and body always return the same result",
    ),
]


def _the_key(request: Request, key: _Key) -> str:
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise invalid("header:Idempotency-Key", "The Idempotency-Key header occurs more than once.")
    return key


IdempotencyKey = Annotated[str, Depends(_the_key)]


async def _answered(caller: Caller, found: PaymentDetails, status: int = 200) -> Response:
    practice = await caller.context.practice(found.payment.practice_id)
    headers = {"Idempotent-Replayed": "true"} if found.replayed else None
    kept = await saved_methods.method_of(practice.db, found.payment)
    # With at most one attempt, the payment's row has the same amounts as the ledger.
    several = len(found.attempts) > 1
    books = (await overview.of_payments(practice.db, [found.payment.id]))[found.payment.id] if several else None
    if not found.identifiers:
        await with_identifiers(practice.db, found)
    # Most payments have no disputes and need no further query.
    disputed = await disputes.of_payment(practice.db, found.payment.id) if found.payment.dispute_version else []
    is_new = status == 201 and not found.replayed
    operations = [] if is_new else await storage_operations.of_payment(practice.db, found.payment.id)
    public_key = await public_key_of(practice, found)
    body = models.Payment.with_details(practice, found, models.Details(public_key, kept, books, disputed, operations))
    return respond(body, status, headers)


_well_formed_key = re.compile(r"[\x21-\x7e]{1,200}").fullmatch
_pays = PracticeCaller("payments")


@router.post("", status_code=201, response_model=models.Payment)
async def create_payment(
    caller: Pays, practice_id: PracticeId, key: IdempotencyKey, body: models.CreatePayment
) -> Response:
    """Create a payment."""
    command = Command(key, caller.actor)
    found = await creating.create_payment(caller.context, practice_id, body.request(), command)
    return await _answered(caller, found, 201)


async def create_quickly(request: StrictRequest, practice: str) -> Response | None:
    """Create a payment without the framework (``web/fast_paths.py``). None for a request that is not plainly well-formed.

    ``practice``: the practice's id as in the path, with digits only.
    """
    keys = request.headers.getlist("idempotency-key")
    as_json = request.headers.get("content-type", "").partition(";")[0] == "application/json"
    if not as_json or len(keys) != 1 or not _well_formed_key(keys[0]):
        return None
    try:
        body = models.CreatePayment.model_validate(await request.json())
    except ValidationError:
        return None
    practice_id = int(practice)
    return await create_payment(await _pays(request, practice_id), practice_id, keys[0], body)


@router.get("", response_model=models.PaymentPage)
async def list_payments(
    caller: Reads,
    practice_id: PracticeId,
    environment: Environment | None = None,
    status: Literal["requires_action", "processing", "authorized", "succeeded", "failed", "canceled"] | None = None,
    provider_code: Annotated[str | None, Query(alias="providerCode", max_length=40)] = None,
    currency: Currency | None = None,
    reference: Annotated[str | None, Query(max_length=200)] = None,
    number: Annotated[str | None, Query(max_length=40, description="A payment's number, also with # or spaces")] = None,
    customer_email: Annotated[str | None, Query(alias="customerEmail", max_length=254)] = None,
    provider_transaction_id: Annotated[
        str | None,
        Query(
            alias="providerTransactionId",
            max_length=200,
            description="Any identifier of the payment at a provider, on a statement or on a receipt",
        ),
    ] = None,
    search: Annotated[
        str | None, Query(max_length=200, description="Free text: words, parts of words or digits")
    ] = None,
    created_from: Annotated[DayOrMoment | None, Query(alias="createdFrom")] = None,
    created_to: Annotated[DayOrMoment | None, Query(alias="createdTo")] = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: PageLimit = 50,
) -> Response:
    """List payments of one environment, newest first.

    Sandbox and production are never mixed. The default is production if any provider is configured for it.
    """
    practice = await caller.context.practice(practice_id)
    environment = environment or await default_environment(practice)
    since, until = await bounds_between(caller, practice_id, createdFrom=created_from, createdTo=created_to)
    filters = payment_lists.Filters(
        environment,
        status,
        provider_code,
        currency,
        reference,
        since,
        until,
        read_cursor(cursor),
        search=search,
        number=number,
        customer_email=customer_email,
        provider_transaction_id=provider_transaction_id,
    )
    page, following = await page_of(practice, filters, limit)
    books = await overview.of_payments(practice.db, [payment.id for payment in page])
    data = [models.PaymentSummary.of(payment, books[payment.id]) for payment in page]
    return respond(models.PaymentPage(data, following, environment))


async def bounds_between(
    caller: Caller, practice_id: int, **bounds: date | None
) -> tuple[datetime | None, datetime | None]:
    """Convert two bounds to times. The end is exclusive. A day belongs to the practice's calendar, and the end day is
    included as a whole. The names are those of the query parameters, start and end."""
    zone = (await caller.context.opening.entry(practice_id)).zone
    (first, since), (last, until) = bounds.items()
    days = [None if isinstance(value, datetime) else value for value in (since, until)]
    starts, ends = bounds_of(days[0], days[1], zone)
    return (
        _utc(first, since) if isinstance(since, datetime) else starts,
        _utc(last, until) if isinstance(until, datetime) else ends,
    )


def _utc(name: str, value: datetime) -> datetime:
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise invalid(f"query:{name}", "This is not a time between the years 1 and 9999.") from None


@router.get("/{paymentId}", response_model=models.Payment | models.PublicPayment)
async def get_payment(
    caller: ReadsPublic,
    practice_id: PracticeId,
    payment_id: PaymentId,
    token: Annotated[str | None, Query(alias="clientToken", max_length=200)] = None,
) -> Response:
    """Get a payment.

    A publishable key needs the payment's client token and gets only the public fields.
    """
    is_public = caller.key.kind is ApiKeyKind.publishable
    if is_public and token is None:
        raise Forbidden("A publishable key needs the payment's clientToken.")
    practice, payment = await find(caller.context, practice_id, payment_id)
    found = await details_of(practice.db, payment)
    if is_public:
        if not hmac.compare_digest((token or "").encode(), client_token(caller.context, payment).encode()):
            raise NotFound("There is no such payment.")
        public_key = await public_key_of(practice, found)
        return respond(models.PublicPayment.of(practice, found, public_key))
    return await _answered(caller, found)


@router.post("/{paymentId}/confirm", response_model=models.Payment)
async def confirm_payment(caller: Pays, practice_id: PracticeId, payment_id: PaymentId) -> Response:
    """Look the payment up at the provider now.

    The provider's answer settles the payment.
    """
    return await _answered(caller, await lookup.confirm(caller.context, practice_id, payment_id))


@router.post("/{paymentId}/continue", response_model=models.Payment)
async def continue_payment(
    caller: Pays, practice_id: PracticeId, payment_id: PaymentId, body: PaymentInput
) -> Response:
    """Send the customer's input to the provider.

    The fields that `nextAction.wants` requests: `pin`, `otp`, `phone`, `birthday`, or `address`, `city`, `state` and
    `zipCode`. The values are never stored.
    """
    values = {name: Secret(value) for name, value in body.values.items()}
    return await _answered(
        caller, await payment_input.continue_payment(caller.context, practice_id, payment_id, values, caller.actor)
    )


@router.post("/{paymentId}/confirm-manually", response_model=models.Payment)
async def confirm_manual_payment(
    caller: Pays, practice_id: PracticeId, payment_id: PaymentId, body: models.ConfirmManualPayment
) -> Response:
    """Confirm a manual payment.

    For cash or a bank transfer that staff received. The note of what they saw is stored in the audit log.
    """
    received = payments_manual.Received(body.amount, body.note, body.proof)
    found = await payments_manual.confirm_manual_payment(
        caller.context, practice_id, payment_id, received, caller.actor
    )
    return await _answered(caller, found)


@router.post("/{paymentId}/capture", response_model=models.Payment)
async def capture_payment(
    caller: Pays,
    practice_id: PracticeId,
    payment_id: PaymentId,
    key: IdempotencyKey,
    body: models.CapturePayment | None = None,
) -> Response:
    """Capture an authorized payment, in full or in part."""
    amount = body.amount if body else None
    found = await capture_cancel.capture(caller.context, practice_id, payment_id, amount, Command(key, caller.actor))
    return await _answered(caller, found)


@router.post("/{paymentId}/cancel", response_model=models.Payment)
async def cancel_payment(
    caller: Pays, practice_id: PracticeId, payment_id: PaymentId, key: IdempotencyKey, body: EmptyBody | None = None
) -> Response:
    """Cancel a payment that is not paid, or release an authorized one."""
    found = await capture_cancel.cancel(caller.context, practice_id, payment_id, Command(key, caller.actor))
    return await _answered(caller, found)


@router.post("/{paymentId}/refunds", status_code=201, response_model=Refund)
async def create_refund(
    caller: Refunds,
    practice_id: PracticeId,
    payment_id: PaymentId,
    key: IdempotencyKey,
    body: CreateRefund | None = None,
) -> Response:
    """Refund a payment, in full or in part.

    An amount that an open chargeback is about is refunded only with `acceptDisputeRisk`; without it: 409
    `payment_disputed`, and the idempotency key can be used again.
    """
    wanted = RefundRequest(body.amount, body.reason, body.accept_dispute_risk) if body else RefundRequest()
    made, replayed = await create_refunds.create_refund(
        caller.context, practice_id, payment_id, wanted, Command(key, caller.actor)
    )
    return respond(Refund.of(made), 201, {"Idempotent-Replayed": "true"} if replayed else None)


@router.get("/{paymentId}/refunds", response_model=list[Refund])
async def list_refunds(caller: Reads, practice_id: PracticeId, payment_id: PaymentId) -> Response:
    """List a payment's refunds, oldest first."""
    return respond([Refund.of(r) for r in await create_refunds.listed(caller.context, practice_id, payment_id)])


@router.get("/{paymentId}/refunds/{refundId}", response_model=Refund)
async def get_refund(
    caller: Reads,
    practice_id: PracticeId,
    payment_id: PaymentId,
    refund_id: Annotated[str, Path(alias="refundId", max_length=40)],
) -> Response:
    """Get a refund.

    If its outcome is open, the refund is looked up at the provider first.
    """
    return respond(Refund.of(await create_refunds.refresh_by_id(caller.context, practice_id, payment_id, refund_id)))
