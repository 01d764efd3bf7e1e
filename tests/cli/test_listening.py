"""The sockets of `serve`."""

from __future__ import annotations

import socket

from polytill.cli.listening import sockets_at


def test_no_response_waits_for_an_acknowledgement() -> None:
    """Without ``TCP_NODELAY``, the body of a response waits up to 40 ms until the client confirms its headers."""
    with sockets_at("127.0.0.1:0", "--bind") as [one]:
        one.listen()
        with socket.create_connection(one.getsockname()) as client, one.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert client.getpeername() == one.getsockname()
