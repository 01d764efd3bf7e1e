"""JSON of payment links: the fields of a request, the response, and the response models for the OpenAPI document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Field, StrictBool, StrictStr

from polytill.domain.clock import wire_time
from polytill.domain.states import Environment
from polytill.flows.context import Context
from polytill.flows.payments.payment_links import LinkWish, link_address
from polytill.storage.payment_links import PaymentLink
from polytill.web.api.answers import Answer, Minor, Moment
from polytill.web.api.shapes import Shape, ShapeOfBlanks
from polytill.web.api.values import Amount, Currency, Text, Word


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time between the years 1 and 9999") from None


class LinkShape(ShapeOfBlanks):
    """A payment link to create."""

    amount: Amount
    currency: Currency
    description: Text
    reference: Word | None = None
    single_use: StrictBool = True
    expires_at: Annotated[
        Annotated[AwareDatetime, AfterValidator(_in_utc)] | None, Field(description="Default: in thirty days")
    ] = None
    environment: Environment | None = None

    def wish(self) -> LinkWish:
        """The request in the form that the flow takes."""
        return LinkWish(
            self.amount,
            self.currency,
            self.description,
            self.reference,
            self.single_use,
            self.expires_at,
            self.environment,
        )


class CheckoutShape(Shape):
    """The branding of the checkout."""

    color: Annotated[StrictStr, Field(pattern=r"^#[0-9a-f]{6}$", description="#rrggbb in lower case")] | None


class Link(Answer):
    """A payment link. Its status ``paid`` means single use and paid."""

    id: str
    status: Literal["open", "paid", "closed", "expired"]
    amount: Minor
    currency: str
    description: str
    reference: str | None
    single_use: bool
    environment: Literal["sandbox", "production"]
    url: str
    qr_url: str
    payments_started: int
    payments_succeeded: int
    amount_captured: Minor
    created_by: str
    expires_at: Moment
    created_at: Moment
    updated_at: Moment


class LinkPage(Answer):
    """A page of payment links. ``nextCursor`` is null on the last page."""

    data: list[Link]
    next_cursor: str | None


class OneLink(Link):
    """A payment link with the ids of its payments, newest first."""

    payments: list[str]


class Checkout(Answer):
    """The branding of the checkout."""

    name: str
    color: str | None


def link_view(context: Context, link: PaymentLink, now: datetime) -> dict[str, Any]:
    """One payment link as JSON."""
    url = link_address(context, link)
    return {
        "id": link.id,
        "status": link.status(now),
        "amount": link.amount,
        "currency": link.currency,
        "description": link.description,
        "reference": link.reference,
        "singleUse": link.single_use,
        "environment": link.environment.value,
        "url": url,
        "qrUrl": f"{url}/qr.svg",
        "paymentsStarted": link.started,
        "paymentsSucceeded": link.succeeded,
        "amountCaptured": link.captured,
        "createdBy": link.created_by,
        "expiresAt": wire_time(link.expires_at),
        "createdAt": wire_time(link.created_at),
        "updatedAt": wire_time(link.updated_at),
    }
