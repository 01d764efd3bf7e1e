"""``/api/owner``: the catalog, practices, keys, clusters, audit and health of the platform."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from polytill.domain.clock import wire_time
from polytill.domain.errors import NotFound, Stale, invalid
from polytill.domain.secret import Secret
from polytill.flows.admin import catalog as catalog_flow
from polytill.flows.admin import clusters
from polytill.flows.admin import practices as admin_practices
from polytill.flows.admin.event_destination import read_backlog
from polytill.flows.handlers import handler_or_reason
from polytill.storage import audit, migrating, people, practices
from polytill.web.api import answers, event_shapes, shapes, views
from polytill.web.api.auth import Owner, PracticeId
from polytill.web.api.bodies import StrictRoute
from polytill.web.api.views import answer

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
CurrencyCode = Annotated[shapes.Currency, Path(alias="currency")]
After = Annotated[int, Query(ge=0, le=2**31 - 1)]
Before = Annotated[int | None, Query(ge=1, le=2**53)]
Limit = Annotated[int, Query(ge=1, le=500)]


# ── Catalog ──


@router.get("/payment-providers", response_model=list[answers.Provider])
async def list_providers(
    caller: Owner, status: shapes.Status | None = None, currency: shapes.Currency | None = None
) -> Response:
    """List the catalog."""
    entries = (await caller.context.catalog()).values()
    return answer(
        [
            views.provider_view(entry)
            for entry in entries
            if (status is None or entry.status == status)
            and (currency is None or currency in entry.supported_currencies)
        ]
    )


@router.post("/payment-providers", status_code=201, response_model=answers.Provider)
async def add_provider(caller: Owner, body: shapes.ProviderShape) -> Response:
    """Add a provider to the catalog.

    Every practice sees it at its next read.
    """
    given = body.model_dump(exclude_unset=True, exclude={"supported_currencies"})
    entry = await catalog_flow.add(caller.context, given, body.supported_currencies, caller.actor)
    return answer(views.provider_view(entry), 201)


@router.get("/payment-providers/{code}", response_model=answers.Provider)
async def get_provider(caller: Owner, code: ProviderCode) -> Response:
    """Get a provider."""
    entry = (await caller.context.catalog()).get(code)
    if entry is None:
        raise NotFound(f"The catalog has no provider {code!r}.")
    return answer(views.provider_view(entry))


@router.patch("/payment-providers/{code}", response_model=answers.Provider)
async def change_provider(caller: Owner, code: ProviderCode, body: shapes.ProviderColumns) -> Response:
    """Change fields of a provider."""
    given = body.model_dump(exclude_unset=True, exclude={"supported_currencies"})
    given = {name: value for name, value in given.items() if value is not None or name not in NEVER_NULL}
    entry = await catalog_flow.change(caller.context, code, given, body.supported_currencies, caller.actor)
    return answer(views.provider_view(entry))


@router.delete("/payment-providers/{code}", response_model=answers.Provider)
async def deprecate_provider(caller: Owner, code: ProviderCode) -> Response:
    """Deprecate a provider.

    Payments already taken through it can still be refunded.
    """
    return answer(views.provider_view(await catalog_flow.deprecate(caller.context, code, caller.actor)))


@router.get("/payment-providers/{code}/currencies", response_model=list[answers.CurrencyTerms])
async def list_currencies(caller: Owner, code: ProviderCode) -> Response:
    """List the currencies of a provider with their terms."""
    entry = (await caller.context.catalog()).get(code)
    if entry is None:
        raise NotFound(f"The catalog has no provider {code!r}.")
    return answer([views.currency_view(support) for _, support in sorted(entry.currencies.items())])


@router.put("/payment-providers/{code}/currencies/{currency}", response_model=answers.CurrencyTerms)
async def put_currency(
    caller: Owner, code: ProviderCode, currency: CurrencyCode, body: shapes.CurrencyShape
) -> Response:
    """Create or replace the terms for one currency."""
    support = await catalog_flow.put_currency(caller.context, code, body.support(currency), caller.actor)
    return answer(views.currency_view(support))


@router.delete("/payment-providers/{code}/currencies/{currency}", status_code=204)
async def remove_currency(caller: Owner, code: ProviderCode, currency: CurrencyCode) -> Response:
    """Delete the terms for one currency."""
    await catalog_flow.remove_currency(caller.context, code, currency, caller.actor)
    return Response(status_code=204)


# ── Practices ──


@router.get("/practices", response_model=list[answers.Practice])
async def list_practices(
    caller: Owner,
    after: After = 0,
    limit: Limit = 100,
    external_id: Annotated[shapes.ExternalId | None, Query(alias="externalId")] = None,
) -> Response:
    """List practices by id.

    Starts after the id ``after``. With ``externalId``: only the practice that has it, or none.
    """
    if external_id is None:
        entries = await practices.listed(caller.context.owner, after, limit)
    else:
        found = await practices.by_external_id(caller.context.owner, external_id)
        entries = [found] if found is not None and found.id > after else []
    return answer([views.practice_view(entry) for entry in entries if entry.state != "provisioning"])


@router.post("/practices", status_code=201, response_model=answers.Onboarded)
async def create_practice(caller: Owner, body: shapes.PracticeShape) -> Response:
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
    return answer({"practice": views.practice_view(entry), "key": key}, 201)


@router.get("/practices/{practiceId}", response_model=answers.Practice)
async def get_practice(caller: Owner, practice_id: PracticeId) -> Response:
    """Get a practice."""
    return answer(views.practice_view(await caller.context.opening.entry(practice_id)))


@router.patch("/practices/{practiceId}", response_model=answers.Practice)
async def change_practice(caller: Owner, practice_id: PracticeId, body: shapes.PracticePatch) -> Response:
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
    return answer(views.practice_view(entry))


# ── Keys, clusters, audit, health ──


def key_view(key: people.ApiKey) -> dict[str, Any]:
    """An API key without its secret, as JSON."""
    return {
        "id": key.id,
        "kind": key.kind,
        "name": key.name,
        "practiceId": key.practice_id,
        "last4": key.last4,
        "scopes": list(key.scopes),
        "createdAt": wire_time(key.created_at),
        "revokedAt": wire_time(key.revoked_at),
    }


@router.get("/keys", response_model=list[answers.Key])
async def list_keys(caller: Owner) -> Response:
    """List the owner's keys."""
    return answer([key_view(key) for key in await people.keys(caller.context.owner, None)])


@router.post("/keys", status_code=201, response_model=answers.NewKey)
async def create_key(caller: Owner, body: shapes.OwnerKeyShape) -> Response:
    """Create an owner key.

    The key is shown only once.
    """
    key = await admin_practices.create_key(caller.context, "owner", None, body.name, None, caller.actor)
    return answer({"key": key}, 201)


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


@router.get("/clusters", response_model=list[answers.Cluster])
async def list_clusters(caller: Owner) -> Response:
    """List clusters."""
    rows = await practices.clusters(caller.context.owner)
    default = {"name": "default", "isActive": True, "createdAt": None}
    return answer([default, *(cluster_view(row) for row in rows)])


def cluster_view(row: practices.ClusterRow) -> dict[str, Any]:
    """A cluster without its address, as JSON."""
    return {"name": row.name, "isActive": row.is_active, "createdAt": wire_time(row.created_at)}


@router.post("/clusters", status_code=201, response_model=answers.NewCluster)
async def add_cluster(caller: Owner, body: shapes.ClusterShape) -> Response:
    """Register a PostgreSQL server.

    The server is tested first: it must be possible to create practices on it now. Its address is sealed.
    """
    await clusters.add(caller.context, body.name, Secret(body.url), caller.actor)
    return answer({"name": body.name, "isActive": True}, 201)


ClusterName = Annotated[shapes.Code, Path(alias="name")]


@router.patch("/clusters/{name}", response_model=answers.Cluster)
async def change_cluster(caller: Owner, name: ClusterName, body: shapes.ClusterPatch) -> Response:
    """Change a server.

    Replaces its address, which is tested first, or opens or closes it to new practices.
    """
    url = None if body.url is None else Secret(body.url)
    await clusters.change(caller.context, name, url, body.is_active, caller.actor)
    [row] = [row for row in await practices.clusters(caller.context.owner) if row.name == name]
    return answer(cluster_view(row))


@router.delete("/clusters/{name}", status_code=204)
async def remove_cluster(caller: Owner, name: ClusterName) -> Response:
    """Remove a server that holds no practice.

    409 if it holds practices.
    """
    await clusters.remove(caller.context, name, caller.actor)
    return Response(status_code=204)


@router.get("/audit-log", response_model=list[answers.AuditLine])
async def audit_log(caller: Owner, before: Before = None, limit: Limit = 100) -> Response:
    """List the platform's audit log, newest first."""
    return answer([audit_view(line) for line in await audit.listed(caller.context.owner, None, before, limit)])


def audit_view(line: dict[str, Any]) -> dict[str, Any]:
    """One entry of an audit log as JSON."""
    return {**line, "at": wire_time(line["at"])}


@router.get("/health", response_model=answers.Health)
async def health(caller: Owner) -> Response:
    """Get the state of the platform."""
    entries = [e for e in await practices.listed(caller.context.owner, 0, 100_000) if e.state != "provisioning"]
    head = migrating.head("practice")
    catalog = await caller.context.catalog()
    ahead_s = caller.context.server_clock.ahead_s(caller.context.world)
    return answer(
        {
            "practices": len(entries),
            "practicesBehind": [e.id for e in entries if e.schema_version != head][:100],
            "openedHere": len(caller.context.opening.opened()),
            "clockAheadSeconds": None if ahead_s is None else round(ahead_s, 1),
            "events": event_shapes.backlog_view(await read_backlog(caller.context), caller.context.world.now()),
            "providers": {
                code: {"status": e.status, "installed": handler_or_reason(caller.context, e)[0] is not None}
                for code, e in catalog.items()
            },
            "plugIns": [
                {
                    "code": one.code,
                    "path": one.path,
                    "distribution": one.distribution,
                    "loaded": one.handler is not None,
                    "reason": one.refused,
                }
                for one in caller.context.registry.plug_ins()
            ],
        }
    )
