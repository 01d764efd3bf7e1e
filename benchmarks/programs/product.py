"""The product, as `polytill serve` runs it: everything on, log lines as JSON on standard error."""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop

from benchmarks.ground import Ground
from benchmarks.programs.living import serve_asgi
from polytill.app import Polytill
from polytill.web import logs
from polytill.web.app import make_app


async def main() -> None:
    """Serve until the program is stopped."""
    logs.setup()
    async with Polytill.open(Ground.read(Path(sys.argv[1])).opened_settings()) as till:
        await serve_asgi(make_app(till))


if __name__ == "__main__":
    uvloop.run(main())
