"""The product, as `polytill serve` runs it: everything on, log lines as JSON on standard error.

A second argument takes a part of it out, to measure what this part does: ``taking-all`` refuses no request under
overload, and ``plain`` has a pool of the driver for each database.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop

from benchmarks.ground import Ground
from benchmarks.programs.living import serve_asgi
from benchmarks.programs.plain_pool import PlainPools
from polytill import background
from polytill.app import Polytill
from polytill.storage import clusters
from polytill.web import admission, logs
from polytill.web.app import make_app


async def main() -> None:
    """Serve until the program is stopped."""
    logs.setup()
    match sys.argv[2:]:
        case ["taking-all"]:
            admission.FEW = sys.maxsize
        case ["plain"]:
            vars(clusters)["Budget"] = PlainPools
    async with Polytill.open(Ground.read(Path(sys.argv[1])).opened_settings()) as till:
        app = make_app(till)
        background.settle_memory()
        await serve_asgi(app)


if __name__ == "__main__":
    uvloop.run(main())
