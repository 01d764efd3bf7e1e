"""A whole installation for a test: databases on either engine, the simulator, and the service on a loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import argon2
import uvicorn
from fastapi import FastAPI
from multidict import CIMultiDict

from polytill.app import Polytill
from polytill.domain.clock import World
from polytill.domain.errors import PolytillError
from polytill.domain.sealing import KeyRing
from polytill.domain.states import ApiKeyKind
from polytill.flows.admin import catalog, staff
from polytill.flows.admin.practices import create_key
from polytill.owner_setup import migrate_owner
from polytill.settings import Settings
from polytill.simulator.app import RunningSimulator, start
from polytill.storage import practices
from polytill.storage.clusters import drop_postgres_database
from polytill.storage.opening import is_postgres
from polytill.storage.postgres_connect import database_of, with_database
from polytill.web.app import make_app

TEST_KEYS: dict[str, dict[str, str]] = {
    "stripe": {
        "publicKey": "pk_test_51Hclinic",
        "secretKey": "sk_test_51Hclinic0000",
        "webhookSecret": "whsec_clinic0000",
    },
    "paystack": {
        "publicKey": "pk_test_0123456789abcdef",
        "secretKey": "sk_test_0123456789abcdef0123456789abcdef01234567",
    },
    "flutterwave": {
        "publicKey": "FLWPUBK_TEST-0123456789abcdef-X",
        "secretKey": "FLWSECK_TEST-0123456789abcdef-X",
        "webhookSecret": "flw-secret-hash-1",
    },
    "flutterwave_v4": {
        "publicKey": "client-0123456789abcdef",
        "secretKey": "client-secret-0123456789abcdef",
        "webhookSecret": "flw-v4-hash-1",
    },
    "mpesa": {"publicKey": "consumerkey0123456789abcdef", "secretKey": "consumersecret0123456789abcdef"},
    "paypal": {
        "publicKey": "client-0123456789abcdef",
        "secretKey": "client-secret-0123456789abcdef",
        "webhookSecret": "8PT597110X687430LKGECATA",
    },
}
# Passwords of tests are hashed in no time. What the product does itself is held by ``test_the_hash_of_a_password``.
# A test that is stalled must not find its idle connection closed.
KEEP_ALIVE_S = 600
PRODUCT_HASHER = staff.PASSWORD_HASHER
staff.PASSWORD_HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
BASES = {
    "stripe": "/stripe",
    "paystack": "/paystack",
    "flutterwave": "/flutterwave/v3",
    "flutterwave_v4": "/flutterwave_v4",
    "mpesa": "/mpesa",
    "paypal": "/paypal",
}


def fresh_settings(folder: Path, postgres_url: str | None = None, **more: Any) -> Settings:
    """Settings of a new installation in ``folder``, or on a PostgreSQL server."""
    ring = folder / "keyring"
    if not ring.exists():
        KeyRing.create(ring, World())
    name = f"owner_{secrets.token_hex(6)}"
    return Settings(
        _env_file=None,
        owner_database_url=with_database(postgres_url, name) if postgres_url else f"sqlite:///{folder}/owner.db",
        practice_databases=postgres_url or str(folder / "practices"),
        keyring=ring,
        **more,
    )


@contextlib.asynccontextmanager
async def opened(settings: Settings, codes: list[str] | None = None, **options: Any) -> AsyncIterator[Polytill]:
    """A migrated installation whose catalog holds ``codes``, or every built-in provider."""
    await migrate_owner(settings)
    made: list[str] = []
    try:
        async with Polytill.open(settings, **options) as till:
            await catalog.seed(till.context, codes)
            try:
                yield till
            finally:
                with contextlib.suppress(PolytillError):
                    made = [entry.database_name for entry in await practices.listed(till.context.owner, limit=1000)]
    finally:
        await _drop(settings, made)


async def _drop(settings: Settings, practice_databases: list[str]) -> None:
    """Free a server's disk space: a database has 8 MB, and a run creates many hundreds."""
    server = settings.practice_databases.get_secret_value()
    if not is_postgres(server):
        return
    owner = database_of(settings.owner_database_url.get_secret_value())
    for name in (owner, *practice_databases):
        with contextlib.suppress(PolytillError):
            await drop_postgres_database(server, name)


@dataclass
class Answered:
    """One HTTP answer."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Installation:
    """A running service with a simulator, and the keys to it."""

    till: Polytill
    simulator: RunningSimulator
    url: str
    owner_key: str
    http: aiohttp.ClientSession
    app: FastAPI
    practices: dict[str, tuple[int, str]] = field(default_factory=dict)

    async def call(
        self,
        method: str,
        path: str,
        key: str | None = None,
        body: Any = None,
        *,
        idempotency: str | None = None,
        raw: bytes | None = None,
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
    ) -> Answered:
        """One request to the service. ``raw`` sends bytes unchanged."""
        sent = CIMultiDict(headers or {})
        if key:
            sent["Authorization"] = f"Bearer {key}"
        if idempotency:
            sent["Idempotency-Key"] = idempotency
        options: dict[str, Any] = {"json": body} if body is not None else {}
        if raw is not None:
            options = {"data": raw}
            sent.setdefault("Content-Type", "application/json")
        async with self.http.request(
            method, self.url + path, headers=sent, allow_redirects=False, **options
        ) as response:
            if "json" in response.content_type:
                return Answered(response.status, await response.json(content_type=None), response.headers.copy())
            return Answered(response.status, await response.text(), response.headers.copy())

    async def network(self, method: str, path: str, body: Any = None) -> Any:
        """One control call to the simulator."""
        async with self.http.request(method, f"{self.simulator.url}/_network{path}", json=body) as response:
            assert response.status < 300, await response.text()
            return await response.json(content_type=None)

    async def practice(self, name: str, currency: str) -> tuple[int, str]:
        """A new practice: its id and its key."""
        made = await self.call(
            "POST", "/api/owner/practices", self.owner_key, {"name": name, "defaultCurrency": currency}
        )
        assert made.status == 201, made.body
        self.practices[name] = (made.body["practice"]["id"], made.body["key"])
        return self.practices[name]

    async def configure(
        self,
        practice_id: int,
        key: str,
        code: str,
        currencies: list[str],
        keys: dict[str, str] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Configure a provider with test keys, and register its webhook address at the simulator."""
        given = keys or TEST_KEYS[code]
        body = {
            "providerCode": code,
            "environment": "sandbox",
            "isEnabled": True,
            "supportedCurrencies": currencies,
            **given,
            **more,
        }
        made = await self.call("POST", f"/api/practices/{practice_id}/payment-providers", key, body)
        assert made.status in (200, 201), made.body
        secret = given.get("webhookSecret") or given["secretKey"]
        hook = {"provider": code, "account": given["secretKey"], "url": made.body["webhookUrl"], "secret": secret}
        await self.network("POST", "/webhooks", hook)
        return dict(made.body)


def loopback() -> socket.socket:
    """A socket that listens on a free port. Without ``TCP_NODELAY`` each response takes 40 ms longer."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    postgres_url: str | None = None,
    *,
    world: World | None = None,
    codes: list[str] | None = None,
    **options: Any,
) -> AsyncIterator[Installation]:
    """The service and the simulator on loopback ports, with a catalog that points to the simulator."""
    simulator = await start("127.0.0.1", 0)
    listening = loopback()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    settings = fresh_settings(
        folder,
        postgres_url,
        public_url=url,
        allowed_provider_origins=frozenset({simulator.url}),
        provider_timeout_s=options.pop("provider_timeout_s", 5.0),
        **options,
    )
    async with opened(settings, codes, world=world) as till, aiohttp.ClientSession() as http:
        for code in BASES.keys() & await till.context.catalog():
            base = simulator.url + BASES[code]
            await catalog.change(till.context, code, {"api_base_url": base, "sandbox_api_base_url": base}, None, "test")
        owner_key = await create_key(till.context, ApiKeyKind.owner, None, "test", None, "test")
        app = make_app(till, sweeping=False)
        config = uvicorn.Config(
            app, log_level="warning", lifespan="on", access_log=False, timeout_keep_alive=KEEP_ALIVE_S
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110 — uvicorn has no event for it
            await asyncio.sleep(0.01)
        try:
            yield Installation(till, simulator, url, owner_key, http, app)
        finally:
            server.should_exit = True
            await serving
            listening.close()
            await simulator.stop()
