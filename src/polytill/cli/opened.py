"""Shared by the commands: the console, one sentence for an error, and one operation on an opened installation."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

from rich.console import Console

from polytill.domain.places import places
from polytill.domain.secret import without_secrets

Result = TypeVar("Result")

# Tables need a width, and a pipe has none. Names may look like markup: "[/red]".
console = Console(markup=False) if sys.stdout.isatty() else Console(width=120, markup=False)


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


def opened(work: Callable[[Any], Awaitable[Result]]) -> Result:
    """Open the installation, run one operation, and close it."""
    from polytill.app import Polytill

    async def run() -> Result:
        async with Polytill.open() as till:
            return await work(till)

    return asyncio.run(run())
