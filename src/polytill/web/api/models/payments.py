"""Payments: requests and responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StrictBool, StrictStr, model_validator

from polytill.domain.contacts import check_phone_characters, read_email, read_name
from polytill.domain.metadata import MAX_ENTRIES, MAX_METADATA_VALUE
from polytill.domain.money import Money
from polytill.domain.past_payments import Certainty, Doubt
from polytill.domain.states import CaptureMode, Environment, PaymentStatus
from polytill.flows.context import Practice
from polytill.flows.payments.create import client_token
from polytill.flows.payments.reading import PaymentDetails
from polytill.flows.payments.request import PaymentRequest
from polytill.providers import contract
from polytill.storage import payments
from polytill.storage.disputes import Dispute as DisputeRow
from polytill.storage.operations import Operation as OperationRow
from polytill.storage.overview import Sums
from polytill.storage.saved_methods import StoredMethod
from polytill.web.api.models.attempts import Attempt, Operation
from polytill.web.api.models.disputes import Dispute
from polytill.web.api.models.next_actions import NextAction
from polytill.web.api.models.saved_methods import SavedMethod
from polytill.web.api.requests import BodyWithBlanks, RequestBody
from polytill.web.api.responses import Minor, Moment, ResponseBody
from polytill.web.api.values import Amount, Code, Currency, Text, Url, Word, no_control


def _checked(reader: Callable[[str | None], str | None]) -> Callable[[str], str]:
    def check(value: str) -> str:
        reader(value)
        return value

    return check


class CustomerDetails(RequestBody):
    """The customer."""

    # Checked here, so that one response contains all errors of a body. The flow reads them again with the practice's
    # country and stores the normal forms. A blank text counts as absent.
    email: Annotated[StrictStr, Field(max_length=320), AfterValidator(_checked(read_email))] | None = None
    name: Annotated[StrictStr, Field(max_length=400), AfterValidator(_checked(read_name))] | None = None
    phone: (
        Annotated[
            StrictStr,
            Field(
                max_length=100,
                description="In international form, or as dialed in the practice's country; returned as E.164",
            ),
            AfterValidator(check_phone_characters),
        ]
        | None
    ) = None


_Detail = Annotated[StrictStr, Field(max_length=200), AfterValidator(no_control)]


class CreatePayment(BodyWithBlanks):
    """A payment to create."""

    amount: Amount
    currency: Currency
    payment_method: Code | None = None
    customer: CustomerDetails | None = None
    description: Text | None = None
    reference: Word | None = None
    metadata: dict[StrictStr, Annotated[StrictStr, Field(max_length=MAX_METADATA_VALUE)]] | None = Field(
        None,
        max_length=MAX_ENTRIES,
        description="Names of 1 to 40 characters without square brackets. Names that begin with polytill and some that "
        "providers use themselves are reserved",
    )
    provider_code: Code | None = None
    capture: CaptureMode = CaptureMode.automatic
    return_url: Url | None = None
    environment: Environment | None = None
    save_method: StrictBool = False
    saved_method: Annotated[StrictStr, Field(pattern=r"^[a-z0-9-]{20,36}$")] | None = None
    method_details: dict[Annotated[StrictStr, Field(pattern=r"^[a-z_]{1,40}$")], _Detail] | None = Field(
        None, max_length=10
    )

    def request(self) -> PaymentRequest:
        """The request in the form that the flow takes."""
        customer = self.customer
        return PaymentRequest(
            amount=Money(self.amount, self.currency),
            payment_method=self.payment_method,
            customer=contract.Customer(customer.email, customer.name, customer.phone)
            if customer
            else contract.Customer(),
            description=self.description,
            reference=self.reference,
            metadata=self.metadata,
            provider_code=self.provider_code,
            capture=self.capture,
            return_url=self.return_url,
            environment=self.environment,
            save_method=self.save_method,
            saved_method=self.saved_method,
            method_details=self.method_details,
        )

    @model_validator(mode="after")
    def _one_way(self) -> CreatePayment:
        chosen = self.payment_method or self.save_method or self.method_details is not None
        if self.saved_method and (chosen or self.capture is CaptureMode.manual):
            raise ValueError("savedMethod excludes paymentMethod, saveMethod, methodDetails and manual capture")
        if self.method_details is not None and self.save_method:
            raise ValueError("methodDetails excludes saveMethod: a direct charge cannot save the method")
        return self


class CapturePayment(BodyWithBlanks):
    """A capture; without an amount, all that is authorized."""

    amount: Amount | None = None


class ConfirmManualPayment(BodyWithBlanks):
    """What staff saw: the amount that they counted, a note, and the name of a receipt or statement."""

    amount: Amount
    note: Text
    proof: Text | None = None


class Customer(ResponseBody):
    """The customer."""

    email: str | None
    name: str | None
    phone: str | None


class Fee(ResponseBody):
    """The fees that providers deducted from a payment and its duplicates, in one currency."""

    amount: Minor
    currency: str


class PaymentSummary(ResponseBody):
    """A payment in a list. ``certainty`` of one that was taken before polytill, otherwise null; ``doubts``: why it is
    uncertain."""

    id: str
    number: str | None
    status: PaymentStatus
    amount: Minor
    amount_authorized: Minor
    amount_captured: Minor
    amount_refunded: Minor
    amount_refund_pending: Minor
    amount_lost: Minor
    amount_disputed: Minor
    amount_duplicate: Minor
    amount_duplicate_returned: Minor
    fees: list[Fee]
    currency: str
    payment_method: str | None
    capture: CaptureMode
    provider_code: str | None
    provider_transaction_id: str | None
    provider_fee: Minor | None
    provider_fee_currency: str | None
    failure_reason: str | None
    cancel_reason: str | None
    customer: Customer
    description: str | None
    reference: str | None
    metadata: dict[str, str]
    return_url: str | None
    environment: Environment
    certainty: Certainty | None
    doubts: list[Doubt]
    expires_at: Moment | None
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, payment: payments.Payment, books: Mapping[str, Sums] | None = None, /, **more: Any) -> Self:
        """Build it from its row and its ledger sums by currency; None if it has at most one attempt, because its row
        then has the same amounts. ``more`` are the fields that only a subclass has."""
        own = books.get(payment.currency, Sums()) if books is not None else Sums()
        return cls.from_record(
            payment,
            # Without a duplicate payment, an amount refunded beyond the captured amount belongs to this payment, too.
            amount_refunded=payment.amount_refunded + payment.duplicate_refunded if books is None else own.refunded,
            amount_refund_pending=payment.refund_reserved,
            amount_duplicate=own.duplicates_received,
            amount_duplicate_returned=own.duplicates_returned,
            fees=_fees(payment, books),
            capture=payment.capture_mode,
            customer=Customer(payment.customer_email, payment.customer_name, payment.customer_phone),
            metadata=payment.metadata or {},
            doubts=payment.doubts or [],
            **more,
        )


@dataclass(frozen=True, slots=True)
class Details:
    """What else is stored about a payment. ``books``: its ledger sums by currency."""

    public_key: str | None
    method: StoredMethod | None
    books: Mapping[str, Sums] | None
    disputes: Sequence[DisputeRow]
    operations: Sequence[OperationRow]


class Payment(PaymentSummary):
    """A payment with its attempts, captures, cancels and disputes, and the method that it saved or charged."""

    client_token: str
    saved_method: SavedMethod | None
    next_action: NextAction | None
    attempts: list[Attempt]
    operations: list[Operation]
    disputes: list[Dispute]

    @classmethod
    def with_details(cls, practice: Practice, found: PaymentDetails, details: Details) -> Self:
        """Build it as its practice sees it."""
        return cls.of(
            found.payment,
            details.books,
            client_token=client_token(practice.context, found.payment),
            saved_method=SavedMethod.of(details.method) if details.method else None,
            next_action=_next_action(practice, found, details.public_key),
            attempts=[Attempt.of(attempt, found.identifiers.get(attempt.id)) for attempt in found.attempts],
            operations=[Operation.of(operation) for operation in details.operations],
            disputes=[Dispute.of(dispute) for dispute in details.disputes],
        )


class PublicPayment(ResponseBody):
    """A payment as its customer may see it, without the practice's own notes."""

    id: str
    number: str | None
    status: PaymentStatus
    amount: Minor
    currency: str
    description: str | None
    next_action: NextAction | None
    environment: Environment
    expires_at: Moment | None
    created_at: Moment

    @classmethod
    def of(cls, practice: Practice, found: PaymentDetails, public_key: str | None) -> Self:
        """Build it from its row."""
        return cls.from_record(found.payment, next_action=_next_action(practice, found, public_key))


class PaymentPage(ResponseBody):
    """A page of payments. ``nextCursor`` is null on the last page."""

    data: list[PaymentSummary]
    next_cursor: str | None
    environment: Environment


def _next_action(practice: Practice, found: PaymentDetails, public_key: str | None) -> NextAction | None:
    if found.payment.status not in (PaymentStatus.requires_action, PaymentStatus.processing):
        return None
    return NextAction.of(practice.db, found, public_key)


def _fees(payment: payments.Payment, books: Mapping[str, Sums] | None) -> list[Fee]:
    if books is None:
        fees = {payment.provider_fee_currency: payment.provider_fee or 0}
    else:
        fees = {currency: sums.fees for currency, sums in sorted(books.items())}
    return [Fee(fee, currency) for currency, fee in fees.items() if currency and fee]
