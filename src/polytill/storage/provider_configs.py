"""A practice's provider configurations: the active credentials in the row, other sets in rows of their own, all sealed.

Everything here stays sealed. ``open_credentials`` opens a set for one handler; ``seal_credentials`` is its inverse.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from polytill.domain.clock import World
from polytill.domain.sealing import DataKey, Place
from polytill.domain.secret import Secret
from polytill.domain.states import CredentialState, Environment
from polytill.storage.columns import Table
from polytill.storage.databases import PracticeDb, Tx, Writes
from polytill.storage.units import json_text


@dataclass(slots=True)
class CredentialSet:
    """One set of credentials of one environment, sealed."""

    environment: Environment
    version: int
    state: CredentialState
    public_key: str | None = None
    secret_key: str | None = None
    webhook_secret: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    superseded_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(slots=True)
class Configuration:
    """One practice's configuration of one provider."""

    id: int
    practice_id: int
    provider_code: str
    provider_name: str
    is_enabled: bool
    is_default: bool
    supported_currencies: list[str]
    priority: int
    hook_token: str
    active: CredentialSet
    others: list[CredentialSet] = field(default_factory=list)
    configured_by: int | None = None
    last_tested_at: datetime | None = None
    last_used_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    removed_at: datetime | None = None
    revision: int = 1  # counts its changes, including those of its defaults and kept credentials
    relay_urls: dict[str, str] = field(default_factory=dict)  # by environment: ``flows/webhooks/relay.py``

    @property
    def environment(self) -> Environment:
        """The environment that new payments use."""
        return self.active.environment

    @property
    def is_placeholder(self) -> bool:
        """Whether it only stands for an account of past payments: nobody has entered keys of it."""
        return self.removed_at is not None and self.active.version == 0

    def credentials(self, version: int) -> CredentialSet | None:
        """The set that a payment was made with."""
        return next((s for s in (self.active, *self.others) if s.version == version), None)

    def credentials_kept(self, version: int) -> CredentialSet | None:
        """A set that is kept beside the active one."""
        return next((s for s in self.others if s.version == version), None)

    def account(self, environment: Environment) -> Account | None:
        """The account in an environment, by its newest keys; None without keys of it."""
        newest = None if self.is_placeholder else self.newest(environment)
        return Account(self, newest) if newest else None

    def newest(self, environment: Environment) -> CredentialSet | None:
        """The set to use for an environment: the active one, else the newest kept one."""
        if self.active.environment == environment:
            return self.active
        of_environment = [s for s in self.others if s.environment == environment]
        return max(of_environment, key=lambda s: s.version, default=None)


_CONFIGURATIONS = Table("practice_payment_providers", Configuration, but="active others")
_SETTINGS = "provider_name, is_enabled, is_default, supported_currencies, priority, configured_by"
_SETS = Table("provider_credentials", CredentialSet)
_SEALED = "environment, public_key, secret_key, webhook_secret, config"


@dataclass(frozen=True, slots=True)
class Account:
    """An account at a provider: a practice's configuration, and keys of one environment of it."""

    configuration: Configuration
    credentials: CredentialSet

    @property
    def environment(self) -> Environment:
        """The environment of the keys."""
        return self.credentials.environment

    @property
    def config_id(self) -> int:
        """The id of the configuration."""
        return self.configuration.id

    @property
    def provider_code(self) -> str:
        """The provider that the account is at."""
        return self.configuration.provider_code


@dataclass(slots=True)
class Opened:
    """An opened set of credentials. It exists as long as one handler."""

    environment: Environment
    version: int
    public_key: str | None
    secret_key: Secret | None
    webhook_secret: Secret | None
    config: dict[str, Any]


def _place(code: str, field_name: str, owner: CredentialSet | Opened) -> Place:
    # A set keeps its version when it changes from active to superseded, so a version is never used twice.
    return Place("practice_payment_providers", code, field_name, owner.environment.value, owner.version)


def open_credentials(key: DataKey, code: str, sealed: CredentialSet) -> Opened:
    """The credentials in plain text. ``SealBroken`` if any field was moved or altered."""

    def opened(name: str, value: str | None) -> Secret | None:
        return None if value is None else key.open(value, _place(code, name, sealed))

    config = {
        name: opened(f"config.{name}", value["sealed"]) if isinstance(value, dict) and "sealed" in value else value
        for name, value in sealed.config.items()
    }
    return Opened(
        sealed.environment,
        sealed.version,
        open_public_key(key, code, sealed),
        opened("secret_key", sealed.secret_key),
        opened("webhook_secret", sealed.webhook_secret),
        config,
    )


def open_public_key(key: DataKey, code: str, sealed: CredentialSet) -> str | None:
    """The one credential that may be shown."""
    value = sealed.public_key
    return value and key.open_public(value, _place(code, "public_key", sealed))


def seal_credentials(key: DataKey, code: str, opened: Opened, state: CredentialState, world: World) -> CredentialSet:
    """Seal credentials for storage. Each configuration value that is a ``Secret`` is sealed separately."""

    def sealed(name: str, secret: Secret | None) -> str | None:
        return None if secret is None else key.seal(secret, _place(code, name, opened), world)

    config: dict[str, Any] = {
        name: {"sealed": sealed(f"config.{name}", value), "last4": value.last4} if isinstance(value, Secret) else value
        for name, value in opened.config.items()
    }
    return CredentialSet(
        opened.environment,
        opened.version,
        state,
        sealed("public_key", Secret(opened.public_key) if opened.public_key else None),
        sealed("secret_key", opened.secret_key),
        sealed("webhook_secret", opened.webhook_secret),
        config,
    )


async def lock(tx: Tx, code: str) -> None:
    """Start a change: nobody else changes this configuration until the transaction ends, and ``unchanged`` notices it."""
    await tx.fetch("UPDATE practice_payment_providers SET revision = revision + 1 WHERE provider_code = $1", code)


# Every configuration of the practice with its kept credential sets: ``p`` and ``k`` in the FROM clause.
COLUMNS = (
    "p.id, p.practice_id, p.provider_code, p.provider_name, p.is_enabled, p.is_default, p.public_key, p.secret_key,"
    " p.webhook_secret, p.environment, p.config, p.supported_currencies, p.priority, p.configured_by, p.last_tested_at,"
    " p.last_used_at, p.created_at, p.updated_at, p.credential_version AS version, p.hook_token, p.removed_at,"
    " p.revision, p.relay_urls, 'active' AS state, NULL AS superseded_at, k.environment AS kept_environment,"
    " k.version AS kept_version, k.state AS kept_state, k.public_key AS kept_public_key,"
    " k.secret_key AS kept_secret_key, k.webhook_secret AS kept_webhook_secret, k.config AS kept_config,"
    " k.superseded_at AS kept_superseded_at, k.created_at AS kept_updated_at"
)
KEPT = "LEFT JOIN provider_credentials k ON k.config_id = p.id"
IN_ORDER = "ORDER BY p.id, k.version"


async def all_of(db: PracticeDb | Tx) -> dict[str, Configuration]:
    """Every configuration of the practice by provider code, including removed ones, with all credential sets: as they were
    at one moment, whatever is saved meanwhile."""
    return from_rows(await db.fetch(f"SELECT {COLUMNS} FROM practice_payment_providers p {KEPT} {IN_ORDER}"))  # noqa: S608


def from_rows(rows: Iterable[Any]) -> dict[str, Configuration]:
    """The configurations by provider code, from rows of ``COLUMNS`` ``IN_ORDER``. A kept set may occur several times."""
    found: dict[str, Configuration] = {}
    for row in rows:
        code, version = row["provider_code"], row["kept_version"]
        if code not in found:
            found[code] = _CONFIGURATIONS.read(row, active=_SETS.read(row))
        if version is not None and found[code].credentials_kept(version) is None:
            found[code].others.append(_SETS.read(row, "kept_"))
    return found


async def insert(tx: Tx, c: Configuration, now: datetime) -> int:
    """Insert a configuration and return its id."""
    new = f"practice_id, provider_code, hook_token, {_SETTINGS}"
    c.id = await _CONFIGURATIONS.create(tx, c, new, **_active(c), created_at=now, updated_at=now)
    return c.id


def update(unit: Writes, c: Configuration, now: datetime) -> None:
    """Write a configuration and its active credentials."""
    changed = f"last_tested_at, removed_at, {_SETTINGS}"
    _CONFIGURATIONS.update(unit, c, changed, "id = $1", c.id, **_active(c), updated_at=now)


def _active(c: Configuration) -> dict[str, Any]:
    """The columns of a configuration that hold its active credentials."""
    sealed = zip(_SEALED.split(", "), _SETS.values(c.active, _SEALED), strict=True)
    return {**dict(sealed), "credential_version": c.active.version}


def keep(unit: Writes, c: Configuration, kept: CredentialSet, now: datetime) -> None:
    """Store a set beside the active one: superseded, or prepared for the other environment."""
    new = f"version, state, superseded_at, {_SEALED}"
    _SETS.insert(unit, kept, new, practice_id=c.practice_id, config_id=c.id, created_at=now)


def drop_kept(unit: Writes, config_id: int, version: int) -> None:
    """Delete a kept set, because it becomes the active one."""
    unit.add("DELETE FROM provider_credentials WHERE config_id = $1 AND version = $2", config_id, version, expect=1)


def supersede_prepared(unit: Writes, config_id: int, environment: Environment, now: datetime) -> None:
    """Replace a prepared set by a newer one."""
    unit.add(
        "UPDATE provider_credentials SET state = 'superseded', superseded_at = $3"
        " WHERE config_id = $1 AND environment = $2 AND state = 'prepared'",
        config_id,
        environment,
        now,
    )


def set_default(unit: Writes, practice_id: int, environment: Environment, currency: str, config_id: int) -> None:
    """Make a configuration the default of a currency, in place of the previous one."""
    unit.add(
        "INSERT INTO currency_defaults (practice_id, environment, currency_code, config_id) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (practice_id, environment, currency_code) DO UPDATE SET config_id = excluded.config_id",
        practice_id,
        environment,
        currency,
        config_id,
    )


def clear_defaults(unit: Writes, config_id: int) -> None:
    """Remove this configuration as the default of every currency."""
    unit.add("DELETE FROM currency_defaults WHERE config_id = $1", config_id)


async def mark_defaults(tx: Tx) -> None:
    """The seed's flag follows the table: set on every configuration that is the default of some currency, and on no
    other."""
    await tx.fetch(
        "UPDATE practice_payment_providers SET is_default = (id IN (SELECT config_id FROM currency_defaults))"
    )


async def defaults(db: PracticeDb | Tx) -> dict[tuple[Environment, str], int]:
    """Which configuration is the default, by environment and currency."""
    rows = await db.fetch("SELECT environment, currency_code, config_id FROM currency_defaults")
    return {(Environment(row["environment"]), row["currency_code"]): row["config_id"] for row in rows}


def tested(unit: Writes, config_id: int, now: datetime) -> None:
    """Record that the keys were tested at the provider. Nothing else about the configuration changes."""
    unit.add("UPDATE practice_payment_providers SET last_tested_at = $2 WHERE id = $1", config_id, now, expect=1)


def revision(configurations: dict[str, Configuration]) -> int:
    """What ``unchanged`` compares. Rows are never deleted and each counts its changes, so the sum only increases."""
    return sum(configuration.revision for configuration in configurations.values())


def unchanged(unit: Writes, known: int) -> None:
    """Commit the unit only if the configurations are those that were read. ``Stale`` otherwise."""
    unit.add("SELECT 1 WHERE (SELECT SUM(revision) FROM practice_payment_providers) = $1", known, expect=1)


def touch_all(unit: Writes) -> None:
    """Make every copy of the configurations out of date, because something that belongs to them has changed."""
    unit.add("UPDATE practice_payment_providers SET revision = revision + 1")


def set_relay_urls(unit: Writes, config_id: int, urls: dict[str, str], now: datetime) -> None:
    """Set where webhooks of each environment go that are not about anything here."""
    unit.add(
        "UPDATE practice_payment_providers SET relay_urls = $2, updated_at = $3 WHERE id = $1",
        config_id,
        json_text(urls) if urls else None,
        now,
        expect=1,
    )


def touch(unit: Writes, config_id: int, now: datetime) -> None:
    """Record that this configuration took a payment."""
    unit.add("UPDATE practice_payment_providers SET last_used_at = $2 WHERE id = $1", config_id, now)
