"""Records of recent payments in the owner database, from which ``polytill practices adopt`` brings back lost ones.

A record has what makes a repeated request find its payment again, and what finds the payment at its provider: ids,
numbers, amounts, states, and idempotency keys. It has nothing about a person, and it is sealed with the practice's data
key all the same, because a host application may put anything into an idempotency key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from polytill.domain.errors import UnreadableRow
from polytill.domain.ids import first_id, made_at
from polytill.domain.sealing import Place
from polytill.domain.secret import Secret
from polytill.domain.states import AttemptState, CaptureMode, Environment, PaymentStatus, RefundOrigin, RefundState
from polytill.flows.context import Practice
from polytill.flows.schedule import CLOCKS_APART_S
from polytill.storage import attempts, payment_records, payments, practices, refunds
from polytill.storage.anchors import Mark
from polytill.storage.attempts import Attempt
from polytill.storage.due_work import Recorded
from polytill.storage.payment_records import PaymentRecord
from polytill.storage.payments import Payment
from polytill.storage.refunds import Refund
from polytill.storage.units import Unit, json_text, json_value

KEPT_FOR = timedelta(days=35)  # an older backup is brought up to date from the providers alone
AT_ONCE = 100
# Several processes make ids, and an id has its maker's time: one that is made later may be lower.
CLOCKS_APART = timedelta(seconds=CLOCKS_APART_S)

_OF_PAYMENT = (
    *("id", "environment", "status", "amount", "currency", "payment_method", "capture_mode", "idempotency_key"),
    *("fingerprint", "created_by", "expires_at", "created_at", "updated_at", "number", "amount_captured"),
    *("provider_code", "provider_transaction_id", "failure_reason", "cancel_reason", "pinned_provider", "save_method"),
)
_OF_ATTEMPT = (
    *("id", "number", "provider_code", "config_id", "credential_version", "state", "amount", "currency", "created_at"),
    *("updated_at", "provider_transaction_id", "wire_format", "reason", "raw_code"),
)
_OF_REFUND = (
    *("id", "attempt_id", "state", "amount", "currency", "idempotency_key", "fingerprint", "created_by", "created_at"),
    *("updated_at", "provider_refund_id", "failure_reason", "raw_code"),
)
_READ: dict[str, Any] = {
    "environment": Environment,
    "status": PaymentStatus,
    "capture_mode": CaptureMode,
    "created_at": datetime.fromisoformat,
    "updated_at": datetime.fromisoformat,
    "expires_at": datetime.fromisoformat,
}


@dataclass(frozen=True, slots=True)
class Known:
    """A payment as it was recorded, with its attempts, and the refunds that were requested here."""

    payment: Payment
    attempts: list[Attempt]
    refunds: list[Refund]


def _taken(row: Any, names: Iterable[str]) -> dict[str, Any]:
    found = {name: getattr(row, name) for name in names}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in found.items()}


async def record_of(practice: Practice, payment_id: str) -> PaymentRecord | None:
    """The record of a payment as it is now; None if it is not there or cannot be read."""
    try:
        payment = await payments.by_id(practice.db, payment_id)
        if payment is None:
            return None
        content = {
            "payment": _taken(payment, _OF_PAYMENT),
            "attempts": [_taken(one, _OF_ATTEMPT) for one in await attempts.of_payment(practice.db, payment_id)],
            "refunds": [
                _taken(one, _OF_REFUND)
                for one in await refunds.of_payment(practice.db, payment_id)
                if one.origin is RefundOrigin.api
            ],
        }
    except UnreadableRow:
        return None  # of a newer version, which records it itself
    text, world = json_text(content) or "", practice.context.world
    sealed = practice.db.data_key.seal(Secret(text), _place(payment_id), world)
    return PaymentRecord(payment_id, practice.id, sealed, practice.now())


def _place(payment_id: str) -> Place:
    return Place("payment_records", payment_id, "sealed")


def opened(practice: Practice, record: PaymentRecord) -> Known:
    """What a record says. ``SealBroken`` if it is of another practice."""
    content = json_value(practice.db.data_key.open(record.sealed, _place(record.payment_id)).reveal())
    of: dict[str, Any] = {"practice_id": practice.id}
    payment: Payment = _made(Payment, content["payment"], of)
    of |= {"payment_id": payment.id, "environment": payment.environment}
    own: dict[str, Any] = {"reason": None, "origin": RefundOrigin.api}
    return Known(
        payment,
        [_made(Attempt, one, of, state=AttemptState) for one in content["attempts"]],
        [_made(Refund, {**own, **one}, of, state=RefundState) for one in content["refunds"]],
    )


def _made(kind: Any, values: dict[str, Any], of: dict[str, Any], **read: Any) -> Any:
    """A row of this type; what the record does not have is empty."""
    names = {field.name for field in fields(kind)}
    reads = _READ | read
    given = {
        name: reads[name](value) if value is not None and name in reads else value for name, value in values.items()
    }
    empty = dict.fromkeys(("customer_email", "customer_name", "customer_phone", "description", "reference"), None)
    empty |= dict.fromkeys(("metadata", "return_url"), None)
    return kind(**{name: value for name, value in (empty | of | given).items() if name in names})


def _since(practice: Practice, last: str | None) -> str:
    """The id after which payments may not be recorded yet. ``last``: the newest that is."""
    since = first_id(practice.now() - KEPT_FOR)
    return since if last is None else max(since, first_id(made_at(last) - CLOCKS_APART))


def recorded_until(practice: Practice) -> Recorded:
    """What this process has recorded: if the practice has more payments after this id, ``record_new`` has work."""
    seen = practice.context.recorded.get(practice.id, set())
    since = _since(practice, max(seen, default=None))
    return Recorded(since, sum(one > since for one in seen))


async def record_new(practice: Practice) -> int:
    """Record the payments that were created since the last call; their events record them again. Returns their number.

    A database that is behind records nothing: what is recorded is newer than what it has.
    """
    if practice.db.anchor.behind is not None:
        return 0
    context = practice.context
    seen = context.recorded.setdefault(practice.id, set())
    last = max(seen, default=None) or await payment_records.newest(context.owner, practice.id)
    since = _since(practice, last)
    made = await payment_records.made_after(practice.db, since, AT_ONCE + len(seen))
    fresh = [payment_id for payment_id in made if payment_id not in seen]
    if fresh:
        unit = Unit()
        for payment_id in fresh:
            if (record := await record_of(practice, payment_id)) is not None:
                payment_records.keep(unit, record)
        anchor, newest = practice.db.anchor, max(fresh)
        practices.raise_payment_mark(unit, practice.id, anchor.epoch, newest)
        await context.owner.commit(unit)
        anchor.learn(anchor.epoch, Mark(payment_id=newest))
        payment_records.forget(unit, practice.id, practice.now() - KEPT_FOR)
        await context.owner.commit(unit)
        seen.update(fresh)
        bound = first_id(made_at(max(seen)) - CLOCKS_APART)
        seen -= {one for one in seen if one < bound}
    return len(fresh)
