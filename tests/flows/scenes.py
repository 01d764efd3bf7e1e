"""An installation with scripted providers, a clock that is moved by hand, and one practice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from polytill.app import Polytill
from polytill.background import sweep
from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment, IntegrationType, RefundOrigin, RefundState
from polytill.flows.admin import catalog, provider_configs
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.command import Command
from polytill.flows.payments.create import create_payment
from polytill.flows.payments.reading import PaymentDetails
from polytill.flows.payments.request import PaymentRequest
from polytill.flows.webhooks import receive
from polytill.providers.contract import Customer, Fact, WebhookResult
from polytill.providers.http import to_json
from polytill.providers.outcomes import Declined, NeedsAction, NextAction, NextKind, Reason, Succeeded
from polytill.storage import attempts, cases, disputes, ledger, payments, refunds
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment
from polytill.storage.provider_configs import Configuration
from polytill.storage.refunds import Refund
from polytill.storage.webhook_events import WebhookEvent
from tests import calls
from tests.flows.scripted import HANDLERS, MODULES, Wire, put
from tests.installation import fresh_settings, opened

_numbers = count(1)
LINK = NeedsAction(NextAction(NextKind.redirect, "https://scripted.example/pay"), None, "tx-1")
REFUSED = Declined(Reason.declined, True, "51", "No.")


def paid(amount: int = 1000, currency: str = "NGN", fee: int | None = 15, transaction: str = "tx-1") -> Succeeded:
    """The payment was received."""
    return Succeeded(Money(amount, currency), transaction, None if fee is None else Money(fee, currency))


def held(amount: int = 1000, transaction: str = "tx-1") -> Succeeded:
    """The money is held."""
    return Succeeded(Money(amount, "NGN"), transaction, authorized_only=True)


def keys(mark: str = "1", mode: str = "test") -> Keys:
    """A complete set of keys."""
    return Keys(f"pk_{mode}_{mark}", Secret(f"sk_{mode}_{mark}"), Secret(f"wh_{mode}{mark}"))


def refund_in(state: RefundState) -> Refund:
    """A refund of 100 in this state, on no database."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Refund(
        "r", "p", 1, Environment.sandbox, "a", state, 100, "NGN", None, RefundOrigin.api, "k", "h", "test", now, now
    )


@dataclass
class Clock:
    """Stands still until it is moved."""

    at_s: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.at_s


@dataclass
class Scene:
    """What a test of the flows has at hand."""

    till: Polytill
    wire: Wire
    clock: Clock
    practice_id: int
    db: PracticeDb
    events: int = field(default=0)

    @property
    def context(self) -> Any:
        return self.till.context

    async def configure(self, code: str = "scripted", given: Keys | None = None, **more: Any) -> Configuration:
        """Configure a provider, in the sandbox unless told otherwise."""
        wish: dict[str, Any] = {"is_enabled": True, "supported_currencies": ["NGN"]} | more
        environment = wish.pop("environment", Environment.sandbox)
        patch = wish.pop("patch", False)
        saved, _ = await provider_configs.configure(
            self.context, self.practice_id, Wish(code, environment, given or keys(), **wish), "test", patch
        )
        return saved

    async def pay(self, key: str | None = None, amount: int = 1000, **more: Any) -> PaymentDetails:
        """Take a payment."""
        currency = more.pop("currency", "NGN")
        request = PaymentRequest(Money(amount, currency), **{"customer": Customer("ada@example.com"), **more})
        command = Command(key or f"key-{next(_numbers)}", "test")
        return await create_payment(self.context, self.practice_id, request, command)

    async def succeeded(self, amount: int = 1000, fee: int | None = 15, **more: Any) -> Payment:
        """A payment whose money is there."""
        self.wire.says("create", paid(amount, transaction=f"tx-{next(_numbers)}", fee=fee))
        return (await self.pay(amount=amount, **more)).payment

    async def payment(self, payment_id: str) -> Payment:
        """As it stands in the database."""
        found = await payments.by_id(self.db, payment_id)
        assert found is not None
        return found

    async def attempts(self, payment_id: str) -> list[Attempt]:
        """As they stand in the database."""
        return await attempts.of_payment(self.db, payment_id)

    async def delivery(
        self, configuration: Configuration, *facts: Fact, secret: str = "wh_test1", **more: Any
    ) -> WebhookEvent | None:
        """A webhook with these facts arrives."""
        self.events += 1
        result = WebhookResult("event", more.pop("dedupe_key", f"event-{self.events}"), "apply", facts=facts, **more)
        body = to_json({"event": put(result), "named": [fact.provider_transaction_id for fact in facts]})
        return await receive.receive(self.context, configuration.hook_token, {"x-secret": secret}, body)

    async def cases(self) -> list[str]:
        """The kinds of the open review cases."""
        return sorted(case.kind for case in await cases.listed(self.db))

    async def later(self, seconds: float) -> int:
        """Let time pass, and sweep."""
        self.clock.at_s += seconds
        return await sweep(self.till.context)

    async def books_agree(self) -> None:
        """Every entry sums to zero, and the ledger says what the payments say."""
        sums = await self.db.fetch("SELECT entry_id, SUM(amount) AS total FROM ledger_lines GROUP BY entry_id")
        assert all(row["total"] == 0 for row in sums)
        rows = await self.db.fetch("SELECT id FROM payments")
        for row in rows:
            payment = await self.payment(row["id"])
            assert 0 <= payment.amount_refunded + payment.refund_reserved <= payment.amount_captured
            assert payment.amount_captured <= payment.amount_authorized
            lines = await ledger.of_payment(self.db, payment.id)
            booked = {
                account: sum(line["amount"] for line in lines if line["account"] == account)
                for account in ("payments", "refunds", "disputes", "duplicate_payments")
            }
            given = await refunds.of_payment(self.db, payment.id)
            returned = sum(r.booked_duplicate for r in given if r.returns_duplicate)
            disputed = await disputes.of_payment(self.db, payment.id)
            lost_twice = sum(d.booked for d in disputed) - payment.amount_lost
            assert lost_twice >= 0
            assert booked == {
                "payments": -payment.amount_captured,
                "disputes": payment.amount_lost,
                "refunds": payment.amount_refunded + payment.duplicate_refunded - returned,
                "duplicate_payments": returned
                + lost_twice
                + sum(
                    line["amount"]
                    for line in lines
                    if (line["account"], line["fact"]) == ("duplicate_payments", "duplicate_payment")
                ),
            }
            reserved = sum(r.amount for r in given if r.reserves and r.state in ("sent", "pending", "unknown"))
            assert payment.refund_reserved == reserved


@asynccontextmanager
async def scene(folder: Path, engine_url: str | None) -> AsyncIterator[Scene]:
    """A scene with scripted providers in the catalog, none of them configured yet."""
    wire, clock = Wire(), Clock()
    settings = fresh_settings(folder, engine_url, handler_modules=MODULES)
    async with opened(settings, [], world=World(clock, elapsed_s=clock), transport=wire) as till:
        for code, handler in HANDLERS.items():
            given = {
                "code": code,
                "name": handler.name,
                "integration_type": IntegrationType.custom,
                "handler_module": f"{handler.__module__}.{handler.__name__}",
            }
            await catalog.add(till.context, given, None, "test")
        entry, _ = await calls.create_practice(till, "Clinic", "NGN")
        made = Scene(till, wire, clock, entry.id, await till.context.opening.practice(entry.id))
        yield made
        await made.books_agree()
        assert wire.problems == []
