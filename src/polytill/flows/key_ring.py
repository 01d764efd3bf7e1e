"""One key ring for all nodes: its fingerprint is recorded in the owner database and compared before anything is sealed.

A node with another ring would seal secrets that no other node can open, so it reports the error and does not start.
"""

from __future__ import annotations

from datetime import datetime

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import KeyRingDiffers, NotFound, SealBroken
from polytill.domain.sealing import KeyRing, Place
from polytill.flows.context import Context
from polytill.storage import audit, cluster_rows, key_ring_keys, nodes
from polytill.storage.databases import OwnerDb
from polytill.storage.nodes import Node
from polytill.storage.opening import Opening
from polytill.storage.units import Unit

NOT_RECORDED = "The owner database has no fingerprint of a key ring yet; run `polytill migrate`."


async def check(owner: OwnerDb, ring: KeyRing) -> None:
    """Raises ``KeyRingDiffers`` if the ring lacks a recorded key or has another one. Reads the file again first."""
    recorded = await key_ring_keys.recorded(owner)
    if not recorded:
        raise KeyRingDiffers(NOT_RECORDED)
    if ring.differs_from(recorded) is not None:
        ring.refresh()
    if (why := ring.differs_from(recorded)) is not None:
        raise KeyRingDiffers(why)


async def may_seal(context: Context) -> None:
    """Raises ``KeyRingDiffers`` unless every node can open what this ring seals now."""
    recorded = await key_ring_keys.recorded(context.owner)
    if not recorded:
        return  # no ring was recorded when this owner database was migrated: there is nothing to compare with
    await check(context.owner, context.ring)
    if context.ring.ids[0] not in recorded:
        raise KeyRingDiffers(
            f"The key {context.ring.ids[0]!r} leads the key ring but is not in use; run `polytill rotate`."
        )


async def record_first(owner: OwnerDb, opening: Opening, ring: KeyRing, now: datetime) -> None:
    """Record the ring if none is recorded. ``KeyRingDiffers`` if it cannot open the sealed values in the database, or
    if another node has recorded another ring meanwhile."""
    if not await key_ring_keys.recorded(owner):
        await _opens_what_is_there(owner, opening, ring)
        async with owner.transaction() as tx:
            if not await key_ring_keys.recorded(tx):
                key_ring_keys.record(tx, ring.checks(), now)
    await check(owner, ring)


async def _opens_what_is_there(owner: OwnerDb, opening: Opening, ring: KeyRing) -> None:
    try:
        for practice_id, wrapped in await key_ring_keys.anything_sealed(owner):
            ring.unwrap(practice_id, wrapped)
        for name, sealed in (await cluster_rows.sealed_urls(owner)).items():
            opening.open_owners(sealed, Place("clusters", name, "sealed_url"))
    except SealBroken:
        raise KeyRingDiffers(
            "The key ring does not open what is sealed in the owner database; copy the file from another node."
        ) from None


async def nodes_without(context: Context, key_id: str) -> list[Node]:
    """The live nodes that do not have this key of our ring."""
    ours = context.ring.checks()[key_id]
    return [
        node for node in await nodes.live(context.owner, context.shared_after(0)) if node.key_checks.get(key_id) != ours
    ]


async def put_to_use(context: Context, key_id: str, actor: str) -> None:
    """Record a key that is going to wrap data keys. ``KeyRingDiffers`` while a live node lacks it."""
    if key_id not in context.ring.ids:
        raise NotFound(f"The key ring has no key {key_id!r}.")
    lacking = await nodes_without(context, key_id)
    if lacking:
        names = ", ".join(sorted({node.name for node in lacking}))
        raise KeyRingDiffers(
            f"Nothing was rotated: {len(lacking)} live node(s) do not have the key {key_id!r} yet ({names}). Copy the key"
            " ring to every node; each reads it within ten seconds."
        )
    now = context.world.now()
    if key_id in await key_ring_keys.recorded(context.owner):
        return
    unit = Unit()
    key_ring_keys.record(unit, {key_id: context.ring.checks()[key_id]}, now)
    audit.append(unit, now, actor, AuditAction.key_ring_key_recorded, "owner", {"key": key_id})
    await context.owner.commit(unit)
    await check(context.owner, context.ring)
