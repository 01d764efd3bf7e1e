"""The world around a sample: a provider's simulator, a web server, and a customer who pays. A host has none of this."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from clinic import KEYS, PREFIX, PROVIDER, Clinic

from polytill import Polytill, Settings
from polytill.flows.admin import catalog  # only to send the provider's calls to the simulator
from polytill.simulator.app import start


def settings_for(folder: Path, port: int, simulator_url: str) -> Settings:
    """SQLite files in ``folder``, unless the environment names other databases."""
    files = {"owner_database_url": f"sqlite:///{folder}/owner.db", "practice_databases": str(folder / "practices")}
    return Settings(
        **{name: value for name, value in files.items() if f"POLYTILL_{name.upper()}" not in os.environ},
        keyring=folder / "keyring",
        public_url=f"http://127.0.0.1:{port}{PREFIX}",
        allowed_provider_origins=frozenset({simulator_url}),
        sweep_interval_s=0.5,
        _env_file=None,  # type: ignore[call-arg]
    )


async def play(make_host: Callable[[Settings], Any], clinic_of: Callable[[Any], Clinic | None]) -> int:
    """Serve the host, bill an invoice, pay it, and print what happened. Return an exit status."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    port = listening.getsockname()[1]
    simulator = await start("127.0.0.1", 0)
    try:
        with tempfile.TemporaryDirectory() as folder:
            host = make_host(settings_for(Path(folder), port, simulator.url))
            server = uvicorn.Server(uvicorn.Config(host, log_level="warning", access_log=False, lifespan="on"))
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            try:
                while not server.started and not serving.done():  # noqa: ASYNC110 — uvicorn has no event for it
                    await asyncio.sleep(0.05)
                clinic = clinic_of(host)
                assert clinic is not None, "the host did not start"
                async with aiohttp.ClientSession() as http:
                    await _point_at(clinic.till, simulator.url)
                    await clinic.set_up()
                    return await _pay(clinic, http, f"http://127.0.0.1:{port}", f"{simulator.url}/_network")
            finally:
                server.should_exit = True
                await serving
    finally:
        await simulator.stop()


async def _point_at(till: Polytill, simulator_url: str) -> None:
    base = f"{simulator_url}/{PROVIDER}"
    await catalog.change(till.context, PROVIDER, {"api_base_url": base, "sandbox_api_base_url": base}, None, "sample")


async def _pay(clinic: Clinic, http: aiohttp.ClientSession, url: str, network: str) -> int:
    secret = KEYS.secret_key.reveal() if KEYS.secret_key else ""
    account = {"provider": PROVIDER, "account": secret}
    await _json(http, "POST", f"{network}/webhooks", {**account, "url": clinic.webhook_url, "secret": secret})

    billed = await _json(http, "POST", f"{url}/invoices/INV-9", {})
    again = await _json(http, "POST", f"{url}/invoices/INV-9", {})
    say(f"billed      invoice INV-9 is payment {billed['payment']}; billed twice: {again == billed}")
    assert again == billed

    async with http.get(billed["payAt"], headers={"Accept": "text/html"}) as page:
        html, path = await page.text(), page.url.path
    say(f"checkout    {path.rpartition('/')[0]}/… answers {page.status}")
    assert page.status == 200
    assert path.startswith(f"{PREFIX}/pay/")
    style = next(part for part in html.split('"') if part.endswith("/checkout.css"))
    async with http.get(f"{url}{style}") as asset:
        say(f"style sheet {style} answers {asset.status}")
        assert asset.status == 200

    reference = (await clinic.till.get(clinic.practice_id, billed["payment"])).attempts[-1].id
    await _json(http, "POST", f"{network}/pay/{reference}", {**account, "outcome": "success"})
    for _ in range(300):
        if (await _json(http, "GET", f"{url}/invoices/INV-9"))["paid"]:
            break
        await asyncio.sleep(0.2)
    payment = await clinic.till.get(clinic.practice_id, billed["payment"])
    say(f"paid        {payment.captured}, fees {', '.join(map(str, payment.fees))}; the host knows it from the feed")
    assert payment.status == "succeeded"
    assert "INV-9" in clinic.paid

    api = f"{url}{PREFIX}/api/practices/{clinic.practice_id}/payments/{payment.id}"
    read = await _json(http, "GET", api, key=clinic.api_key.reveal())
    say(f"API         {PREFIX}/api/… says {read['status']}")
    assert read["status"] == "succeeded"
    webhooks = await _json(
        http, "GET", f"{url}{PREFIX}/api/practices/{clinic.practice_id}/webhook-events", key=clinic.api_key.reveal()
    )
    states = [one["status"] for one in webhooks]
    say(f"webhooks    {PREFIX}/hooks/… received {len(states)}: {', '.join(states)}")
    assert states == ["applied"]
    return 0


def say(line: str) -> None:
    """Print one line of what happened."""
    sys.stdout.write(line + "\n")


async def _json(http: aiohttp.ClientSession, method: str, url: str, body: Any = None, key: str = "") -> Any:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with http.request(method, url, json=body, headers=headers) as answer:
        assert answer.status < 300, f"{method} {url}: {answer.status} {await answer.text()}"
        return await answer.json(content_type=None)
