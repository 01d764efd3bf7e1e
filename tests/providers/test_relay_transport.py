"""The transport of relayed webhooks: no private network, no redirect, and no header of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from polytill.providers.http import ConnectionNotMade, RelayTransport, is_public_address

BODY = b'{"a" : 1}\n'


@pytest.fixture
async def server() -> AsyncIterator[tuple[int, list[web.Request]]]:
    """A server on this machine, and the requests that it got."""
    got: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        assert await request.read() == BODY
        got.append(request)
        raise web.HTTPFound("/elsewhere")

    app = web.Application()
    app.router.add_post("/{any:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site._server.sockets[0].getsockname()[1], got  # type: ignore[union-attr]
    await runner.cleanup()


async def test_a_name_leads_into_no_private_network_unless_settings_allow_it(
    server: tuple[int, list[web.Request]],
) -> None:
    port, got = server
    url = f"http://localhost:{port}/hooks?v=1"
    for allowed in (frozenset(), frozenset({"http://localhost"}), frozenset({f"http://127.0.0.1:{port}"})):
        transport = RelayTransport(5.0, allowed)
        with pytest.raises(ConnectionNotMade):
            await transport.send("POST", url, {}, BODY)
        await transport.close()
    assert got == []
    transport = RelayTransport(5.0, frozenset({f"http://localhost:{port}"}))
    status, headers, _ = await transport.send("POST", url, {"x-signature": "s", "content-type": "text/x"}, BODY)
    await transport.close()
    [request] = got
    assert (status, headers["location"], request.path_qs) == (302, "/elsewhere", "/hooks?v=1")
    assert {name.lower() for name in request.headers} == {"host", "x-signature", "content-type", "content-length"}


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1::1", True), ("10.1.2.3", False), ("169.254.169.254", False),
        ("100.64.0.1", False), ("127.0.0.1", False), ("::1", False), ("fd00::1", False), ("fe80::1", False),
        ("::ffff:10.0.0.1", False), ("2002:0a00:0001::1", False), ("224.0.0.1", False), ("0.0.0.0", False),
        ("no address", False),
    ],
)  # fmt: skip
def test_what_is_public(address: str, is_public: bool) -> None:
    assert is_public_address(address) is is_public
