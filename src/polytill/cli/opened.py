"""What the commands have in common: a terminal, one sentence for what fails, and an installation opened for one thing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

from rich.console import Console

Result = TypeVar("Result")

# Tables need room also where nobody watches: a pipe has no width of its own.
console = Console() if sys.stdout.isatty() else Console(width=120)


def fail(sentence: str) -> NoReturn:
    """Say why on standard error, and end with 1."""
    print(f"polytill: {sentence}", file=sys.stderr)
    raise SystemExit(1) from None


def opened(work: Callable[[Any], Awaitable[Result]]) -> Result:
    """Open the installation, do one thing, close it."""
    from polytill.app import Polytill

    async def run() -> Result:
        async with Polytill.open() as till:
            return await work(till)

    return asyncio.run(run())
