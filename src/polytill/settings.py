"""Settings from ``POLYTILL_*`` variables and a ``.env`` file. Addresses with passwords are secret types."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from polytill.domain.database_urls import wrong_with_owner, wrong_with_place
from polytill.domain.retention import LEAST_DAYS, MOST_DAYS, RetentionKind, is_allowed
from polytill.providers.http import origin_of

_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


class Settings(BaseSettings):
    """All settings of an installation. The defaults use SQLite files under ``var/``."""

    model_config = SettingsConfigDict(
        env_prefix="POLYTILL_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    owner_database_url: SecretStr = Field(
        SecretStr("sqlite:///var/owner.db"),
        description="Owner database: sqlite:///path or postgresql://user:password@host/database",
    )
    practice_databases: SecretStr = Field(
        SecretStr("var/practices"),
        description="Practice databases: a directory of SQLite files, or the URL of a PostgreSQL server",
    )
    keyring: Path = Field(Path("var/keyring"), description="File of key-encryption keys, mode 0600")
    installation: str = Field(
        "",
        pattern=r"^[a-z0-9-]{0,40}$",
        description="Name of this installation; with another name its databases are only read",
    )
    snapshot_max_age_s: int = Field(
        3600, ge=0, description="Seconds for which a process that starts without the owner database uses its local copy"
    )
    public_url: str = Field(
        "http://127.0.0.1:8420", description="Public URL of this service, for customers and webhooks"
    )
    bind: str = Field("127.0.0.1:8420", description="Listen address, host:port")
    metrics_bind: str = Field(
        "", description="Listen address of the Prometheus metrics, host:port; empty turns them off"
    )
    # Origins besides the providers' own hosts that may receive keys: a simulator, a test double, your proxy.
    allowed_provider_origins: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), description="Comma-separated origins that may receive keys, besides the providers' own hosts"
    )
    # Webhooks that are not about anything here may be forwarded to any public https address. These may be private.
    allowed_relay_origins: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), description="Comma-separated origins that may get relayed webhooks, besides public https addresses"
    )
    # Dotted paths that a catalog row of type ``custom`` may name. A row alone never chooses code.
    handler_modules: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), description="Comma-separated dotted paths of handlers that a custom catalog entry may use"
    )
    # Functions that a mapping file may name. A file alone never chooses code.
    decrypt_hooks: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), description="Comma-separated dotted paths of functions that may decrypt keys during an import"
    )
    database_connections: int = Field(
        100, ge=2, le=5000, description="Maximum connections of one process to each PostgreSQL server"
    )
    server_connections: int | None = Field(
        None,
        ge=4,
        le=100_000,
        description="Maximum connections of all processes together to each PostgreSQL server;"
        " empty: 80 % of what the server accepts",
    )
    provider_timeout_s: float = Field(30.0, gt=0, le=120, description="Seconds to wait for a provider's answer")
    most_requests: int = Field(
        2_000,
        ge=8,
        le=100_000,
        description="Requests that one process answers at once; a practice gets a quarter of them",
    )
    backups: str = Field("", description="Where backups are kept: a directory or s3://bucket/prefix")
    backup_schedule: str = Field("", description="Time of day in UTC at which workers back up all practices, HH:MM")
    backups_kept: int = Field(0, ge=0, le=100_000, description="Number of backups kept of each practice; 0: all")
    backups_kept_days: int = Field(0, ge=0, le=36_500, description="Days for which backups are kept; 0: for ever")
    webhook_days: int = Field(
        400, ge=0, le=MOST_DAYS, description="Days for which the bodies of webhooks are kept; 0: for ever"
    )
    response_days: int = Field(
        400, ge=0, le=MOST_DAYS, description="Days for which providers' answers are kept; 0: for ever"
    )
    event_days: int = Field(400, ge=0, le=MOST_DAYS, description="Days for which events are kept; 0: for ever")
    audit_days: int = Field(
        0, ge=0, le=MOST_DAYS, description="Days for which practices' audit logs are kept; 0: for ever"
    )
    run_out_days: int = Field(
        180, ge=0, le=3650, description="Days for which refunds, webhooks and lookups of a closed practice go on"
    )
    payment_expires_s: int = Field(24 * 3600, ge=60, description="Seconds until an unpaid payment expires")
    rotation_overlap_s: int = Field(
        72 * 3600, ge=0, description="Seconds during which a replaced webhook secret is still accepted"
    )
    event_timeout_s: float = Field(10.0, gt=0, le=60, description="Seconds to wait for the host's answer to an event")
    event_deliveries_at_once: int = Field(
        200, ge=1, le=2000, description="Maximum events that one worker sends at once"
    )
    event_secret_overlap_s: int = Field(
        24 * 3600, ge=0, description="Seconds during which a replaced event secret still signs events"
    )
    host_database_url: SecretStr = Field(
        SecretStr(""), description="The host application's database with the old field; empty: not reachable from here"
    )
    host_mapping: Path | None = Field(None, description="The mapping file of the import, if the field needs one")
    host_blank: str = Field("null", pattern=r"^(null|\{\})$", description="What an emptied field holds: null, or {}")
    field_quiet_days: int = Field(
        30, ge=1, le=3650, description="Days without reads of the old field before its column may be dropped"
    )
    difference_days: int = Field(
        90, ge=1, le=3650, description="Days for which differences between the old code and polytill are kept"
    )
    sweep_interval_s: float = Field(2.0, gt=0, description="Seconds between two sweeps of a practice with open work")
    worker_sweeps: int = Field(16, ge=1, le=500, description="Maximum practices that one worker sweeps at once")

    @field_validator("owner_database_url", "practice_databases")
    @classmethod
    def _database(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        wrong_with = wrong_with_owner if info.field_name == "owner_database_url" else wrong_with_place
        if (wrong := wrong_with(value.get_secret_value())) is not None:
            raise ValueError(wrong)
        return value

    @field_validator("webhook_days", "response_days", "event_days", "audit_days")
    @classmethod
    def _days(cls, value: int, info: ValidationInfo) -> int:
        kind = {"webhook_days": RetentionKind.webhooks, "response_days": RetentionKind.responses}.get(
            info.field_name or "", RetentionKind.audit if info.field_name == "audit_days" else RetentionKind.events
        )
        if not is_allowed(kind, value):
            raise ValueError(f"must be 0 (for ever), or at least {LEAST_DAYS[kind]}")
        return value

    @field_validator("backup_schedule")
    @classmethod
    def _schedule(cls, value: str) -> str:
        if value and not _TIME_OF_DAY.fullmatch(value):
            raise ValueError("must be a time of day in UTC, such as 02:30")
        return value

    @model_validator(mode="after")
    def _backups_have_a_place(self) -> Self:
        if (self.backup_schedule or self.backups_kept or self.backups_kept_days) and not self.backups:
            raise ValueError("POLYTILL_BACKUPS must say where backups are kept")
        return self

    @field_validator("host_database_url")
    @classmethod
    def _host(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and (wrong := wrong_with_owner(url)) is not None:
            raise ValueError(wrong)
        return value

    @field_validator(
        "allowed_provider_origins", "allowed_relay_origins", "handler_modules", "decrypt_hooks", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return frozenset(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("allowed_provider_origins", "allowed_relay_origins")
    @classmethod
    def _origins(cls, value: frozenset[str]) -> frozenset[str]:
        for origin in value:
            if origin_of(origin) != origin:
                raise ValueError(f"{origin!r} is not an origin, such as http://127.0.0.1:8429")
        return value

    @field_validator("public_url")
    @classmethod
    def _public(cls, value: str) -> str:
        if origin_of(value) is None:
            raise ValueError("must be an http or https address")
        return value.rstrip("/")

    @field_validator("bind", "metrics_bind")
    @classmethod
    def _address(cls, value: str) -> str:
        host, separator, port = value.rpartition(":")
        if value and (not host or not separator or not port.isdecimal()):
            raise ValueError("must be host:port")
        return value
