"""Creates an installation, or brings its databases to the schema of this version."""

from __future__ import annotations

from dataclasses import dataclass

from polytill.app import Polytill
from polytill.domain.states import PracticeState
from polytill.flows.admin import catalog, fleet
from polytill.flows.admin.practices import clear_half_made
from polytill.owner_setup import migrate_owner
from polytill.settings import Settings
from polytill.storage import practices

ACTOR = "cli"


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration did. ``failures``: by practice id, why it is not at the current schema."""

    revisions: tuple[str, ...]  # Applied to the owner database.
    providers: tuple[str, ...]  # Added to the catalog.
    practices: int
    failures: dict[int, str]


async def migrate(settings: Settings | None = None) -> Migrated:
    """Create the owner database and its key ring if they do not exist, fill the catalog, and migrate every practice.

    Does what ``polytill migrate`` does, and may be repeated. Keep a copy of the key ring: without it no secret can be
    opened.
    """
    settings = settings or Settings()
    applied = await migrate_owner(settings)
    async with Polytill.open(settings) as till:
        context = till.context
        seeded = await catalog.seed(context)
        await clear_half_made(context)
        found = await practices.listed(context.owner)
        ids = [entry.id for entry in found if entry.state is not PracticeState.provisioning]
        failures = {}
        async for done in fleet.migrate_each(context, ids, ACTOR):
            failures.update({practice_id: why for practice_id, why in done if why is not None})
    return Migrated(tuple(applied), tuple(seeded.added), len(ids), failures)
