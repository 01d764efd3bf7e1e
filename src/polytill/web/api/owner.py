"""``/api/owner``: the catalog, practices, keys, clusters, audit and health of the platform."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from polytill.domain.errors import NotFound, Stale, invalid
from polytill.domain.secret import Secret
from polytill.flows.admin import catalog as catalog_flow
from polytill.flows.admin import clusters
from polytill.flows.admin import practices as admin_practices
from polytill.flows.admin.event_destination import read_backlog
from polytill.flows.handlers import handler_or_reason
from polytill.storage import audit, migrating, people, practices
from polytill.web.api.auth import Owner, PracticeId
from polytill.web.api.bodies import StrictRoute
from polytill.web.api.models.api_keys import ApiKey, CreateOwnerKey, NewApiKey
from polytill.web.api.models.catalog import AddProvider, ChangeProvider, CurrencyTerms, Provider, SetCurrencyTerms
from polytill.web.api.models.events import EventBacklog
from polytill.web.api.models.platform import (
    AddCluster,
    AuditEntry,
    ChangeCluster,
    Cluster,
    Health,
    NewCluster,
    PlugIn,
    ProviderHealth,
)
from polytill.web.api.models.practices import ChangePractice, CreatePractice, NewPractice, Practice
from polytill.web.api.responses import respond
from polytill.web.api.values import Code, Currency, ExternalId, Status

router = APIRouter(prefix="/api/owner", tags=["owner"], route_class=StrictRoute)

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
ProviderCode = Annotated[str, Path(alias="code", max_length=40)]
CurrencyCode = Annotated[Currency, Path(alias="currency")]
After = Annotated[int, Query(ge=0, le=2**31 - 1)]
Before = Annotated[int | None, Query(ge=1, le=2**53)]
Limit = Annotated[int, Query(ge=1, le=500)]


# ── Catalog ──


@router.get("/payment-providers", response_model=list[Provider])
async def list_providers(caller: Owner, status: Status | None = None, currency: Currency | None = None) -> Response:
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


@router.post("/payment-providers", status_code=201, response_model=Provider)
async def add_provider(caller: Owner, body: AddProvider) -> Response:
    """Add a provider to the catalog.

    Every practice sees it at its next read.
    """
    given = body.model_dump(exclude_unset=True, exclude={"supported_currencies"})
    entry = await catalog_flow.add(caller.context, given, body.supported_currencies, caller.actor)
    return respond(Provider.of(entry), 201)


@router.get("/payment-providers/{code}", response_model=Provider)
async def get_provider(caller: Owner, code: ProviderCode) -> Response:
    """Get a provider."""
    entry = (await caller.context.catalog()).get(code)
    if entry is None:
        raise NotFound(f"The catalog has no provider {code!r}.")
    return respond(Provider.of(entry))


@router.patch("/payment-providers/{code}", response_model=Provider)
async def change_provider(caller: Owner, code: ProviderCode, body: ChangeProvider) -> Response:
    """Change fields of a provider."""
    given = body.model_dump(exclude_unset=True, exclude={"supported_currencies"})
    given = {name: value for name, value in given.items() if value is not None or name not in NEVER_NULL}
    entry = await catalog_flow.change(caller.context, code, given, body.supported_currencies, caller.actor)
    return respond(Provider.of(entry))


@router.delete("/payment-providers/{code}", response_model=Provider)
async def deprecate_provider(caller: Owner, code: ProviderCode) -> Response:
    """Deprecate a provider.

    Payments already taken through it can still be refunded.
    """
    return respond(Provider.of(await catalog_flow.deprecate(caller.context, code, caller.actor)))


@router.get("/payment-providers/{code}/currencies", response_model=list[CurrencyTerms])
async def list_currencies(caller: Owner, code: ProviderCode) -> Response:
    """List the currencies of a provider with their terms."""
    entry = (await caller.context.catalog()).get(code)
    if entry is None:
        raise NotFound(f"The catalog has no provider {code!r}.")
    return respond([CurrencyTerms.of(support) for _, support in sorted(entry.currencies.items())])


@router.put("/payment-providers/{code}/currencies/{currency}", response_model=CurrencyTerms)
async def put_currency(caller: Owner, code: ProviderCode, currency: CurrencyCode, body: SetCurrencyTerms) -> Response:
    """Create or replace the terms for one currency."""
    support = await catalog_flow.put_currency(caller.context, code, body.support(currency), caller.actor)
    return respond(CurrencyTerms.of(support))


@router.delete("/payment-providers/{code}/currencies/{currency}", status_code=204)
async def remove_currency(caller: Owner, code: ProviderCode, currency: CurrencyCode) -> Response:
    """Delete the terms for one currency."""
    await catalog_flow.remove_currency(caller.context, code, currency, caller.actor)
    return Response(status_code=204)


# ── Practices ──


@router.get("/practices", response_model=list[Practice])
async def list_practices(
    caller: Owner,
    after: After = 0,
    limit: Limit = 100,
    external_id: Annotated[ExternalId | None, Query(alias="externalId")] = None,
) -> Response:
    """List practices by id.

    Starts after the id ``after``. With ``externalId``: only the practice that has it, or none.
    """
    if external_id is None:
        entries = await practices.listed(caller.context.owner, after, limit)
    else:
        found = await practices.by_external_id(caller.context.owner, external_id)
        entries = [found] if found is not None and found.id > after else []
    return respond([Practice.of(entry) for entry in entries if entry.state != "provisioning"])


@router.post("/practices", status_code=201, response_model=NewPractice)
async def create_practice(caller: Owner, body: CreatePractice) -> Response:
    """Create a practice with its database.

    The response contains its first key, which is shown only once.
    """
    try:
        await caller.context.opening.open_to_new(body.cluster)
    except NotFound as error:
        raise invalid("/cluster", error.detail) from None
    entry, key = await admin_practices.create_practice(
        caller.context,
        body.name,
        body.default_currency,
        body.cluster,
        caller.actor,
        country=body.country,
        time_zone=body.time_zone,
        external_id=body.external_id,
    )
    return respond(NewPractice(Practice.of(entry), key), 201)


@router.get("/practices/{practiceId}", response_model=Practice)
async def get_practice(caller: Owner, practice_id: PracticeId) -> Response:
    """Get a practice."""
    return respond(Practice.of(await caller.context.opening.entry(practice_id)))


@router.patch("/practices/{practiceId}", response_model=Practice)
async def change_practice(caller: Owner, practice_id: PracticeId, body: ChangePractice) -> Response:
    """Change a practice.

    The name, default currency, country, time zone, external id (null removes it) or state.
    """
    entry = await admin_practices.change_practice(
        caller.context,
        practice_id,
        body.name,
        body.default_currency,
        body.state,
        caller.actor,
        country=body.country,
        time_zone=body.time_zone,
        external_id=body.external_id if "external_id" in body.model_fields_set else ...,
    )
    return respond(Practice.of(entry))


# ── Keys, clusters, audit, health ──


@router.get("/keys", response_model=list[ApiKey])
async def list_keys(caller: Owner) -> Response:
    """List the owner's keys."""
    return respond([ApiKey.of(key) for key in await people.keys(caller.context.owner, None)])


@router.post("/keys", status_code=201, response_model=NewApiKey)
async def create_key(caller: Owner, body: CreateOwnerKey) -> Response:
    """Create an owner key.

    The key is shown only once.
    """
    key = await admin_practices.create_key(caller.context, "owner", None, body.name, None, caller.actor)
    return respond(NewApiKey(key), 201)


@router.delete("/keys/{keyId}", status_code=204)
async def revoke_key(
    request: Request, caller: Owner, key_id: Annotated[int, Path(alias="keyId", ge=1, le=2**31 - 1)]
) -> Response:
    """Revoke a key of any kind."""
    try:
        await admin_practices.revoke_key(caller.context, key_id, None, caller.actor)
    except Stale:
        raise NotFound("There is no such key.") from None
    request.app.state.keys.forget()
    return Response(status_code=204)


@router.get("/clusters", response_model=list[Cluster])
async def list_clusters(caller: Owner) -> Response:
    """List clusters."""
    rows = await practices.clusters(caller.context.owner)
    return respond([Cluster("default", True, None), *(Cluster.of(row) for row in rows)])


@router.post("/clusters", status_code=201, response_model=NewCluster)
async def add_cluster(caller: Owner, body: AddCluster) -> Response:
    """Register a PostgreSQL server.

    The server is tested first: it must be possible to create practices on it now. Its address is sealed.
    """
    await clusters.add(caller.context, body.name, Secret(body.url), caller.actor)
    return respond(NewCluster(body.name, True), 201)


ClusterName = Annotated[Code, Path(alias="name")]


@router.patch("/clusters/{name}", response_model=Cluster)
async def change_cluster(caller: Owner, name: ClusterName, body: ChangeCluster) -> Response:
    """Change a server.

    Replaces its address, which is tested first, or opens or closes it to new practices.
    """
    url = None if body.url is None else Secret(body.url)
    await clusters.change(caller.context, name, url, body.is_active, caller.actor)
    [row] = [row for row in await practices.clusters(caller.context.owner) if row.name == name]
    return respond(Cluster.of(row))


@router.delete("/clusters/{name}", status_code=204)
async def remove_cluster(caller: Owner, name: ClusterName) -> Response:
    """Remove a server that holds no practice.

    409 if it holds practices.
    """
    await clusters.remove(caller.context, name, caller.actor)
    return Response(status_code=204)


@router.get("/audit-log", response_model=list[AuditEntry])
async def audit_log(caller: Owner, before: Before = None, limit: Limit = 100) -> Response:
    """List the platform's audit log, newest first."""
    return respond([AuditEntry.of(line) for line in await audit.listed(caller.context.owner, None, before, limit)])


@router.get("/health", response_model=Health)
async def health(caller: Owner) -> Response:
    """Get the state of the platform."""
    entries = [e for e in await practices.listed(caller.context.owner, 0, 100_000) if e.state != "provisioning"]
    head = migrating.head("practice")
    catalog = await caller.context.catalog()
    ahead_s = caller.context.server_clock.ahead_s(caller.context.world)
    body = Health(
        practices=len(entries),
        practices_behind=[e.id for e in entries if e.schema_version != head][:100],
        opened_here=len(caller.context.opening.opened()),
        clock_ahead_seconds=None if ahead_s is None else round(ahead_s, 1),
        events=EventBacklog.of(await read_backlog(caller.context), caller.context.world.now()),
        providers={
            code: ProviderHealth(e.status, handler_or_reason(caller.context, e)[0] is not None)
            for code, e in catalog.items()
        },
        plug_ins=[
            PlugIn.from_record(one, loaded=one.handler is not None, reason=one.refused)
            for one in caller.context.registry.plug_ins()
        ],
    )
    return respond(body)
