"""The gradual rollout: requests and responses."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, StrictInt, StrictStr

from polytill.domain.clock import wire_time
from polytill.domain.rollout import DifferenceReason, FieldState, RolloutPhase, WhoDecides
from polytill.domain.states import Environment
from polytill.flows.rollout.conflicts import Keep
from polytill.flows.rollout.decisions import Asked, Choice, Compared
from polytill.flows.rollout.moves import Moved, Selection
from polytill.storage.practice_rollouts import Rollout
from polytill.web.api.models.provider_configs import ExcludedProvider
from polytill.web.api.requests import RequestBody
from polytill.web.api.responses import Moment, ResponseBody
from polytill.web.api.values import Amount, Code, Currency, ExternalId, Word

MOST_AT_ONCE = 1_000

PracticeNumber = Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]
ProviderName = Annotated[StrictStr, Field(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f\x7f]+$")]
FieldValue = Annotated[Any, Field(description="The field as the host application holds it: text or JSON")]


class MovePractices(RequestBody):
    """Practices to move one step: by our ids, by yours, or a percentage of all, chosen by a stable hash.

    `after`: only those with a larger id, to continue with `next` of the response before.
    """

    to: RolloutPhase
    practice_ids: list[PracticeNumber] = Field(default_factory=list, max_length=MOST_AT_ONCE)
    external_ids: list[ExternalId] = Field(default_factory=list, max_length=MOST_AT_ONCE)
    percent: Annotated[StrictInt, Field(ge=1, le=100)] | None = None
    after: Annotated[StrictInt, Field(ge=0, le=2**31 - 1)] = 0

    def selection(self) -> Selection:
        """The practices in the form that the flow takes."""
        return Selection(tuple(self.practice_ids), tuple(self.external_ids), self.percent)


class ResolveConflict(RequestBody):
    """Which side of a conflict stays. The other side is overwritten.

    `paymentProviders`: the field as it is now, only if polytill cannot read it in the host application's database.
    """

    keep: Keep
    payment_providers: FieldValue = None

    def field(self) -> Any:
        """The field; ``...`` if none was sent. It may be null."""
        return self.payment_providers if "payment_providers" in self.model_fields_set else ...


class OldField(RequestBody):
    """A practice's field."""

    payment_providers: FieldValue


class AskedPayment(RequestBody):
    """A payment for which the old code wants to know our choice."""

    currency: Currency
    amount: Amount | None = None
    payment_method: Code | None = None
    environment: Environment | None = None

    def asked(self) -> Asked:
        """The payment in the form that the flow takes."""
        return Asked(self.currency, self.amount, self.payment_method, self.environment)


class ReportedDecision(AskedPayment):
    """A decision of the old code. `providerCode` is null if it chose no provider; `reference` is its own."""

    provider_code: ProviderName | None
    reference: Word


class FieldReads(RequestBody):
    """How often a caller has read the field since the last report."""

    caller: Annotated[StrictStr, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
    count: Annotated[StrictInt, Field(ge=0, le=10**9)] = 1


class ReportFieldReads(RequestBody):
    """Reads of the field by caller. An empty list says that the host counts, and that there were none."""

    reads: list[FieldReads] = Field(max_length=200)


# ── Responses ──


class PracticeRollout(ResponseBody):
    """A practice's place in the rollout. `phase` is null if it is not in one."""

    practice_id: int
    external_id: str | None
    name: str
    phase: RolloutPhase | None
    moving_to: RolloutPhase | None
    moved_at: Moment | None
    field_state: FieldState
    field_detail: str | None
    field_checked_at: Moment | None
    agreements: int
    differences: int

    @classmethod
    def of(cls, one: Rollout, differences: int) -> Self:
        """Build it from its row."""
        return cls(
            one.practice_id,
            one.external_id,
            one.name,
            one.phase,
            one.moving_to,
            wire_time(one.moved_at),
            one.field_state,
            one.field_detail,
            wire_time(one.checked_at),
            one.agreements,
            differences,
        )


class RefusedMove(ResponseBody):
    """A practice that was not moved, and why."""

    practice_id: int
    external_id: str | None
    detail: str

    @classmethod
    def of(cls, one: Moved) -> Self:
        """Build it from the result of a step."""
        return cls(one.rollout.practice_id, one.rollout.external_id, one.refused or "")


class MovedPractices(ResponseBody):
    """The practices that were moved, those that were in the phase already, and those that could not be moved.

    `left`: selected practices that this request did not reach. `next`: the `after` with which the next request
    continues; null if none is left.
    """

    moved: list[int]
    unchanged: list[int]
    refused: list[RefusedMove]
    left: int
    next: int | None


class FieldReader(ResponseBody):
    """A caller that has read the field."""

    caller: str
    reads: int
    first_at: Moment
    last_at: Moment


class RolloutStatus(ResponseBody):
    """The rollout of all practices: how many are in each phase, the states of their fields, the comparisons, and who
    still reads the field. `notInRollout` counts practices without a phase."""

    phases: dict[str, int]
    not_in_rollout: int
    field_states: dict[str, int]
    agreements: int
    differences: dict[str, int]
    readers: list[FieldReader]
    reads_reported_since: Moment | None
    reads_reported_at: Moment | None


class RolloutDifference(ResponseBody):
    """A payment for which the old code and polytill chose differently. A provider is null if that side found none."""

    id: int
    practice_id: int
    reference: str
    reason: DifferenceReason
    detail: str
    environment: Environment
    currency: str
    amount: int | None
    payment_method: str | None
    legacy_provider: str | None
    our_provider: str | None
    at: Moment


class FieldInStep(ResponseBody):
    """The state of a field after a comparison. `changed`: providers whose configuration followed. `problems`: what is
    still different."""

    state: FieldState
    changed: list[str]
    problems: list[str]


class FieldToWrite(ResponseBody):
    """The field that the host application has to hold now. It contains keys in plain text: do not log it."""

    payment_providers: Any
    state: FieldState


class RolloutChoice(ResponseBody):
    """Our choice for a payment. `use` says whose choice counts for this practice; `providerCode` is null if no provider
    can take the payment here."""

    phase: RolloutPhase | None
    use: WhoDecides
    provider_code: str | None
    environment: Environment | None
    reason: str
    alternatives: list[str]
    excluded: list[ExcludedProvider]

    @classmethod
    def of(cls, choice: Choice) -> Self:
        """Build it from our choice."""
        ranked = choice.decision.candidates
        return cls(
            choice.phase,
            choice.use,
            choice.provider_code,
            ranked[0].environment if ranked else None,
            choice.decision.reason,
            [one.code for one in ranked[1:]],
            [ExcludedProvider.from_record(one) for one in choice.decision.excluded],
        )


class ComparedDecision(ResponseBody):
    """Both choices. `agrees` is null if nothing was compared: only the phase `shadow` compares."""

    choice: RolloutChoice
    agrees: bool | None
    reason: DifferenceReason | None
    detail: str | None

    @classmethod
    def of(cls, found: Compared) -> Self:
        """Build it from the comparison."""
        return cls(RolloutChoice.of(found.choice), found.agrees, found.reason, found.detail)
