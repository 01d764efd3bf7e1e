"""A clinic's software, as far as it takes payments. It uses names of ``import polytill`` only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from polytill import (
    ConfigurationRequest,
    Credentials,
    Customer,
    Money,
    Payment,
    PaymentRequest,
    Polytill,
    Secret,
    Settings,
    Worker,
    migrate,
)

ACTOR = "clinic-software"
PREFIX = "/billing"  # where both hosts mount polytill; POLYTILL_PUBLIC_URL ends with it
# In production a clinic enters these on a page of yours, or on polytill's own.
PROVIDER, KEYS = (
    "paystack",
    Credentials("pk_test_0123456789abcdef", Secret("sk_test_0123456789abcdef0123456789abcdef01234567")),
)


class Clinic:
    """One practice, its invoices, and what is known about them."""

    def __init__(self, till: Polytill) -> None:
        self.till = till
        self.practice_id = 0
        self.api_key = Secret("")
        self.webhook_url = ""
        self.paid: set[str] = set()

    async def set_up(self) -> None:
        """Onboard the practice and configure its provider."""
        made = await self.till.create_practice("Lagos Family Clinic", "NGN", external_id="clinic-1", actor=ACTOR)
        self.practice_id, self.api_key = made.practice.id, made.key
        request = ConfigurationRequest(PROVIDER, KEYS, currencies=("NGN",), is_default=True)
        self.webhook_url = (await self.till.configure(self.practice_id, request, actor=ACTOR)).webhook_url

    async def bill(self, invoice: str) -> Payment:
        """Create the payment of an invoice. The invoice is the key: a second click creates no second payment."""
        request = PaymentRequest(Money(500_000, "NGN"), customer=Customer("ada@example.com"), reference=invoice)
        return await self.till.pay(self.practice_id, request, key=f"invoice-{invoice}", actor=ACTOR)

    async def follow_events(self) -> None:
        """Read the feed until canceled. A host stores the cursor in its own database, with what it concludes."""
        cursor = 0
        while True:
            page = await self.till.events(cursor)
            for event in page.events:
                if event.type == "payment.succeeded":
                    self.paid.add(str(event.data["reference"]))
            cursor = page.next_cursor
            await asyncio.sleep(0.2)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Clinic]:
    """The clinic while its process runs: polytill is opened, and a worker runs beside it.

    On PostgreSQL the worker is usually a process of its own (``polytill worker``); then leave it out here.
    """
    await migrate(settings)
    async with Polytill.open(settings) as till:
        clinic = Clinic(till)
        tasks = [asyncio.create_task(Worker(till).run()), asyncio.create_task(clinic.follow_events())]
        try:
            yield clinic
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
