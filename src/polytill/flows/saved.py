"""Methods that payers let us charge again: kept with the payment that saved them, charged by a later one, forgotten.

Whoever has a token has the payer's consent: it is sealed at once, opened only for the call, and shown nowhere.
"""

from __future__ import annotations

from datetime import datetime

from polytill.domain.errors import Conflict, NotFound, Stale, invalid
from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.text import normal
from polytill.flows.desk import Desk
from polytill.providers.contract import ChargeSavedMethodParams, Customer
from polytill.providers.outcomes import NotSent, Reason, SavedMethod
from polytill.storage import audit, saved_methods
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Attempt, Payment
from polytill.storage.saved_methods import KeptMethod
from polytill.storage.units import Unit


def keep(
    desk: Desk, db: PracticeDb, unit: Unit, payment: Payment, attempt: Attempt, saved: SavedMethod, now: datetime
) -> None:
    """Keep the method of a payment that asked for it, in the unit that books the payment's money."""
    method_id = new_id(desk.world)
    place = saved_methods.token_place(method_id, attempt.environment)
    kept = KeptMethod(
        method_id, payment.practice_id, attempt.environment, payment.id, attempt.config_id, attempt.provider_code,
        payment.customer_email, saved.kind, saved.brand, saved.last4, saved.expires, saved.fingerprint,
        saved.provider_customer_id, db.data_key.seal(saved.token, place, desk.world), now,
    )  # fmt: skip
    saved_methods.insert_once(unit, kept)


async def wanted(db: PracticeDb, method_id: str, email: str | None) -> KeptMethod:
    """The method that a payment wants to charge. ``Invalid`` where there is none, or it is another payer's."""
    kept = await saved_methods.by_id(db, method_id)
    if kept is None or kept.removed_at is not None:
        raise invalid("/savedMethod", "There is no such saved method.")
    if email is not None and normal(email) != normal(kept.customer_email or ""):
        raise invalid("/customer/email", "The method was saved under another e-mail.")
    return kept


async def charge_params(db: PracticeDb, payment: Payment, attempt: Attempt) -> ChargeSavedMethodParams | NotSent:
    """The charge of an attempt, with the token opened for it."""
    kept = await saved_methods.by_id(db, payment.saved_method_id or "")
    token = saved_methods.open_token(db.data_key, kept) if kept else None
    if kept is None or token is None:
        return NotSent(Reason.invalid_state, "saved_method_removed", "The saved method was removed.")
    return ChargeSavedMethodParams(
        reference=attempt.id,
        payment_id=payment.id,
        amount=Money(attempt.amount, attempt.currency),
        customer=Customer(kept.customer_email, payment.customer_name, payment.customer_phone),
        token=token,
        description=payment.description,
        metadata=payment.metadata or {},
        provider_customer_id=kept.provider_customer_id,
        merchant_reference=merchant_reference(payment, attempt),
    )


def merchant_reference(payment: Payment, attempt: Attempt) -> str | None:
    """What the provider is told as the merchant's own reference: the host's, or else the payment's number for people. None
    for an attempt of a version that sent none: its call is repeated as it was."""
    return (payment.reference or payment.number) if attempt.wire_format else None


async def method_of(db: PracticeDb, payment: Payment) -> KeptMethod | None:
    """The method that a payment saved, or was charged to, as long as it is not removed."""
    if payment.saved_method_id is not None:
        kept = await saved_methods.by_id(db, payment.saved_method_id)
    elif payment.save_method:
        kept = await saved_methods.of_payment(db, payment.id)
    else:
        return None
    return kept if kept is not None and kept.removed_at is None else None


async def remove(desk: Desk, practice_id: int, method_id: str, actor: str) -> None:
    """Forget a method: nothing here can charge it again. What was charged stays as it is."""
    db = await desk.opening.practice(practice_id)
    kept = await saved_methods.by_id(db, method_id)
    if kept is None or kept.removed_at is not None:
        raise NotFound("There is no such saved method.")
    now = desk.world.now()
    unit = Unit()
    saved_methods.remove(unit, method_id, now)
    audit.append(unit, now, actor, "saved_method.removed", method_id, {"provider": kept.provider_code})
    try:
        await db.commit(unit)
    except Stale:
        raise Conflict("The saved method was removed at this moment.", code="already_removed") from None
