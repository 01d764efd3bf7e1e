"""The caller: the same bounded load for every program, over keep-alive connections from this process."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from benchmarks.ground import SECRET_KEY, Practice
from benchmarks.wire import Line

CONCURRENCY = 16
PATIENCE_S = 600.0
CUSTOMER = {"email": "ada@example.com", "name": "Ada Obi"}

_numbers = count(1)


class WrongAnswer(Exception):
    """A program returned a wrong answer; the text quotes it."""


@dataclass
class Load:
    """The caller's figures of one round."""

    requests: int
    wall_s: float
    latencies_ms: list[float] = field(repr=False)
    bodies: list[bytes] = field(repr=False)

    @property
    def per_second(self) -> float:
        """Answered requests per second."""
        return self.requests / self.wall_s

    def latency_ms(self, share: float) -> float:
        """The latency that this share of the requests did not exceed."""
        return sorted(self.latencies_ms)[min(self.requests - 1, int(share * self.requests))]


def payment_body(program: str, number: int) -> dict[str, Any]:
    """A payment as an integration sends it."""
    return {
        "amount": 150_000 + number % 1000,
        "currency": "NGN",
        "customer": CUSTOMER,
        "description": f"Visit {number}",
        "reference": f"{program}-invoice-{number}",
        "metadata": {"visit": f"{number}", "room": "4"},
        "returnUrl": "https://practice.example/thanks",
    }


def payments(program: str, practices: list[Practice], requests: int) -> Iterator[bytes]:
    """Requests to create payments, one practice after another."""
    for _ in range(requests):
        number = next(_numbers)
        yield _request(program, practices[number % len(practices)], number)


def payments_of(program: str, practices: Iterable[Practice]) -> Iterator[bytes]:
    """Requests to create a payment of each of these practices."""
    return (_request(program, practice, next(_numbers)) for practice in practices)


def _request(program: str, practice: Practice, number: int) -> bytes:
    body = json.dumps(payment_body(program, number)).encode()
    return (
        f"POST /api/practices/{practice.id}/payments HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {practice.key}\r\nIdempotency-Key: {program}-{number:09d}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def deliveries(practices: list[Practice], taken: list[dict[str, Any]]) -> Iterator[bytes]:
    """Signed webhooks that report success for created payments, in another order."""
    for payment in sorted(taken, key=lambda payment: payment["id"][::-1]):
        number = int(payment["reference"].rpartition("-")[2])
        practice = practices[number % len(practices)]
        data = {
            "id": 4_000_000_000 + number,
            "domain": "test",
            "status": "success",
            "reference": payment["attempts"][-1]["reference"],
            "amount": payment["amount"],
            "currency": payment["currency"],
            "gateway_response": "Successful",
            "paid_at": "2026-01-01T00:00:00.000Z",
            "channel": "card",
            "fees": 2_250,
            "metadata": payment["metadata"],
            "customer": {"email": "ada@example.com"},
        }
        body = json.dumps({"event": "charge.success", "data": data}).encode()
        signature = hmac.new(SECRET_KEY.encode(), body, hashlib.sha512).hexdigest()
        yield (
            f"POST /hooks/{practice.hook_token} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"X-Paystack-Signature: {signature}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body


async def drive(port: int, requests: Iterator[bytes], expected: int, keep: bool = False) -> Load:
    """Send all requests over ``CONCURRENCY`` connections. ``WrongAnswer`` for any status but the expected one."""
    prepared = iter(list(requests))
    lines = [await Line.to(port) for _ in range(CONCURRENCY)]
    load = Load(0, 0.0, [], [])

    async def work(line: Line) -> None:
        for request in prepared:
            began = time.perf_counter()
            status, body = await line.ask(request)
            load.latencies_ms.append((time.perf_counter() - began) * 1000)
            if status != expected:
                raise WrongAnswer(f"{status} instead of {expected}: {body[:300].decode(errors='replace')}")
            if keep:
                load.bodies.append(body)

    began = time.perf_counter()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(work(line) for line in lines))
    except TimeoutError:
        raise WrongAnswer(f"no end after {PATIENCE_S:.0f} s, with {len(load.latencies_ms)} answers") from None
    finally:
        for line in lines:
            line.close()
    load.wall_s = time.perf_counter() - began
    load.requests = len(load.latencies_ms)
    return load
