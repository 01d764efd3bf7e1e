"""What the sets of a field ask for. Import and rollout use the same functions, so that a field means the same to both."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import replace
from typing import Any

from polytill.domain.secret import Secret
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.legacy.mapping import Mapping
from polytill.flows.legacy.model import LegacyField, LegacySet
from polytill.storage.catalog import ProviderEntry


def configured(field: LegacyField) -> LegacyField:
    """A field without the entries that are no configurations, because they have none of the keys that they need.

    An active set without keys stays if its provider has keys for the other environment: it is not known then what the
    field means.
    """
    with_keys = {one.provider for one in field.sets if not one.lacks_keys}
    sets = [one for one in field.sets if one.provider in with_keys and not _is_unused(one, field)]
    return replace(
        field, sets=tuple(sets), active={code: one for code, one in field.active.items() if code in with_keys}
    )


def _is_unused(one: LegacySet, field: LegacyField) -> bool:
    return one.lacks_keys and one.environment is not field.active.get(one.provider)


def plain(values: MappingOf[str, Any]) -> dict[str, Any]:
    """Settings with their texts, which may be secret."""
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in values.items()}


def keys_of(one: LegacySet) -> Keys:
    """The keys of a set as the admin flows take them."""
    public = one.keys.get("publicKey")
    return Keys(
        public.reveal() if public else None,
        one.keys.get("secretKey"),
        one.keys.get("webhookSecret"),
        plain(one.config) or None,
    )


def wish_of(one: LegacySet, mapping: Mapping, catalog: MappingOf[str, ProviderEntry]) -> Wish:
    """The configuration that a set asks for: what the field says, else what the mapping says, else what the catalog says.

    The mapping's currencies are for all providers, so that a provider gets those that it supports. A currency that the
    field says and the provider does not support stays, and is refused when the configuration is checked.
    """
    entry = catalog.get(one.provider)
    supported = sorted(entry.supported_currencies) if entry is not None else None
    currencies = one.currencies
    if currencies is None and mapping.currencies:
        both = [code for code in mapping.currencies if supported is None or code in supported]
        currencies = tuple(both) or mapping.currencies
    return Wish(
        one.provider,
        one.environment,
        keys_of(one),
        bool(mapping.is_enabled if one.is_enabled is None else one.is_enabled),
        bool(one.is_default),
        supported if currencies is None else sorted(set(currencies)),
        one.priority or 0,
    )
