"""Webhooks: registrations, queues, retries and webhook faults.

They are sent to loopback addresses only. The provider decides what an event contains and how it is signed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from polytill.simulator.books import Account, Json, iso_time
from polytill.simulator.wire import Fields, Headers, compact

if TYPE_CHECKING:
    from polytill.simulator.network import Network

# Posts a body with headers to an address. Returns the status, or None without an answer.
Sender = Callable[[str, bytes, Fields], Awaitable[int | None]]

RETRY_AFTER = (0.2, 0.6, 1.8, 5.0, 10.0)
_FORGED_AMOUNTS = ("amount", "amount_received", "amount_captured", "charged_amount", "requested_amount")


def is_loopback(url: str) -> bool:
    """Whether ``url`` is plain http(s) to this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or parts.username is not None:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(slots=True)
class Hook:
    """One registration. No ``events`` means all; ``refund_events`` is Flutterwave's switch, usually off."""

    provider: str
    account: str
    url: str
    secret: str
    events: frozenset[str] = frozenset()
    refund_events: bool = False

    def wants(self, event: str) -> bool:
        """Whether this registration includes ``event``."""
        if event == "refund" and self.provider == "flutterwave":
            return self.refund_events
        return not self.events or event in self.events


@dataclass(slots=True)
class Delivery:
    """One event to one address. ``state``: queued | delivered | given_up | dropped."""

    hook: Hook
    event: str
    body: bytes
    queued_at: float
    forged: bool = False
    wrong_secret: bool = False
    tries: int = 0
    status_code: int | None = None
    state: str = "queued"

    def as_control(self) -> Json:
        """The webhook as the control calls show it, without secrets."""
        return {
            "provider": self.hook.provider,
            "event": self.event,
            "url": self.hook.url,
            "statusCode": self.status_code,
            "tries": self.tries,
            "state": self.state,
            "forged": self.forged,
            "queuedAt": iso_time(self.queued_at),
        }


class Deliverer:
    """The hooks and their queues. One task per address keeps the order of first tries."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._hooks: dict[tuple[str, str], list[Hook]] = {}
        self.log: deque[Delivery] = deque(maxlen=1000)
        self._queues: dict[str, asyncio.Queue[Delivery]] = {}
        self._held: dict[str, Delivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self.send: Sender = self._post  # a simulation in one process passes its own

    def reset(self) -> None:
        """Forget the registrations and everything in the queues."""
        self._hooks.clear()
        self.log.clear()
        self._queues.clear()
        self._held.clear()
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Stop sending."""
        tasks = list(self._tasks)
        self.reset()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def register(self, hook: Hook) -> None:
        """Add a registration. The same address of the same account gets the new secret instead."""
        others = [old for old in self._hooks_of(hook.provider, hook.account) if old.url != hook.url]
        self._hooks[hook.provider, hook.account] = [*others, hook]

    def _hooks_of(self, provider: str, account: str) -> list[Hook]:
        return self._hooks.get((provider, account), [])

    @property
    def hooks(self) -> list[Hook]:
        """All registrations."""
        return [hook for hooks in self._hooks.values() for hook in hooks]

    def publish(self, account: Account, event: str, body: bytes) -> None:
        """Queue an event for every hook of the account, through the webhook faults."""
        for hook in self._hooks_of(account.provider, account.key):
            if hook.wants(event):
                self.deliver(hook, event, body)

    def deliver(self, hook: Hook, event: str, body: bytes) -> None:
        """Queue an event for one address, through the webhook faults."""
        delivery = Delivery(hook, event, body, self.network.now())
        self.log.append(delivery)
        self._send_through_faults(delivery)

    def _send_through_faults(self, delivery: Delivery) -> None:
        hook = delivery.hook
        rule = self.network.faults.draw(hook.provider, "webhook", hook.account)
        if rule is None:
            self._enqueue(delivery)
            return
        match rule.kind:
            case "drop":
                delivery.state = "dropped"
            case "late":
                self.network.after(rule.delay, lambda: self._enqueue(delivery))
            case "reorder":
                self._hold(delivery)
            case kind:  # duplicate or forge
                self._enqueue(delivery)
                extra = Delivery(hook, delivery.event, delivery.body, self.network.now())
                if kind == "forge":
                    self._forge(extra)
                self.log.append(extra)
                self._enqueue(extra)

    def _hold(self, delivery: Delivery) -> None:
        """Hold a webhook until the next one to the same address was sent, at most two seconds."""
        if delivery.hook.url in self._held:
            self._enqueue(delivery)
            return
        self._held[delivery.hook.url] = delivery

        def release() -> None:
            if self._held.get(delivery.hook.url) is delivery:
                del self._held[delivery.hook.url]
                self._put(delivery)

        self.network.after(2.0, release)

    def _forge(self, delivery: Delivery) -> None:
        """Forge a webhook: give it a wrong signature, or the right one over a changed body."""
        delivery.forged = True
        if self.network.faults.dice.random() < 0.5:
            delivery.wrong_secret = True
        else:
            delivery.body = compact(_inflate(json.loads(delivery.body)))

    def _enqueue(self, delivery: Delivery) -> None:
        self._put(delivery)
        held = self._held.pop(delivery.hook.url, None)
        if held is not None:
            self._put(held)

    def _put(self, delivery: Delivery) -> None:
        url = delivery.hook.url
        queue = self._queues.get(url)
        if queue is None:
            queue = self._queues[url] = asyncio.Queue()
            task = asyncio.get_running_loop().create_task(self._work(queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        queue.put_nowait(delivery)

    async def _work(self, queue: asyncio.Queue[Delivery]) -> None:
        while True:
            await self._once(await queue.get())

    async def _once(self, delivery: Delivery) -> None:
        """Try once, and schedule the next try if this one failed."""
        await self._try(delivery)
        if delivery.state != "queued":
            return
        if delivery.tries > len(RETRY_AFTER):
            delivery.state = "given_up"
        else:
            self.network.after(RETRY_AFTER[delivery.tries - 1], lambda: self._put(delivery))

    async def _try(self, delivery: Delivery) -> None:
        delivery.tries += 1
        delivery.status_code = await self.send(delivery.hook.url, delivery.body, self._headers(delivery))
        if delivery.status_code is not None and 200 <= delivery.status_code < 300:
            delivery.state = "delivered"
        elif delivery.forged:
            delivery.state = "given_up"

    async def _post(self, url: str, body: bytes, headers: Fields) -> int | None:
        try:
            async with self._client().post(url, data=body, headers=headers, allow_redirects=False) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None

    def _headers(self, delivery: Delivery) -> Headers:
        """Signed again for each try. An altered body keeps the signature of the original."""
        hook = delivery.hook
        provider = self.network.providers[hook.provider]
        account, secret, body = hook.account, hook.secret, delivery.body
        if delivery.wrong_secret:
            account, secret = "not-the-key", "not-the-secret"
        elif delivery.forged:
            body = b"{}"
        return {"Content-Type": "application/json", **provider.sign(account, secret, body)}

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15))
        return self._session


def _inflate(value: Any) -> Any:
    """The same document with ten times the amount."""
    if isinstance(value, list):
        return [_inflate(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: item * 10 if key in _FORGED_AMOUNTS and isinstance(item, int | float) else _inflate(item)
        for key, item in value.items()
    }
