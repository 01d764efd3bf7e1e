"""Practices and their staff: requests and responses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt

from polytill.domain.states import PracticeState, StaffRole
from polytill.flows.admin import practices as admin_practices
from polytill.flows.admin.practices import PracticeChanges
from polytill.flows.lifecycle import closing
from polytill.web.api.requests import RequestBody
from polytill.web.api.responses import Moment, ResponseBody
from polytill.web.api.values import Code, Country, Currency, ExternalId, TimeZone, Word


class CreatePractice(RequestBody):
    """A practice to create. Without a cluster it goes to the open one with most room."""

    name: Word
    default_currency: Currency
    cluster: Code | None = None
    country: Country | None = None
    time_zone: TimeZone | None = None
    external_id: ExternalId | None = None

    def new(self) -> admin_practices.NewPractice:
        """The practice in the form that the flow takes."""
        return admin_practices.NewPractice(
            self.name, self.default_currency, self.cluster, self.country, self.time_zone, self.external_id
        )


class ChangePractice(RequestBody):
    """The fields of a practice that can change."""

    name: Word | None = None
    default_currency: Currency | None = None
    state: Literal[PracticeState.active, PracticeState.suspended] | None = None
    country: Country | None = None
    time_zone: TimeZone | None = None
    external_id: ExternalId | None = None

    def changes(self) -> PracticeChanges:
        """The changes in the form that the flow takes. An external id of null is removed, a missing one is kept."""
        return PracticeChanges(
            name=self.name,
            currency=self.default_currency,
            state=self.state,
            country=self.country,
            time_zone=self.time_zone,
            external_id=self.external_id if "external_id" in self.model_fields_set else ...,
        )


class ClosePractice(RequestBody):
    """For how many days refunds, webhooks, disputes and lookups go on; by default those of `POLYTILL_RUN_OUT_DAYS`."""

    run_out_days: Annotated[StrictInt, Field(ge=0, le=closing.LONGEST_DAYS)] | None = None


class Practice(ResponseBody):
    """A practice as the owner sees it.

    `runsOutAt` is when refunds, webhooks and lookups of a closed practice end. `deletedAt` and `deletedBy` are of a deleted
    one.
    """

    id: int
    name: str
    external_id: str | None
    default_currency: str
    cluster: str
    state: PracticeState
    schema_version: str | None
    created_at: Moment
    updated_at: Moment
    country: str | None
    time_zone: str
    closed_at: Moment | None
    runs_out_at: Moment | None
    deleted_at: Moment | None
    deleted_by: str | None


class NewPractice(ResponseBody):
    """A new practice and its first key, which is shown only once."""

    practice: Practice
    key: str


class StaffMember(ResponseBody):
    """A staff member of a practice."""

    id: int
    email: str
    name: str
    role: StaffRole
    is_active: bool
    created_at: Moment
