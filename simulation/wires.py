"""The network of a history: calls reach the simulated providers in the same process, and webhooks come back.

A fault does the same to a call as in the simulator over HTTP (``simulator/faults.py``): there a socket breaks, here
``ConnectionNotMade`` or ``AnswerLost`` is raised after virtual time has passed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from polytill.domain.errors import NotFound, NotNow, PolytillError, Unauthorized
from polytill.flows.webhooks import receive
from polytill.providers.http import AnswerLost, ConnectionNotMade
from polytill.simulator.deliveries import Deliverer, Delivery
from polytill.simulator.faults import Fault, server_error
from polytill.simulator.network import Network
from polytill.simulator.wire import Answer, Call, Provider
from simulation.deaths import Cut
from simulation.ground import EPOCH_S, SIMULATOR

if TYPE_CHECKING:
    from simulation.history import History
    from simulation.nodes import Life

TIMEOUT_S = 30.0
_GATEWAY_PAGE = b"<html><head><title>502 Bad Gateway</title></head></html>"


class WorldNetwork(Network):
    """The simulator's network on virtual time: later events are timers of the loop."""

    def __init__(self, history: History) -> None:
        loop = history.loop
        super().__init__(history.seed, SIMULATOR, lambda: EPOCH_S + loop.now)
        self._loop = loop
        self.deliverer = _Deliverer(self, history)

    def after(self, seconds: float, act: Any) -> None:
        """Run ``act`` after this much virtual time."""
        self._loop.call_later(max(seconds, 0.0), act)


class _Deliverer(Deliverer):
    """Concurrent webhooks, each with its own latency: they overtake each other, and overlap."""

    def __init__(self, network: Network, history: History) -> None:
        super().__init__(network)
        self._history = history
        self.send = self._to_a_node

    def _put(self, delivery: Delivery) -> None:
        latency = self._history.jitter.random() ** 3 * 2.0
        self._history.loop.call_later(latency, self._begin, delivery)

    def _begin(self, delivery: Delivery) -> None:
        task = self._history.loop.create_task(self._once(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try(self, delivery: Delivery) -> None:
        await super()._try(delivery)
        if delivery.status_code is not None and not delivery.forged:
            self._history.heard |= _names(delivery)

    async def _to_a_node(self, url: str, body: bytes, headers: Mapping[str, str]) -> int | None:
        history = self._history
        token, _, query = url.rpartition("/")[2].partition("?")
        reference = query.removeprefix("reference=") or None
        status = await deliver(history, token, headers, body, reference)
        history.tell(f"delivery to {history.hook_names.get(url.partition('?')[0], url)}: {status}")
        return status


def _names(delivery: Delivery) -> set[str]:
    """Our reference in a webhook of a provider without pages: M-Pesa received it with the callback address."""
    if delivery.hook.provider == "mpesa":
        return {delivery.hook.url.partition("reference=")[2]}
    data = json.loads(delivery.body).get("data") if delivery.hook.provider == "flutterwave_v4" else None
    return {data["reference"]} if data and "reference" in data else set()


async def deliver(
    history: History, token: str, headers: Mapping[str, str], body: bytes, reference: str | None = None
) -> int | None:
    """Send a webhook to any node that is up. Returns the HTTP status of the endpoint, or None if no node answers."""
    life = history.any_life()
    if life is None:
        return None
    try:
        await life.serve(lambda context: receive.receive(context, token, headers, body, reference), 15.0)
    except Cut:
        return None
    except NotFound:
        return 404
    except Unauthorized:
        return 401
    except NotNow:
        return 503
    except PolytillError as error:
        history.unexpected(f"a delivery ended in {type(error).__name__}: {error}")
        return 500
    return 200


class Wire:
    """One node's transport to the providers."""

    def __init__(self, history: History, life: Life) -> None:
        self._history = history
        self._life = life

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """See ``Transport.send``."""
        history, life = self._history, self._life
        parts = urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}" != SIMULATOR:
            raise ConnectionNotMade("nobody there")
        provider = history.network.providers[parts.path.split("/")[1]]
        path = parts.path.removeprefix(provider.prefix)
        what = provider.operation(method, path)
        life.check()
        life.point("before_call", f"{provider.name} {what}")
        await asyncio.sleep(0.005 + history.jitter.random() * 0.2)
        life.check()
        key = provider.key_of(headers)
        if key is not None and (provider.name, key) in history.revoked:
            headers = {**headers, "Authorization": "Bearer invalid"}
        call = Call(method, path, parts.query, headers, body or b"", SIMULATOR)
        rule = history.network.faults.draw(provider.name, what, key)
        if rule is not None:
            history.tally.counts[f"call.{rule.kind}"] += 1
            history.tell(f"FAULT {rule.kind} on {provider.name} {what}")
        try:
            answer = await self._exchange(provider, call, rule)
        finally:
            history.look_at_books(provider, key)
        await asyncio.sleep(0.005 + history.jitter.random() * 0.2)
        life.check()
        life.point("after_call", f"{provider.name} {what}")
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.body

    async def _exchange(self, provider: Provider, call: Call, rule: Fault | None) -> Answer:
        if rule is None:
            return provider.answer(call)
        if rule.kind == "refuse":
            raise ConnectionNotMade("refused")
        if rule.kind == "rate_limit":
            return provider.broken(429)
        if rule.kind in ("slow", "act_late"):
            return await self._late(provider, call, rule)
        if rule.kind in ("error_500", "error_500_after"):
            return server_error(provider, call, rule)
        faults = self._history.network.faults
        if rule.kind == "answer":  # a scripted answer, possibly with unknown codes
            if rule.acts:
                provider.answer(call)
            return rule.scripted()
        if rule.kind in ("lose_answer", "truncate") or faults.acts(rule):
            provider.answer(call)
        if rule.kind == "not_json":
            return Answer(rule.status or faults.dice.choice((200, 502)), _GATEWAY_PAGE, {}, "text/html")
        if rule.kind == "timeout":
            await asyncio.sleep(TIMEOUT_S)
        self._life.check()
        raise AnswerLost(rule.kind)

    async def _late(self, provider: Provider, call: Call, rule: Fault) -> Answer:
        """The provider answers late and holds the idempotency key meanwhile."""
        history = self._history
        early = provider.enter(call)
        made: list[Answer] = []

        def act() -> None:
            try:
                made.append(provider.handle(call))
            finally:
                provider.leave(call)
                history.look_at_books(provider, provider.key_of(call.headers))

        if early is None:
            history.loop.call_later(rule.delay, act)
        if rule.kind == "act_late":
            raise AnswerLost("act_late")
        await asyncio.sleep(min(rule.delay + 0.001, TIMEOUT_S))
        self._life.check()
        if early is None and not made:
            raise AnswerLost("slow")
        return early or made[0]
