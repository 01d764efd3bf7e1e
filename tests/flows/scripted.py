"""Providers that answer what a test tells them to, over a transport that the test holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar

from polytill.providers.contract import (
    CatalogEntry,
    CreatePaymentParams,
    CredentialTest,
    CurrencyTerms,
    Handler,
    KeyField,
    WebhookResult,
)
from polytill.providers.http import Answer, parse_json, to_json
from polytill.providers.outcomes import JsonObject, Outcome
from polytill.storage.units import work_is_open

# What travels over the wire is a number; what it stands for lies here.
_MEANT: dict[int, Any] = {}
_numbers = count(1)


def put(meant: Any) -> int:
    """Remember something under a fresh number."""
    number = next(_numbers)
    _MEANT[number] = meant
    return number


class Scripted(Handler):
    """A provider with every verb. Each call goes over the wire with the verb as its path."""

    code = "scripted"
    name = "Scripted"
    hosts = frozenset({"scripted.example"})
    keys: ClassVar[Mapping[str, KeyField]] = {
        "publicKey": KeyField("Public key", r"pk_test_\w+", r"pk_live_\w+"),
        "secretKey": KeyField("Secret key", r"sk_test_\w+", r"sk_live_\w+"),
        "webhookSecret": KeyField("Webhook secret", r"wh_\w+", r"wh_\w+", required=False),
    }
    config_schema: ClassVar[JsonObject] = {
        "type": "object",
        "properties": {"region": {"type": "string"}, "pin": {"type": "string", "minLength": 4, "secret": True}},
        "additionalProperties": False,
    }
    catalog = CatalogEntry(
        "Says what it is told",
        "https://scripted.example",
        "https://scripted.example/docs",
        "https://scripted.example",
        "https://scripted.example",
        ("card", "bank_transfer"),
        {"NGN": CurrencyTerms(15_000, 0, 100, 10**9), "USD": CurrencyTerms()},
    )
    settle_horizon_s = 120.0
    direct_charges: ClassVar[Mapping[tuple[str, str], tuple[str, ...]]] = {("NGN", "bank_transfer"): ("bank",)}

    async def _ask(self, verb: str, params: Any) -> Outcome:
        assert self.config.secret_key is not None
        headers = {"authorization": self.config.secret_key.reveal()}
        body = to_json({"params": put(params)})
        answer = await self.http.send("POST", f"{self.config.base_url}/{verb}", headers, body)
        if not isinstance(answer, Answer):
            return answer
        meant = _MEANT[answer.data["answer"]]
        if isinstance(meant, Exception):
            raise meant
        return meant  # type: ignore[no-any-return]

    async def create_payment_intent(self, params: CreatePaymentParams) -> Outcome:
        return await self._ask("create", params)

    async def confirm_payment(self, params: Any) -> Outcome:
        return await self._ask("confirm", params)

    async def lookup_payment(self, params: Any) -> Outcome:
        return await self._ask("lookup", params)

    async def refund_payment(self, params: Any) -> Outcome:
        return await self._ask("refund", params)

    async def lookup_refund(self, params: Any) -> Outcome:
        return await self._ask("lookup_refund", params)

    async def capture_payment(self, params: Any) -> Outcome:
        return await self._ask("capture", params)

    async def cancel_payment(self, params: Any) -> Outcome:
        return await self._ask("cancel", params)

    async def charge_saved_method(self, params: Any) -> Outcome:
        return await self._ask("charge", params)

    async def continue_payment(self, params: Any) -> Outcome:
        return await self._ask("continue", params)

    async def test_credentials(self) -> CredentialTest:
        return await self._ask("test", None)  # type: ignore[return-value]

    def validate_webhook(self, headers: Mapping[str, str], body: bytes) -> bool:
        return any(secret.reveal() == headers.get("x-secret") for secret in self.config.webhook_secrets)

    def process_webhook(self, body: bytes) -> WebhookResult:
        event = parse_json(body)
        meant = _MEANT[event["event"]]
        assert isinstance(meant, WebhookResult)
        meant_body: JsonObject = event
        object.__setattr__(meant, "body", meant_body)
        return meant


class Other(Scripted):
    """A second provider, for failing over."""

    code = "other"
    name = "Other"
    hosts = frozenset({"other.example"})
    catalog = CatalogEntry(
        "Second",
        "https://other.example",
        "https://other.example",
        "https://other.example",
        "https://other.example",
        ("card",),
        {"NGN": CurrencyTerms()},
    )


class Mover(Scripted):
    """A provider whose create call moves money at once."""

    code = "mover"
    name = "Mover"
    create_moves_money = True


class Plain(Scripted):
    """A provider that can neither capture nor cancel."""

    code = "plain"
    name = "Plain"
    capture_payment = None  # type: ignore[assignment]
    cancel_payment = None  # type: ignore[assignment]
    charge_saved_method = None  # type: ignore[assignment]


HANDLERS = {handler.code: handler for handler in (Scripted, Other, Mover, Plain)}
MODULES = frozenset(f"{handler.__module__}.{handler.__name__}" for handler in HANDLERS.values())

Answering = Callable[[Any], Awaitable[Any]]


@dataclass
class Call:
    """One call that was made: to which host, with which verb, params and key."""

    host: str
    verb: str
    params: Any
    key: str


class Wire:
    """The transport. For each verb a queue of what to answer: an outcome, an exception, or a coroutine function."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.problems: list[str] = []
        self.before: Answering | None = None
        self._script: dict[str, list[Any]] = defaultdict(list)
        self._always: dict[str, Any] = {}

    def says(self, verb: str, *answers: Any) -> None:
        """Answer the next calls of a verb."""
        self._script[verb].extend(answers)

    def always(self, verb: str, answer: Any) -> None:
        """Answer every call of a verb that has nothing queued."""
        self._always[verb] = answer

    def of(self, verb: str) -> list[Call]:
        """The calls of a verb."""
        return [call for call in self.calls if call.verb == verb]

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        _, _, host, verb = url.split("/", 3)
        params = _MEANT[parse_json(body or b"")["params"]]
        call = Call(host, verb, params, headers["authorization"])
        self.calls.append(call)
        if work_is_open():
            self.problems.append(f"{verb} was called inside a transaction")
        if self.before is not None:
            try:
                await self.before(call)
            except AssertionError as error:
                self.problems.append(f"before {verb}: {error}")
        queue = self._script[verb]
        if not queue and verb not in self._always:
            self.problems.append(f"{verb} was called and nobody expected it")
        answer = queue.pop(0) if queue else self._always.get(verb)
        if callable(answer):
            answer = await answer(params)
        if isinstance(answer, Lost):
            raise answer.error
        return 200, {}, to_json({"answer": put(answer)})


@dataclass(frozen=True)
class Lost:
    """The transport itself fails."""

    error: Exception
