"""A newer schema version of the practices than this one, for tests of migrating all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from polytill.app import Polytill
from polytill.storage import migrating
from polytill.storage.migrating import Step

NEWER = "practice_9999"


def a_newer_schema() -> AbstractContextManager[None]:
    """As if this version of polytill had one more migration, which creates a table."""
    return _with("CREATE TABLE added (id INTEGER)")


def a_counted_schema() -> AbstractContextManager[None]:
    """As ``a_newer_schema``. The table has a row for each time that the migration was done."""
    return _with("CREATE TABLE IF NOT EXISTS added (id INTEGER)", "INSERT INTO added (id) VALUES (1)")


@contextmanager
def _with(*statements: str) -> Iterator[None]:
    steps, head = migrating.steps, migrating.head
    present = head("practice")

    def more(tree: migrating.Tree, dialect: str) -> tuple[Step, ...]:
        added = (Step(NEWER, present, statements),) if tree == "practice" else ()
        return steps(tree, dialect) + added

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrating, "steps", more)
        patch.setattr(migrating, "head", lambda tree: NEWER if tree == "practice" else head(tree))
        yield


async def break_it(till: Polytill, practice_id: int) -> None:
    """The newer migration will find that its table exists."""
    await anyhow(till, practice_id, "CREATE TABLE added (id INTEGER)")


async def mend(till: Polytill, practice_id: int) -> None:
    """Undo ``break_it``."""
    await anyhow(till, practice_id, "DROP TABLE added")


async def anyhow(till: Polytill, practice_id: int, sql: str) -> None:
    """Run a statement in a practice's database, at any schema version."""
    async with till.context.opening.at_any_schema(practice_id) as db:
        await db.fetch(sql)
