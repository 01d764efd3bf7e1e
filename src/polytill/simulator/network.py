"""The network: one seeded world with its clock, its accounts and its providers.

This module has time, randomness, the scheduler, and search across accounts. What a provider answers, how faults break a
connection and how webhooks are sent are in other files.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
import string
import time
from collections.abc import Callable

from polytill.simulator.books import Account, Json, Transaction
from polytill.simulator.deliveries import Deliverer
from polytill.simulator.faults import Faults
from polytill.simulator.flutterwave.v3 import Flutterwave
from polytill.simulator.flutterwave.v4 import FlutterwaveV4
from polytill.simulator.mpesa.server import Mpesa
from polytill.simulator.paypal.server import PayPal
from polytill.simulator.paystack.server import Paystack
from polytill.simulator.stripe.server import Stripe
from polytill.simulator.wire import Fields, PayPage, Provider, compact

_log = logging.getLogger(__name__)
PROVIDERS: tuple[type[Provider], ...] = (Stripe, Paystack, Flutterwave, FlutterwaveV4, Mpesa, PayPal)
_ALPHANUMERIC = string.ascii_letters + string.digits


class Network:
    """All state of the simulator."""

    def __init__(self, seed: int = 0, public_url: str | None = None, clock: Callable[[], float] = time.time) -> None:
        self.seed = seed
        self.clock = clock
        self.public_url = public_url.rstrip("/") if public_url else None
        self.stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self.faults = Faults(self)
        self.deliverer = Deliverer(self)
        self._forget()

    def _forget(self) -> None:
        self._offset = 0.0
        self.calls = 0  # of all providers' APIs
        self.random = random.Random(self.seed)
        self.accounts: dict[tuple[str, str], Account] = {}
        self._due.clear()
        self._numbers: dict[str, int] = {}
        self.providers = {provider.name: provider(self) for provider in PROVIDERS}

    def reset(self) -> None:
        """Forget everything: accounts, faults, registrations, webhooks, the advance of the clock."""
        self._forget()
        self.faults.reset()
        self.deliverer.reset()

    # Time

    def now(self) -> float:
        """The simulator's time in seconds: the clock (the real one, unless another was passed) plus what was advanced."""
        return self.clock() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock forward, stopping at everything that becomes due."""
        target = self.now() + seconds
        while self._due and self._due[0][0] <= target:
            self._offset += max(self._due[0][0] - self.now(), 0.0)
            self.run_due()
        self._offset += max(target - self.now(), 0.0)
        self._wake.set()

    def after(self, seconds: float, act: Callable[[], object]) -> None:
        """Run ``act`` after ``seconds`` of the simulator's time."""
        heapq.heappush(self._due, (self.now() + seconds, next(self._order), act))
        self._wake.set()

    def run_due(self) -> None:
        """Run everything that is due."""
        while self._due and self._due[0][0] <= self.now():
            act = heapq.heappop(self._due)[2]
            try:
                act()
            except Exception:
                _log.exception("a scheduled act failed")

    async def tick(self) -> None:
        """Run due acts forever. A task of the application."""
        while True:
            self._wake.clear()
            self.run_due()
            pause = max(self._due[0][0] - self.now(), 0.0) if self._due else None
            try:
                await asyncio.wait_for(self._wake.wait(), pause)
            except TimeoutError:
                continue

    # Identifiers

    def token(self, length: int) -> str:
        """Random letters and digits."""
        return "".join(self.random.choices(_ALPHANUMERIC, k=length))

    def hex(self, length: int) -> str:
        """Random hexadecimal digits."""
        return "".join(self.random.choices("0123456789abcdef", k=length))

    def number(self, series: str, start: int) -> int:
        """The next number of a series, with gaps, because other merchants are served in between."""
        value = self._numbers.get(series, start) + self.random.randint(1, 7)
        self._numbers[series] = value
        return value

    # Accounts and their transactions

    def account(self, provider: str, key: str) -> Account:
        """The account of a well-formed key, created on first use."""
        return self.accounts.setdefault((provider, key), Account(provider, key))

    def transactions(self) -> list[Transaction]:
        """All transactions of all accounts, oldest first."""
        found = [transaction for account in self.accounts.values() for transaction in account.transactions]
        return sorted(found, key=lambda transaction: transaction.created_at)

    def by_reference(self, reference: str, provider: str | None, account: str | None) -> Transaction | None:
        """The transaction with a merchant's reference: the newest that can still be paid, else the newest."""
        found = [
            transaction
            for transaction in self.transactions()
            if transaction.reference == reference
            and provider in (None, transaction.provider)
            and account in (None, transaction.account)
        ]
        payable = [transaction for transaction in found if transaction.payable]
        return next(reversed(payable or found), None)

    # Hosted pages

    def _behind(self, provider: str, token: str) -> tuple[Account, Transaction] | None:
        for (name, _), account in self.accounts.items():
            thing = account.things.get(token)
            if name == provider and isinstance(thing, Transaction):
                return account, thing
        return None

    def page(self, provider: str, token: str, query: Fields) -> PayPage | None:
        """The hosted page with this token. None if there is none, or if the query does not open it."""
        found = self._behind(provider, token)
        return self.providers[provider].page(*found, token, query) if found else None

    def submit(self, provider: str, token: str, outcome: str, form: Fields) -> str | None:
        """The payer pressed a button. Returns the address to send the browser to, or None to stay."""
        found = self._behind(provider, token)
        return self.providers[provider].submit(*found, token, outcome, form) if found else None

    def publish(self, account: Account, event: str, document: Json) -> None:
        """Send an event to the registrations of this account."""
        self.deliverer.publish(account, event, compact(document))
