"""Test the keys of a practice's provider from the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from polytill.cli.opened import PracticeId, console, opened
from polytill.flows.admin import provider_configs
from polytill.providers.contract import CredentialTest


def practices_test_keys(
    practice: PracticeId, provider: Annotated[str, typer.Argument(help="The provider's code, such as stripe")]
) -> None:
    """Test the active keys of a practice at a provider. Creates nothing. Exits with 1 if they cannot take payments."""
    result, _ = opened(lambda context: provider_configs.test_configuration(context, practice, provider, "cli"))
    said = _answer(result)
    finding = f" ({result.finding.value})" if result.finding else ""
    console.print(f"Payments can be made: {said}{finding}")
    console.print(result.detail, soft_wrap=True)
    if not result.ok:
        raise SystemExit(1)


def _answer(result: CredentialTest) -> str:
    if not result.reached:
        return "unknown"
    if not result.ok:
        return "no"
    return "yes, with a warning" if result.finding else "yes"
