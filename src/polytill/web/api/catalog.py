"""The owner's catalog of providers, with their terms for each currency."""

from __future__ import annotations

from fastapi import Response

from polytill.domain.errors import NotFound
from polytill.domain.states import ProviderStatus
from polytill.flows.admin import catalog as catalog_flow
from polytill.storage.catalog import ProviderEntry
from polytill.web.api.auth import Caller, Owner
from polytill.web.api.bodies import strict_router
from polytill.web.api.models.catalog import AddProvider, ChangeProvider, CurrencyTerms, Provider, SetCurrencyTerms
from polytill.web.api.responses import respond
from polytill.web.api.values import Currency, CurrencyCode, ProviderCode

router = strict_router("provider catalog", "/api/owner/payment-providers")


# Null leaves these fields unchanged; it clears all others.
NEVER_NULL = (
    "name",
    "status",
    "is_default",
    "priority",
    "integration_type",
    "requires_public_key",
    "requires_secret_key",
    "requires_webhook_secret",
)


@router.get("", response_model=list[Provider])
async def list_providers(
    caller: Owner, status: ProviderStatus | None = None, currency: Currency | None = None
) -> Response:
    """List the catalog."""
    entries = (await caller.context.catalog()).values()
    return respond(
        [
            Provider.of(entry)
            for entry in entries
            if (status is None or entry.status == status)
            and (currency is None or currency in entry.supported_currencies)
        ]
    )


@router.post("", status_code=201, response_model=Provider)
async def add_provider(caller: Owner, body: AddProvider) -> Response:
    """Add a provider to the catalog.

    Every practice sees it at its next read.
    """
    given = body.model_dump(exclude_unset=True, exclude={"supported_currencies"})
    entry = await catalog_flow.add(caller.context, given, body.supported_currencies, caller.actor)
    return respond(Provider.of(entry), 201)


@router.get("/{code}", response_model=Provider)
async def get_provider(caller: Owner, code: ProviderCode) -> Response:
    """Get a provider."""
    return respond(Provider.of(await _entry(caller, code)))


async def _entry(caller: Caller, code: str) -> ProviderEntry:
    entry = (await caller.context.catalog()).get(code)
    if entry is None:
        raise NotFound(f"The catalog has no provider {code!r}.")
    return entry


@router.patch("/{code}", response_model=Provider)
async def change_provider(caller: Owner, code: ProviderCode, body: ChangeProvider) -> Response:
    """Change fields of a provider."""
    given = body.model_dump(exclude_unset=True, exclude={"supported_currencies"})
    given = {name: value for name, value in given.items() if value is not None or name not in NEVER_NULL}
    entry = await catalog_flow.change(caller.context, code, given, body.supported_currencies, caller.actor)
    return respond(Provider.of(entry))


@router.delete("/{code}", response_model=Provider)
async def deprecate_provider(caller: Owner, code: ProviderCode) -> Response:
    """Deprecate a provider.

    Payments already taken through it can still be refunded.
    """
    return respond(Provider.of(await catalog_flow.deprecate(caller.context, code, caller.actor)))


@router.get("/{code}/currencies", response_model=list[CurrencyTerms])
async def list_currency_terms(caller: Owner, code: ProviderCode) -> Response:
    """List the currencies of a provider with their terms."""
    entry = await _entry(caller, code)
    return respond([CurrencyTerms.of(support) for _, support in sorted(entry.currencies.items())])


@router.put("/{code}/currencies/{currency}", response_model=CurrencyTerms)
async def set_currency_terms(
    caller: Owner, code: ProviderCode, currency: CurrencyCode, body: SetCurrencyTerms
) -> Response:
    """Create or replace the terms for one currency."""
    support = await catalog_flow.put_currency(caller.context, code, body.support(currency), caller.actor)
    return respond(CurrencyTerms.of(support))


@router.delete("/{code}/currencies/{currency}", status_code=204)
async def remove_currency_terms(caller: Owner, code: ProviderCode, currency: CurrencyCode) -> Response:
    """Delete the terms for one currency."""
    await catalog_flow.remove_currency(caller.context, code, currency, caller.actor)
    return Response(status_code=204)
