"""The test bench for one handler: a transport that returns the fixture's answers, or fails in a chosen way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.providers.contract import (
    ChargeSavedMethodParams,
    ConfirmPaymentParams,
    ContinuePaymentParams,
    CreatePaymentParams,
    Handler,
    LookupParams,
    OperationParams,
    RefundLookupParams,
    RefundParams,
)
from polytill.providers.http import Http, to_json
from polytill.providers.outcomes import Wants
from polytill.testing.conformance.fixture import (
    INPUT,
    PAYMENT,
    REFERENCE,
    REFUND,
    TOKEN,
    Example,
    ProviderFixture,
    Sample,
)

Raw = tuple[int, Mapping[str, str], bytes]
Fault = Exception | Raw
Path = tuple[Any, ...]
LONG_AGO_S = 40 * 24 * 3600.0
T = TypeVar("T")


def expect(kind: type[T], outcome: object, what: str) -> T:
    """The outcome, which must be of this kind. ``what`` it is about begins the message if it is not."""
    assert isinstance(outcome, kind), f"{what} is {outcome!r}"
    return outcome


def fields_of(value: Any, above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every member of a JSON document at any depth, with the path to it."""
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in pairs:
        yield (*above, name), inner
        yield from fields_of(inner, (*above, name))


@dataclass(frozen=True)
class Asked:
    """One request as it was sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def called(self) -> str:
        """The ``METHOD url``."""
        return f"{self.method} {self.url}"

    @property
    def text(self) -> str:
        """The whole request as text, for searches."""
        head = "\n".join(f"{name}: {value}" for name, value in self.headers.items())
        return f"{self.called}\n{head}\n\n{self.body.decode('utf-8', 'replace')}"


@dataclass
class Wire:
    """The transport. Each sample answers the requests that it matches, in order; the last match is repeated."""

    answers: list[tuple[Sample, bytes]]
    token_at: str | None
    fault: Fault | None = None
    asked: list[Asked] = field(default_factory=list)
    used: set[int] = field(default_factory=set)

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Raw:
        """See ``Transport.send``."""
        asked = Asked(method, url, dict(headers), body or b"")
        self.asked.append(asked)
        if self.fault is not None and not self._fetches_token(asked):
            if isinstance(self.fault, Exception):
                raise self.fault
            return self.fault
        fitting = [place for place, (sample, _) in enumerate(self.answers) if sample.to in asked.called]
        assert fitting, f"the fixture has no answer to {asked.called}"
        place = next((place for place in fitting if place not in self.used), fitting[-1])
        self.used.add(place)
        sample, content = self.answers[place]
        return sample.status, sample.headers, content

    def _fetches_token(self, asked: Asked) -> bool:
        return self.token_at is not None and self.token_at in asked.called

    @property
    def payments(self) -> list[Asked]:
        """The requests other than those for access tokens."""
        return [one for one in self.asked if not self._fetches_token(one)]


class Stand:
    """One handler under test: creates instances of it, and sends them the requests that the checks need."""

    def __init__(self, fixture: ProviderFixture) -> None:
        self.fixture = fixture
        self.handler_class = fixture.handler
        self.first = fixture.examples[0]

    # ── Instances ──

    def wire(
        self, name: str | None = None, example: Example | None = None, fault: Fault | None = None, **words: str
    ) -> Wire:
        """A transport with the sample answers of this name, filled in for an example."""
        samples = self.fixture.sample(name) if name and self.handler_class.hosts else ()
        token_at = self.fixture.token_at
        told = token_at is not None and any(token_at in sample.to for sample in samples)
        tokens = () if told else self.fixture.samples("token")
        filled = [(sample, self._content(sample, example or self.first, words)) for sample in (*tokens, *samples)]
        return Wire(filled, token_at, fault)

    def _content(self, sample: Sample, example: Example, words: Mapping[str, str]) -> bytes:
        if isinstance(sample.body, bytes):
            return sample.body
        return to_json(self.fixture.filled(sample.body, example, **words))

    def altered(self, name: str, place: int, path: Path, value: Any) -> Wire:
        """A transport whose answer at this place has another value in one field."""
        wire = self.wire(name)
        sample, content = wire.answers[place]
        document = inner = json.loads(content)
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value
        wire.answers[place] = sample, json.dumps(document).encode()
        return wire

    def handler(self, wire: Wire, account: int = 0, **changed: Any) -> Handler:
        """An instance with one practice's credentials and a fixed time."""
        config = replace(self.fixture.accounts[account], **changed)
        return self.handler_class(config, Http(wire), World(lambda: self.fixture.now_s, bytes))

    def secrets(self, account: int) -> list[str]:
        """All secret values of one account."""
        config = self.fixture.accounts[account]
        found = [config.secret_key, *config.webhook_secrets, *config.config.values()]
        return [secret.reveal() for secret in found if hasattr(secret, "reveal")]

    def is_token(self, sample: Sample) -> bool:
        """Whether a sample answers with an access token or a certificate, so is not about a payment."""
        return sample in self.fixture.samples("token")

    # ── Requests ──

    def creation(self, reference: str = REFERENCE, money: Money | None = None) -> CreatePaymentParams:
        """A payment to start."""
        return CreatePaymentParams(
            reference, PAYMENT, money or self.first.money, self.fixture.customer, "https://shop.example/return"
        )

    def question(self, money: Money | None = None) -> ConfirmPaymentParams:
        """A request for the state of the payment."""
        return ConfirmPaymentParams(REFERENCE, self.fixture.transaction_id, money or self.first.money)

    def lost(self, age_s: float = LONG_AGO_S) -> LookupParams:
        """A lookup of a create whose answer was lost."""
        return LookupParams(REFERENCE, None, self.first.money, self.creation(), age_s, int(self.fixture.now_s - age_s))

    def charge(self, reference: str = REFERENCE) -> ChargeSavedMethodParams:
        """A charge to a saved method."""
        return ChargeSavedMethodParams(
            reference,
            PAYMENT,
            self.first.money,
            self.fixture.customer,
            Secret(TOKEN),
            provider_customer_id="cus-of-the-provider",
        )

    def answered(self) -> ContinuePaymentParams:
        """The customer's payment input."""
        return ContinuePaymentParams(
            REFERENCE,
            self.fixture.transaction_id,
            self.first.money,
            Wants.otp,
            {"otp": Secret(INPUT)},
            "01conformance-operation-0002",
            self.fixture.continuation,
        )

    def refund(self, reference: str = REFUND) -> RefundParams:
        """A full refund to start."""
        return RefundParams(reference, REFERENCE, self.fixture.transaction_id, self.first.money, True)

    def lost_refund(self, age_s: float = LONG_AGO_S) -> RefundLookupParams:
        """A lookup of a refund whose answer was lost."""
        return RefundLookupParams(
            REFUND,
            REFERENCE,
            self.fixture.transaction_id,
            None,
            self.first.money,
            True,
            age_s=age_s,
            created_at_s=int(self.fixture.now_s - age_s),
        )

    def operation(self, amount: bool) -> OperationParams:
        """A capture of the full authorized amount, or a cancel."""
        return OperationParams(
            "01conformance-operation-0001", REFERENCE, self.fixture.transaction_id, self.first.money if amount else None
        )

    # ── Calls ──

    @cached_property
    def arguments(self) -> dict[str, tuple[Any, ...]]:
        """The usual arguments of each verb that calls the provider."""
        listed = (0, self.fixture.now_s)
        return {
            "create_payment_intent": (self.creation(),),
            "confirm_payment": (self.question(),),
            "lookup_payment": (self.lost(),),
            "refund_payment": (self.refund(),),
            "lookup_refund": (self.lost_refund(),),
            "capture_payment": (self.operation(True),),
            "cancel_payment": (self.operation(False),),
            "charge_saved_method": (self.charge(),),
            "continue_payment": (self.answered(),),
            "list_transactions": listed,
            "list_refunds": listed,
            "list_disputes": listed,
            "get_balance": (),
        }

    async def call(self, verb: str, wire: Wire | str) -> Any:
        """The outcome of a verb with its usual arguments, from a transport or from the sample with this name."""
        handler = self.handler(self.wire(wire) if isinstance(wire, str) else wire)
        return await getattr(handler, verb)(*self.arguments[verb])

    async def read(self, name: str, wire: Wire | None = None) -> Any:
        """The outcome of the call that a sample answers: "created" answers a create, any other a payment lookup."""
        return await self.call("create_payment_intent" if name == "created" else "confirm_payment", wire or name)

    async def outcomes(self, fault: Fault) -> dict[str, Any]:
        """The outcome of each verb of this handler under a fault, by the verb's name."""
        found = {}
        for verb in self.arguments:
            if getattr(self.handler_class, verb) is None:
                continue
            wire = self.wire(fault=fault)
            outcome = await self.call(verb, wire)
            # A handler that knows no id to look up sends no request, so the fault did not occur.
            if wire.payments or verb != "lookup_payment":
                found[verb] = outcome
        return found
