"""Run in a clean environment where polytill-acme is installed: its provider takes a payment. Prints what happened."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from polytill import ConfigurationRequest, Credentials, Money, PaymentRequest, Polytill, Secret, Settings
from polytill.domain.clock import World
from polytill.domain.sealing import KeyRing
from polytill.flows.admin import catalog
from polytill.owner_setup import migrate_owner

BOOKS: dict[str, dict[str, Any]] = {}


async def account(_: web.Request) -> web.Response:
    return web.json_response({"mode": "test"})


async def create(request: web.Request) -> web.Response:
    asked = await request.json()
    link = f"https://pay.acme.example/p/{len(BOOKS) + 1}"
    BOOKS[asked["reference"]] = {**asked, "id": f"ac-{len(BOOKS) + 1}", "status": "open", "pay_url": link}
    return web.json_response(BOOKS[asked["reference"]], status=201)


async def read(request: web.Request) -> web.Response:
    found = BOOKS.get(request.match_info["reference"])
    return web.json_response(found or {"error": {"code": "not_found"}}, status=200 if found else 404)


async def pay(settings: Settings, url: str) -> dict[str, Any]:
    async with Polytill.open(settings) as till:
        given = {"code": "acme", "name": "Acme", "integration_type": "plugin", "api_base_url": url}
        entry = await catalog.add(till.context, given, None, "test")
        practice = (await till.create_practice("Clinic", "USD", actor="test")).practice
        credentials = Credentials(secret_key=Secret("acme_test_0123456789abcdef"))
        await till.configure(practice.id, ConfigurationRequest("acme", credentials, currencies=("USD",)), actor="test")
        taken = await till.pay(practice.id, PaymentRequest(Money(12_345, "USD")), key="key-1", actor="test")
        BOOKS[taken.attempts[0].id]["status"] = "paid"
        after = await till.confirm(practice.id, taken.id)
        return {
            "handler": entry.handler_module,
            "type": entry.integration_type,
            "first": taken.status.value,
            "then": after.status.value,
            "captured": after.captured.minor,
            "wire": len(BOOKS),
        }


async def main(folder: Path) -> dict[str, Any]:
    app = web.Application()
    app.add_routes(
        [web.get("/v1/account", account), web.post("/v1/payments", create), web.get("/v1/payments/{reference}", read)]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    KeyRing.create(folder / "keyring", World())
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        owner_database_url=f"sqlite:///{folder}/owner.db",
        practice_databases=str(folder / "practices"),
        keyring=folder / "keyring",
        allowed_provider_origins=frozenset({url}),
    )
    await migrate_owner(settings)
    try:
        return await pay(settings, url)
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
