"""Rotation of the key-encryption key: every data key is wrapped again, every secret of the owner is sealed again.

No practice database changes, and payments continue: a node with the new key in its ring opens old and new secrets.
"""

from __future__ import annotations

from polytill.domain.errors import Stale
from polytill.domain.sealing import Place
from polytill.flows.admin.event_destination import PLACE, current
from polytill.flows.context import Desk
from polytill.storage import audit, event_deliveries, practices
from polytill.storage.units import Unit


async def rewrap(desk: Desk, practice_id: int, actor: str) -> bool:
    """Wrap one practice's data key with the ring's first key. Return False if it was already."""
    entry = await practices.by_id(desk.owner, practice_id)
    if entry is None or not entry.wrapped_data_key:
        return False
    wrapped = desk.ring.rewrapped(practice_id, entry.wrapped_data_key, desk.world)
    if wrapped is None:
        return False
    now = desk.world.now()
    unit = Unit()
    practices.rewrap(unit, practice_id, entry.wrapped_data_key, wrapped, now)
    audit.append(unit, now, actor, "practice.key_rewrapped", f"practice:{practice_id}", {"by": desk.ring.ids[0]})
    await desk.owner.commit(unit)
    desk.opening.forget(practice_id)
    return True


async def reseal_owners(desk: Desk, actor: str) -> int:
    """Seal the owner database's own secrets (servers' addresses, the key that signs events) again. Return their number.

    ``Stale`` if one was changed meanwhile: nothing is written then, and the call can be repeated.
    """
    now = desk.world.now()
    unit = Unit()
    resealed = 0
    for name, sealed in (await practices.sealed_urls(desk.owner)).items():
        place = Place("clusters", name, "sealed_url")
        fresh = desk.opening.seal_owners(desk.opening.open_owners(sealed, place), place)
        practices.reseal_url(unit, name, sealed, fresh, now)
        resealed += 1
    to = await current(desk)
    place = PLACE
    for number, sealed in enumerate(to.sealed_secrets if to else ()):
        fresh = desk.opening.seal_owners(desk.opening.open_owners(sealed, place), place)
        (event_deliveries.reseal_previous if number else event_deliveries.reseal)(unit, sealed, fresh)
        resealed += 1
    if resealed:
        audit.append(unit, now, actor, "owner.secrets_resealed", "owner", {"by": desk.ring.ids[0], "count": resealed})
        await desk.owner.commit(unit)
    return resealed


async def rotate(desk: Desk, actor: str) -> tuple[int, int]:
    """Rotate everything, repeated if necessary. Return the number of rewrapped practices, and of all practices."""
    await reseal_owners(desk, actor)
    entries = await practices.listed(desk.owner, limit=1_000_000)
    done = 0
    for entry in entries:
        try:
            done += await rewrap(desk, entry.id, actor)
        except Stale:  # another process has just rotated this practice
            continue
    return done, len(entries)
