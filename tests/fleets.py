"""A newer version of the practices' schema than there is, for tests of migrating all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from polytill.storage import migrating
from polytill.storage.databases import PracticeDb
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


async def break_it(db: PracticeDb) -> None:
    """The newer step will find its table there already."""
    await db.fetch("CREATE TABLE added (id INTEGER)")


async def mend(db: PracticeDb) -> None:
    """Take back what ``break_it`` did."""
    await db.fetch("DROP TABLE added")
