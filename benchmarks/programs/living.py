"""The life of each of these programs: it prints its port on standard output and ends when standard input closes."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import uvicorn

from benchmarks.wire import Answering, Served


def listening() -> socket.socket:
    """A free port of this machine. Without ``TCP_NODELAY`` each response takes 40 ms longer."""
    found = socket.create_server(("127.0.0.1", 0), backlog=256)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found


def ready(sock: socket.socket) -> None:
    """Print the port for the parent process."""
    print(sock.getsockname()[1], flush=True)


def until_told(tell: Callable[[], Any]) -> None:
    """Call ``tell`` on the loop when standard input closes; if the program still runs afterward, end it."""
    loop = asyncio.get_running_loop()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(tell)
        threading.Event().wait(8)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


async def serve_bytes(answering: Answering) -> None:
    """Serve with the smallest protocol possible."""
    loop, sock = asyncio.get_running_loop(), listening()
    server = await loop.create_server(lambda: Served(answering), sock=sock)
    done = asyncio.Event()
    until_told(done.set)
    ready(sock)
    await done.wait()
    server.close()


async def serve_asgi(app: Any) -> None:
    """Serve with uvicorn as `polytill serve` does: uvloop, httptools, no access log."""
    sock = listening()
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", log_level="warning", access_log=False, server_header=False
    )
    server = uvicorn.Server(config)

    def stop() -> None:
        server.should_exit = True

    until_told(stop)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    while not server.started and not serving.done():  # noqa: ASYNC110 (uvicorn has no event for it)
        await asyncio.sleep(0.01)
    ready(sock)
    await serving
