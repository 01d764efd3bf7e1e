"""Payment links and the branding of the checkout: requests and responses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, StrictBool, StrictStr

from polytill.domain.states import Environment
from polytill.flows.context import Context
from polytill.flows.payments.payment_links import LinkWish, link_address
from polytill.storage import payment_links
from polytill.web.api.requests import BodyWithBlanks, RequestBody
from polytill.web.api.responses import Minor, Moment, ResponseBody
from polytill.web.api.values import Amount, Currency, Text, Word


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time between the years 1 and 9999") from None


class CreatePaymentLink(BodyWithBlanks):
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


class SetBranding(RequestBody):
    """The branding of the checkout."""

    color: Annotated[StrictStr, Field(pattern=r"^#[0-9a-f]{6}$", description="#rrggbb in lower case")] | None


class PaymentLink(ResponseBody):
    """A payment link. Its status ``paid`` means single use and paid."""

    id: str
    status: Literal["open", "paid", "closed", "expired"]
    amount: Minor
    currency: str
    description: str
    reference: str | None
    single_use: bool
    environment: Environment
    url: str
    qr_url: str
    payments_started: int
    payments_succeeded: int
    amount_captured: Minor
    created_by: str
    expires_at: Moment
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, context: Context, link: payment_links.PaymentLink, **more: Any) -> Self:
        """Build it from its row, with its status now. ``more`` are the fields that only a subclass has."""
        url = link_address(context, link)
        return cls.from_record(
            link,
            status=link.status(context.world.now()),
            url=url,
            qr_url=f"{url}/qr.svg",
            payments_started=link.started,
            payments_succeeded=link.succeeded,
            amount_captured=link.captured,
            **more,
        )


class PaymentLinkPage(ResponseBody):
    """A page of payment links. ``nextCursor`` is null on the last page."""

    data: list[PaymentLink]
    next_cursor: str | None


class PaymentLinkWithPayments(PaymentLink):
    """A payment link with the ids of its payments, newest first."""

    payments: list[str]


class Branding(ResponseBody):
    """The branding of the checkout."""

    name: str
    color: str | None
