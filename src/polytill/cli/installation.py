"""The installation: adopt a copy or a restored owner database, or make a copy safe."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from polytill.cli.opened import console, opened
from polytill.flows.adoption.installation import InstallationAdoption, adopt_installation
from polytill.flows.adoption.neutralize import Neutralized
from polytill.flows.adoption.neutralize import neutralize as neutralize_installation

installation_app = typer.Typer(
    no_args_is_help=True, help="The installation: adopt a copy of it, or a restored owner database."
)
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON")]


@installation_app.command("adopt")
def installation_adopt(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what is missing; change nothing")] = False,
    nothing_lost: Annotated[
        bool,
        typer.Option(
            "--nothing-lost", help="The original did nothing after the copy was made: adopt the practices, too"
        ),
    ] = False,
    restored: Annotated[
        bool, typer.Option("--restored", help="The owner database was restored, even if that was not noticed")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take a copy of an installation, or a restored owner database, into use.

    Stop the original first: two installations must not use the same accounts.
    """
    found = opened(lambda context: adopt_installation(context, "cli", dry_run, nothing_lost, restored))
    if as_json:
        since = found.older_since and found.older_since.isoformat()
        unknown = [one._asdict() for one in found.unknown]
        print(json.dumps({**asdict(found), "older_since": since, "unknown": unknown}))
    else:
        _adopted(found, dry_run)


def _adopted(found: InstallationAdoption, is_dry: bool) -> None:
    forwarded, revoked = (
        ("would be forwarded", "") if is_dry else ("were forwarded", f" {found.keys} keys were revoked again.")
    )
    console.print(f"{found.practices} practices: {found.events} events {forwarded} again.{revoked}", soft_wrap=True)
    for sentence in found.notes:
        console.print(f"To check: {sentence}", soft_wrap=True)
    if found.is_done:
        console.print("The installation is adopted.")
    elif not is_dry:
        console.print("The installation is not adopted yet.")


def neutralize(
    in_use: Annotated[
        str | None, typer.Option("--in-use", help="Name of the installation, to neutralize it although it is in use")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a copy of an installation safe: destroy production credentials, end all access, send nothing.

    It has only the sandbox afterwards, and this cannot be undone. Refused in the installation that is in use.
    """
    found = opened(lambda context: neutralize_installation(context, "cli", in_use))
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        _neutralized(found)
    if found.failed:
        raise SystemExit(1)


def _neutralized(found: Neutralized) -> None:
    console.print(f"{found.practices} practices have no production credentials any more.")
    for practice_id, reason in found.failed.items():
        console.print(f"Practice {practice_id} still has them: {reason} Run this again.", soft_wrap=True)
    console.print(
        "All passwords and API keys have ended. `polytill people create` and `polytill keys create` make new ones."
    )
