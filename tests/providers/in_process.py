"""The pretended providers in the same process: a transport that reaches them without a socket, and loses answers."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import (
    ChargeSavedMethodParams,
    ConfirmPaymentParams,
    CreatePaymentParams,
    Customer,
    Handler,
    ProviderConfig,
)
from polytill.providers.flutterwave.v3 import FlutterwaveProvider
from polytill.providers.http import AnswerLost, Http
from polytill.providers.outcomes import SavedMethod, Succeeded
from polytill.providers.paystack.handler import PaystackProvider
from polytill.simulator.network import Network
from polytill.simulator.wire import Call

SIMULATOR = "http://simulator.example"
NGN = Money(500_000, "NGN")
_numbers = count(1)


class InProcess:
    """Calls as they went out, and a switch that loses the next answer after the call was acted on."""

    def __init__(self) -> None:
        self.network = Network(7, SIMULATOR)
        self.calls: list[str] = []
        self.loses_next: bool | str = False  # or only where the path has this in it

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        parts = urlsplit(url)
        provider = self.network.providers[parts.path.split("/")[1]]
        path = parts.path.removeprefix(provider.prefix)
        self.calls.append(f"{method} {path}")
        answer = provider.answer(Call(method, path, parts.query, headers, body or b"", SIMULATOR))
        if self.loses_next is True or (self.loses_next and str(self.loses_next) in path):
            self.loses_next = False
            raise AnswerLost("lost")
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.body

    def pay(self, provider: str, key: str, reference: str, outcome: str = "success") -> Any:
        """The payer acts."""
        account = self.network.account(provider, key)
        tx = next(tx for tx in reversed(account.transactions) if tx.reference == reference)
        return self.network.providers[provider].pay(account, tx, outcome)


class House:
    """One practice at a simulated provider."""

    def __init__(self, provider: type[Handler], key: str, phones: Mapping[str, str]) -> None:
        self.code, self.key, self.phones, self.wire = provider.code, key, phones, InProcess()
        self.saved: dict[Secret, SavedMethod] = {}
        config = ProviderConfig(Environment.sandbox, f"{SIMULATOR}/{self.code}", None, Secret(key))
        self.handler: Any = provider(config, Http(self.wire), World(time_s=lambda: 1_800_000_000))

    async def begin(self, amount: Money, method: str, **details: str) -> tuple[str, Any]:
        """A charge without the provider's page: its reference, and what came of it."""
        phone = self.phones.get(amount.currency)
        customer, reference = Customer("ada@example.com", phone=phone), f"att-{next(_numbers)}"
        params = CreatePaymentParams(
            reference, "pay-1", amount, customer, "https://x.example", method, method_details=details
        )
        return reference, await self.handler.create_payment_intent(params)

    async def ask(self, reference: str, amount: Money = NGN) -> Any:
        return await self.handler.confirm_payment(ConfirmPaymentParams(reference, None, amount))

    def pay(self, reference: str, outcome: str = "success") -> None:
        """The payer acts."""
        self.wire.pay(self.code, self.key, reference, outcome)

    async def saved_card(self, email: str) -> Secret:
        """A card that paid once on the provider's page."""
        params = CreatePaymentParams(f"att-{next(_numbers)}", "pay-0", NGN, Customer(email), "https://x.example")
        await self.handler.create_payment_intent(params)
        self.pay(params.reference)
        paid = await self.ask(params.reference)
        assert isinstance(paid, Succeeded)
        assert paid.saved_method is not None
        self.saved[paid.saved_method.token] = paid.saved_method
        return paid.saved_method.token

    async def charge(self, token: Secret, email: str) -> tuple[str, Any]:
        reference = f"att-{next(_numbers)}"
        params = ChargeSavedMethodParams(reference, "pay-2", NGN, Customer(email, "Ada Payer"), token)
        return reference, await self.handler.charge_saved_method(params)


def paystack_house() -> House:
    phones = dict.fromkeys(("NGN", "GHS", "KES"), "0551234987")
    return House(PaystackProvider, "sk_test_0123456789abcdef0123456789abcdef01234567", phones)


def flutterwave_house() -> House:
    phones = {
        "GHS": "+233551234987",
        "KES": "+254712345678",
        "UGX": "+256772123456",
        "RWF": "+250788123456",
        "XOF": "+2250700123456",
    }
    return House(FlutterwaveProvider, "FLWSECK_TEST-0123456789abcdef0123456789abcdef-X", phones)
