"""``./run bench statements``: what each flow asks of its databases, on both engines. The counts do not depend on load."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from benchmarks import ground as grounds
from benchmarks.counting import PostgresRelay, SqliteCounter, Tally
from benchmarks.ground import Ground, Practice
from benchmarks.load import deliveries, payments
from benchmarks.measuring import Size
from benchmarks.programs.stand_in import initialized, verified
from benchmarks.results import Result
from polytill.app import Polytill
from polytill.background import learn
from polytill.domain.clock import World
from polytill.flows.worker.sweep import sweep_practice
from polytill.web.app import make_app

PRACTICES = 3
PROVIDER_PORT = 9  # nothing is sent: the provider answers in this process
ENGINES = ("postgresql", "sqlite")


class InProcess:
    """A provider that answers in this process: Paystack's initialize, verify and refund."""

    def __init__(self) -> None:
        self.calls = 0

    async def send(self, method: str, url: str, headers: Any, body: bytes | None) -> tuple[int, dict[str, str], bytes]:
        """See ``Transport``."""
        self.calls += 1
        return 200, {"content-type": "application/json"}, _answer(method, urlsplit(url).path, body or b"{}")


def _answer(method: str, path: str, body: bytes) -> bytes:
    given = msgspec.json.decode(body)
    if method == "GET":
        return verified(path.rpartition("/")[2])
    if path == "/refund":
        data = {
            "id": 3_018_284,
            "status": "pending",
            "amount": given["amount"],
            "currency": "NGN",
            "transaction": given["transaction"],
        }
        return msgspec.json.encode({"status": True, "message": "Refund has been queued", "data": data})
    return initialized(given["reference"])


@dataclass
class Clock:
    """A clock that is moved by hand, so that nothing is read again because time has passed."""

    at_s: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.at_s


async def ask(app: Any, request: bytes) -> tuple[int, Any]:
    """Send an HTTP request, as ``load`` writes them, to an app in this process. Returns status and body."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    method, target, _ = first.decode().split(" ")
    headers = [(name.lower(), value) for name, _, value in (line.partition(b": ") for line in lines)]
    parts = urlsplit(target)
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": parts.path, "raw_path": parts.path.encode(), "query_string": parts.query.encode(), "root_path": "",
        "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {},
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answer = b"".join(message.get("body", b"") for message in sent)
    kind = dict(sent[0]["headers"]).get(b"content-type", b"")
    return sent[0]["status"], json.loads(answer) if b"json" in kind else answer


@dataclass
class Visited:
    """An opened installation, the app over it, and what counts its statements."""

    till: Polytill
    app: Any
    ground: Ground
    clock: Clock
    tally: Callable[[], Tally]

    async def counted(self, work: Awaitable[Any]) -> tuple[Tally, Any]:
        """What one piece of work asked of the databases, and its result."""
        before = self.tally().copy()
        result = await work
        return self.tally().since(before), result

    async def pay(self, practice: Practice) -> Any:
        """Create a payment."""
        status, body = await ask(self.app, next(payments("counted", [practice], 1)))
        assert status == 201, body
        return body

    async def report(self, practice: Practice, payment: Any) -> Any:
        """The signed webhook of the payment's success arrives."""
        status, body = await ask(self.app, next(deliveries([practice], [payment])))
        assert (status, body["status"]) == (200, "applied"), body
        return body

    async def refund(self, practice: Practice, payment: Any) -> Any:
        """Refund a part of the payment."""
        body = b'{"amount":1000}'
        request = (
            f"POST /api/practices/{practice.id}/payments/{payment['id']}/refunds HTTP/1.1\r\n"
            f"Authorization: Bearer {practice.key}\r\nIdempotency-Key: refund-{payment['id']}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        status, refunded = await ask(self.app, request.encode() + body)
        assert status == 201, refunded
        return refunded

    async def page(self, payment: Any) -> Any:
        """The customer looks at the payment."""
        status, body = await ask(self.app, f"GET /pay/{payment['clientToken']} HTTP/1.1\r\n\r\n".encode())
        assert status == 200, body
        return body

    async def sweep(self, practice: Practice) -> int:
        """A worker sweeps the practice, in a task of its own as always."""
        return await asyncio.create_task(sweep_practice(self.till.context, practice.id, None))

    async def get(self, practice: Practice, payment: Any) -> Any:
        """The host application reads the payment."""
        path = f"/api/practices/{practice.id}/payments/{payment['id']}"
        request = f"GET {path} HTTP/1.1\r\nAuthorization: Bearer {practice.key}\r\n\r\n"
        status, body = await ask(self.app, request.encode())
        assert status == 200, body
        return body


@asynccontextmanager
async def visited(postgres_url: str | None, folder: Path) -> AsyncIterator[Visited]:
    """An installation with a few practices, opened by a process that has not visited any of them."""
    ground = await grounds.prepare(folder, postgres_url, PROVIDER_PORT, PRACTICES, sweeping=False)
    clock, counter, relay = Clock(), SqliteCounter(folder), None
    if postgres_url is not None:
        server = urlsplit(postgres_url)
        assert server.hostname is not None
        assert server.port is not None
        relay = PostgresRelay(server.hostname, server.port)
        port = await relay.start()
        for name in ("owner_database_url", "practice_databases"):
            ground.settings[name] = ground.settings[name].replace(f":{server.port}", f":{port}")
    world = World(time_s=clock, elapsed_s=clock)
    options: dict[str, Any] = {} if relay else {"hop": counter.hop}
    try:
        with counter.counting():
            async with Polytill.open(ground.opened_settings(), world=world, transport=InProcess(), **options) as till:
                app = make_app(till, sweeping=False)
                await learn(till.context)  # as a process does beside its requests
                yield Visited(till, app, ground, clock, lambda: relay.tally if relay else counter.tally)
    finally:
        if relay is not None:
            await relay.close()


async def count_flows(found: Visited) -> dict[str, Tally]:
    """Run each flow once, and count."""
    first, second, _ = found.ground.practices
    await found.pay(first)  # what a process does once
    counts: dict[str, Tally] = {}
    counts["first visit: payment"], _ = await found.counted(found.pay(second))
    for _ in range(2):  # statements are prepared at their first use on a connection
        paid = await found.pay(second)
        await found.page(paid)
        await found.get(second, paid)
        await found.report(second, paid)
        await found.refund(second, paid)
        await found.sweep(second)
    counts["payment"], payment = await found.counted(found.pay(second))
    counts["status page, unpaid"], _ = await found.counted(found.page(payment))
    counts["webhook"], _ = await found.counted(found.report(second, payment))
    counts["status page, paid"], _ = await found.counted(found.page(payment))
    counts["read by the API"], _ = await found.counted(found.get(second, payment))
    counts["refund"], _ = await found.counted(found.refund(second, payment))
    counts["sweep with events"], _ = await found.counted(found.sweep(second))
    counts["sweep without work"], _ = await found.counted(found.sweep(second))
    found.clock.at_s += 61
    counts["payment after a minute"], _ = await found.counted(found.pay(second))
    return counts


def statements(size: Size) -> Result:
    """The counts of every flow on both engines."""
    counts = {engine: _counted(engine) for engine in ENGINES}
    rows = [
        [flow, *_on_postgres(counts["postgresql"][flow]), *_on_sqlite(tally)]
        for flow, tally in counts["sqlite"].items()
    ]
    figures = {
        engine: {flow: tally.figures() for flow, tally in of_engine.items()} for engine, of_engine in counts.items()
    }
    columns = ["flow", "PostgreSQL", "round trips", "KB sent", "KB received", "SQLite", "hops", "KB written"]
    note = "Statements in the practice's database, and after + those in the owner database."
    return Result("statements", "what each flow asks of its databases", columns, rows, figures, notes=[note])


def _counted(engine: str) -> dict[str, Tally]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="polytill-bench-")))
        url = stack.enter_context(grounds.postgres()) if engine == "postgresql" else None

        async def run() -> dict[str, Tally]:
            async with visited(url, folder) as found:
                return await count_flows(found)

        return asyncio.run(run())


def _on_postgres(tally: Tally) -> list[str]:
    kilobytes = (tally.bytes_sent / 1000, tally.bytes_received / 1000)
    return [_statements(tally), str(tally.round_trips), *(f"{one:.1f}" for one in kilobytes)]


def _on_sqlite(tally: Tally) -> list[str]:
    return [_statements(tally), str(tally.round_trips), f"{tally.bytes_written / 1000:.0f}"]


def _statements(tally: Tally) -> str:
    return f"{tally.statements}" + (f" + {tally.owner_statements}" if tally.owner_statements else "")
