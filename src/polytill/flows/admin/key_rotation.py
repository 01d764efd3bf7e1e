"""Rotation of the key-encryption key: every data key is wrapped again, every secret of the owner is sealed again.

No practice database changes, and payments continue: a node with the new key in its ring opens old and new secrets.
"""

from __future__ import annotations

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Stale
from polytill.domain.sealing import Place
from polytill.flows.admin.event_destination import PLACE, current
from polytill.flows.context import Context
from polytill.storage import audit, cluster_rows, event_deliveries, practices
from polytill.storage.units import Unit


async def rewrap(context: Context, practice_id: int, actor: str) -> bool:
    """Wrap one practice's data key with the ring's first key. Return False if it was already."""
    entry = await practices.by_id(context.owner, practice_id)
    if entry is None or not entry.wrapped_data_key:
        return False
    wrapped = context.ring.rewrapped(practice_id, entry.wrapped_data_key, context.world)
    if wrapped is None:
        return False
    now = context.world.now()
    unit = Unit()
    practices.rewrap(unit, practice_id, entry.wrapped_data_key, wrapped, now)
    audit.append(
        unit, now, actor, AuditAction.practice_key_rewrapped, f"practice:{practice_id}", {"by": context.ring.ids[0]}
    )
    await context.owner.commit(unit)
    context.opening.forget(practice_id)
    return True


async def reseal_owners(context: Context, actor: str) -> int:
    """Seal the owner database's own secrets (servers' addresses, the key that signs events) again. Return their number.

    ``Stale`` if one was changed meanwhile: nothing is written then, and the call can be repeated.
    """
    now = context.world.now()
    unit = Unit()
    resealed = 0
    for name, sealed in (await cluster_rows.sealed_urls(context.owner)).items():
        place = Place("clusters", name, "sealed_url")
        fresh = context.opening.seal_owners(context.opening.open_owners(sealed, place), place)
        cluster_rows.reseal(unit, name, sealed, fresh, now)
        resealed += 1
    to = await current(context)
    place = PLACE
    for number, sealed in enumerate(to.sealed_secrets if to else ()):
        fresh = context.opening.seal_owners(context.opening.open_owners(sealed, place), place)
        (event_deliveries.reseal_previous if number else event_deliveries.reseal)(unit, sealed, fresh)
        resealed += 1
    if resealed:
        audit.append(
            unit,
            now,
            actor,
            AuditAction.owner_secrets_resealed,
            "owner",
            {"by": context.ring.ids[0], "count": resealed},
        )
        await context.owner.commit(unit)
    return resealed


async def rotate(context: Context, actor: str) -> tuple[int, int]:
    """Rotate everything, repeated if necessary. Return the number of rewrapped practices, and of all practices."""
    await reseal_owners(context, actor)
    entries = await practices.listed(context.owner, limit=1_000_000)
    done = 0
    for entry in entries:
        try:
            done += await rewrap(context, entry.id, actor)
        except Stale:  # another process has just rotated this practice
            continue
    return done, len(entries)
