"""The owner's catalog of providers and the currencies that each supports. The currency table is authoritative."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from polytill.domain.currencies import CURRENCIES
from polytill.domain.states import IntegrationType, ProviderStatus
from polytill.storage.columns import Table
from polytill.storage.databases import OwnerDb, Tx, Writes
from polytill.storage.units import json_text


@dataclass(slots=True)
class CurrencySupport:
    """One provider's terms for one currency, in parts per million and minor units. None if not published."""

    currency_code: str
    is_recommended: bool = False
    transaction_fee_percent: int | None = None
    transaction_fee_fixed: int | None = None
    min_amount: int | None = None
    max_amount: int | None = None
    is_active: bool = True


@dataclass(slots=True)
class ProviderEntry:
    """One provider in the catalog, with all columns of the founding document."""

    code: str
    name: str
    description: str | None = None
    logo_url: str | None = None
    website_url: str | None = None
    documentation_url: str | None = None
    api_base_url: str | None = None
    sandbox_api_base_url: str | None = None
    supported_payment_methods: list[str] | None = None
    supported_features: list[str] | None = None
    requires_public_key: bool = True
    requires_secret_key: bool = True
    requires_webhook_secret: bool = False
    config_schema: dict[str, Any] | None = None
    status: ProviderStatus = ProviderStatus.active
    is_default: bool = False
    priority: int = 0
    integration_type: IntegrationType = IntegrationType.built_in
    handler_module: str | None = None
    created_by: str | None = None
    id: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None
    currencies: dict[str, CurrencySupport] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Values of a request come as a mapping, whose types nobody checks; the flows compare members.
        self.status = ProviderStatus(self.status)
        self.integration_type = IntegrationType(self.integration_type)

    @property
    def supported_currencies(self) -> list[str]:
        """The active currencies, sorted."""
        return sorted(code for code, support in self.currencies.items() if support.is_active)

    def base_url(self, environment: str) -> str | None:
        """The base address of this environment. A provider without a sandbox address uses one host for both."""
        if environment == "sandbox" and self.sandbox_api_base_url:
            return self.sandbox_api_base_url
        return self.api_base_url


_PROVIDERS = Table("payment_providers", ProviderEntry, but="currencies")
_SUPPORT = Table("provider_currency_support", CurrencySupport)
# Every column but the id, the creator, the times and the copy of the active currencies.
_DESCRIPTION = (
    "name, description, logo_url, website_url, documentation_url, api_base_url, sandbox_api_base_url,"
    " supported_payment_methods, supported_features, requires_public_key, requires_secret_key, requires_webhook_secret,"
    " config_schema, status, is_default, priority, integration_type, handler_module"
)


async def insert(tx: Tx, entry: ProviderEntry, now: datetime) -> int:
    """Insert a provider with its currencies and return its id. ``Duplicate`` if the code is taken."""
    supported = json_text(entry.supported_currencies)
    entry.id = await _PROVIDERS.create(
        tx, entry, f"code, created_by, {_DESCRIPTION}", supported_currencies=supported, created_at=now, updated_at=now
    )
    for support in entry.currencies.values():
        put_currency(tx, entry.id, support, now)
    return entry.id


def update(unit: Writes, entry: ProviderEntry, now: datetime) -> None:
    """Write every column of a provider except its code, its id and its creator."""
    supported = json_text(entry.supported_currencies)
    _PROVIDERS.update(
        unit, entry, _DESCRIPTION, "code = $1", entry.code, supported_currencies=supported, updated_at=now
    )


def put_currency(unit: Writes, provider_id: int, support: CurrencySupport, now: datetime) -> None:
    """Create or replace a provider's terms for a currency."""
    replaced = (
        " ON CONFLICT (provider_id, currency_code) DO UPDATE SET is_recommended = excluded.is_recommended,"
        " transaction_fee_percent = excluded.transaction_fee_percent,"
        " transaction_fee_fixed = excluded.transaction_fee_fixed, min_amount = excluded.min_amount,"
        " max_amount = excluded.max_amount, is_active = excluded.is_active, updated_at = excluded.updated_at"
    )
    _SUPPORT.insert(unit, support, end=replaced, provider_id=provider_id, created_at=now, updated_at=now)


def remove_currency(unit: Writes, provider_id: int, currency_code: str) -> None:
    """Delete a provider's terms for a currency."""
    unit.add(
        "DELETE FROM provider_currency_support WHERE provider_id = $1 AND currency_code = $2",
        provider_id,
        currency_code,
    )


async def lock(tx: Tx, code: str) -> None:
    """Lock this provider until the transaction ends: nobody else can change what is read from now on."""
    await tx.fetch("UPDATE payment_providers SET updated_at = updated_at WHERE code = $1", code)


async def all_entries(owner: OwnerDb | Tx) -> dict[str, ProviderEntry]:
    """The whole catalog by code."""
    entries = {entry.id: entry for entry in await _PROVIDERS.all(owner, "ORDER BY id")}
    supports = await owner.fetch(
        f"SELECT {_SUPPORT.columns}, provider_id FROM provider_currency_support ORDER BY currency_code"  # noqa: S608
    )
    for row in supports:
        entry, support = entries.get(row["provider_id"]), _SUPPORT.read(row)
        # ISO 4217 withdraws a currency now and then. Nobody can be asked to pay in it anymore.
        if entry is not None and support.currency_code in CURRENCIES:
            entry.currencies[support.currency_code] = support
    return {entry.code: entry for entry in entries.values()}
