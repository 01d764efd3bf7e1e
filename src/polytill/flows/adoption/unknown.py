"""Practices that have a database and are not in the directory, so that no new practice gets the id of one of them."""

from __future__ import annotations

from polytill.domain.errors import OwnerDatabaseOlder, PolytillError
from polytill.flows.context import Context, log
from polytill.flows.installation import note_older
from polytill.storage import cluster_rows, installations, practices, unknown_databases
from polytill.storage.unknown_databases import UnknownPractice


async def unknown_practices(context: Context) -> list[UnknownPractice]:
    """The practices that the directory does not know, by id, as far as their clusters can be reached."""
    entries = await practices.listed(context.owner)
    known, ids = {(one.cluster, one.database_name) for one in entries}, {one.id for one in entries}
    uid, found = (await installations.read(context.owner)).uid, []
    for row in await cluster_rows.listed(context.owner):
        try:
            cluster = await context.opening.cluster(row.name)
            for name in await unknown_databases.names(cluster):
                if (row.name, name) not in known:
                    one = await unknown_databases.of(cluster, row.name, name, uid)
                    if one is not None and one.practice_id not in ids:  # else it is an older copy of a practice
                        found.append(one)
        except PolytillError as error:
            log.warning("cluster_not_searched", cluster=row.name, error=type(error).__name__)
    return sorted(found)


async def check_ids(context: Context) -> None:
    """Before this process creates its first practice: ``OwnerDatabaseOlder`` if the directory has never given an id that
    a database has."""
    if context.installation.ids_checked:
        return
    highest = max((one.practice_id for one in await unknown_practices(context)), default=0)
    if highest > (await installations.read(context.owner)).last_practice_id:
        await note_older(context, "practices")
        raise OwnerDatabaseOlder
    context.installation.ids_checked = True
