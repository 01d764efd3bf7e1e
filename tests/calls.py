"""The calls that most tests make, straight to the flows: what they return are the stored rows."""

from __future__ import annotations

from polytill.app import Polytill
from polytill.flows.admin import practices
from polytill.flows.command import Command
from polytill.flows.payments import capture_cancel
from polytill.flows.payments.create import create_payment
from polytill.flows.payments.reading import PaymentDetails
from polytill.flows.payments.request import PaymentRequest
from polytill.flows.recovery import lookup
from polytill.flows.refunds.create import RefundRequest, create_refund
from polytill.storage.practices import PracticeEntry
from polytill.storage.refunds import Refund


async def create_practice(
    till: Polytill,
    name: str,
    currency: str,
    *,
    cluster: str | None = None,
    country: str | None = None,
    time_zone: str | None = None,
    external_id: str | None = None,
) -> tuple[PracticeEntry, str]:
    """A practice's directory entry and its first key."""
    new = practices.NewPractice(name, currency, cluster, country, time_zone, external_id)
    return await practices.create_practice(till.context, new, "test")


async def pay(
    till: Polytill, practice_id: int, request: PaymentRequest, *, key: str, actor: str = "test"
) -> PaymentDetails:
    """Create a payment."""
    return await create_payment(till.context, practice_id, request, Command(key, actor))


async def confirm(till: Polytill, practice_id: int, payment_id: str) -> PaymentDetails:
    """Look a payment up at its provider now."""
    return await lookup.confirm(till.context, practice_id, payment_id)


async def capture(
    till: Polytill, practice_id: int, payment_id: str, *, key: str, amount: int | None = None
) -> PaymentDetails:
    """Capture an authorized payment, or part of it."""
    return await capture_cancel.capture(till.context, practice_id, payment_id, amount, Command(key, "test"))


async def refund(
    till: Polytill,
    practice_id: int,
    payment_id: str,
    *,
    key: str,
    amount: int | None = None,
    reason: str | None = None,
    actor: str = "test",
    accept_dispute_risk: bool = False,
) -> Refund:
    """Refund a payment, or part of it."""
    request = RefundRequest(amount, reason, accept_dispute_risk)
    made, _ = await create_refund(till.context, practice_id, payment_id, request, Command(key, actor))
    return made
