"""Faults: how the network between a merchant and a provider fails, on request and repeatably.

This module has the list of faults, the seeded choice among them, and their effect on one HTTP exchange. It does not
decide what the provider answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from polytill.simulator.books import Json
from polytill.simulator.wire import Answer, Call, Provider, json_answer

if TYPE_CHECKING:
    from polytill.simulator.network import Network

CALL_FAULTS = (
    "refuse",
    "lose_answer",
    "act_late",
    "timeout",
    "error_500",
    "error_500_after",
    "rate_limit",
    "slow",
    "truncate",
    "not_json",
    "answer",
)
WEBHOOK_FAULTS = ("duplicate", "late", "reorder", "drop", "forge")
OPERATIONS = ("create", "confirm", "capture", "cancel", "refund", "lookup", "webhook", "*")
DEFAULT_DELAYS = {"slow": 1.0, "act_late": 2.0, "late": 5.0, "timeout": 60.0}

_GATEWAY_PAGE = (
    b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head>"
    b"<body><center><h1>502 Bad Gateway</h1></center><hr></body></html>"
)


@dataclass(slots=True)
class Fault:
    """One rule. ``count``: how often it still applies (None: always)."""

    id: str
    provider: str
    operation: str
    kind: str
    probability: float
    count: int | None
    delay: float
    account: str | None = None
    acts: bool | None = None
    status: int | None = None
    stored: bool = True
    body: Json | None = None
    struck: int = 0

    def as_control(self) -> Json:
        """The rule as the control calls show it."""
        return {
            "id": self.id,
            "provider": self.provider,
            "operation": self.operation,
            "fault": self.kind,
            "probability": self.probability,
            "count": self.count,
            "delaySeconds": self.delay,
            "account": self.account,
            "struck": self.struck,
            **({"status": self.status, "body": self.body} if self.body is not None else {}),
        }

    def scripted(self) -> Answer:
        """What the fault ``answer`` returns instead of the provider's answer."""
        return json_answer(self.body or {}, self.status or 200)


class Faults:
    """The active rules. They have their own random generator, so that ids do not depend on them."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.rules: list[Fault] = []
        self.reset()

    def reset(self) -> None:
        """Remove all rules and restart the random generator."""
        self.rules.clear()
        self.dice = random.Random(f"faults {self.network.seed}")
        self._made = 0

    def next_id(self) -> str:
        """An id for a new rule."""
        self._made += 1
        return f"fault_{self._made}"

    def draw(self, provider: str, operation: str, account: str | None) -> Fault | None:
        """The rule that applies now, if any: the first that matches and whose random draw says so."""
        kinds = WEBHOOK_FAULTS if operation == "webhook" else CALL_FAULTS
        for rule in self.rules:
            if rule.kind not in kinds or rule.count == 0 or rule.provider not in (provider, "*"):
                continue
            if rule.operation not in (operation, "*") or rule.account not in (None, account):
                continue
            if self.dice.random() < rule.probability:
                rule.struck += 1
                if rule.count is not None:
                    rule.count -= 1
                return rule
        return None

    def acts(self, rule: Fault) -> bool:
        """Whether the provider acted although the client saw no complete answer."""
        return rule.acts if rule.acts is not None else self.dice.random() < 0.5


def to_response(answer: Answer) -> web.Response:
    """An answer as aiohttp sends it."""
    return web.Response(
        status=answer.status, body=answer.body, headers=answer.headers, content_type=answer.content_type
    )


def cut(request: web.Request) -> web.StreamResponse:
    """End the connection without an answer. The response returned here is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def exchange(network: Network, name: str, request: web.Request) -> web.StreamResponse:
    """One call to a provider's API, broken if a rule applies."""
    network.calls += 1
    provider, path = network.providers[name], "/" + request.match_info["tail"]
    rule = network.faults.draw(name, provider.operation(request.method, path), provider.key_of(request.headers))
    if rule is not None and rule.kind == "refuse":
        return cut(request)
    base = network.public_url or f"{request.scheme}://{request.host}"
    query, headers = request.rel_url.raw_query_string, request.headers.copy()
    call = Call(request.method, path, query, headers, await request.read(), base)
    if rule is None:
        return to_response(provider.answer(call))
    return await _broken(network, provider, request, call, rule)


async def _slow(network: Network, provider: Provider, call: Call, delay: float) -> Answer:
    """An answer after a while. A call in progress holds its idempotency key meanwhile."""
    early = provider.enter(call)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(network.stopping.wait(), delay)
        return early or provider.handle(call)
    finally:
        if early is None:
            provider.leave(call)


async def _until_gone(network: Network, request: web.Request, longest: float) -> None:
    """Wait until the client has disconnected, the simulator stops, or ``longest`` seconds have passed."""
    loop = asyncio.get_running_loop()
    end = loop.time() + longest
    while loop.time() < end and not network.stopping.is_set():
        if request.transport is None or request.transport.is_closing():
            return
        await asyncio.sleep(0.02)


async def _broken(
    network: Network, provider: Provider, request: web.Request, call: Call, rule: Fault
) -> web.StreamResponse:
    """What the client gets instead of the provider's answer."""
    faults = network.faults
    match rule.kind:
        case "slow":
            return to_response(await _slow(network, provider, call, rule.delay))
        case "act_late":
            if provider.enter(call) is None:
                network.after(rule.delay, lambda: provider.finish(call))
        case "rate_limit":
            return to_response(provider.broken(429))
        case "error_500" | "error_500_after":
            return to_response(server_error(provider, call, rule))
        case "answer":
            if rule.acts:
                provider.answer(call)
            return to_response(rule.scripted())
        case "not_json":
            if faults.acts(rule):
                provider.answer(call)
            return web.Response(
                status=rule.status or faults.dice.choice((200, 502)), body=_GATEWAY_PAGE, content_type="text/html"
            )
        case "timeout":
            if faults.acts(rule):
                provider.answer(call)
            await _until_gone(network, request, rule.delay)
        case "truncate":
            return await _half(request, provider.answer(call))
        case _:  # lose_answer
            provider.answer(call)
    return cut(request)


def server_error(provider: Provider, call: Call, rule: Fault) -> Answer:
    """A 500 before or after acting. Stripe stores it as the first answer under an idempotency key."""
    early = provider.enter(call)
    if early is not None:
        return early
    try:
        if rule.kind == "error_500_after":
            provider.handle(call)
        answer = provider.broken(500)
        if rule.stored:
            provider.remember(call, answer)
        return answer
    finally:
        provider.leave(call)


async def _half(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Half of the body under the full content length, then the end of the connection."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_type = answer.content_type
    response.content_length = len(answer.body)
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
