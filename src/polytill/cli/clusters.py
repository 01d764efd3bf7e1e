"""PostgreSQL servers on which practices are placed."""

from __future__ import annotations

import os
import re
import sys
from typing import Annotated

import typer
from rich.table import Table

from polytill.cli.opened import console, fail, opened
from polytill.domain.secret import Secret
from polytill.flows.admin import clusters
from polytill.flows.context import Context
from polytill.storage import practices
from polytill.storage.practices import ClusterRow

VARIABLE = "POLYTILL_CLUSTER_URL"
_NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")

clusters_app = typer.Typer(
    no_args_is_help=True,
    help="PostgreSQL servers for practices. The address contains a password, so it is not an argument: it is read from"
    f" {VARIABLE}, from standard input, or from a hidden prompt.",
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
        given = typer.prompt("Address (postgresql://user:password@host:port)", hide_input=True, err=True)
    if not given.strip():
        fail(f"No address was given. Set {VARIABLE}, or write the address to standard input.")
    return Secret(given.strip())


@clusters_app.command("list")
def clusters_list() -> None:
    """List the clusters: whether each takes new practices, and how many it holds. Addresses are not shown."""

    async def read(context: Context) -> tuple[list[ClusterRow], dict[str, int]]:
        return await practices.clusters(context.owner), await practices.count_by_cluster(context.owner)

    rows, counts = opened(read)
    table = Table("name", "new practices", "practices", "since")
    table.add_row("default", "open", str(counts.get("default", 0)), "")
    for row in rows:
        since = f"{row.created_at:%Y-%m-%d %H:%M}" if row.created_at else ""
        table.add_row(row.name, "open" if row.is_active else "closed", str(counts.get(row.name, 0)), since)
    console.print(table)


@clusters_app.command("add")
def clusters_add(name: Name) -> None:
    """Register a server. It is tested first, and saved only if practices can be created on it now."""
    name, url = _named(name), _address()
    opened(lambda context: clusters.add(context, name, url, "cli"))
    console.print(f"Cluster {name}: added.")


@clusters_app.command("change")
def clusters_change(name: Name) -> None:
    """Replace the address of a server, for example after a change of its password. The new address is tested first."""
    name, url = _named(name), _address()
    opened(lambda context: clusters.change(context, name, url, None, "cli"))
    console.print(f"Cluster {name}: address replaced.")


def _set_open(name: str, is_open: bool) -> None:
    opened(lambda context: clusters.change(context, _named(name), None, is_open, "cli"))
    console.print(f"Cluster {name}: {'open' if is_open else 'closed'} to new practices.")


@clusters_app.command("close")
def clusters_close(name: Name) -> None:
    """Close a server to new practices. Existing practices are served as before."""
    _set_open(name, is_open=False)


@clusters_app.command("open")
def clusters_open(name: Name) -> None:
    """Open a server to new practices again."""
    _set_open(name, is_open=True)


@clusters_app.command("remove")
def clusters_remove(name: Name) -> None:
    """Remove a server that holds no practice."""
    opened(lambda context: clusters.remove(context, _named(name), "cli"))
    console.print(f"Cluster {name}: removed.")
