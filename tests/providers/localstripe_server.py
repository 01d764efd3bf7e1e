"""localstripe, a third party's stateful Stripe server, on loopback, and a proxy that leaves out what it refuses.

localstripe is GPL-3: it runs in a process of its own, for tests only, and nothing of the product imports it. Its own
command listens on all interfaces, so its application is served here instead.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from urllib.parse import parse_qsl, urlencode

import aiohttp
from aiohttp import web

# It ends with the process that started it, however that ends: then its standard input is closed. Its store is kept
# in memory, where the original writes a file into the common temporary folder.
PROGRAM = """
import os, sys, threading
from aiohttp import web
from localstripe import resources, server
resources.Store.dump_to_disk = lambda self: None
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
web.run_app(server.app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
"""

# What the handler rightly sends and localstripe answers with 400 "Unexpected …". Nothing else is left out.
REFUSED = {
    ("POST", "/v1/payment_intents"): {
        "description": "Stripe shows it to the practice; localstripe keeps none",
        "receipt_email": "Stripe mails the receipt; localstripe mails nothing",
        "allowed_payment_method_types[0]": "newer than localstripe",
    },
    ("POST", "/v1/payment_intents/*/confirm"): {
        "return_url": "where a bank sends the payer back to; localstripe redirects nobody"
    },
    ("GET", "/v1/payment_intents"): {
        "created[gte]": "localstripe lists everything",
        "created[lte]": "localstripe lists everything",
    },
    ("POST", "/v1/refunds"): {"reason": "Stripe keeps it for its statistics"},
}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def localstripe() -> Iterator[str]:
    """The address of a fresh server, which is stopped at the end."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(port)], stdin=subprocess.PIPE)
    try:
        for _ in range(200):
            if process.poll() is not None:
                raise RuntimeError(f"localstripe ended with {process.returncode} before it answered")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.1):
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        else:
            raise RuntimeError("localstripe did not answer within 20 seconds")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


class Proxy:
    """Passes requests on without what localstripe refuses, and remembers what that was."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.left_out: set[tuple[str, str, str]] = set()
        self.address = ""

    def _accepted(self, method: str, path: str, fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
        parts = path.split("/")
        pattern = "/".join([*parts[:3], "*", *parts[4:]]) if len(parts) > 3 else path
        refused = REFUSED.get((method, pattern), {})
        self.left_out |= {(method, pattern, name) for name, _ in fields if name in refused}
        return [(name, value) for name, value in fields if name not in refused]

    async def _pass_on(self, request: web.Request) -> web.Response:
        text = await request.text()
        query = self._accepted(request.method, request.path, parse_qsl(request.query_string))
        form = self._accepted(request.method, request.path, parse_qsl(text))
        headers = {"Authorization": request.headers["Authorization"]}
        url = self.target + request.path
        async with aiohttp.ClientSession(headers=headers) as session:
            if request.path.endswith("/confirm"):
                # localstripe answers 500 "Not implemented" to a payment method here, and takes it in an update.
                methods = [field for field in form if field[0] == "payment_method"]
                form = [field for field in form if field[0] != "payment_method"]
                async with session.post(url.removesuffix("/confirm"), data=dict(methods)) as updated:
                    assert updated.status == 200, await updated.text()
            body = urlencode(form).encode() if request.method == "POST" else None
            kind = {"Content-Type": request.content_type} if body is not None else {}
            if query:
                url += "?" + urlencode(query)
            async with session.request(request.method, url, data=body, headers=kind) as answer:
                return web.Response(body=await answer.read(), status=answer.status, content_type=answer.content_type)


@contextlib.asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """The loopback address at which an application is served."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def proxied(target: str) -> AsyncIterator[Proxy]:
    """A running proxy before a server."""
    proxy = Proxy(target)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", proxy._pass_on)
    async with served(app) as address:
        proxy.address = address
        yield proxy


class Mailbox:
    """Receives webhooks: headers and raw bytes, in the order of arrival."""

    def __init__(self) -> None:
        self.deliveries: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()

    async def _receive(self, request: web.Request) -> web.Response:
        self.deliveries.put_nowait((dict(request.headers), await request.read()))
        return web.Response()

    @contextlib.asynccontextmanager
    async def opened(self, target: str, secret: str) -> AsyncIterator[None]:
        """Registered with localstripe for as long as the block lasts."""
        app = web.Application()
        app.router.add_post("/", self._receive)
        async with served(app) as address, aiohttp.ClientSession() as session:
            hook = {"url": address + "/", "secret": secret}
            async with session.post(f"{target}/_config/webhooks/mailbox", data=hook) as answer:
                assert answer.status == 200
            yield

    async def next(self) -> tuple[dict[str, str], bytes]:
        """The next delivery. localstripe sends each a second after its event."""
        return await asyncio.wait_for(self.deliveries.get(), 15)
