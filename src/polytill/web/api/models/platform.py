"""The platform: its clusters, its health, the state of a process, and audit logs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, StrictStr

from polytill.domain.clock import wire_time
from polytill.domain.database_urls import wrong_with_cluster
from polytill.domain.secret import Secret
from polytill.domain.states import ClusterState
from polytill.flows.admin.clusters import ClusterChanges, ClusterStatus, Limits
from polytill.web.api.models.events import EventBacklog
from polytill.web.api.requests import RequestBody
from polytill.web.api.responses import Moment, ResponseBody
from polytill.web.api.values import Code, Priority


def _is_address(value: str) -> str:
    if (wrong := wrong_with_cluster(value)) is not None:
        raise ValueError(wrong)
    return value


ClusterUrl = Annotated[
    StrictStr,
    Field(
        max_length=2000,
        description="`postgresql://user:password@host:port`, or the absolute path of a directory for SQLite files",
    ),
    AfterValidator(_is_address),
]
MOST_CAPACITY, MOST_CONNECTIONS, MOST_PRIORITY = 1_000_000, 5000, 1_000_000
Capacity = Annotated[StrictInt, Field(ge=1, le=MOST_CAPACITY, description="How many practices it may have")]
ConnectionLimit = Annotated[
    StrictInt, Field(ge=2, le=MOST_CONNECTIONS, description="How many connections one process may hold there")
]


class AddCluster(RequestBody):
    """A cluster for practice databases. Without a capacity it has room for any number of practices.

    The address of a server may name several hosts (`postgresql://user:password@a:5432,b:5432`): connections lead to the
    one that can be written.
    """

    name: Code
    url: ClusterUrl
    state: ClusterState = ClusterState.open
    capacity: Capacity | None = None
    connection_limit: ConnectionLimit | None = None
    priority: Priority = 0

    def limits(self) -> Limits:
        """Everything but its name and address, in the form that the flow takes."""
        return Limits(self.state, self.capacity, self.connection_limit, self.priority)


class ChangeCluster(RequestBody):
    """The fields of a cluster that can change. A `capacity` or `connectionLimit` of null removes that limit."""

    url: ClusterUrl | None = None
    state: ClusterState | None = None
    capacity: Capacity | None = None
    connection_limit: ConnectionLimit | None = None
    priority: Priority | None = None

    def changes(self) -> ClusterChanges:
        """The changes in the form that the flow takes. A missing limit is kept."""
        return ClusterChanges(
            url=None if self.url is None else Secret(self.url),
            state=self.state,
            capacity=self.capacity if "capacity" in self.model_fields_set else ...,
            connection_limit=self.connection_limit if "connection_limit" in self.model_fields_set else ...,
            priority=self.priority,
        )


class UnavailableHost(ResponseBody):
    """A host of a cluster's address that could not become the primary now."""

    host: str
    problem: str


class Cluster(ResponseBody):
    """A cluster of practice databases, tried at this moment. Its address is never shown.

    ``location``: the hosts of its server, or its directory. ``room``: for how many more practices it has room; null without
    a capacity. ``problem``: why no practice can be created there now. ``serverConnections``: how many the server accepts
    from everybody.
    """

    name: str
    state: ClusterState
    practices: int
    capacity: int | None
    room: int | None
    priority: int
    connection_limit: int | None
    engine: Literal["postgresql", "sqlite"] | None
    location: str | None
    is_reachable: bool
    problem: str | None
    unavailable_hosts: list[UnavailableHost]
    server_connections: int | None
    created_at: Moment

    @classmethod
    def of(cls, found: ClusterStatus) -> Self:
        """Build it from what was found."""
        return cls.from_record(
            found.row,
            practices=found.practices,
            room=found.room,
            engine=found.engine,
            location=found.place,
            is_reachable=found.problem is None,
            problem=found.problem,
            unavailable_hosts=[UnavailableHost(host, why) for host, why in found.unavailable_hosts.items()],
            server_connections=found.server_connections,
        )


class AuditEntry(ResponseBody):
    """An entry of an audit log."""

    id: int
    at: Moment
    actor: str
    action: str
    subject: str
    detail: dict[str, Any] | None

    @classmethod
    def of(cls, row: dict[str, Any]) -> Self:
        """Build it from its row."""
        return cls(**{**row, "at": wire_time(row["at"])})


class ProviderHealth(ResponseBody):
    """The state of a provider."""

    status: str
    installed: bool


class PlugIn(ResponseBody):
    """An installed plug-in. ``reason`` says why it was not loaded."""

    code: str
    path: str
    distribution: str | None
    loaded: bool
    reason: str | None


class Health(ResponseBody):
    """The state of the platform."""

    practices: int
    practices_behind: list[int]
    practices_to_adopt: list[int]
    opened_here: int
    clock_ahead_seconds: float | None
    events: EventBacklog
    providers: dict[str, ProviderHealth]
    plug_ins: list[PlugIn]


class ServiceStatus(ResponseBody):
    """The state of the service."""

    status: str


class Readiness(ResponseBody):
    """Whether the service can serve, and what else does not work."""

    status: Literal["ready", "degraded"]
    degraded: list[str]
    practices: int | None
