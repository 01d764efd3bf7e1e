"""Writes past payments: payment, attempt, earlier refunds and their opening entries, each by its own date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.identifiers import MOST_DIGITS, IdentifierKind, new_number
from polytill.domain.ids import new_id
from polytill.domain.ledger import LedgerAccount, LedgerFact, provider_account
from polytill.domain.past_payments import TAKEN_OVER_BY, Certainty, Doubt
from polytill.domain.states import (
    AttemptState,
    CaptureMode,
    CredentialState,
    Environment,
    PaymentStatus,
    RefundOrigin,
    RefundState,
)
from polytill.flows.context import Practice
from polytill.flows.handler_guard import declared
from polytill.flows.legacy.past_ids import PastIds
from polytill.flows.legacy.past_rows import PastPayment, PastRefund
from polytill.flows.webhooks.receive import new_hook_token
from polytill.providers.contract import Handler, redact
from polytill.storage import ledger, past_payments, payment_identifiers, payment_search, provider_configs
from polytill.storage.attempts import Attempt
from polytill.storage.catalog import ProviderEntry
from polytill.storage.databases import Tx
from polytill.storage.ledger import Entry
from polytill.storage.past_payments import Known, Learned
from polytill.storage.payments import Payment
from polytill.storage.provider_configs import Account, Configuration, CredentialSet
from polytill.storage.refunds import Refund


@dataclass(frozen=True, slots=True)
class New:
    """A past payment to store. ``key``: the same for each row of the same payment. ``account``: None if the practice has
    no keys of it. ``as_of``: when the host's record of it was made."""

    past: PastPayment
    ids: PastIds
    handler: type[Handler]
    account: Account | None
    key: str
    doubts: tuple[Doubt, ...]
    as_of: datetime

    @property
    def certainty(self) -> Certainty:
        """How sure it is before its provider is asked."""
        return Certainty.uncertain if self.doubts else Certainty.recorded


async def placeholder(practice: Practice, tx: Tx, entry: ProviderEntry, environment: Environment) -> int:
    """A configuration that only stands for an account of past payments, until somebody enters its keys. Returns its
    id."""
    now = practice.now()
    made = Configuration(
        id=0,
        practice_id=practice.id,
        provider_code=entry.code,
        provider_name=entry.name,
        is_enabled=False,
        is_default=False,
        supported_currencies=[],
        priority=0,
        hook_token=new_hook_token(practice.context, practice.id),
        active=CredentialSet(environment, 0, CredentialState.active),
        removed_at=now,
    )
    made.id = await provider_configs.insert(tx, made, now)
    provider_configs.update(tx, made, now)
    return made.id


def rows_of(practice: Practice, new: New, config_id: int) -> tuple[Payment, Attempt, list[Refund]]:
    """The rows of a past payment. Nothing about it is open: no worker looks it up."""
    past, now = new.past, practice.now()
    payment = Payment(
        id=new_id(practice.context.world),
        practice_id=practice.id,
        environment=past.environment,
        status=PaymentStatus.succeeded,
        amount=past.amount,
        currency=past.currency,
        payment_method=past.method,
        capture_mode=CaptureMode.automatic,
        customer_email=past.email,
        customer_name=past.name,
        customer_phone=past.phone,
        description=past.description,
        reference=past.reference or past.host_id,
        metadata=None,
        return_url=None,
        pinned_provider=True,
        idempotency_key=new.key,
        fingerprint="",
        created_by=TAKEN_OVER_BY,
        expires_at=None,
        created_at=past.paid_at,
        updated_at=now,
        number=new_number(practice.context.world, MOST_DIGITS),
        amount_authorized=past.amount,
        amount_captured=past.amount,
        amount_refunded=past.refunded,
        provider_code=past.provider_code,
        provider_transaction_id=new.ids.transaction_id,
        provider_response=redact(past.response, new.handler.redacted),
        provider_fee=past.fee,
        provider_fee_currency=past.fee_currency,
        certainty=new.certainty,
        doubts=[doubt.value for doubt in new.doubts] or None,
    )
    attempt = Attempt(
        id=new.ids.reference or new_id(practice.context.world),
        payment_id=payment.id,
        practice_id=practice.id,
        environment=past.environment,
        number=1,
        provider_code=past.provider_code,
        config_id=config_id,
        credential_version=new.account.credentials.version if new.account else 0,
        state=AttemptState.succeeded,
        amount=past.amount,
        currency=past.currency,
        created_at=past.paid_at,
        updated_at=now,
        provider_transaction_id=new.ids.transaction_id,
    )
    made = enumerate(_told_apart(past.refunds))
    return payment, attempt, [_refund(practice, new, payment, attempt, one) for one in made]


def _told_apart(made: Sequence[PastRefund]) -> list[PastRefund]:
    """Earlier refunds, those without an id as one: nothing tells which of them the provider will name."""
    unnamed = [one for one in made if one.provider_refund_id is None]
    found = [one for one in made if one.provider_refund_id is not None]
    if unnamed:
        found.append(PastRefund(sum(one.amount for one in unnamed), None, max(one.made_at for one in unnamed)))
    return found


def _refund(
    practice: Practice, new: New, payment: Payment, attempt: Attempt, numbered: tuple[int, PastRefund]
) -> Refund:
    number, made = numbered
    # The id of the sum tells what it can have in it (``flows/refunds/past.py``).
    as_of = min(max(new.as_of, payment.created_at), practice.now())
    at = as_of if made.provider_refund_id is None else None
    return Refund(
        id=new_id(practice.context.world, at),
        payment_id=payment.id,
        practice_id=practice.id,
        environment=payment.environment,
        attempt_id=attempt.id,
        state=RefundState.succeeded,
        amount=made.amount,
        currency=payment.currency,
        reason="Made before polytill",
        origin=RefundOrigin.provider,
        idempotency_key=f"{new.key} refund {number}",
        fingerprint="",
        created_by=TAKEN_OVER_BY,
        created_at=made.made_at,
        updated_at=practice.now(),
        provider_refund_id=made.provider_refund_id,
        booked=made.amount,
    )


def write(practice: Practice, tx: Tx, new: New, rows: tuple[Payment, Attempt, list[Refund]]) -> None:
    """Store a past payment with its opening entries. ``Duplicate`` if somebody else has stored it meanwhile."""
    payment, attempt, made = rows
    past_payments.insert(tx, payment, attempt, made)
    payment_search.insert(tx, payment_search.row_of(payment))
    found = {**new.ids.others}
    if payment.provider_response is not None:
        found |= declared(new.handler, "read_identifiers", dict, {}, payment.provider_response)
    if new.ids.transaction_id is not None:
        found[IdentifierKind.transaction] = (new.ids.transaction_id,)
    payment_identifiers.insert(tx, attempt, found, payment.created_at)
    provider = provider_account(payment.provider_code or "")
    entry = Entry(LedgerFact.opening_payment, provider, LedgerAccount.payments, payment.amount, payment.currency)
    ledger.book(tx, new_id(practice.context.world), payment, entry, payment.created_at)
    _book_fee(practice, tx, payment, provider)
    its = {refund.provider_refund_id: refund for refund in made}
    for one in new.past.refunds:  # each by its own date
        entry = Entry(LedgerFact.opening_refund, LedgerAccount.refunds, provider, one.amount, payment.currency)
        row_id = its[one.provider_refund_id].id
        ledger.book(tx, new_id(practice.context.world), payment, entry, one.made_at, row_id)


def _book_fee(practice: Practice, tx: Tx, payment: Payment, provider: str) -> None:
    if payment.provider_fee and payment.provider_fee_currency:
        fee, currency = payment.provider_fee, payment.provider_fee_currency
        entry = Entry(LedgerFact.opening_fee, LedgerAccount.fees, provider, fee, currency)
        ledger.book(tx, new_id(practice.context.world), payment, entry, payment.created_at)


def write_learned(practice: Practice, tx: Tx, known: Known, payment: Payment, learned: Learned) -> None:
    """Write what is new about a past payment; its fee is booked by the payment's date. ``Stale`` if it changed."""
    past_payments.change(tx, known, learned, practice.now())
    if learned.transaction_id is not None:
        attempt = _attempt_of(known, payment)
        found: dict[Any, Any] = {IdentifierKind.transaction: (learned.transaction_id,)}
        payment_identifiers.insert(tx, attempt, found, practice.now())
    if learned.fee is not None:
        payment.provider_fee, payment.provider_fee_currency = learned.fee, learned.fee_currency
        _book_fee(practice, tx, payment, provider_account(known.provider_code))


def _attempt_of(known: Known, payment: Payment) -> Attempt:
    return Attempt(
        id=known.attempt_id,
        payment_id=known.payment_id,
        practice_id=payment.practice_id,
        environment=known.environment,
        number=1,
        provider_code=known.provider_code,
        config_id=known.config_id,
        credential_version=0,
        state=AttemptState.succeeded,
        amount=known.amount,
        currency=known.currency,
        created_at=payment.created_at,
        updated_at=payment.updated_at,
    )
