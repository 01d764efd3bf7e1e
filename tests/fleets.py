"""A newer version of the practices' schema than there is, for tests of migrating all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from polytill.app import Polytill
from polytill.storage import migrating
from polytill.storage.migrating import Step

NEWER = "practice_9999"


@contextmanager
def a_newer_schema() -> Iterator[None]:
    """As if this version of polytill brought one more step, which makes a table."""
    steps, head = migrating.steps, migrating.head
    present = head("practice")

    def more(tree: migrating.Tree, dialect: str) -> tuple[Step, ...]:
        added = (Step(NEWER, present, ("CREATE TABLE added (id INTEGER)",)),) if tree == "practice" else ()
        return steps(tree, dialect) + added

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrating, "steps", more)
        patch.setattr(migrating, "head", lambda tree: NEWER if tree == "practice" else head(tree))
        yield


async def break_it(till: Polytill, practice_id: int) -> None:
    """The newer step will find its table there already."""
    await anyhow(till, practice_id, "CREATE TABLE added (id INTEGER)")


async def mend(till: Polytill, practice_id: int) -> None:
    """Take back what ``break_it`` did."""
    await anyhow(till, practice_id, "DROP TABLE added")


async def anyhow(till: Polytill, practice_id: int, sql: str) -> None:
    """A statement in a practice's database, at whatever schema it is."""
    async with till.context.opening.at_any_schema(practice_id) as db:
        await db.fetch(sql)
