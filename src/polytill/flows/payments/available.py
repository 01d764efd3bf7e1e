"""The providers that a practice can use for a currency, whether it has configured them or not."""

from __future__ import annotations

from dataclasses import dataclass

from polytill.domain.states import ProviderStatus
from polytill.flows.context import Practice
from polytill.flows.payments.choose import choose
from polytill.flows.routing.eligibility import Wanted
from polytill.storage.catalog import CurrencySupport, ProviderEntry
from polytill.storage.provider_configs import Configuration


@dataclass(frozen=True, slots=True)
class Available:
    """A catalog entry, its terms for the currency, and the practice's configuration of it."""

    entry: ProviderEntry
    currency: str
    support: CurrencySupport
    configuration: Configuration | None
    is_default: bool


async def available(practice: Practice, currency: str | None) -> list[Available]:
    """The entries that support a currency (default: the practice's), best first: those that would take a payment now, in
    the order of routing, then the others by the platform's priority. A deprecated one only if it is configured."""
    snapshot = await practice.context.configured(practice.db)
    wanted = currency or snapshot.currency
    ranked = (await choose(practice.context, snapshot, Wanted(wanted))).ranked
    places = {one.code: place for place, one in enumerate(ranked)}
    found = []
    entries = (await practice.context.catalog()).values()
    for entry in sorted(entries, key=lambda e: (places.get(e.code, len(places)), -e.priority, e.code)):
        configuration = snapshot.configurations.get(entry.code)
        if configuration is not None and configuration.removed_at is not None:
            configuration = None
        support = entry.currencies.get(wanted)
        listed = entry.status in (ProviderStatus.active, ProviderStatus.beta) or (
            entry.status is ProviderStatus.deprecated and configuration is not None
        )
        if not listed or support is None or not support.is_active:
            continue
        is_default = (
            configuration is not None and snapshot.defaults.get((configuration.environment, wanted)) == configuration.id
        )
        found.append(Available(entry, wanted, support, configuration, is_default))
    return found
