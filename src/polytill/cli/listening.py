"""Sockets of `serve`. The addresses are bound before anything else starts, so that an unusable one stops the command."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from polytill.cli.opened import fail

# Longer than proxies keep an idle connection (60 s in nginx and AWS). If the service closed it first, the request that
# the proxy sends at that moment would fail.
KEEP_ALIVE_S = 75


@contextmanager
def sockets_at(bind: str, option: str) -> Iterator[list[socket.socket]]:
    """Sockets bound to ``host:port``, one for each address of the host. They do not listen yet, and are closed at the
    end.

    Args:
        bind: The address, such as ``127.0.0.1:8420`` or ``[::1]:8420``.
        option: The option that sets it, for the error message.
    """
    host, _, port = bind.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        fail(f"{option} must be host:port.")
    taken: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            one = socket.socket(family, kind, protocol)
            taken.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or a response may wait 40 ms for an ACK
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
    except (OSError, UnicodeError) as error:
        _close(taken)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a host name"
        fail(f"{option}: {host}:{port} cannot be used ({reason}). Choose another address.")
    try:
        yield taken
    finally:
        _close(taken)


def _close(sockets: list[socket.socket]) -> None:
    for one in sockets:
        one.close()
