"""The catalog on the command line: its entries, the loaded handlers, and why others are not loaded."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from polytill.cli.opened import console, fail, opened
from polytill.flows.admin import catalog
from polytill.flows.context import Context
from polytill.flows.handlers import handler_or_reason
from polytill.providers.registry import BUILT_IN

catalog_app = typer.Typer(no_args_is_help=True, help="The catalog of payment providers.")


@catalog_app.command("list")
def catalog_list() -> None:
    """List the catalog: status, currencies, features, and whether the handler is loaded. Also lists other plug-ins."""
    table = Table("code", "name", "status", "currencies", "features", "handler")
    rows, others = opened(_read)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for code, why in others:
        console.print(f"Plug-in {code}: {why}")


async def _read(context: Context) -> tuple[list[tuple[str, ...]], list[tuple[str, str]]]:
    entries = await context.catalog()
    rows: list[tuple[str, ...]] = []
    for e in entries.values():
        loaded = handler_or_reason(context, e)[1] or "yes"
        features = ", ".join(e.supported_features or [])
        rows.append((e.code, e.name, e.status, str(len(e.supported_currencies)), features, loaded))
    others: list[tuple[str, str]] = [
        (one.code, one.refused or f"not in the catalog; add it with `polytill catalog add {one.code}`")
        for one in context.registry.plug_ins()
        if one.code not in entries or one.code in BUILT_IN
    ]
    return rows, others


@catalog_app.command("add")
def catalog_add(
    codes: Annotated[list[str], typer.Argument(help="Codes of installed handlers, such as stripe")],
) -> None:
    """Add providers to the catalog with their handlers' data."""
    seeded = opened(lambda context: catalog.seed(context, codes))
    for code in seeded.added:
        console.print(f"{code}: added")
    for code in seeded.present:
        console.print(f"{code}: already in the catalog")
    if seeded.refused:
        fail("; ".join(f"{code}: {why.rstrip('.')}" for code, why in seeded.refused.items()) + ".")
