"""One process that migrates all practices, as `polytill migrate` does, to a schema with more columns.

Arguments: the ground, and the number of columns, each added by a revision of its own.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import pairwise
from pathlib import Path

from benchmarks.ground import Ground
from polytill.app import Polytill
from polytill.flows import presence
from polytill.flows.jobs.migrate import Wanted
from polytill.migration import migrate_practices
from polytill.storage import migrating
from polytill.storage.migrating import Step
from polytill.web import logs

# A dead process is noticed when its announcement has ended. The drill does not wait for minutes.
LIVE_S, ANNOUNCED_S = 3.0, 0.5


def add_revisions(number: int) -> None:
    """As if this version of polytill had so many more revisions. Each adds a column to ``payments``."""
    steps, head = migrating.steps, migrating.head
    names = [head("practice"), *(f"benchmark_{one + 1}" for one in range(number))]
    added = tuple(
        Step(name, before, (f"ALTER TABLE payments ADD COLUMN {name} INTEGER",)) for before, name in pairwise(names)
    )

    def with_them(tree: migrating.Tree, dialect: str) -> tuple[Step, ...]:
        return steps(tree, dialect) + (added if tree == "practice" else ())

    vars(migrating)["steps"] = with_them
    vars(migrating)["head"] = lambda tree: names[-1] if tree == "practice" else head(tree)


async def main() -> None:
    """Migrate, and print how many practices are not migrated then."""
    logs.setup()
    presence.LIVE_S, presence.ANNOUNCED_S = LIVE_S, ANNOUNCED_S
    place, number = sys.argv[1:]
    add_revisions(int(number))
    async with Polytill.open(Ground.read(Path(place)).opened_settings()) as till:
        print("begins", flush=True)
        outcome = await migrate_practices(till.context, Wanted(), lambda _, __: None)
        for part in outcome.failed[:3]:
            print(part.detail, file=sys.stderr)
        print(outcome.behind, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
