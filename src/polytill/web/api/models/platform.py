"""The platform: its clusters, its health, the state of a process, and audit logs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictBool, StrictStr

from polytill.domain.clock import wire_time
from polytill.domain.database_urls import wrong_with_server
from polytill.storage.practices import ClusterRow
from polytill.web.api.models.events import EventBacklog
from polytill.web.api.requests import RequestBody
from polytill.web.api.responses import Moment, ResponseBody
from polytill.web.api.values import Code


def _is_server(value: str) -> str:
    if (wrong := wrong_with_server(value)) is not None:
        raise ValueError(wrong)
    return value


ServerUrl = Annotated[StrictStr, Field(max_length=2000), AfterValidator(_is_server)]


class AddCluster(RequestBody):
    """A PostgreSQL server to place practices on."""

    name: Code
    url: ServerUrl


class ChangeCluster(RequestBody):
    """The fields of a cluster that can change."""

    url: ServerUrl | None = None
    is_active: StrictBool | None = None


class Cluster(ResponseBody):
    """A PostgreSQL server for practice databases."""

    name: str
    is_active: bool
    created_at: str | None

    @classmethod
    def of(cls, row: ClusterRow) -> Self:
        """Build it from its row, without its address."""
        return cls(row.name, row.is_active, wire_time(row.created_at))


class NewCluster(ResponseBody):
    """A new cluster."""

    name: str
    is_active: bool


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
