"""The libraries alone: the floor's work through the framework, the server and the HTTP client that the product uses.

It shows how much of the difference between the floor and the product is theirs, and how much is the product's own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import uvloop
from fastapi import FastAPI, Request, Response

from benchmarks.ground import Ground
from benchmarks.programs.floor import Floor
from benchmarks.programs.living import serve_asgi
from polytill.web import logs


class Libraries(Floor):
    """The floor's statements and bytes; FastAPI under uvicorn, and an aiohttp session."""

    async def open(self) -> None:
        """A connection per practice with both statements prepared, and one session for the provider."""
        for practice in self._ground.practices:
            await self._open_one(practice)
        head, _, self._sent = self._call.partition(b"\r\n\r\n")
        first, _, rest = head.decode().partition("\r\n")
        given = dict(line.split(": ", 1) for line in rest.split("\r\n"))
        self._headers = {name: value for name, value in given.items() if name not in ("Host", "Content-Length")}
        self._url = f"http://127.0.0.1:{self._ground.provider_port}{urlsplit(first.split(' ')[1]).path}"
        self._session = aiohttp.ClientSession(skip_auto_headers=("User-Agent", "Accept-Encoding"))

    async def call_provider(self, new_payment: bytes, new_attempt: bytes) -> None:
        """See ``Floor``."""
        sent = self._sent.replace(self._payment, new_payment).replace(self._attempt, new_attempt)
        async with self._session.post(self._url, data=sent, headers=self._headers) as answer:
            await answer.read()

    async def create(self, request: Request) -> Response:
        """Create a payment."""
        key = request.headers["idempotency-key"]
        answer = await self.pay(await request.body(), int(request.path_params["practice_id"]), key)
        return Response(answer, 201, media_type="application/json")


async def main() -> None:
    """Record, then serve until the program is stopped."""
    logs.setup()
    libraries = Libraries(Ground.read(Path(sys.argv[1])))
    await libraries.record()
    await libraries.open()
    app = FastAPI()
    app.add_api_route("/api/practices/{practice_id}/payments", libraries.create, methods=["POST"])
    await serve_asgi(app)


if __name__ == "__main__":
    uvloop.run(main())
