"""Creates an installation: the owner database and the key ring that belongs to it."""

from __future__ import annotations

from pathlib import Path

from polytill.domain.clock import World
from polytill.domain.errors import KeyRingDiffers, OperatorError
from polytill.domain.sealing import KeyRing
from polytill.flows import installation, key_ring
from polytill.settings import Settings
from polytill.storage import migrating
from polytill.storage.opening import Opening, create_owner, is_postgres, open_owner, sqlite_path
from polytill.storage.postgres_connect import DatabaseMissing
from polytill.storage.practices import DATABASE_PREFIX


async def migrate_owner(settings: Settings) -> list[str]:
    """Create the owner database and the key ring if they do not exist, and migrate the database to the current schema.
    Return the applied revisions. ``OperatorError`` if the database has a ring and the file is not that one: nothing
    changes then."""
    url, world, path = settings.owner_database_url.get_secret_value(), World(), settings.keyring
    if path.exists():
        KeyRing.read(path)  # before a database is created for it
    await create_owner(url)
    owner = await open_owner(url, settings.database_connections)
    made = False
    try:
        if not path.exists():
            if await migrating.current(owner) is not None:
                raise OperatorError(
                    f"The key ring {path} does not exist, but this owner database already has one. Copy the file from"
                    " another node or a backup."
                )
            if (why := why_not_first(settings)) is not None:
                raise OperatorError(why)
            KeyRing.create(path, world)
            made = True
        ring = KeyRing.read(path)
        applied = await migrating.migrate(owner, "owner")
        await migrating.declare_readers(owner)
        opening = Opening(owner, ring, settings.practice_databases.get_secret_value(), 2, world)
        try:
            await key_ring.record_first(owner, opening, ring, world.now())
            await installation.record_first(owner, world, settings.installation)
        except KeyRingDiffers:
            if made:  # another node was first: its ring is the ring of this installation
                path.unlink()
            raise
        finally:
            await opening.close()
        return applied
    finally:
        await owner.engine.close()


async def why_no_ring(settings: Settings) -> str | None:
    """Return one sentence if a new key ring could be this installation's second; None if it is certainly the first.

    ``NotNow`` if the server of the owner database cannot be reached, because then it is not known.
    """
    url = settings.owner_database_url.get_secret_value()
    if not is_postgres(url) and not sqlite_path(url).exists():
        # The file may be missing only for a while, and the practices beside it were sealed with a ring.
        return why_not_first(settings)
    owner = await open_owner(url, 2)
    try:
        if await migrating.current(owner) is None:
            return None
        return "The owner database already has a key ring. Copy the file from another node."
    except DatabaseMissing:
        return why_not_first(settings)
    finally:
        await owner.engine.close()


def why_not_first(settings: Settings) -> str | None:
    """Return one sentence if SQLite files of practices exist, because then there was a key ring before."""
    place = settings.practice_databases.get_secret_value()
    if is_postgres(place) or not any(Path(place).glob(f"{DATABASE_PREFIX}*.db")):
        return None
    return (
        f"The key ring {settings.keyring} does not exist, but {place} holds databases of practices that were sealed with"
        " one. Restore the file, or copy it from another node or a backup."
    )
