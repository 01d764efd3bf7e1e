"""polytill in a FastAPI application, mounted at /billing. Run it: ./run python examples/embedding/fastapi_host.py"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clinic import PREFIX, opened
from fastapi import FastAPI
from simulated import play

from polytill import Settings, make_app


def make_host(settings: Settings) -> FastAPI:
    """The host application."""

    @asynccontextmanager
    async def lifespan(host: FastAPI) -> AsyncIterator[None]:
        async with opened(settings) as clinic:
            host.state.clinic = clinic
            # The lifespan of a mounted app does not run, so the worker is started by ``opened``.
            host.mount(PREFIX, make_app(clinic.till, sweeping=False))
            yield

    host = FastAPI(lifespan=lifespan)

    @host.post("/invoices/{number}")
    async def bill(number: str) -> dict[str, str]:
        payment = await host.state.clinic.bill(number)
        return {"payment": payment.id, "payAt": payment.checkout_url}

    @host.get("/invoices/{number}")
    async def invoice(number: str) -> dict[str, bool]:
        return {"paid": number in host.state.clinic.paid}

    return host


if __name__ == "__main__":
    sys.exit(asyncio.run(play(make_host, lambda host: host.state.clinic)))
