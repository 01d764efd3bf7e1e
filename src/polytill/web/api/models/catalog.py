"""The catalog of providers and their terms for each currency: requests and responses."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StrictBool, StrictStr, field_validator

from polytill.domain.errors import InvalidAmount
from polytill.domain.money import percent_to_ppm, ppm_to_percent
from polytill.domain.states import IntegrationType, ProviderStatus
from polytill.storage.catalog import CurrencySupport, ProviderEntry
from polytill.web.api.requests import RequestBody
from polytill.web.api.responses import Minor, Moment, ResponseBody
from polytill.web.api.values import Bound, Code, Currency, JsonObject, Priority, Text, Url, Word, no_control


class ChangeProvider(RequestBody):
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
    status: ProviderStatus | None = None
    is_default: StrictBool | None = None
    priority: Priority | None = None
    integration_type: IntegrationType | None = None
    handler_module: Annotated[StrictStr, AfterValidator(no_control), Field(max_length=200)] | None = None


class AddProvider(ChangeProvider):
    """A provider to add."""

    code: Code
    name: Word


class SetCurrencyTerms(RequestBody):
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


class Provider(ResponseBody):
    """A provider in the catalog, with all fields of the seed."""

    id: int
    code: str
    name: str
    description: str | None
    logo_url: str | None
    website_url: str | None
    documentation_url: str | None
    api_base_url: str | None
    sandbox_api_base_url: str | None
    supported_currencies: list[str]
    supported_payment_methods: list[str]
    supported_features: list[str]
    requires_public_key: bool
    requires_secret_key: bool
    requires_webhook_secret: bool
    config_schema: dict[str, Any] | None
    status: ProviderStatus
    is_default: bool
    priority: int
    integration_type: IntegrationType
    handler_module: str | None
    created_at: Moment
    updated_at: Moment
    created_by: str | None

    @classmethod
    def of(cls, entry: ProviderEntry) -> Self:
        """Build it from its row."""
        return cls.from_record(
            entry,
            supported_payment_methods=entry.supported_payment_methods or [],
            supported_features=entry.supported_features or [],
        )


class CurrencyTerms(ResponseBody):
    """A provider's terms for one currency."""

    currency_code: str
    is_recommended: bool
    transaction_fee_percent: str | None
    transaction_fee_fixed: Minor | None
    min_amount: Minor | None
    max_amount: Minor | None
    is_active: bool

    @classmethod
    def of(cls, support: CurrencySupport) -> Self:
        """Build it from its row."""
        percent = support.transaction_fee_percent
        shown = None if percent is None else ppm_to_percent(percent)
        return cls.from_record(support, transaction_fee_percent=shown)
