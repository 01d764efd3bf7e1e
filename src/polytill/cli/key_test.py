"""Test the keys of a practice's provider from the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from polytill.cli.opened import console, opened
from polytill.providers.contract import CredentialTest


def practices_test_keys(
    practice: Annotated[int, typer.Argument(help="The practice's id")],
    provider: Annotated[str, typer.Argument(help="The provider's code, such as stripe")],
) -> None:
    """Test the active keys of a practice at a provider. Creates nothing. Exits with 1 if they cannot take payments."""
    from polytill.flows.admin import provider_configs

    result, _ = opened(lambda till: provider_configs.test_configuration(till.context, practice, provider, "cli"))
    said = _answer(result)
    finding = f" ({result.finding.value})" if result.finding else ""
    console.print(f"Payments can be made: {said}{finding}", highlight=False)
    console.print(result.detail, highlight=False, soft_wrap=True)
    if not result.ok:
        raise SystemExit(1)


def _answer(result: CredentialTest) -> str:
    if not result.reached:
        return "unknown"
    if not result.ok:
        return "no"
    return "yes, with a warning" if result.finding else "yes"
