"""polytill in a Django project, at /billing. Run it: ./run python examples/embedding/django_host.py

Django serves no lifespan and mounts no other application, so a small ASGI application does both. Point the server at it
instead of at ``get_asgi_application()``.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any

import django
from clinic import PREFIX, Clinic, opened
from django.conf import settings as django_settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_http_methods
from simulated import play

from polytill import Settings, make_app

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Host:
    """The ASGI application: polytill under the prefix, Django everywhere else."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._django = get_asgi_application()
        self._billing: Any = None
        self.clinic: Clinic | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and f"{scope['path']}/".startswith(f"{PREFIX}/"):
            await self._billing({**scope, "root_path": scope.get("root_path", "") + PREFIX}, receive, send)
        else:
            await self._django(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            await receive()
            self.clinic = await stack.enter_async_context(opened(self._settings))
            self._billing = make_app(self.clinic.till, sweeping=False)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


host: Host


@require_http_methods(["GET", "POST"])
async def invoice(request: HttpRequest, number: str) -> JsonResponse:
    """Bill an invoice, or tell whether it is paid."""
    assert host.clinic is not None
    if request.method == "GET":
        return JsonResponse({"paid": number in host.clinic.paid})
    payment = await host.clinic.bill(number)
    return JsonResponse({"payment": payment.id, "payAt": payment.checkout_url})


urlpatterns = [path("invoices/<str:number>", invoice)]


def make_host(settings: Settings) -> Host:
    """The host application."""
    global host
    django_settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY=secrets.token_hex(32))
    django.setup()
    host = Host(settings)
    return host


if __name__ == "__main__":
    sys.exit(asyncio.run(play(make_host, lambda host: host.clinic)))
