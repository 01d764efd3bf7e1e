"""The owner's pages of clusters: which work, how much room each has, and their limits. No address is shown or taken."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Response

from polytill.domain.states import ClusterState
from polytill.domain.typed_amounts import typed_whole
from polytill.flows.admin import clusters
from polytill.web.api.models.platform import MOST_CAPACITY, MOST_CONNECTIONS, MOST_PRIORITY, ChangeCluster
from polytill.web.console.flashes import Done
from polytill.web.console.pages import EXPECTED, Form, Problems, page_router, shaped
from polytill.web.console.sessions import OwnerAdmin, OwnerViewer

router = page_router("/owner/clusters")

ClusterName = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_]{1,39}$")]
# The fields of numbers, and what each may be.
NUMBERS = {
    "capacity": (1, MOST_CAPACITY),
    "connectionLimit": (2, MOST_CONNECTIONS),
    "priority": (-MOST_PRIORITY, MOST_PRIORITY),
}


@router.get("")
async def list_clusters(visitor: OwnerViewer) -> Response:
    """Show all clusters, each tried now."""
    return visitor.page("owner/clusters.html", clusters=await clusters.survey(visitor.context))


@router.get("/{name}")
async def show_cluster(visitor: OwnerViewer, name: ClusterName) -> Response:
    """Show one cluster with its limits."""
    return await _cluster_page(visitor, name)


@router.post("/{name}")
async def change_cluster(visitor: OwnerAdmin, name: ClusterName) -> Response:
    """Open or close a cluster to new practices, or change its limits. An empty limit is removed."""
    given = {field: visitor.form.text(field) for field in ("state", *NUMBERS)}
    try:
        changes = shaped(ChangeCluster, _numbers(visitor.form, given)).changes()
        await clusters.change(visitor.context, name, changes, visitor.actor)
    except EXPECTED as error:
        return await _cluster_page(visitor, name, error=error, given=given)
    return visitor.see(f"/clusters/{name}", Done.saved)


def _numbers(form: Form, given: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {"state": given["state"]} if given["state"] else {}
    problems = Problems()
    for field, (least, most) in NUMBERS.items():
        if form.has(field):
            with problems.caught(f"/{field}"):
                empty = 0 if field == "priority" else None
                values[field] = typed_whole(given[field], least, most) if given[field] else empty
    problems.settle()
    return values


async def _cluster_page(visitor: OwnerViewer, name: str, **more: Any) -> Response:
    found = await clusters.status_of(visitor.context, name)
    row = found.row
    values = {"capacity": row.capacity, "connectionLimit": row.connection_limit, "priority": row.priority}
    stored = {field: "" if value is None else str(value) for field, value in values.items()}
    return visitor.page(
        "owner/cluster.html",
        cluster=found,
        states=list(ClusterState),
        **{"given": {"state": row.state, **stored}, **more},
    )
