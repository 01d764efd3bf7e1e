"""The simulator as an HTTP application: routes, start and stop.

It has no behavior of any provider.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from polytill.simulator import control
from polytill.simulator.faults import exchange
from polytill.simulator.network import Network
from polytill.simulator.pages import message, render
from polytill.simulator.stripe import script
from polytill.simulator.wire import is_web_address

NETWORK = web.AppKey("network", Network)


def make_app(seed: int = 0, public_url: str | None = None) -> web.Application:
    """The whole simulator. ``public_url`` is the address under which payers reach it; by default the address that they
    call."""
    app = web.Application(client_max_size=1024 * 1024)
    network = app[NETWORK] = Network(seed, public_url)
    control.add_routes(app, network)
    script.add_routes(app, network)
    for name in network.providers:
        # Paystack's API has no version in its path, so the pages are matched first.
        app.router.add_get(f"/{name}/pay/{{token}}", partial(_show, network, name))
        app.router.add_post(f"/{name}/pay/{{token}}", partial(_submit, network, name))
        app.router.add_route("*", network.providers[name].prefix + "/{tail:.*}", partial(exchange, network, name))
    app.cleanup_ctx.append(_running)
    app.on_shutdown.append(_stop_waiting)
    return app


async def _running(app: web.Application) -> AsyncIterator[None]:
    network = app[NETWORK]
    ticking = asyncio.create_task(network.tick())
    yield
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking
    await network.deliverer.close()


async def _stop_waiting(app: web.Application) -> None:
    app[NETWORK].stopping.set()


def _html(page: str, status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        text=page,
        content_type="text/html",
        headers={
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
        },
    )


def _gone() -> web.Response:
    return _html(message("No such payment", "This address belongs to no payment."), 404)


async def _show(network: Network, name: str, request: web.Request) -> web.StreamResponse:
    page = network.page(name, request.match_info["token"], request.query)
    if page is None:
        return _gone()
    back = request.query.get("return_url", "")
    return _html(render(page, {"return_url": back} if is_web_address(back) else {}))


async def _submit(network: Network, name: str, request: web.Request) -> web.StreamResponse:
    token = request.match_info["token"]
    form = {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
    page = network.page(name, token, request.query)
    if page is None:
        return _gone()
    if form.get("outcome") not in control.OUTCOMES:
        return _html(message("Not understood", "Press one of the buttons on the payment page."), 400)
    if not is_web_address(form.get("return_url")):
        form.pop("return_url", None)
    if page.state != "open":
        return _html(render(page, {}), 409)
    target = network.submit(name, token, form["outcome"], form)
    if target is not None and is_web_address(target):
        return web.Response(status=303, headers={"Location": target})
    if form["outcome"] == "abandon":
        return _html(message("You left without paying", "Nothing was charged. You can close this page."))
    again = network.page(name, token, request.query)
    return _html(render(again, {})) if again is not None else _gone()


@dataclass(slots=True)
class RunningSimulator:
    """A running simulator. ``network`` is its world, for tests in the same process."""

    url: str
    network: Network
    _runner: web.AppRunner

    async def stop(self) -> None:
        """Stop answering and sending webhooks."""
        await self._runner.cleanup()


async def start(host: str = "127.0.0.1", port: int = 0, seed: int = 0) -> RunningSimulator:
    """Start in this process. Port 0 picks a free port."""
    app = make_app(seed)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=30.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    bound = runner.addresses[0][1]
    shown = "127.0.0.1" if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104
    network = app[NETWORK]
    network.public_url = f"http://{shown}:{bound}"
    return RunningSimulator(network.public_url, network, runner)


async def serve(host: str = "127.0.0.1", port: int = 8429, seed: int = 0) -> None:
    """Start and run until canceled."""
    simulator = await start(host, port, seed)
    try:
        await asyncio.Event().wait()
    finally:
        await simulator.stop()
