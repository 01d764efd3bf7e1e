"""The owner's catalog of providers and the currencies that each supports. The currency table is authoritative."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from polytill.domain.currencies import CURRENCIES
from polytill.domain.states import IntegrationType, ProviderStatus
from polytill.storage.databases import OwnerDb, Tx, Writes
from polytill.storage.units import json_text, json_value, moment


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

    @property
    def supported_currencies(self) -> list[str]:
        """The active currencies, sorted."""
        return sorted(code for code, support in self.currencies.items() if support.is_active)

    def base_url(self, environment: str) -> str | None:
        """The base address of this environment. A provider without a sandbox address uses one host for both."""
        if environment == "sandbox" and self.sandbox_api_base_url:
            return self.sandbox_api_base_url
        return self.api_base_url


_COLUMNS = (
    "id, code, name, description, logo_url, website_url, documentation_url, api_base_url, sandbox_api_base_url,"
    " supported_payment_methods, supported_features, requires_public_key, requires_secret_key,"
    " requires_webhook_secret, config_schema, status, is_default, priority, integration_type, handler_module,"
    " created_at, updated_at, created_by"
)
_JSON = ("supported_payment_methods", "supported_features", "config_schema")
_FLAGS = ("requires_public_key", "requires_secret_key", "requires_webhook_secret", "is_default")


def _entry(row: Any) -> ProviderEntry:
    values = dict(row)
    for name in _JSON:
        values[name] = json_value(values[name])
    for name in _FLAGS:
        values[name] = bool(values[name])
    values["status"] = ProviderStatus(values["status"])
    values["integration_type"] = IntegrationType(values["integration_type"])
    values["created_at"], values["updated_at"] = moment(values["created_at"]), moment(values["updated_at"])
    return ProviderEntry(**values)


def _values(entry: ProviderEntry) -> tuple[Any, ...]:
    return (
        entry.code, entry.name, entry.description, entry.logo_url, entry.website_url, entry.documentation_url,
        entry.api_base_url, entry.sandbox_api_base_url, json_text(entry.supported_currencies),
        json_text(entry.supported_payment_methods), json_text(entry.supported_features), entry.requires_public_key,
        entry.requires_secret_key, entry.requires_webhook_secret, json_text(entry.config_schema), entry.status,
        entry.is_default, entry.priority, entry.integration_type, entry.handler_module,
    )  # fmt: skip


async def insert(tx: Tx, entry: ProviderEntry, now: datetime) -> int:
    """Insert a provider with its currencies and return its id. ``Duplicate`` if the code is taken."""
    row = await tx.one(
        "INSERT INTO payment_providers (code, name, description, logo_url, website_url, documentation_url,"
        " api_base_url, sandbox_api_base_url, supported_currencies, supported_payment_methods, supported_features,"
        " requires_public_key, requires_secret_key, requires_webhook_secret, config_schema, status, is_default,"
        " priority, integration_type, handler_module, created_at, updated_at, created_by)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,"
        " $21, $22) RETURNING id",
        *_values(entry),
        now,
        entry.created_by,
    )
    assert row is not None
    entry.id = int(row["id"])
    for support in entry.currencies.values():
        put_currency(tx, entry.id, support, now)
    return entry.id


def update(unit: Writes, entry: ProviderEntry, now: datetime) -> None:
    """Write every column of a provider except its code, its id and its creator."""
    unit.add(
        "UPDATE payment_providers SET name = $2, description = $3, logo_url = $4, website_url = $5,"
        " documentation_url = $6, api_base_url = $7, sandbox_api_base_url = $8, supported_currencies = $9,"
        " supported_payment_methods = $10, supported_features = $11, requires_public_key = $12,"
        " requires_secret_key = $13, requires_webhook_secret = $14, config_schema = $15, status = $16,"
        " is_default = $17, priority = $18, integration_type = $19, handler_module = $20, updated_at = $21"
        " WHERE code = $1",
        *_values(entry),
        now,
        expect=1,
    )


def put_currency(unit: Writes, provider_id: int, support: CurrencySupport, now: datetime) -> None:
    """Create or replace a provider's terms for a currency."""
    unit.add(
        "INSERT INTO provider_currency_support (provider_id, currency_code, is_recommended, transaction_fee_percent,"
        " transaction_fee_fixed, min_amount, max_amount, is_active, created_at, updated_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)"
        " ON CONFLICT (provider_id, currency_code) DO UPDATE SET is_recommended = excluded.is_recommended,"
        " transaction_fee_percent = excluded.transaction_fee_percent,"
        " transaction_fee_fixed = excluded.transaction_fee_fixed, min_amount = excluded.min_amount,"
        " max_amount = excluded.max_amount, is_active = excluded.is_active, updated_at = excluded.updated_at",
        provider_id,
        support.currency_code,
        support.is_recommended,
        support.transaction_fee_percent,
        support.transaction_fee_fixed,
        support.min_amount,
        support.max_amount,
        support.is_active,
        now,
    )


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
    rows = await owner.fetch(f"SELECT {_COLUMNS} FROM payment_providers ORDER BY id")  # noqa: S608
    entries = {row["code"]: _entry(row) for row in rows}
    by_id = {entry.id: entry for entry in entries.values()}
    supports = await owner.fetch(
        "SELECT provider_id, currency_code, is_recommended, transaction_fee_percent, transaction_fee_fixed,"
        " min_amount, max_amount, is_active FROM provider_currency_support ORDER BY currency_code"
    )
    for row in supports:
        entry = by_id.get(row["provider_id"])
        # ISO 4217 withdraws a currency now and then. Nobody can be asked to pay in it anymore.
        if entry is not None and row["currency_code"] in CURRENCIES:
            entry.currencies[row["currency_code"]] = CurrencySupport(
                row["currency_code"],
                bool(row["is_recommended"]),
                row["transaction_fee_percent"],
                row["transaction_fee_fixed"],
                row["min_amount"],
                row["max_amount"],
                bool(row["is_active"]),
            )
    return entries
