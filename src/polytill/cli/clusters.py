"""Clusters, on which practices are placed: PostgreSQL servers, and directories of SQLite files."""

from __future__ import annotations

import json
import os
import re
import sys
from types import EllipsisType
from typing import Annotated, Any

import typer
from rich.table import Table

from polytill.cli.opened import console, fail, opened
from polytill.domain.secret import Secret
from polytill.domain.states import ClusterState
from polytill.flows.admin import clusters
from polytill.flows.admin.clusters import ClusterChanges, ClusterStatus

VARIABLE = "POLYTILL_CLUSTER_URL"
MOST_CAPACITY, MOST_CONNECTIONS, MOST_PRIORITY = 1_000_000, 5000, 1_000_000  # the API's limits
_NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")

clusters_app = typer.Typer(
    no_args_is_help=True,
    help="Clusters for practices: servers, or directories. The address may contain a password, so it is not an argument: it is"
    f" read from {VARIABLE}, from standard input, or from a hidden prompt.",
)

Name = Annotated[str, typer.Argument(help="The cluster's name: lower-case letters, digits and _")]


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):  # it may be an address in the wrong place, so it is not repeated
        fail("The name of a cluster must be 2 to 40 lower-case letters, digits and _, and begin with a letter.")
    return name


def _address() -> Secret:
    given = os.environ.get(VARIABLE)
    if given is None and not sys.stdin.isatty():
        given = sys.stdin.readline()
    if given is None:
        given = typer.prompt("Address (postgresql://user:password@host:port, or /directory)", hide_input=True, err=True)
    if not given.strip():
        fail(f"No address was given. Set {VARIABLE}, or write the address to standard input.")
    return Secret(given.strip())


@clusters_app.command("list")
def clusters_list(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each cluster")] = False,
) -> None:
    """List the clusters, each tried now: state, practices, room, limits and whether it works. No address is shown."""
    found = opened(clusters.survey)
    if as_json:
        for one in found:
            print(json.dumps(_as_json(one)))
        return
    table = Table("name", "state", "practices", "capacity", "room", "priority", "connections", "location", "works")
    for one in found:
        row = one.row
        numbers = (one.practices, row.capacity, one.room, row.priority, row.connection_limit)
        works = "yes" if one.problem is None else "no"
        table.add_row(row.name, row.state, *("–" if n is None else str(n) for n in numbers), one.place or "?", works)
    console.print(table)
    for one in found:
        for said in (one.problem, *one.unavailable_sentences()):
            if said is not None:
                console.print(f"{one.row.name}: {said}", soft_wrap=True)


def _as_json(found: ClusterStatus) -> dict[str, Any]:
    row = found.row
    return {
        "name": row.name,
        "state": row.state,
        "practices": found.practices,
        "capacity": row.capacity,
        "room": found.room,
        "priority": row.priority,
        "connectionLimit": row.connection_limit,
        "engine": found.engine,
        "location": found.place,
        "isReachable": found.problem is None,
        "problem": found.problem,
        "unavailableHosts": found.unavailable_hosts,
        "serverConnections": found.server_connections,
    }


Capacity = Annotated[str | None, typer.Option(help="How many practices it may have, or `none`")]
ConnectionLimit = Annotated[
    str | None, typer.Option(help="How many connections one process may hold there, or `none` for the setting")
]
Priority = Annotated[int | None, typer.Option(help="The higher comes first where several have the same room")]


def _limit(text: str | None, option: str, least: int, most: int) -> int | EllipsisType | None:
    if text is None:
        return ...
    if text == "none":
        return None
    if not (text.isascii() and text.isdecimal() and least <= int(text[:9]) <= most):
        fail(f"{option} must be a number from {least} to {most}, or `none`.")
    return int(text)


def _limits(capacity: str | None, connection_limit: str | None, priority: int | None) -> ClusterChanges:
    if priority is not None and abs(priority) > MOST_PRIORITY:
        fail(f"--priority must be a number from -{MOST_PRIORITY} to {MOST_PRIORITY}.")
    return ClusterChanges(
        capacity=_limit(capacity, "--capacity", 1, MOST_CAPACITY),
        connection_limit=_limit(connection_limit, "--connection-limit", 2, MOST_CONNECTIONS),
        priority=priority,
    )


@clusters_app.command("add")
def clusters_add(
    name: Name,
    capacity: Capacity = None,
    connection_limit: ConnectionLimit = None,
    priority: Priority = None,
    closed: Annotated[bool, typer.Option("--closed", help="Without new practices for now")] = False,
) -> None:
    """Register a cluster: a server, or a directory for SQLite files. It is checked first, and saved only if it works."""
    wanted = _limits(capacity, connection_limit, priority)
    limits = clusters.Limits(
        ClusterState.closed if closed else ClusterState.open,
        None if isinstance(wanted.capacity, EllipsisType) else wanted.capacity,
        None if isinstance(wanted.connection_limit, EllipsisType) else wanted.connection_limit,
        priority or 0,
    )
    name, url = _named(name), _address()
    opened(lambda context: clusters.add(context, name, url, limits, "cli"))
    console.print(f"Cluster {name}: added.")


@clusters_app.command("change")
def clusters_change(
    name: Name, capacity: Capacity = None, connection_limit: ConnectionLimit = None, priority: Priority = None
) -> None:
    """Change the limits of a cluster. Without an option, replace its address, for example after a change of its password.

    The new address is checked first, and must have the databases of the cluster's practices. All processes use it within
    two seconds.
    """
    changes = _limits(capacity, connection_limit, priority)
    name = _named(name)
    if changes != ClusterChanges():
        opened(lambda context: clusters.change(context, name, changes, "cli"))
        console.print(f"Cluster {name}: limits changed.")
        return
    url = _address()
    opened(lambda context: clusters.change(context, name, ClusterChanges(url=url), "cli"))
    console.print(f"Cluster {name}: address replaced.")


def _set_state(name: str, state: ClusterState) -> None:
    opened(lambda context: clusters.change(context, _named(name), ClusterChanges(state=state), "cli"))
    console.print(f"Cluster {name}: {state} to new practices.")


@clusters_app.command("close")
def clusters_close(name: Name) -> None:
    """Close a cluster to new practices. Existing practices are served as before."""
    _set_state(name, ClusterState.closed)


@clusters_app.command("open")
def clusters_open(name: Name) -> None:
    """Open a cluster to new practices again."""
    _set_state(name, ClusterState.open)


@clusters_app.command("remove")
def clusters_remove(name: Name) -> None:
    """Remove a cluster that holds no practice."""
    opened(lambda context: clusters.remove(context, _named(name), "cli"))
    console.print(f"Cluster {name}: removed.")
