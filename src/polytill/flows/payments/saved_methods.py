"""Saved methods: stored with the payment that saved them, charged by later payments, removed and detached.

A token carries the payer's consent to be charged. It is sealed at once, opened only for the call, and never shown.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from polytill.domain.audit_actions import AuditAction
from polytill.domain.contacts import InvalidContact, Phone, email_key, read_email, stored_phone
from polytill.domain.errors import Conflict, NotFound, Stale, invalid
from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.review_cases import CaseKind
from polytill.domain.sources import Source
from polytill.domain.states import DetachmentState
from polytill.flows import provider_calls
from polytill.flows.context import Context, Practice, log
from polytill.flows.handlers import handler_for
from polytill.providers.contract import ChargeSavedMethodParams, Customer, DetachSavedMethodParams
from polytill.providers.outcomes import NotSent, Reason, SavedMethod
from polytill.storage import audit, cases, saved_methods
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment
from polytill.storage.saved_methods import StoredMethod
from polytill.storage.units import Unit

# The delay before a removed copy is detached again after a try without an answer: from a minute to a day, without end.
DETACH_AGAIN_S = (60, 300, 1800, 7200, 6 * 3600, 24 * 3600)


def store(
    practice: Practice, unit: Unit, payment: Payment, attempt: Attempt, saved: SavedMethod, now: datetime
) -> None:
    """Store the method of a payment that requested it, in the unit that books the payment's money."""
    method_id, customer = new_id(practice.context.world), _customer_of(payment)
    place = saved_methods.token_place(method_id, attempt.environment)
    method = StoredMethod(
        method_id,
        payment.practice_id,
        attempt.environment,
        payment.id,
        attempt.config_id,
        attempt.provider_code,
        payment.customer_email,
        saved.kind,
        saved.brand,
        saved.last4,
        saved.expires,
        saved.fingerprint,
        saved.provider_customer_id,
        practice.db.data_key.seal(saved.token, place, practice.context.world),
        now,
        is_same_card(method_id, attempt.config_id, saved.fingerprint, customer),
        customer,
    )
    saved_methods.insert_once(unit, method)


def customer_key(email: str | None, phone: Phone | None = None) -> str | None:
    """The identity of a customer for saved methods: the e-mail in its comparable form, else the phone number in E.164.
    A card or a name alone never identifies a customer."""
    if email is not None:
        with suppress(InvalidContact):  # stored by an earlier version, which accepted more
            email = read_email(email)
    return (email_key(email) if email else "") or phone or None


def _customer_of(payment: Payment) -> str | None:
    return customer_key(payment.customer_email, stored_phone(payment.customer_phone, payment.currency))


def is_same_card(method_id: str, config_id: int, fingerprint: str | None, customer: str | None) -> str:
    """The key that all copies of one customer's card at one account share. Without a fingerprint or a known customer, a
    copy is a separate method."""
    return f"{config_id}:{fingerprint}:{customer}" if fingerprint and customer else method_id


async def wanted(db: PracticeDb, method_id: str, email: str | None) -> StoredMethod:
    """The method that a payment is to charge. ``Invalid`` if it does not exist or belongs to another payer."""
    method = await saved_methods.by_id(db, method_id)
    if method is None or method.removed_at is not None:
        raise invalid("/savedMethod", "There is no such saved method.")
    if email is not None and customer_key(email) != customer_key(method.customer_email):
        raise invalid("/customer/email", "The method was saved under another e-mail.")
    return method


async def charge_params(db: PracticeDb, payment: Payment, attempt: Attempt) -> ChargeSavedMethodParams | NotSent:
    """The charge of an attempt, with the token opened for it."""
    named = await saved_methods.by_id(db, payment.saved_method_id or "")
    # The newest copy has the latest expiry and token. If the named copy was removed, the method is not charged.
    method = (await saved_methods.copies(db, named))[-1] if named and named.removed_at is None else None
    token = saved_methods.open_token(db.data_key, method) if method else None
    if method is None or token is None:
        return NotSent(Reason.invalid_state, "saved_method_removed", "The saved method was removed.")
    return ChargeSavedMethodParams(
        reference=attempt.id,
        payment_id=payment.id,
        amount=Money(attempt.amount, attempt.currency),
        customer=Customer(method.customer_email, payment.customer_name, payment.customer_phone),
        token=token,
        description=payment.description,
        metadata=payment.metadata or {},
        provider_customer_id=method.provider_customer_id,
        merchant_reference=merchant_reference(payment, attempt),
    )


def merchant_reference(payment: Payment, attempt: Attempt) -> str | None:
    """The merchant's reference that is sent to the provider: the host's, or else the payment's number. None for an
    attempt of a version that sent none, so that its call is repeated unchanged."""
    return (payment.reference or payment.number) if attempt.wire_format else None


async def method_of(db: PracticeDb, payment: Payment) -> StoredMethod | None:
    """The method that a payment saved or charged; None once it is removed."""
    if payment.saved_method_id is not None:
        method = await saved_methods.by_id(db, payment.saved_method_id)
    elif payment.save_method:
        method = await saved_methods.of_payment(db, payment.id)
    else:
        return None
    if method is None or method.removed_at is not None:
        return None
    return next(iter(await shown(db, [method])), None)


async def shown(db: PracticeDb, found: list[StoredMethod]) -> list[StoredMethod]:
    """Methods for display: the id of the oldest copy, with the newest copy's card details."""
    methods = []
    for method in found:
        every = await saved_methods.copies(db, method)
        if every:
            oldest, newest = every[0], every[-1]
            methods.append(replace(oldest, brand=newest.brand, last4=newest.last4, expires=newest.expires))
    return methods


async def remove(context: Context, practice_id: int, method_id: str, actor: str) -> None:
    """Remove a method with all its copies: nothing here can charge it again. Past charges stay unchanged.

    If the provider can detach a copy, that is requested at once, and again later until there is an answer.
    """
    practice = await context.practice(practice_id)
    method = await saved_methods.by_id(practice.db, method_id)
    if method is None or method.removed_at is not None:
        raise NotFound("There is no such saved method.")
    now = context.world.now()
    detaches = await _detaches(context, method.provider_code)
    unit = Unit()
    saved_methods.remove(unit, method, now, context.shared_after(0) if detaches else None)
    detail = {
        "provider": method.provider_code,
        "copies": len(await saved_methods.copies(practice.db, method)),
        "detach": detaches,
    }
    audit.append(unit, now, actor, AuditAction.saved_method_removed, method_id, detail)
    try:
        await practice.db.commit(unit)
    except Stale:
        raise Conflict("The saved method was removed at this moment.", code="already_removed") from None
    if detaches:
        await detach_due(practice)


async def _detaches(context: Context, provider_code: str) -> bool:
    if provider_code not in await context.catalog():
        return False
    handler = await handler_for(context, provider_code)
    # A missing handler may be loaded later; until then the copies are not deleted.
    return handler is None or handler.detach_saved_method is not None


async def detach_due(practice: Practice) -> int:
    """Detach removed copies at their providers whose next try is due. Returns the number of tries.

    Detaching a copy is idempotent, so a try whose answer was lost is repeated.
    """
    tried = 0
    for one in await saved_methods.to_detach(practice.db, practice.context.shared_after(0)):
        now, pause_s = practice.now(), DETACH_AGAIN_S[min(one.tries, len(DETACH_AGAIN_S) - 1)]
        unit = Unit()
        saved_methods.try_detaching(unit, one, practice.context.shared_after(pause_s), now)
        try:
            await practice.db.commit(unit)
        except Stale:
            continue  # another worker has started it
        tried += 1
        place = saved_methods.token_place(one.id, one.environment)
        params = DetachSavedMethodParams(practice.db.data_key.open(one.sealed_token, place), one.provider_customer_id)
        ended = await provider_calls.detach(practice, one.config_id, one.credential_version, one.environment, params)
        if ended.state == "unknown":
            log.warning("saved_method_not_detached", practice=practice.id, method=one.id, code=ended.code)
            continue
        now = practice.now()
        saved_methods.detached(unit, one, DetachmentState(ended.state), ended.code, now)
        audit.append(
            unit, now, Source.provider, AuditAction(f"saved_method.{ended.state}"), one.id, {"code": ended.code}
        )
        if ended.state == "refused":  # nothing here can charge it, but it still exists at the provider
            cases.open_case(
                unit,
                new_id(practice.context.world),
                one.practice_id,
                one.environment,
                cases.NewCase(
                    CaseKind.saved_method_not_detached,
                    one.id,
                    one.payment_id,
                    {"operation": "detach", "code": ended.code},
                ),
                now,
            )
        await practice.db.commit(unit)
    return tried
