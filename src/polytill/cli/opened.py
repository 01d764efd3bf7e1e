"""Shared by the commands: the console, one sentence for an error, and one operation on an opened installation."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, NoReturn, TypeVar

import typer
from rich.console import Console

from polytill.app import Polytill
from polytill.domain.places import places
from polytill.domain.secret import without_secrets
from polytill.flows.context import Context

Result = TypeVar("Result")

PracticeId = Annotated[int, typer.Argument(help="The practice's id")]

# Tables need a width, and a pipe has none. Names may look like markup: "[/red]".
console = Console(width=None if sys.stdout.isatty() else 120, markup=False, highlight=False)


def fail(sentence: str) -> NoReturn:
    """Print the error to standard error, and exit with 1."""
    print(f"polytill: {sentence}", file=sys.stderr)
    raise SystemExit(1) from None


def sentence_of(error: Exception) -> str:
    """One sentence for an unexpected error: never its text, which may contain a password."""
    if isinstance(error, OSError):
        name = error.filename if isinstance(error.filename, str | os.PathLike) else None
        about = f"{os.fspath(name)}: " if name is not None else ""
        return without_secrets(f"{about}{error.strerror or type(error).__name__}.")
    if type(error).__name__ == "SettingsError" or isinstance(error, UnicodeDecodeError):
        return "The settings cannot be read. Check the POLYTILL_* variables and the .env file."
    where = next(iter(places(error)), "an unknown place")
    return (
        f"Unexpected error: {type(error).__name__} at {where}. Set POLYTILL_TRACEBACK=1 for the full"
        " traceback, which may contain data."
    )


def check_owner_or(practice: int | None, owner: bool) -> None:
    """Fail unless a command names either the platform's owner or a practice."""
    if owner == (practice is not None):
        fail("Give either --owner or --practice ID.")


def opened(work: Callable[[Context], Awaitable[Result]]) -> Result:
    """Open the installation, run one operation, and close it."""

    async def run() -> Result:
        async with Polytill.open() as till:
            return await work(till.context)

    return asyncio.run(run())
