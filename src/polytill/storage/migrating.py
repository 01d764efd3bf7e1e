"""Database migrations: Alembic's scripts, rendered to SQL once per step and run as text on every database.

Rendering is serial (Alembic in threads crashes the interpreter). Applying is plain SQL, so thousands of databases need
thousands of short transactions and nothing else. Each step is one transaction, on both engines.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from polytill.domain.errors import MigrationRefused, NotNow, OperatorError
from polytill.storage import refusals
from polytill.storage.databases import Database, OwnerDb, Tx

Tree = Literal["owner", "practice"]

# The oldest revision of each tree whose version of polytill can still use a database at the newest revision. An
# additive revision leaves it, so that nodes of both versions can run side by side; one that removes or changes
# something raises it.
OLDEST_READERS: dict[Tree, str] = {"owner": "owner_0001", "practice": "practice_0001"}

_VERSION_TABLE = "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
_REVISION = "SELECT version_num FROM alembic_version"


@dataclass(frozen=True, slots=True)
class Step:
    """One revision as SQL statements of one dialect."""

    revision: str
    previous: str | None
    statements: tuple[str, ...]


class _Collector:
    """Alembic writes each statement of an offline run in one piece: this keeps the pieces apart."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def write(self, text: str) -> None:
        statement = text.strip().rstrip(";").strip()
        if statement:
            self.statements.append(statement)

    def flush(self) -> None:
        """Nothing is buffered."""


@lru_cache
def steps(tree: Tree, dialect: str) -> tuple[Step, ...]:
    """All revisions of a tree in order, rendered for ``sqlite`` or ``postgresql``."""
    from alembic.config import Config
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations" / tree))
    config.set_main_option("path_separator", "os")
    rendered = []
    for script in reversed(list(ScriptDirectory.from_config(config).walk_revisions())):
        collector = _Collector()
        context = MigrationContext.configure(
            dialect_name=dialect, opts={"as_sql": True, "output_buffer": collector, "literal_binds": True}
        )
        with Operations.context(context):
            script.module.upgrade()
        down = script.down_revision
        previous = down if isinstance(down, str) else None
        rendered.append(Step(script.revision, previous, tuple(collector.statements)))
    return tuple(rendered)


@lru_cache
def head(tree: Tree) -> str:
    """The newest revision of a tree."""
    # Read from the names of the scripts, so that a service without a migration to run never loads Alembic (24 MB).
    folder = Path(__file__).parent / "migrations" / tree / "versions"
    newest = max(path.name for path in folder.glob("[0-9]*.py"))
    return f"{tree}_{newest.partition('_')[0]}"


async def current(database: Database) -> str | None:
    """The revision of a database. None if it was never migrated."""
    tables = "sqlite_master WHERE name" if database.engine.dialect == "sqlite" else "pg_tables WHERE tablename"
    if await database.one(f"SELECT 1 FROM {tables} = 'alembic_version'") is None:  # noqa: S608
        return None
    revision: str | None = await database.value(_REVISION)
    return revision


async def readable(owner: OwnerDb, tree: Tree, at: str | None) -> bool:
    """Whether this version can use a database at a revision: the newest, or a newer one that is declared compatible."""
    ours = head(tree)
    if at == ours:
        return True
    if at is None or at < ours:
        return False
    oldest = await owner.value("SELECT oldest FROM schema_readers WHERE tree = $1", tree)
    return oldest is not None and ours >= oldest


async def why_not_opened(owner: OwnerDb) -> str | None:
    """One sentence if this version cannot use the owner database as it is; else None."""
    at, ours = await current(owner), head("owner")
    if at is None:
        return "The owner database has no tables yet; run `polytill migrate`."
    if at < ours:
        return f"The owner database is at schema {at}, and this version needs {ours}; run `polytill migrate`."
    if await readable(owner, "owner", at):
        return None
    return (
        f"The owner database is at schema {at}, which is newer than this version of polytill ({ours}); update it here."
    )


async def declare_readers(owner: OwnerDb) -> None:
    """Record which versions may use the databases that this version has migrated."""
    if await current(owner) != head("owner"):
        return
    async with owner.transaction() as tx:
        for tree, oldest in OLDEST_READERS.items():
            await tx.fetch(
                "INSERT INTO schema_readers (tree, oldest) VALUES ($1, $2)"
                " ON CONFLICT (tree) DO UPDATE SET oldest = excluded.oldest",
                tree,
                oldest,
            )


async def migrate(database: Database, tree: Tree) -> list[str]:
    """Migrate a database to the newest revision of its tree, one transaction per step. Returns the applied revisions.
    ``MigrationRefused`` if the database rejects a step, which is rolled back then."""
    applied = []
    for step in steps(tree, database.engine.dialect):
        try:
            async with database.transaction() as tx:
                if await _apply(tx, step, database.engine.dialect):
                    applied.append(step.revision)
        except (NotNow, OperatorError):
            raise
        except Exception as error:
            why = refusals.reason(error)
            raise MigrationRefused(f"The database rejected the migration to {step.revision}: {why}.") from error
    return applied


async def _apply(tx: Tx, step: Step, dialect: str) -> bool:
    if dialect == "postgresql":
        # Two nodes that start together take turns. Any number works that nobody else uses.
        await tx.fetch("SELECT pg_advisory_xact_lock(7041776)")
    await tx.fetch(_VERSION_TABLE)
    at = await tx.value(_REVISION)
    if at != step.previous:
        if at is not None and at not in _known(dialect):
            ours = head("owner" if step.revision.startswith("owner") else "practice")
            newer = " and which is newer; update polytill here" if at > ours else ""
            raise OperatorError(f"The database is at schema {at}, which this version of polytill does not know{newer}.")
        return False
    for statement in step.statements:
        await tx.fetch(statement)
    await tx.fetch("DELETE FROM alembic_version")
    await tx.fetch(f"INSERT INTO alembic_version (version_num) VALUES ('{step.revision}')")  # noqa: S608
    return True


def _known(dialect: str) -> set[str]:
    trees: tuple[Tree, Tree] = ("owner", "practice")
    return {step.revision for tree in trees for step in steps(tree, dialect)}
