"""A practice's provider configurations and their keys, and the choice of a provider: requests and responses."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import Field, StrictBool

from polytill.domain.clock import wire_time
from polytill.domain.secret import Secret
from polytill.domain.states import CredentialState, Environment
from polytill.flows.admin.credentials import Keys, credential_view
from polytill.flows.context import Practice, Snapshot
from polytill.flows.provider_calls import hook_url
from polytill.providers.contract import CredentialTest, KeyFinding
from polytill.storage import provider_configs
from polytill.web.api.models.catalog import CurrencyTerms
from polytill.web.api.requests import RequestBody
from polytill.web.api.responses import Moment, ResponseBody
from polytill.web.api.values import Code, Currency, JsonObject, KeyText, Priority


class SetCredentials(RequestBody):
    """Credentials."""

    public_key: KeyText | None = None
    secret_key: KeyText | None = None
    webhook_secret: KeyText | None = None
    config: JsonObject | None = Field(None, max_length=50)

    def keys(self) -> Keys:
        """The credentials in the form that the flows take."""
        return Keys(
            self.public_key,
            Secret(self.secret_key) if self.secret_key else None,
            Secret(self.webhook_secret) if self.webhook_secret else None,
            self.config,
        )


class ConfigureProvider(SetCredentials):
    """A provider and its keys, with the field names of the seed."""

    provider_code: Code
    environment: Environment = Environment.sandbox
    is_enabled: StrictBool = False
    is_default: StrictBool | None = None
    supported_currencies: list[Currency] | None = Field(None, max_length=200)
    priority: Priority | None = None


class ChangeConfiguration(SetCredentials):
    """The parts of a configuration that can be changed one by one."""

    environment: Environment | None = None
    is_enabled: StrictBool | None = None
    is_default: StrictBool | None = None
    supported_currencies: list[Currency] | None = Field(None, max_length=200)
    priority: Priority | None = None


class ActivateEnvironment(RequestBody):
    """The environment to activate."""

    environment: Environment


class AvailableProvider(CurrencyTerms):
    """A provider that a practice may use for a currency."""

    code: str
    name: str
    description: str | None
    logo_url: str | None
    status: str
    is_beta: bool
    is_configured: bool
    is_enabled: bool
    is_default: bool
    environment: Environment | None
    currency: str
    supported_payment_methods: list[str]
    supported_features: list[str]
    config_schema: dict[str, Any] | None
    requires_public_key: bool
    requires_secret_key: bool
    requires_webhook_secret: bool


class SecretState(ResponseBody):
    """A secret: only whether it is set."""

    set: bool
    last4: str | None
    updated_at: Moment | None

    @classmethod
    def of(cls, shown: dict[str, Any]) -> Self:
        """Build it from one secret of ``credential_view``."""
        return cls(shown["set"], shown["last4"], wire_time(shown["updatedAt"]))


class ProviderConfiguration(ResponseBody):
    """A practice's configuration of a provider. ``webhookRelays``: by environment, where webhooks go that are not about
    anything here."""

    id: int
    provider_code: str
    provider_name: str
    is_enabled: bool
    is_default: bool
    default_for: list[str]
    environment: Environment
    public_key: str | None
    secret_key: SecretState
    webhook_secret: SecretState
    config: dict[str, Any]
    prepared_environments: list[Environment]
    supported_currencies: list[str]
    priority: int
    webhook_url: str
    webhook_relays: dict[str, str]
    configured_by: int | None
    last_tested_at: Moment | None
    last_used_at: Moment | None
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, practice: Practice, snapshot: Snapshot, configuration: provider_configs.Configuration) -> Self:
        """Build it from its row: of a secret only whether it is set."""
        shown = credential_view(practice.db, configuration, configuration.active)
        return cls.from_record(
            configuration,
            default_for=defaults_of(snapshot, configuration),
            public_key=shown["publicKey"],
            secret_key=SecretState.of(shown["secretKey"]),
            webhook_secret=SecretState.of(shown["webhookSecret"]),
            config=shown["config"],
            prepared_environments=prepared_environments(configuration),
            webhook_url=hook_url(practice.context, configuration.hook_token),
            webhook_relays=configuration.relay_urls,
        )


def defaults_of(snapshot: Snapshot, configuration: provider_configs.Configuration) -> list[str]:
    """The currencies for which a configuration is the default."""
    return sorted(
        currency
        for (environment, currency), config_id in snapshot.defaults.items()
        if config_id == configuration.id and environment is configuration.environment
    )


def prepared_environments(configuration: provider_configs.Configuration) -> list[Environment]:
    """The environments whose keys are saved and not active."""
    return sorted({s.environment for s in configuration.others if s.state is CredentialState.prepared})


class ExcludedProvider(ResponseBody):
    """Why a provider cannot take the payment."""

    code: str
    reason: str
    detail: str


class CustomerFields(ResponseBody):
    """The customer fields that a payment needs: all of ``required``, and one of ``oneOf`` unless that is empty. The
    phone must be a number of one of ``phoneCountries`` (ISO 3166), if there are any."""

    required: list[str]
    one_of: list[str]
    phone_countries: list[str]


class ChosenProvider(ResponseBody):
    """The provider that a payment would use."""

    code: str
    name: str
    public_key: str | None
    environment: Environment
    reason: str
    customer_fields: CustomerFields
    alternatives: list[str]
    excluded: list[ExcludedProvider]


class CredentialsTested(ResponseBody):
    """Whether the keys can take payments. ``finding`` identifies the result; ``ok`` with a finding is a warning."""

    ok: bool
    environment: Environment | None
    finding: KeyFinding | None
    detail: str
    tested_at: Moment

    @classmethod
    def of(cls, result: CredentialTest, tested_at: datetime) -> Self:
        """Build it from what the provider's handler found."""
        return cls.from_record(result, tested_at=wire_time(tested_at))
