"""PostgreSQL servers for practice databases: checked before they are saved, changed, closed and removed."""

from __future__ import annotations

from polytill.domain.audit_actions import AuditAction
from polytill.domain.database_urls import wrong_with_server
from polytill.domain.errors import Conflict, Duplicate, NotFound, NotNow, OperatorError, Stale, invalid
from polytill.domain.sealing import Place
from polytill.domain.secret import Secret
from polytill.flows import key_ring
from polytill.flows.context import Context
from polytill.storage import audit, practices
from polytill.storage.clusters import check_server
from polytill.storage.opening import DEFAULT
from polytill.storage.units import Unit

_NO_SUCH = "There is no cluster named {name!r}."


async def check(url: Secret) -> None:
    """``Invalid`` with one sentence, without the password, if practices cannot be created on this server now."""
    if (wrong := wrong_with_server(url.reveal())) is not None:
        raise invalid("/url", wrong, reason="cluster_address")
    try:
        await check_server(url.reveal())
    except (NotNow, OperatorError) as error:
        raise invalid("/url", f"The server was not saved: {error.detail}", reason="cluster_unusable") from error


async def add(context: Context, name: str, url: Secret, actor: str) -> None:
    """Register a server that works. Its address contains a password, so it is stored sealed."""
    if name == DEFAULT:
        raise Conflict(f"A cluster named {name!r} already exists.", code="duplicate_name")
    await check(url)
    await key_ring.may_seal(context)
    now = context.world.now()
    unit = Unit()
    practices.add_cluster(unit, name, context.opening.seal_owners(url, _place(name)), now)
    audit.append(unit, now, actor, AuditAction.cluster_added, name)
    try:
        await context.owner.commit(unit)
    except Duplicate:
        raise Conflict(f"A cluster named {name!r} already exists.", code="duplicate_name") from None
    context.opening.forget_clusters()


async def change(context: Context, name: str, url: Secret | None, is_active: bool | None, actor: str) -> None:
    """Replace the address (a rotated password), or open or close the cluster to new practices.

    All nodes use the new address within seconds.
    """
    _not_the_default(name)
    if all(row.name != name for row in await practices.clusters(context.owner)):
        raise NotFound(_NO_SUCH.format(name=name))
    sealed = None
    if url is not None:
        await check(url)
        await key_ring.may_seal(context)
        sealed = context.opening.seal_owners(url, _place(name))
    now = context.world.now()
    unit = Unit()
    practices.change_cluster(unit, name, sealed, is_active, now)
    changed = {"address": url is not None} | ({} if is_active is None else {"isActive": is_active})
    audit.append(unit, now, actor, AuditAction.cluster_changed, name, changed)
    try:
        await context.owner.commit(unit)
    except Stale:
        raise NotFound(_NO_SUCH.format(name=name)) from None
    context.opening.forget_clusters()


async def remove(context: Context, name: str, actor: str) -> None:
    """Delete a cluster without practices; ``Conflict`` if it has practices."""
    _not_the_default(name)
    async with context.owner.transaction() as tx:
        count = await practices.remove_cluster(tx, name)
        if count == 0:
            audit.append(tx, context.world.now(), actor, AuditAction.cluster_removed, name)
    if count is None:
        raise NotFound(_NO_SUCH.format(name=name))
    if count:
        what = "1 practice is" if count == 1 else f"{count} practices are"
        raise Conflict(f"{what} on the cluster {name!r}, so it cannot be removed.", code="cluster_in_use")
    context.opening.forget_clusters()


def _not_the_default(name: str) -> None:
    if name == DEFAULT:
        raise Conflict(
            "The default cluster is set by POLYTILL_PRACTICE_DATABASES. Change the setting.", code="default_cluster"
        )


def _place(name: str) -> Place:
    return Place("clusters", name, "sealed_url")
