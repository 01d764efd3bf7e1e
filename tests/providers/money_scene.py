"""A practice with one real handler and its simulated provider in the same process, whose webhooks a test delivers itself.

What the provider truly holds is in the simulator's books: the ledger must say the same, whatever the order of the news.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests import calls
from tests.flows.scenes import Clock
from tests.installation import BASES, TEST_KEYS, fresh_settings, opened
from tests.providers.in_process import SIMULATOR, InProcess

from polytill.app import Polytill
from polytill.background import sweep
from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import CaptureMode, Environment
from polytill.flows.admin import catalog, provider_configs
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.command import Command
from polytill.flows.payments.create import create_payment
from polytill.flows.payments.request import PaymentRequest
from polytill.flows.reconciliation.payments import reconcile
from polytill.flows.webhooks import receive
from polytill.providers.contract import Customer
from polytill.simulator.books import DisputeStory, Transaction
from polytill.simulator.deliveries import Hook
from polytill.storage import attempts, cases, disputes, ledger, payments
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment

_numbers = count(1)
PHONES = {"UGX": "+256772345678", "NGN": "+2348031234567"}


@dataclass(slots=True)
class News:
    """One webhook as the provider signed it, not delivered yet."""

    event: str
    body: bytes
    headers: dict[str, str]


@dataclass
class MoneyScene:
    """One practice, one provider, one currency."""

    till: Polytill
    wire: InProcess
    clock: Clock
    practice_id: int
    db: PracticeDb
    code: str
    currency: str
    hook_token: str
    config: Any
    key: str
    outbox: list[News] = field(default_factory=list)

    # The provider and the customer

    @property
    def provider(self) -> Any:
        return self.wire.network.providers[self.code]

    @property
    def account(self) -> Any:
        return self.wire.network.account(self.code, self.key)

    def transaction(self, payment: Payment) -> Transaction:
        """The provider's own record of a payment's money."""
        found = [tx for tx in self.account.transactions if tx.captured or tx.status == "authorized"]
        named = [tx for tx in found if payment.provider_transaction_id in _names(tx)]
        assert len(named) == 1, (payment.provider_transaction_id, [(tx.id, tx.status) for tx in found])
        return named[0]

    def pass_time(self, seconds: float = 1.0) -> None:
        """Time passes, and the provider does what is due."""
        self.clock.at_s += seconds
        self.wire.network.run_due()

    def dispute(self, payment: Payment, outcome: str, **story: Any) -> None:
        self.provider.dispute(self.account, self.transaction(payment), outcome, DisputeStory(**story))
        self.pass_time()

    def refund_in_dashboard(self, payment: Payment, amount: int) -> None:
        self.provider.refund_in_dashboard(self.account, self.transaction(payment), amount)
        self.pass_time()

    def news(self) -> list[News]:
        """What the provider has to tell since this was asked last, in its order."""
        found, self.outbox = self.outbox, []
        return found

    async def deliver(self, news: Iterable[News] | None = None) -> None:
        """Webhooks arrive; what they ask to be looked up later is looked up."""
        for one in self.news() if news is None else news:
            headers = {name.lower(): value for name, value in one.headers.items()}
            await receive.receive(self.till.context, self.hook_token, headers, one.body)

    # The practice

    async def paid(self, amount: int, capture: CaptureMode = CaptureMode.automatic, **more: Any) -> Payment:
        """A payment that was made, or is held."""
        request = PaymentRequest(
            Money(amount, self.currency),
            capture=capture,
            customer=Customer("ada@example.com", "Ada", PHONES.get(self.currency, "+254712345678")),
            **more,
        )
        command = Command(f"key-{next(_numbers)}", "test")
        taken = await create_payment(self.till.context, self.practice_id, request, command)
        reference = (await attempts.of_payment(self.db, taken.payment.id))[-1].id
        tx = next(tx for tx in reversed(self.account.transactions) if tx.reference == reference)
        self.provider.pay(self.account, tx, "success")
        self.pass_time()
        await self.deliver()
        await calls.confirm(self.till, self.practice_id, taken.payment.id)
        await self.deliver()
        return await self.payment(taken.payment.id)

    async def payment(self, payment_id: str) -> Payment:
        found = await payments.by_id(self.db, payment_id)
        assert found is not None
        return found

    async def refund(self, payment: Payment, amount: int, **more: Any) -> Any:
        made = await calls.refund(
            self.till, self.practice_id, payment.id, key=f"refund-{next(_numbers)}", amount=amount, **more
        )
        self.pass_time()
        return made

    async def sweep(self, seconds: float = 7200.0) -> None:
        """Time passes, and the worker comes by: lookups, and comparisons with what the provider lists."""
        self.pass_time(seconds)
        for _ in range(2):
            await sweep(self.till.context, everyone=True)
            self.pass_time(60)
        await reconcile(self.till.context, self.practice_id)

    async def cases(self) -> list[str]:
        return sorted(case.kind for case in await cases.listed(self.db))

    async def cases_of(self, payment: Payment) -> list[str]:
        return sorted(case.kind for case in await cases.listed(self.db, limit=1000) if case.payment_id == payment.id)

    async def events(self, payment: Payment, *prefixes: str) -> list[str]:
        """The types of events about a payment, oldest first."""
        rows = await self.db.fetch("SELECT type, data FROM events ORDER BY id")
        return [row["type"] for row in rows if payment.id in str(row["data"]) and row["type"].startswith(prefixes)]

    async def disputes(self, payment: Payment) -> list[Any]:
        return await disputes.of_payment(self.db, payment.id)

    async def held(self, payment: Payment) -> int:
        """What the ledger says that the provider holds of a payment, before fees."""
        lines = await ledger.of_payment(self.db, payment.id)
        return sum(
            line["amount"]
            for line in lines
            if line["account"].startswith("provider:") and not str(line["fact"]).startswith("fee")
        )

    def truly_held(self, payment: Payment) -> int:
        """And what the provider's own books say."""
        tx = self.transaction(payment)
        return tx.captured - tx.refunded - tx.lost


def _names(tx: Transaction) -> set[str]:
    return {str(tx.id), str(tx.reference)}


@asynccontextmanager
async def money_scene(
    folder: Path, engine_url: str | None, code: str, currency: str, **more: Any
) -> AsyncIterator[MoneyScene]:
    """A practice whose only provider is ``code``, in its sandbox."""
    clock, wire = Clock(), InProcess()
    wire.network.clock = clock
    settings = fresh_settings(folder, engine_url, allowed_provider_origins=frozenset({SIMULATOR}))
    async with opened(settings, [code], world=World(clock, elapsed_s=clock), transport=wire) as till:
        base = SIMULATOR + BASES[code]
        await catalog.change(till.context, code, {"api_base_url": base, "sandbox_api_base_url": base}, None, "test")
        if (
            currency not in (await till.context.catalog())[code].supported_currencies
        ):  # the provider has it all the same
            await catalog.change(till.context, code, {}, [currency], "test")
        entry, _ = await calls.create_practice(till, "Clinic", currency)
        given = TEST_KEYS[code]
        secret = given.get("webhookSecret")
        keys = Keys(given["publicKey"], Secret(given["secretKey"]), Secret(secret) if secret else None)
        wish = Wish(code, Environment.sandbox, keys, is_enabled=True, supported_currencies=[currency], **more)
        saved, _ = await provider_configs.configure(till.context, entry.id, wish, "test", False)
        scene = MoneyScene(
            till,
            wire,
            clock,
            entry.id,
            await till.context.opening.practice(entry.id),
            code,
            currency,
            saved.hook_token,
            saved,
            given["secretKey"],
        )

        def tell(hook: Hook, event: str, body: bytes) -> None:
            headers = {"Content-Type": "application/json", **scene.provider.sign(hook.account, hook.secret, body)}
            scene.outbox.append(News(event, body, headers))

        wire.network.deliverer.deliver = tell  # type: ignore[method-assign]
        hook = Hook(code, given["secretKey"], "http://127.0.0.1/hook", secret or given["secretKey"], refund_events=True)
        wire.network.deliverer.register(hook)
        yield scene
