"""Routing: policies and their versions, decisions and their reasons, replays. Requests and responses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Self

import msgspec
from pydantic import AwareDatetime, Field, StrictBool, StrictInt, StrictStr, model_validator

from polytill.domain.errors import FieldError
from polytill.domain.metadata import MAX_ENTRIES, MAX_METADATA_VALUE
from polytill.domain.money import ppm_to_percent
from polytill.domain.routing import FeeSource, Strategy, Verdict
from polytill.domain.routing_policies import PolicyState
from polytill.domain.states import CaptureMode, Environment
from polytill.flows.payments.previews import Hypothetical, Under
from polytill.flows.payments.replay import MOST_PAYMENTS, Replay
from polytill.flows.routing.comparison import Sums as ReplaySums
from polytill.flows.routing.reading import loaded
from polytill.providers import contract
from polytill.storage.routing_policies import PolicyVersion
from polytill.web.api.models.payments import CustomerDetails
from polytill.web.api.requests import BodyWithBlanks, RequestBody
from polytill.web.api.responses import Minor, Moment, ResponseBody
from polytill.web.api.values import Amount, Code, Currency, JsonObject
from polytill.web.decision_sentences import Line

Version = Annotated[StrictInt, Field(ge=0, le=2**31 - 1, description="0: the default order, without a policy")]
Note = Annotated[StrictStr, Field(max_length=500)]
Percent = Annotated[str, Field(description="A decimal number of percent", examples=["93.5"])]


# ── Policies ──


class SaveRoutingPolicy(RequestBody):
    """A draft of a routing policy, and why it is made."""

    policy: JsonObject
    note: Note = ""
    edits: Annotated[
        StrictInt | None, Field(ge=0, description="As it was read: 409 if somebody else changed the draft since")
    ] = None


class PublishRoutingPolicy(RequestBody):
    """A publication. With `insteadOf`, 409 if another version is active by now."""

    instead_of: Version | None = None


class RollBackRoutingPolicy(PublishRoutingPolicy):
    """The version to return to."""

    version: Version


class RoutingPolicyWarning(ResponseBody):
    """What may be wrong with a policy, although it is valid."""

    pointer: str
    detail: str

    @classmethod
    def all_of(cls, errors: Iterable[FieldError]) -> list[Self]:
        """Build them from what was found."""
        return [cls(one.pointer, one.detail) for one in errors]


class RoutingPolicyVersion(ResponseBody):
    """One version of the routing policy of an environment."""

    environment: Environment
    version: int
    state: PolicyState
    policy: dict[str, Any]
    note: str
    edits: Annotated[int, Field(description="Counts the changes of the draft")]
    created_by: str
    created_at: Moment
    changed_by: str
    changed_at: Moment
    published_by: str | None
    published_at: Moment | None
    failed_tests: Annotated[
        list[RoutingPolicyWarning] | None,
        Field(description="The tests of a draft that fail: it cannot be published. null: not run, as in the list"),
    ]

    @classmethod
    def of(cls, version: PolicyVersion, active: int, failed: Iterable[FieldError] | None = None) -> Self:
        """Build it from its row, with its tests that fail."""
        return cls.from_record(
            version,
            state=version.state(active),
            policy=loaded(version.content or "{}"),
            failed_tests=None if failed is None else RoutingPolicyWarning.all_of(failed),
        )


class RoutingPolicies(ResponseBody):
    """The versions of an environment, newest first. `active` is 0 without a policy: the default order."""

    environment: Environment
    active: int
    versions: list[RoutingPolicyVersion]


class RoutingPolicyActivated(ResponseBody):
    """The version that routes payments now, and the one that did before."""

    environment: Environment
    active: int
    before: int
    warnings: list[RoutingPolicyWarning]


# ── Decisions ──


class _UnderPolicy(BodyWithBlanks):
    policy: JsonObject | None = Field(None, description="A policy that is not stored")
    policy_version: Version | None = None

    def under(self) -> Under:
        """The policy to decide by."""
        return Under(self.policy_version, self.policy)

    @model_validator(mode="after")
    def _one_policy(self) -> Self:
        if self.policy is not None and self.policy_version is not None:
            raise ValueError("policy excludes policyVersion")
        return self


class DecideProvider(_UnderPolicy):
    """A payment that might be made. What is left out is not known, and excludes no provider. Without `policy` and
    `policyVersion`, the active policy decides."""

    currency: Currency
    amount: Amount | None = None
    payment_method: Code | None = None
    capture: CaptureMode = CaptureMode.automatic
    customer: CustomerDetails | None = Field(
        None, description="With it, providers that need another field of the customer are excluded"
    )
    customer_is_known: StrictBool | None = Field(None, description="Whether the customer has paid before")
    metadata: dict[StrictStr, Annotated[StrictStr, Field(max_length=MAX_METADATA_VALUE)]] | None = Field(
        None, max_length=MAX_ENTRIES
    )
    provider_code: Code | None = None
    environment: Environment | None = None
    at: AwareDatetime | None = Field(None, description="When it is made; default: now")
    idempotency_key: Annotated[StrictStr, Field(max_length=200)] | None = Field(
        None, description="Decides which provider is drawn, as for a payment under this key"
    )

    def payment(self) -> Hypothetical:
        """The payment in the form that the flow takes."""
        given = self.customer
        customer = contract.Customer(given.email, given.name, given.phone) if given else None
        return Hypothetical(
            self.currency, self.amount, self.payment_method, self.capture, customer, self.metadata, self.environment,
            self.provider_code, self.at, self.idempotency_key, self.customer_is_known,
        )  # fmt: skip


class EstimatedFee(ResponseBody):
    """An estimated fee, by the catalog's terms or by the fees that the provider really charged."""

    amount: Minor
    currency: str
    source: FeeSource


class DecidedProvider(ResponseBody):
    """One provider in a decision. `place` 1 takes the payment; null: it cannot take it. `reason` is stable, `detail` is
    for people."""

    code: str
    name: str
    place: int | None
    reason: str
    detail: str
    health: Verdict | None
    estimated_fee: EstimatedFee | None
    expected_success_percent: Percent | None

    @classmethod
    def of(cls, line: Line) -> Self:
        """Build it from a line."""
        known = line.estimate
        fee = known.fee if known else None
        return cls(
            line.code,
            line.name,
            line.place,
            line.reason,
            line.sentence,
            line.verdict,
            EstimatedFee(fee.money.minor, fee.money.currency, fee.source) if fee else None,
            _percent(known.success_ppm) if known else None,
        )


class RoutingDecision(ResponseBody):
    """Who takes a payment, and why not each other provider. `policyVersion` is null without a policy."""

    environment: Environment
    currency: str
    at: Moment
    strategy: Strategy
    policy_version: int | None
    chosen: str | None
    providers: list[DecidedProvider]


class DecidedAttempt(ResponseBody):
    """One attempt of a payment, and why it was made at this provider. `decision`: its own, if the customer tried again;
    the attempts after it follow that one."""

    number: int
    provider_code: str
    state: str
    detail: str
    decision: RoutingDecision | None


class PaymentDecision(RoutingDecision):
    """The decision as it was made when the payment was created, and why each attempt was made."""

    attempts: list[DecidedAttempt]

    @classmethod
    def of(cls, decided: RoutingDecision, attempts: list[DecidedAttempt]) -> Self:
        """Build it from the decision and the attempts."""
        return cls(**msgspec.structs.asdict(decided), attempts=attempts)


# ── Replays ──


class SimulateRouting(_UnderPolicy):
    """A policy, and the past payments to replay: the newest first, up to `limit`."""

    environment: Environment
    created_from: AwareDatetime | None = None
    created_to: AwareDatetime | None = None
    limit: Annotated[StrictInt, Field(ge=1, le=MOST_PAYMENTS)] = 1000

    @model_validator(mode="after")
    def _some_policy(self) -> Self:
        if self.policy is None and self.policy_version is None:
            raise ValueError("policy or policyVersion is required")
        return self


class SimulatedSums(ResponseBody):
    """What a policy leads to in one currency. `fees` counts the payments whose fee is known under both policies."""

    fees: Minor
    expected_success_percent: Percent

    @classmethod
    def of(cls, sums: ReplaySums) -> Self:
        """Build it from the sums of a replay."""
        return cls(sums.fees, _percent(sums.mean_success_ppm))


class SimulatedCurrency(ResponseBody):
    """The effect in one currency."""

    currency: str
    payments: int
    payments_with_fees: int
    before: SimulatedSums
    after: SimulatedSums


class SimulatedProvider(ResponseBody):
    """How many payments a provider really took, takes under the active policy, and would take under the proposed one."""

    code: str
    took: int
    before: int
    after: int


class SimulatedMove(ResponseBody):
    """Payments that another provider would take."""

    before: str
    after: str
    payments: int


class SimulatedChange(ResponseBody):
    """One payment that another provider would take, and why."""

    payment_id: str
    amount: Minor
    currency: str
    before: str
    after: str
    detail: str


class SimulatedRouting(ResponseBody):
    """What a proposed policy would change. `isComplete` is false if there are more payments in the period."""

    environment: Environment
    active_version: int
    payments: int
    changed: int
    without_provider: int
    is_complete: bool
    oldest: Moment | None
    providers: list[SimulatedProvider]
    moves: list[SimulatedMove]
    currencies: list[SimulatedCurrency]
    changes: list[SimulatedChange]

    @classmethod
    def of(cls, found: Replay, oldest: str | None, changes: list[SimulatedChange]) -> Self:
        """Build it from a replay."""
        codes = sorted({*found.took, *found.before, *found.after})
        return cls(
            found.environment,
            found.active,
            found.payments,
            found.changed,
            found.nobody,
            found.is_complete,
            oldest,
            [SimulatedProvider(one, found.took[one], found.before[one], found.after[one]) for one in codes],
            [SimulatedMove(*pair, count) for pair, count in found.moved.most_common()],
            [
                SimulatedCurrency(
                    currency, before.payments, before.with_fees, SimulatedSums.of(before), SimulatedSums.of(after)
                )
                for currency, (before, after) in sorted(found.sums.items())
            ],
            changes,
        )


def _percent(ppm: int) -> str:
    return ppm_to_percent(round(ppm, -3))
