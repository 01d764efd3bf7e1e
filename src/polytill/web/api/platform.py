"""The platform: its clusters, its audit log and its health."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Response

from polytill.domain.secret import Secret
from polytill.flows.admin import clusters
from polytill.flows.admin.event_destination import read_backlog
from polytill.flows.handlers import handler_or_reason
from polytill.storage import audit, migrating, practices
from polytill.web.api.auth import Owner
from polytill.web.api.bodies import strict_router
from polytill.web.api.models.events import EventBacklog
from polytill.web.api.models.platform import (
    AddCluster,
    AuditEntry,
    ChangeCluster,
    Cluster,
    Health,
    PlugIn,
    ProviderHealth,
)
from polytill.web.api.responses import respond
from polytill.web.api.values import Before, Code, Limit

router = strict_router("platform", "/api/owner")


ClusterName = Annotated[Code, Path(alias="name")]


@router.get("/clusters", response_model=list[Cluster])
async def list_clusters(caller: Owner) -> Response:
    """List clusters, the default one first.

    Each is tried at this moment: `problem` says why no practice can be created there now.
    """
    return respond([Cluster.of(found) for found in await clusters.survey(caller.context)])


@router.post("/clusters", status_code=201, response_model=Cluster)
async def add_cluster(caller: Owner, body: AddCluster) -> Response:
    """Register a cluster.

    A database is created there and dropped before the address is saved, sealed. Nothing is saved if that fails.
    """
    await clusters.add(caller.context, body.name, Secret(body.url), body.limits(), caller.actor)
    return respond(Cluster.of(await clusters.status_of(caller.context, body.name)), 201)


@router.patch("/clusters/{name}", response_model=Cluster)
async def change_cluster(caller: Owner, name: ClusterName, body: ChangeCluster) -> Response:
    """Change a cluster.

    Opens or closes it to new practices, changes its limits, or replaces its address. A new address is tried first, and
    must have the databases of the cluster's practices; every process uses it within two seconds. The address of the
    default cluster is a setting.
    """
    await clusters.change(caller.context, name, body.changes(), caller.actor)
    return respond(Cluster.of(await clusters.status_of(caller.context, name)))


@router.delete("/clusters/{name}", status_code=204)
async def remove_cluster(caller: Owner, name: ClusterName) -> Response:
    """Remove a cluster that holds no practice.

    409 if it holds practices.
    """
    await clusters.remove(caller.context, name, caller.actor)
    return Response(status_code=204)


@router.get("/audit-log", response_model=list[AuditEntry])
async def list_platform_audit_log(caller: Owner, before: Before = None, limit: Limit = 100) -> Response:
    """List the platform's audit log, newest first."""
    return respond([AuditEntry.of(line) for line in await audit.listed(caller.context.owner, None, before, limit)])


@router.get("/health", response_model=Health)
async def get_platform_health(caller: Owner) -> Response:
    """Get the state of the platform."""
    entries = [e for e in await practices.listed(caller.context.owner, 0, 100_000) if e.state.has_database]
    head = migrating.head("practice")
    catalog = await caller.context.catalog()
    ahead_s = caller.context.server_clock.ahead_s(caller.context.world)
    body = Health(
        practices=len(entries),
        practices_behind=[e.id for e in entries if e.schema_version != head][:100],
        practices_to_adopt=[e.id for e in entries if e.behind is not None][:100],
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
