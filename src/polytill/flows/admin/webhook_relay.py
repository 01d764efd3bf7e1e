"""The relay address of an account: where webhooks go that are not about anything here."""

from __future__ import annotations

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, invalid
from polytill.domain.states import Environment
from polytill.flows.admin.provider_configs import existing_configuration
from polytill.flows.context import Context
from polytill.flows.handlers import handler_for
from polytill.providers.contract import WebhookProof
from polytill.providers.http import may_be_relayed_to, origin_of
from polytill.storage import audit, provider_configs, webhook_relays
from polytill.storage.provider_configs import Configuration

MAX_URL = 1000


async def set_relay(
    context: Context, practice_id: int, code: str, environment: Environment, url: str | None, actor: str
) -> Configuration:
    """Set, replace or remove (None) the relay address of one environment. What waits for it is due at once.

    ``Invalid`` unless it is https and public, or its origin is one of ``POLYTILL_ALLOWED_RELAY_ORIGINS``.
    """
    practice, configuration = await existing_configuration(context, practice_id, code)
    if url is not None:
        _check(context, url)
        handler = await handler_for(context, code)
        if handler is not None and handler.webhook_proof is WebhookProof.none:
            raise Conflict(f"{configuration.provider_name} sends no webhooks.", code="no_webhooks")
    now = context.world.now()
    async with practice.db.transaction() as tx:
        await provider_configs.lock(tx, code)
        current = (await provider_configs.all_of(tx))[code]
        others = {name: known for name, known in current.relay_urls.items() if name != environment.value}
        urls = {**others, environment.value: url} if url is not None else others
        if urls != current.relay_urls:
            provider_configs.set_relay_urls(tx, current.id, urls, now)
            webhook_relays.due_now(tx, current.id, environment, context.shared_after(0))
            detail = {"environment": environment.value, **({"origin": origin_of(url)} if url else {})}
            action = AuditAction.provider_relay_set if url else AuditAction.provider_relay_removed
            audit.append(tx, now, actor, action, code, detail)
    context.forget(practice_id)
    return (await context.configured(practice.db)).configurations[code]


def _check(context: Context, url: str) -> None:
    if len(url) > MAX_URL or not may_be_relayed_to(url, context.settings.allowed_relay_origins):
        raise invalid(
            "/url",
            "The relay address must be a public https address, or its origin must be in POLYTILL_ALLOWED_RELAY_ORIGINS.",
            code="relay_address",
        )
    if origin_of(url) == origin_of(context.settings.public_url):
        raise invalid("/url", "The relay address must not be an address of polytill itself.", code="relay_address")
