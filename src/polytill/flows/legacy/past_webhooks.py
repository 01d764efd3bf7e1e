"""Webhooks that arrived before their payment was taken over: they were parked, relayed to the old code, or dismissed."""

from __future__ import annotations

from collections.abc import Sequence

from polytill.domain.identifiers import IdentifierKind
from polytill.flows.context import Practice, log
from polytill.flows.webhooks.receive import apply_stored
from polytill.flows.webhooks.unsigned import short_key
from polytill.storage import payment_identifiers, webhook_events
from polytill.storage.past_payments import Known


async def apply_earlier(practice: Practice, known: Sequence[Known]) -> None:
    """Apply the webhooks that name past payments and named nothing known when they arrived, the oldest first. One that
    is about something else after all stays what it is. One that fails is tried again with the next run."""
    identified = await payment_identifiers.by_payment(practice.db, sorted({one.payment_id for one in known}))
    names: dict[int, set[str]] = {}
    for one in known:
        its = names.setdefault(one.config_id, set())
        its.add(one.attempt_id)
        if one.provider_transaction_id:
            its.add(one.provider_transaction_id)
        for found in identified.get(one.payment_id, []):
            its.update(value for kind, some in found.items() if kind is not IdentifierKind.card_last4 for value in some)
    for config_id, its in names.items():
        sought = sorted({short_key(name) for name in its})
        for event_id in await webhook_events.naming_any(practice.db, config_id, sought):
            await _apply(practice, event_id)


async def _apply(practice: Practice, event_id: str) -> None:
    event = await webhook_events.by_id(practice.db, event_id)
    if event is None:
        return
    try:
        await apply_stored(practice, event)
    except Exception as error:
        log.error("webhook_not_applied", practice=practice.id, webhook=event_id, error=type(error).__name__)
