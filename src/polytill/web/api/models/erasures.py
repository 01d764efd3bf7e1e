"""Erasing one customer's personal data: request and response."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StrictBool

from polytill.domain.personal_data import Elsewhere, WhyKept
from polytill.flows.erasure import Customer, Erased
from polytill.web.api.requests import BodyWithBlanks
from polytill.web.api.responses import ResponseBody
from polytill.web.api.values import Typed, Word


class EraseCustomer(BodyWithBlanks):
    """Who is erased: one or more identifiers, each of which names the customer alone. With `dryRun` it is only counted."""

    reference: Annotated[Word | None, Field(description="Your own reference, as in a payment's `reference`")] = None
    email: Annotated[str, Field(max_length=254)] | None = None
    phone: Typed | None = None
    dry_run: StrictBool = False

    def customer(self) -> Customer:
        """The customer that it names."""
        return Customer(self.reference, self.email, self.phone)


class KeptPayment(ResponseBody):
    """A payment whose personal data are still needed. The worker erases them when nothing needs them any more."""

    payment_id: str
    number: str
    why: WhyKept


class CustomerErasure(ResponseBody):
    """What was erased, or would be.

    `changed` is the number of rows by table. `webhooks` are parked ones that name the customer and belong to no payment.
    `elsewhere` says who else has the customer's data, `providers` and `savedMethodsAt` at which providers.
    """

    is_dry_run: bool
    payments: int
    changed: dict[str, int]
    kept: list[KeptPayment]
    webhooks: int
    is_detaching: bool
    is_complete: bool
    elsewhere: list[Elsewhere]
    providers: list[str]
    saved_methods_at: list[str]

    @classmethod
    def of(cls, found: Erased, is_dry: bool) -> Self:
        """Build it from what a run found."""
        kept = [KeptPayment(one.payment_id, one.number, one.why) for one in found.kept]
        return cls.from_record(
            found, is_dry_run=is_dry, kept=kept, elsewhere=found.elsewhere(), saved_methods_at=found.methods
        )
