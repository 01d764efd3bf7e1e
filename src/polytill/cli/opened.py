"""What the commands have in common: a terminal, one sentence for what fails, and an installation opened for one thing."""

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

# Tables need room also where nobody watches: a pipe has no width of its own. Names may look like markup: "[/red]".
console = Console(markup=False) if sys.stdout.isatty() else Console(width=120, markup=False)


def fail(sentence: str) -> NoReturn:
    """Say why on standard error, and end with 1."""
    print(f"polytill: {sentence}", file=sys.stderr)
    raise SystemExit(1) from None


def sentence_of(error: Exception) -> str:
    """One sentence for an error that is none of ours: never its text, which may hold a password."""
    if isinstance(error, OSError):
        name = error.filename if isinstance(error.filename, str | os.PathLike) else None
        about = f"{os.fspath(name)}: " if name is not None else ""
        return without_secrets(f"{about}{error.strerror or type(error).__name__}.")
    if type(error).__name__ == "SettingsError" or isinstance(error, UnicodeDecodeError):
        return "The settings cannot be read; look at the POLYTILL_* variables and the .env file."
    where = next(iter(places(error)), "an unknown place")
    return (
        f"Unexpected error: {type(error).__name__} at {where}. Set POLYTILL_TRACEBACK=1 to see all of it; that may show"
        " data."
    )


def opened(work: Callable[[Any], Awaitable[Result]]) -> Result:
    """Open the installation, do one thing, close it."""
    from polytill.app import Polytill

    async def run() -> Result:
        async with Polytill.open() as till:
            return await work(till)

    return asyncio.run(run())
