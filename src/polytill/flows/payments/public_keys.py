"""The client-safe key that belongs to a provider's token."""

from __future__ import annotations

from polytill.flows.context import CHECKED_TTL_S, Practice
from polytill.flows.payments.reading import PaymentDetails
from polytill.storage import provider_configs


async def public_key_of(practice: Practice, found: PaymentDetails) -> str | None:
    """The client-safe key of the account that issued the provider token of a payment; None if there is no token."""
    if not found.attempts or found.attempts[-1].next_action is None:
        return None
    last = found.attempts[-1]
    # A snapshot of any age will do: the keys of one credential version never change.
    snapshot = await practice.context.configured(practice.db, CHECKED_TTL_S)
    configuration = snapshot.configurations.get(last.provider_code)
    kept = configuration.credentials(last.credential_version) if configuration else None
    if configuration is None or kept is None:
        return None
    return provider_configs.open_public_key(practice.db.data_key, configuration.provider_code, kept)
