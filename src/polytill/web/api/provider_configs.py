"""A practice's provider configurations: keys, environments, and the choice of a provider."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Response
from msgspec.structs import asdict

from polytill.domain.errors import FieldError, Invalid
from polytill.domain.states import CaptureMode, Environment, ProviderStatus
from polytill.flows.admin import provider_configs as configuring
from polytill.flows.admin import webhook_relay
from polytill.flows.payments import available as payments_available
from polytill.flows.payments.choose import choose
from polytill.flows.routing.decision import Decision
from polytill.flows.routing.eligibility import Wanted
from polytill.storage import provider_configs
from polytill.web.api.auth import Caller, Configures, PracticeId, Reads, ReadsPublic
from polytill.web.api.bodies import strict_router
from polytill.web.api.models.catalog import CurrencyTerms
from polytill.web.api.models.provider_configs import (
    ActivateEnvironment,
    AvailableProvider,
    ChangeConfiguration,
    ChosenProvider,
    ConfigureProvider,
    CredentialsTested,
    CustomerFields,
    ExcludedProvider,
    ProviderConfiguration,
    SetCredentials,
)
from polytill.web.api.models.webhooks import SetWebhookRelay
from polytill.web.api.responses import respond
from polytill.web.api.values import Code, Currency, ProviderCode

router = strict_router("provider configurations", "/api/practices/{practiceId}/payment-providers")

ALSO_REPLACED: dict[int | str, dict[str, Any]] = {200: {"model": ProviderConfiguration, "description": "Replaced"}}


@router.get("/available", response_model=list[AvailableProvider])
async def list_available_providers(
    caller: ReadsPublic, practice_id: PracticeId, currency: Currency | None = None
) -> Response:
    """List providers for a currency.

    The catalog entries that support it (default: the practice's currency), with the practice's configuration.
    """
    practice = await caller.context.practice(practice_id)
    found = []
    for one in await payments_available.available(practice, currency):
        entry, configuration = one.entry, one.configuration
        found.append(
            AvailableProvider.from_record(
                entry,
                **asdict(CurrencyTerms.of(one.support)),
                is_beta=entry.status is ProviderStatus.beta,
                is_configured=configuration is not None,
                is_enabled=configuration is not None and configuration.is_enabled,
                is_default=one.is_default,
                environment=configuration.environment if configuration else None,
                currency=one.currency,
                supported_payment_methods=entry.supported_payment_methods or [],
                supported_features=entry.supported_features or [],
            )
        )
    return respond(found)


async def _answered(caller: Caller, practice_id: int, code: str, status: int = 200) -> Response:
    practice = await caller.context.practice(practice_id)
    snapshot = await caller.context.configured(practice.db)
    return respond(ProviderConfiguration.of(practice, snapshot, snapshot.configurations[code]), status)


@router.get("", response_model=list[ProviderConfiguration])
async def list_provider_configurations(caller: Reads, practice_id: PracticeId) -> Response:
    """List the practice's provider configurations."""
    practice = await caller.context.practice(practice_id)
    snapshot = await caller.context.configured(practice.db)
    return respond([ProviderConfiguration.of(practice, snapshot, one) for one in snapshot.live.values()])


@router.post("", status_code=201, response_model=ProviderConfiguration, responses=ALSO_REPLACED)
async def configure_provider(caller: Configures, practice_id: PracticeId, body: ConfigureProvider) -> Response:
    """Configure a provider.

    201 if the configuration is new, 200 if it was replaced. `webhookUrl` is the address to register at the provider.
    """
    wish = configuring.Wish(
        body.provider_code,
        body.environment,
        body.keys(),
        body.is_enabled,
        body.is_default or False,
        body.supported_currencies,
        body.priority,
    )
    _, made = await configuring.configure(caller.context, practice_id, wish, caller.actor)
    return await _answered(caller, practice_id, body.provider_code, 201 if made else 200)


@router.get("/for-currency/{currency}", response_model=ChosenProvider)
async def choose_provider(
    caller: ReadsPublic,
    practice_id: PracticeId,
    currency: Annotated[Currency, Path()],
    amount: Annotated[int | None, Query(gt=0, le=10**15)] = None,
    payment_method: Annotated[Code | None, Query(alias="paymentMethod")] = None,
    capture: CaptureMode = CaptureMode.automatic,
    environment: Environment | None = None,
    customer_fields: Annotated[
        str | None,
        Query(
            alias="customerFields",
            pattern=r"^((email|name|phone)(,(email|name|phone))*)?$",
            description="The known customer fields, separated by commas; without it no provider is excluded for a missing field",
        ),
    ] = None,
) -> Response:
    """Choose a provider for a currency.

    Returns the provider that a payment would use, its client-safe key and the reason, and why each other one is
    excluded.
    """
    context = caller.context
    practice = await context.practice(practice_id)
    snapshot = await context.configured(practice.db)
    known = None if customer_fields is None else frozenset(customer_fields.split(",")) - {""}
    wanted = Wanted(currency, amount, payment_method, capture, known, environment)
    found = await choose(context, snapshot, wanted)
    if not found.ranked:
        raise _nobody(found)
    first, *others = found.candidates
    fields = first.customer_fields(payment_method, False)
    configuration = snapshot.configurations[first.code]
    opened = provider_configs.open_credentials(practice.db.data_key, first.code, configuration.active)
    body = ChosenProvider.from_record(
        first,
        public_key=opened.public_key,
        reason=found.reason,
        customer_fields=CustomerFields.from_record(fields),
        alternatives=[other.code for other in others],
        excluded=[ExcludedProvider.from_record(one) for one in found.excluded],
    )
    return respond(body)


class NoProvider(Invalid):
    """No configured provider can take this payment."""

    status = 404


def _nobody(found: Decision) -> NoProvider:
    errors = [FieldError(o.pointer or "/", f"{o.code}: {o.detail}") for o in found.excluded]
    return NoProvider(
        errors or [FieldError("/", "No provider is configured.")], found.reason, code="no_provider_for_currency"
    )


@router.get("/{code}", response_model=ProviderConfiguration)
async def get_provider_configuration(caller: Reads, practice_id: PracticeId, code: ProviderCode) -> Response:
    """Get a provider configuration."""
    await configuring.existing_configuration(caller.context, practice_id, code)
    return await _answered(caller, practice_id, code)


@router.patch("/{code}", response_model=ProviderConfiguration)
async def change_provider_configuration(
    caller: Configures, practice_id: PracticeId, code: ProviderCode, body: ChangeConfiguration
) -> Response:
    """Change parts of a provider configuration."""
    wish = configuring.Wish(
        code, body.environment, body.keys(), body.is_enabled, body.is_default, body.supported_currencies, body.priority
    )
    await configuring.configure(caller.context, practice_id, wish, caller.actor, patch=True)
    return await _answered(caller, practice_id, code)


@router.delete("/{code}", status_code=204)
async def remove_provider_configuration(caller: Configures, practice_id: PracticeId, code: ProviderCode) -> Response:
    """Remove a provider configuration.

    No new payments go through this provider. Earlier payments can still be refunded.
    """
    await configuring.remove(caller.context, practice_id, code, caller.actor)
    return Response(status_code=204)


@router.post("/{code}/test", response_model=CredentialsTested)
async def test_provider_keys(caller: Configures, practice_id: PracticeId, code: ProviderCode) -> Response:
    """Test the keys at the provider.

    The test creates nothing and moves no money.
    """
    result, tested_at = await configuring.test_configuration(caller.context, practice_id, code, caller.actor)
    return respond(CredentialsTested.of(result, tested_at))


@router.put("/{code}/credentials/{environment}", response_model=ProviderConfiguration)
async def set_provider_keys(
    caller: Configures, practice_id: PracticeId, code: ProviderCode, environment: Environment, body: SetCredentials
) -> Response:
    """Set the keys of an environment without activating it."""
    await configuring.prepare_credentials(caller.context, practice_id, code, environment, body.keys(), caller.actor)
    return await _answered(caller, practice_id, code)


@router.post("/{code}/activate", response_model=ProviderConfiguration)
async def activate_environment(
    caller: Configures, practice_id: PracticeId, code: ProviderCode, body: ActivateEnvironment
) -> Response:
    """Activate an environment whose keys are set."""
    await configuring.activate(caller.context, practice_id, code, body.environment, caller.actor)
    return await _answered(caller, practice_id, code)


@router.put("/{code}/webhook-relay/{environment}", response_model=ProviderConfiguration)
async def set_webhook_relay(
    caller: Configures, practice_id: PracticeId, code: ProviderCode, environment: Environment, body: SetWebhookRelay
) -> Response:
    """Set the relay address of an environment.

    Verified webhooks that are not about anything here are forwarded there instead of being parked: see
    docs/webhook-relay.md.
    """
    await webhook_relay.set_relay(caller.context, practice_id, code, environment, body.url, caller.actor)
    return await _answered(caller, practice_id, code)


@router.delete("/{code}/webhook-relay/{environment}", response_model=ProviderConfiguration)
async def remove_webhook_relay(
    caller: Configures, practice_id: PracticeId, code: ProviderCode, environment: Environment
) -> Response:
    """Remove the relay address of an environment.

    Webhooks that still wait are handled as without a relay: parked or ignored.
    """
    await webhook_relay.set_relay(caller.context, practice_id, code, environment, None, caller.actor)
    return await _answered(caller, practice_id, code)
