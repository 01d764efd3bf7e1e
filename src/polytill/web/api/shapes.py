"""Request bodies (pydantic, camelCase)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from polytill.domain.contacts import check_phone_characters, read_email, read_name
from polytill.domain.database_urls import wrong_with_server
from polytill.domain.errors import InvalidAmount
from polytill.domain.metadata import MAX_ENTRIES, MAX_METADATA_VALUE
from polytill.domain.money import percent_to_ppm
from polytill.domain.states import Environment
from polytill.domain.text import visible
from polytill.storage.catalog import CurrencySupport
from polytill.web.api.values import Amount as Amount
from polytill.web.api.values import Bound as Bound
from polytill.web.api.values import Code as Code
from polytill.web.api.values import Country as Country
from polytill.web.api.values import Currency as Currency
from polytill.web.api.values import DayOrMoment as DayOrMoment
from polytill.web.api.values import ExternalId as ExternalId
from polytill.web.api.values import JsonObject as JsonObject
from polytill.web.api.values import KeyText as KeyText
from polytill.web.api.values import Priority as Priority
from polytill.web.api.values import Status as Status
from polytill.web.api.values import Text as Text
from polytill.web.api.values import TimeZone as TimeZone
from polytill.web.api.values import Url as Url
from polytill.web.api.values import Word as Word
from polytill.web.api.values import no_control


class Shape(BaseModel):
    """A request body: camelCase, without unknown fields."""

    # A message must never quote the input: it may be a key.
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=False, extra="forbid", hide_input_in_errors=True
    )


class ShapeOfBlanks(Shape):
    """A body whose optional fields may be blank: a blank text counts as absent, as in a form that sends every field."""

    @model_validator(mode="before")
    @classmethod
    def _without_blank(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        required = {spec.alias or name for name, spec in cls.model_fields.items() if spec.is_required()}
        return {k: v for k, v in given.items() if k in required or not (isinstance(v, str) and not visible(v))}


def _checked(reader: Callable[[str | None], str | None]) -> Callable[[str], str]:
    def check(value: str) -> str:
        reader(value)
        return value

    return check


class CustomerShape(Shape):
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


class PaymentShape(ShapeOfBlanks):
    """A payment to create."""

    amount: Amount
    currency: Currency
    payment_method: Code | None = None
    customer: CustomerShape | None = None
    description: Text | None = None
    reference: Word | None = None
    metadata: dict[StrictStr, Annotated[StrictStr, Field(max_length=MAX_METADATA_VALUE)]] | None = Field(
        None,
        max_length=MAX_ENTRIES,
        description="Names of 1 to 40 characters without square brackets. Names that begin with polytill and some that "
        "providers use themselves are reserved",
    )
    provider_code: Code | None = None
    capture: Literal["automatic", "manual"] = "automatic"
    return_url: Url | None = None
    environment: Environment | None = None
    save_method: StrictBool = False
    saved_method: Annotated[StrictStr, Field(pattern=r"^[a-z0-9-]{20,36}$")] | None = None
    method_details: dict[Annotated[StrictStr, Field(pattern=r"^[a-z_]{1,40}$")], _Detail] | None = Field(
        None, max_length=10
    )

    @model_validator(mode="after")
    def _one_way(self) -> PaymentShape:
        chosen = self.payment_method or self.save_method or self.method_details is not None
        if self.saved_method and (chosen or self.capture == "manual"):
            raise ValueError("savedMethod excludes paymentMethod, saveMethod, methodDetails and manual capture")
        if self.method_details is not None and self.save_method:
            raise ValueError("methodDetails excludes saveMethod: a direct charge cannot save the method")
        return self


class CaptureShape(ShapeOfBlanks):
    """A capture; without an amount, all that is authorized."""

    amount: Amount | None = None


class ManualPaymentShape(ShapeOfBlanks):
    """What staff saw: the amount that they counted, a note, and the name of a receipt or statement."""

    amount: Amount
    note: Text
    proof: Text | None = None


class RefundShape(ShapeOfBlanks):
    """A refund; without an amount, everything that can still be refunded."""

    amount: Amount | None = None
    reason: Text | None = None
    accept_dispute_risk: bool = False


class EmptyShape(Shape):
    """An empty object."""


class KeysShape(Shape):
    """Credentials."""

    public_key: KeyText | None = None
    secret_key: KeyText | None = None
    webhook_secret: KeyText | None = None
    config: JsonObject | None = Field(None, max_length=50)


class ConfigurationShape(KeysShape):
    """A provider and its keys, with the field names of the seed."""

    provider_code: Code
    environment: Environment = Environment.sandbox
    is_enabled: StrictBool = False
    is_default: StrictBool | None = None
    supported_currencies: list[Currency] | None = Field(None, max_length=200)
    priority: Priority | None = None


class ConfigurationPatch(KeysShape):
    """The parts of a configuration that can be changed one by one."""

    environment: Environment | None = None
    is_enabled: StrictBool | None = None
    is_default: StrictBool | None = None
    supported_currencies: list[Currency] | None = Field(None, max_length=200)
    priority: Priority | None = None


class ActivateShape(Shape):
    """The environment to activate."""

    environment: Environment


class PracticeShape(Shape):
    """A practice to create."""

    name: Word
    default_currency: Currency
    cluster: Code = "default"
    country: Country | None = None
    time_zone: TimeZone | None = None
    external_id: ExternalId | None = None


class PracticePatch(Shape):
    """The fields of a practice that can change."""

    name: Word | None = None
    default_currency: Currency | None = None
    state: Literal["active", "suspended"] | None = None
    country: Country | None = None
    time_zone: TimeZone | None = None
    external_id: ExternalId | None = None


class ProviderColumns(Shape):
    """The fields of a catalog entry that the owner may set."""

    name: Word | None = None
    description: Text | None = None
    logo_url: Url | None = None
    website_url: Url | None = None
    documentation_url: Url | None = None
    api_base_url: Url | None = None
    sandbox_api_base_url: Url | None = None
    supported_currencies: list[Currency] | None = Field(None, max_length=200)
    supported_payment_methods: list[Code] | None = Field(None, max_length=60)
    supported_features: list[Code] | None = Field(None, max_length=60)
    requires_public_key: StrictBool | None = None
    requires_secret_key: StrictBool | None = None
    requires_webhook_secret: StrictBool | None = None
    config_schema: JsonObject | None = None
    status: Status | None = None
    is_default: StrictBool | None = None
    priority: Priority | None = None
    integration_type: Literal["built_in", "plugin", "custom"] | None = None
    handler_module: Annotated[StrictStr, AfterValidator(no_control), Field(max_length=200)] | None = None


class ProviderShape(ProviderColumns):
    """A provider to add."""

    code: Code
    name: Word


class CurrencyShape(Shape):
    """One currency's terms: the percentage as a decimal string, amounts in minor units."""

    is_recommended: StrictBool = False
    transaction_fee_percent: Annotated[StrictStr, Field(pattern=r"^[0-9]{1,3}(\.[0-9]{1,4})?$")] | None = None
    transaction_fee_fixed: Bound | None = None
    min_amount: Bound | None = None
    max_amount: Bound | None = None
    is_active: StrictBool = True

    @field_validator("transaction_fee_percent")
    @classmethod
    def _percent(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                percent_to_ppm(value)
            except InvalidAmount as error:
                raise ValueError("must be a percentage from 0 to 100 with up to four decimal places") from error
        return value

    def support(self, currency_code: str) -> CurrencySupport:
        """The terms for storage, with the percentage in parts per million."""
        ppm = None if self.transaction_fee_percent is None else percent_to_ppm(self.transaction_fee_percent)
        return CurrencySupport(
            currency_code,
            self.is_recommended,
            ppm,
            self.transaction_fee_fixed,
            self.min_amount,
            self.max_amount,
            self.is_active,
        )


class KeyShape(Shape):
    """An API key to create. Without ``scopes`` it has all of them, so an empty list is invalid."""

    name: Word = "key"
    kind: Literal["practice", "publishable"] = "practice"
    scopes: list[Literal["read", "payments", "refunds", "configure"]] | None = Field(
        None, min_length=1, max_length=4, description="Default and null: all four"
    )


class OwnerKeyShape(Shape):
    """An owner key to create."""

    name: Word = "key"


def _is_server(value: str) -> str:
    if (wrong := wrong_with_server(value)) is not None:
        raise ValueError(wrong)
    return value


ServerUrl = Annotated[StrictStr, Field(max_length=2000), AfterValidator(_is_server)]


class ClusterShape(Shape):
    """A PostgreSQL server to place practices on."""

    name: Code
    url: ServerUrl


class ClusterPatch(Shape):
    """The fields of a cluster that can change."""

    url: ServerUrl | None = None
    is_active: StrictBool | None = None
