"""The shapes of the outside: what requests may hold (pydantic), and how our rows stand on the wire (camelCase)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

import msgspec
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
from starlette.responses import Response

from polytill.domain.clock import wire_time
from polytill.domain.errors import InvalidAmount
from polytill.domain.money import percent_to_ppm, ppm_to_percent
from polytill.domain.states import Environment
from polytill.flows.desk import Desk
from polytill.flows.next_action import open_action
from polytill.flows.pay import Taken, client_token, current_attempt
from polytill.storage.catalog import CurrencySupport, ProviderEntry
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Attempt, Payment
from polytill.storage.practices import PracticeEntry
from polytill.storage.provider_configs import Configuration
from polytill.storage.refunds import Refund
from polytill.storage.saved_methods import KeptMethod
from polytill.web.saved_shapes import saved_method_view
from polytill.web.values import (
    Amount as Amount,
)
from polytill.web.values import (
    Bound as Bound,
)
from polytill.web.values import (
    Code as Code,
)
from polytill.web.values import (
    Currency as Currency,
)
from polytill.web.values import (
    JsonObject as JsonObject,
)
from polytill.web.values import (
    KeyText as KeyText,
)
from polytill.web.values import (
    Priority as Priority,
)
from polytill.web.values import (
    Status as Status,
)
from polytill.web.values import (
    Text as Text,
)
from polytill.web.values import (
    Url as Url,
)
from polytill.web.values import (
    Word as Word,
)
from polytill.web.values import (
    no_control,
)

_encode = msgspec.json.Encoder().encode


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A ready JSON response, without a response-model pass."""
    return Response(_encode(body), status, headers, "application/json")


# ── Requests ──


class Shape(BaseModel):
    """A request body: camelCase, and no field that is not known."""

    # A message must never quote what was sent: it may be a key.
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=False, extra="forbid", hide_input_in_errors=True
    )


class CustomerShape(Shape):
    """The payer."""

    email: (
        Annotated[StrictStr, AfterValidator(no_control), Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")] | None
    ) = None
    name: Word | None = None
    phone: Annotated[StrictStr, Field(max_length=32, pattern=r"^\+?[0-9 ()-]{5,31}$")] | None = None


class PaymentShape(Shape):
    """A payment to take."""

    amount: Amount
    currency: Currency
    payment_method: Code | None = None
    customer: CustomerShape | None = None
    description: Text | None = None
    reference: Word | None = None
    metadata: dict[Annotated[StrictStr, Field(max_length=40)], Annotated[StrictStr, Field(max_length=500)]] | None = (
        Field(None, max_length=20)
    )
    provider_code: Code | None = None
    capture: Literal["automatic", "manual"] = "automatic"
    return_url: Url | None = None
    environment: Environment | None = None
    save_method: StrictBool = False
    saved_method: Annotated[StrictStr, Field(pattern=r"^[a-z0-9-]{20,36}$")] | None = None
    method_details: dict[Annotated[StrictStr, Field(pattern=r"^[a-z_]{1,40}$")], Word] | None = Field(
        None, max_length=10
    )

    @model_validator(mode="after")
    def _one_way(self) -> PaymentShape:
        chosen = self.payment_method or self.save_method or self.method_details is not None
        if self.saved_method and (chosen or self.capture == "manual"):
            raise ValueError("savedMethod is charged at once: no paymentMethod, saveMethod, methodDetails or capture")
        if self.method_details is not None and self.save_method:
            raise ValueError("methodDetails charges without the provider's page, where nothing can be saved")
        return self

    @field_validator("metadata")
    @classmethod
    def _plain(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        for name, text in (value or {}).items():
            no_control(name)
            no_control(text)
            if name.startswith("polytill"):
                raise ValueError("names that begin with polytill are ours")
        return value


class CaptureShape(Shape):
    """A capture; without an amount, all that is held."""

    amount: Amount | None = None


class ByHandShape(Shape):
    """What staff have seen: the amount that they counted, a note, and the name of a receipt or statement."""

    amount: Amount
    note: Text
    proof: Text | None = None


class RefundShape(Shape):
    """A refund; without an amount, all that is left."""

    amount: Amount | None = None
    reason: Text | None = None


class EmptyShape(Shape):
    """Nothing."""


class KeysShape(Shape):
    """Credentials."""

    public_key: KeyText | None = None
    secret_key: KeyText | None = None
    webhook_secret: KeyText | None = None
    config: JsonObject | None = Field(None, max_length=50)


class ConfigurationShape(KeysShape):
    """The seed's body: a provider and its keys."""

    provider_code: Code
    environment: Environment = Environment.sandbox
    is_enabled: StrictBool = False
    is_default: StrictBool | None = None
    supported_currencies: list[Currency] | None = Field(None, max_length=200)
    priority: Priority | None = None


class ConfigurationPatch(KeysShape):
    """What may be changed one by one."""

    environment: Environment | None = None
    is_enabled: StrictBool | None = None
    is_default: StrictBool | None = None
    supported_currencies: list[Currency] | None = Field(None, max_length=200)
    priority: Priority | None = None


class ActivateShape(Shape):
    """Which environment to switch to."""

    environment: Environment


class PracticeShape(Shape):
    """A practice to onboard."""

    name: Word
    default_currency: Currency
    cluster: Code = "default"


class PracticePatch(Shape):
    """What may change about a practice."""

    name: Word | None = None
    default_currency: Currency | None = None
    state: Literal["active", "suspended"] | None = None


class ProviderColumns(Shape):
    """The columns of the catalog that an owner may write."""

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
        """As it is stored: parts per million."""
        ppm = None if self.transaction_fee_percent is None else percent_to_ppm(self.transaction_fee_percent)
        return CurrencySupport(
            currency_code, self.is_recommended, ppm, self.transaction_fee_fixed, self.min_amount, self.max_amount,
            self.is_active,
        )  # fmt: skip


class KeyShape(Shape):
    """An API key to make; without ``scopes`` it may do everything, so no scope at all is refused."""

    name: Word = "key"
    kind: Literal["practice", "publishable"] = "practice"
    scopes: list[Literal["read", "payments", "refunds", "configure"]] | None = Field(
        None, min_length=1, max_length=4, description="All four where it is left out or null"
    )


class OwnerKeyShape(Shape):
    """An owner key to make."""

    name: Word = "key"


class ClusterShape(Shape):
    """A PostgreSQL server to place practices on."""

    name: Code
    url: Annotated[StrictStr, AfterValidator(no_control), Field(max_length=2000, pattern=r"^postgres(ql)?://\S+$")]


# ── Answers ──


def provider_view(entry: ProviderEntry) -> dict[str, Any]:
    """A catalog entry with every column of the seed."""
    return {
        "id": entry.id, "code": entry.code, "name": entry.name, "description": entry.description,
        "logoUrl": entry.logo_url, "websiteUrl": entry.website_url, "documentationUrl": entry.documentation_url,
        "apiBaseUrl": entry.api_base_url, "sandboxApiBaseUrl": entry.sandbox_api_base_url,
        "supportedCurrencies": entry.supported_currencies,
        "supportedPaymentMethods": entry.supported_payment_methods or [],
        "supportedFeatures": entry.supported_features or [], "requiresPublicKey": entry.requires_public_key,
        "requiresSecretKey": entry.requires_secret_key, "requiresWebhookSecret": entry.requires_webhook_secret,
        "configSchema": entry.config_schema, "status": entry.status, "isDefault": entry.is_default,
        "priority": entry.priority, "integrationType": entry.integration_type, "handlerModule": entry.handler_module,
        "createdAt": wire_time(entry.created_at), "updatedAt": wire_time(entry.updated_at),
        "createdBy": entry.created_by,
    }  # fmt: skip


def currency_view(support: CurrencySupport) -> dict[str, Any]:
    """One currency's terms."""
    percent = support.transaction_fee_percent
    return {
        "currencyCode": support.currency_code, "isRecommended": support.is_recommended,
        "transactionFeePercent": None if percent is None else ppm_to_percent(percent),
        "transactionFeeFixed": support.transaction_fee_fixed, "minAmount": support.min_amount,
        "maxAmount": support.max_amount, "isActive": support.is_active,
    }  # fmt: skip


def practice_view(entry: PracticeEntry) -> dict[str, Any]:
    """A practice as the owner sees it."""
    return {
        "id": entry.id, "name": entry.name, "defaultCurrency": entry.default_currency, "cluster": entry.cluster,
        "state": entry.state, "schemaVersion": entry.schema_version, "createdAt": wire_time(entry.created_at),
        "updatedAt": wire_time(entry.updated_at),
    }  # fmt: skip


def attempt_view(attempt: Attempt) -> dict[str, Any]:
    """One try at one provider."""
    return {
        "id": attempt.id, "reference": attempt.id, "number": attempt.number, "providerCode": attempt.provider_code,
        "status": attempt.state.value, "reason": attempt.reason, "code": attempt.raw_code, "detail": attempt.detail,
        "providerTransactionId": attempt.provider_transaction_id, "createdAt": wire_time(attempt.created_at),
        "updatedAt": wire_time(attempt.updated_at),
    }  # fmt: skip


def next_action_view(db: PracticeDb, taken: Taken, public_key: str | None) -> dict[str, Any] | None:
    """What the payer must do now; None where there is nothing to do."""
    action = open_action(db, current_attempt(taken.payment, taken.attempts)) if taken.attempts else None
    if action is None:
        return None
    token = action.provider_token.reveal() if action.provider_token else None
    told = {"url": action.url, "providerToken": token, "instructions": action.instructions, "wants": action.wants}
    view: dict[str, Any] = {"type": action.kind.value, **{name: value for name, value in told.items() if value}}
    if action.offline is not None:
        view["offline"] = {to_camel(name): value for name, value in asdict(action.offline).items() if value}
    if token is not None and public_key is not None:
        view["publicKey"] = public_key
    return view


def payment_view(
    desk: Desk, db: PracticeDb, taken: Taken, public_key: str | None = None, kept: KeptMethod | None = None
) -> dict[str, Any]:
    """A payment as its practice sees it."""
    payment = taken.payment
    view = payment_summary(payment)
    view["clientToken"] = client_token(desk, payment)
    payable = payment.status.value in ("requires_action", "processing")
    view["nextAction"] = next_action_view(db, taken, public_key) if payable else None
    view["savedMethod"] = saved_method_view(kept)
    view["attempts"] = [attempt_view(attempt) for attempt in taken.attempts]
    return view


def payment_summary(payment: Payment) -> dict[str, Any]:
    """A payment in a list."""
    return {
        "id": payment.id, "status": payment.status.value, "amount": payment.amount,
        "amountAuthorized": payment.amount_authorized, "amountCaptured": payment.amount_captured,
        "amountRefunded": payment.amount_refunded, "amountRefundPending": payment.refund_reserved,
        "amountLost": payment.amount_lost, "currency": payment.currency, "paymentMethod": payment.payment_method,
        "capture": payment.capture_mode, "providerCode": payment.provider_code,
        "providerTransactionId": payment.provider_transaction_id, "providerFee": payment.provider_fee,
        "providerFeeCurrency": payment.provider_fee_currency, "failureReason": payment.failure_reason,
        "cancelReason": payment.cancel_reason,
        "customer": {"email": payment.customer_email, "name": payment.customer_name, "phone": payment.customer_phone},
        "description": payment.description, "reference": payment.reference, "metadata": payment.metadata or {},
        "returnUrl": payment.return_url, "environment": payment.environment.value,
        "expiresAt": wire_time(payment.expires_at), "createdAt": wire_time(payment.created_at),
        "updatedAt": wire_time(payment.updated_at),
    }  # fmt: skip


def public_payment_view(desk: Desk, db: PracticeDb, taken: Taken, public_key: str | None) -> dict[str, Any]:
    """A payment as its payer may see it: nothing of the practice's own notes."""
    full = payment_view(desk, db, taken, public_key)
    names = ("id", "status", "amount", "currency", "description", "nextAction", "environment", "expiresAt", "createdAt")
    return {name: full[name] for name in names}


def refund_view(refund: Refund) -> dict[str, Any]:
    """One refund."""
    return {
        "id": refund.id, "paymentId": refund.payment_id, "status": refund.state.value, "amount": refund.amount,
        "currency": refund.currency, "reason": refund.reason, "origin": refund.origin,
        "failureReason": refund.failure_reason, "providerRefundId": refund.provider_refund_id,
        "environment": refund.environment.value, "createdAt": wire_time(refund.created_at),
        "updatedAt": wire_time(refund.updated_at),
    }  # fmt: skip


def configuration_view(
    configuration: Configuration, shown: dict[str, Any], default_for: list[str], webhook_url: str
) -> dict[str, Any]:
    """A configuration; secrets only as whether they are there."""
    for name in ("secretKey", "webhookSecret"):
        shown[name] = {**shown[name], "updatedAt": wire_time(shown[name]["updatedAt"])}
    others = sorted({s.environment.value for s in configuration.others if s.state == "prepared"})
    return {
        "id": configuration.id, "providerCode": configuration.provider_code,
        "providerName": configuration.provider_name, "isEnabled": configuration.is_enabled,
        "isDefault": configuration.is_default, "defaultFor": default_for,
        "environment": configuration.environment.value, **shown, "preparedEnvironments": others,
        "supportedCurrencies": configuration.supported_currencies, "priority": configuration.priority,
        "webhookUrl": webhook_url, "configuredBy": configuration.configured_by,
        "lastTestedAt": wire_time(configuration.last_tested_at), "lastUsedAt": wire_time(configuration.last_used_at),
        "createdAt": wire_time(configuration.created_at), "updatedAt": wire_time(configuration.updated_at),
    }  # fmt: skip
