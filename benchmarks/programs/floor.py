"""The floor: the smallest program that writes the same rows with the same SQL and sends the same bytes.

It repeats no logic of the product. The product creates one payment; its two units of work, its provider call and its
answer are recorded, and then repeated with other ids, times and values. No validation, no authentication, no routing,
no sealing, no reads, no log: raw asyncio, raw asyncpg, one connection per practice.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgspec
import uvloop

from benchmarks.ground import Ground, Practice
from benchmarks.load import CUSTOMER, payment_body
from benchmarks.programs.living import serve_bytes
from benchmarks.programs.stand_in import initialized
from benchmarks.wire import Line, Served
from polytill.app import Polytill
from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.flows.command import Command
from polytill.flows.context import Practice as OpenPractice
from polytill.flows.payments.create import create_payment
from polytill.flows.payments.request import PaymentRequest
from polytill.providers.contract import Customer
from polytill.storage.units import Step, as_one_statement, json_text
from polytill.web import logs
from polytill.web.api.models.payments import Details, Payment
from polytill.web.api.responses import respond

LINES = 16  # keep-alive connections to the provider


class Recorder:
    """A practice's engine that records its commits."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.units: list[list[Step]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def commit(self, steps: list[Step]) -> list[int]:
        """See ``Engine``."""
        self.units.append(steps)
        return list(await self._engine.commit(steps))


class RecordingTransport:
    """A provider that is not called: it records the call."""

    def __init__(self) -> None:
        self.call: tuple[str, str, dict[str, str], bytes] | None = None

    async def send(self, method: str, url: str, headers: Any, body: bytes | None) -> tuple[int, dict[str, str], bytes]:
        """See ``Transport``."""
        self.call = (method, url, dict(headers), body or b"")
        reference = msgspec.json.decode(body or b"{}")["reference"]
        return 200, {"content-type": "application/json"}, initialized(reference)


class Replay:
    """One recorded statement, to be run again with other values."""

    def __init__(self, steps: list[Step], known: dict[Any, str], mark: str, now: datetime) -> None:
        steps = [step for step in steps if not step.sql.lstrip().upper().startswith("SELECT")]  # a check, not a row
        self.sql = as_one_statement(tuple((step.sql, len(step.args), step.expect) for step in steps))
        self._template = [arg for step in steps for arg in step.args]
        self._named: list[tuple[int, str]] = []
        self._times: list[tuple[int, timedelta]] = []
        self._texts: list[tuple[int, str]] = []
        self._mark = mark
        for index, value in enumerate(self._template):
            if isinstance(value, datetime):
                self._times.append((index, value - now))
            elif isinstance(value, str | int) and not isinstance(value, bool) and value in known:
                self._named.append((index, known[value]))
            elif isinstance(value, str) and mark in value:
                self._texts.append((index, value))

    def arguments(self, values: dict[str, Any]) -> list[Any]:
        """The statement's arguments for another payment."""
        arguments, now = self._template.copy(), datetime.fromtimestamp(time.time(), UTC)
        for index, name in self._named:
            arguments[index] = values[name]
        for index, after in self._times:
            arguments[index] = now + after
        for index, text in self._texts:
            arguments[index] = text.replace(self._mark, values["attempt"])
        return arguments


class Floor:
    """The program, built from one recorded payment."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._connections: dict[int, tuple[asyncio.Lock, Any, Any]] = {}
        self._lines: list[Line] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def record(self) -> None:
        """Create two payments with the product. The floor repeats the second one, which uses a warm configuration."""
        moment = time.time()
        transport = RecordingTransport()
        practice = self._ground.practices[-1]
        async with Polytill.open(
            self._ground.opened_settings(), world=World(time_s=lambda: moment), transport=transport
        ) as till:
            db = await till.context.opening.practice(practice.id)
            recorder = Recorder(db.engine)
            db.engine = recorder
            for number in (1, 2):
                recorder.units.clear()
                key = f"recording-{number}-{secrets.token_hex(4)}"
                body = payment_body("recording", 987654)
                request = PaymentRequest(
                    Money(body["amount"], body["currency"]),
                    customer=Customer(**CUSTOMER),
                    description=body["description"],
                    reference=body["reference"],
                    metadata=body["metadata"],
                    return_url=body["returnUrl"],
                )
                taken = await create_payment(till.context, practice.id, request, Command(key, "key:1"))
            answered = Payment.with_details(OpenPractice(till.context, db), taken, Details(None, None, None, (), ()))
            answer = bytes(respond(answered).body)
        assert len(recorder.units) == 2
        payment, attempt = taken.payment.id, taken.attempts[-1].id
        known = {
            payment: "payment",
            attempt: "attempt",
            practice.id: "practice",
            key: "key",
            body["amount"]: "amount",
            body["currency"]: "currency",
            body["reference"]: "reference",
            body["description"]: "description",
            CUSTOMER["email"]: "email",
            CUSTOMER["name"]: "name",
            json_text(body["metadata"]): "metadata",
            body["returnUrl"]: "returnUrl",
            taken.payment.number: "number",
        }
        now = datetime.fromtimestamp(moment, UTC)
        self._first, self._second = (Replay(unit, known, attempt, now) for unit in recorder.units)
        self._payment, self._attempt = payment.encode(), attempt.encode()
        self._answer = answer
        assert transport.call is not None
        method, url, headers, sent = transport.call
        lines = [f"{method} {urlsplit(url).path} HTTP/1.1", f"Host: {urlsplit(url).netloc}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._call = "\r\n".join([*lines, f"Content-Length: {len(sent)}", "", ""]).encode() + sent

    async def open(self) -> None:
        """A connection per practice with both statements prepared, and connections to the provider."""
        for practice in self._ground.practices:
            await self._open_one(practice)
        self._lines = [await Line.to(self._ground.provider_port) for _ in range(LINES)]

    async def _open_one(self, practice: Practice) -> None:
        connection = await asyncpg.connect(f"{self._ground.postgres_url}/{practice.database}")
        first, second = await connection.prepare(self._first.sql), await connection.prepare(self._second.sql)
        self._connections[practice.id] = (asyncio.Lock(), first, second)

    def answering(self, caller: Served, head: bytes, body: bytes) -> None:
        """See ``Served``."""
        task = asyncio.ensure_future(self._answered(caller, head, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answered(self, caller: Served, head: bytes, body: bytes) -> None:
        try:
            at = head.index(b"\r\nIdempotency-Key: ") + 19
            key = head[at : head.index(b"\r\n", at)].decode()
            caller.answer(b"201 Created", await self.pay(body, int(head.split(b"/", 4)[3]), key))
        except Exception as error:  # a bug in this program must not leave a caller waiting forever
            caller.answer(b"500 Internal Server Error", repr(error).encode())

    async def pay(self, body: bytes, practice: int, key: str) -> bytes:
        """One payment: the first unit of work, the call, the second unit of work, the answer."""
        given = msgspec.json.decode(body)
        payment, attempt = secrets.token_hex(13), secrets.token_hex(13)
        values = {
            **given,
            **given["customer"],
            "payment": payment,
            "attempt": attempt,
            "practice": practice,
            "key": key,
            "metadata": json_text(given["metadata"]),
            "number": str(10**8 + secrets.randbelow(9 * 10**8)),
        }
        lock, first, second = self._connections[practice]
        async with lock:
            await first.fetchrow(*self._first.arguments(values))
        new_payment, new_attempt = payment.encode(), attempt.encode()
        await self.call_provider(new_payment, new_attempt)
        async with lock:
            await second.fetchrow(*self._second.arguments(values))
        return self._answer.replace(self._payment, new_payment).replace(self._attempt, new_attempt)

    async def call_provider(self, new_payment: bytes, new_attempt: bytes) -> None:
        """Send the recorded call with other ids."""
        line = self._lines.pop()
        await line.ask(self._call.replace(self._payment, new_payment).replace(self._attempt, new_attempt))
        self._lines.append(line)


async def main() -> None:
    """Record, then serve until the program is stopped."""
    logs.setup()
    floor = Floor(Ground.read(Path(sys.argv[1])))
    await floor.record()
    await floor.open()
    await serve_bytes(floor.answering)


if __name__ == "__main__":
    uvloop.run(main())
