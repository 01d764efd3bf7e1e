"""The tables of a practice's database: configurations, payments, refunds, disputes, webhooks, ledger and events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from polytill.domain import rollout, states
from polytill.domain.ledger import LedgerFact
from polytill.domain.past_payments import Certainty
from polytill.domain.review_cases import CaseKind, CaseState
from polytill.storage.schema_columns import (
    NAMING,
    Column,
    Json,
    Moment,
    add_shared_tables,
    check,
    environment,
    flag,
    given_id,
    id_column,
    index,
    locality,
    maybe,
    moment,
    of,
    one_of,
    partial_index,
    serial_id,
    small,
    stamps,
    text,
    unique,
    whole,
)
from polytill.storage.schema_identity import add_identity_tables
from polytill.storage.schema_webhooks import add_webhook_tables

practice = sa.MetaData(naming_convention=NAMING)
add_shared_tables(practice)


def _table(name: str, *parts: Any, **options: Any) -> None:
    sa.Table(name, practice, *parts, **options)


def _of_practice() -> Column:
    # Redundant within one database: a check that the handle and the row agree.
    return of("practice_id", "practices")


def _of_environment() -> Iterator[Any]:
    yield _of_practice()
    yield from environment()


def _of_payment() -> Column:
    return of("payment_id", "payments", sa.Text)


def _of_attempt() -> Column:
    return of("attempt_id", "payment_attempts", sa.Text)


def _of_configuration() -> Column:
    return of("config_id", "practice_payment_providers")


def _lookups() -> Iterator[Any]:
    yield from maybe("next_lookup_at", kind=Moment)
    yield from small("lookups", default=0)
    yield index("next_lookup_at")


_table(
    "practices",
    given_id(kind=sa.Integer),
    *text("name"),
    of("default_currency_id", "currencies"),
    *stamps(),
    *maybe("checkout_color"),  # #rrggbb
    *locality(),
    *maybe("rollout_phase"),  # of the owner database; a change of a configuration locks this copy
    # Counts changes of the provider configurations, in their transactions: a comparison of them with the host
    # application's field counts only while this is what it was.
    *small("provider_changes", default=0),
    one_of("rollout_phase", rollout.RolloutPhase),
)

_table(
    "practice_payment_providers",
    id_column(),
    _of_practice(),
    *text("provider_code", "provider_name", "hook_token"),
    flag("is_enabled"),
    flag("is_default"),
    *maybe("public_key", "secret_key", "webhook_secret"),  # sealed
    *text("environment", default="sandbox"),
    *maybe("config", "supported_currencies", kind=Json),
    *small("priority", default=0),
    of("configured_by", "users", nullable=True),
    *maybe("last_tested_at", "last_used_at", kind=Moment),
    *stamps(),
    *small("credential_version", default=1),
    *small("revision", default=1),  # counts changes, including those of its defaults and kept credentials
    # Deleted for the practice; kept so that payments already taken can be refunded.
    *maybe("removed_at", kind=Moment),
    *maybe("relay_urls", kind=Json),  # by environment: where webhooks go that are not about anything here
    unique("practice_id", "provider_code", name="practice_provider_unique"),
    unique("hook_token"),
    one_of("environment", states.Environment),
)

_table(
    "provider_credentials",
    id_column(),
    *_of_environment(),
    _of_configuration(),
    *small("version"),
    *text("state"),
    *maybe("public_key", "secret_key", "webhook_secret"),  # sealed, as what is secret in ``config``
    *maybe("config", kind=Json),
    *moment("created_at", now=True),
    *maybe("superseded_at", kind=Moment),
    unique("config_id", "version"),
    one_of("state", (states.CredentialState.prepared, states.CredentialState.superseded)),
)

_table(
    "currency_defaults",
    *_of_environment(),
    *text("currency_code"),
    _of_configuration(),
    sa.PrimaryKeyConstraint("practice_id", "environment", "currency_code"),
)

_table(
    "payments",
    given_id(),
    *_of_environment(),
    *text("status", "currency", "capture_mode"),
    *whole("amount"),
    *whole("amount_authorized", "amount_captured", "amount_refunded", "refund_reserved", default=0),
    # Amounts lost to disputes, and refunds that a provider made beyond what was captured: facts that are never
    # rejected.
    *whole("amount_lost", "duplicate_refunded", default=0),
    *whole("amount_disputed", default=0),  # in open chargebacks: refunded only if the caller accepts the risk
    *whole("version", "dispute_version", default=0),  # count changes, and news of disputes: what must not overlap
    *maybe("payment_method", "provider_code", "provider_transaction_id", "provider_fee_currency"),
    *maybe("provider_fee", kind=sa.BigInteger),
    *maybe("customer_email", "customer_name", "customer_phone", "description", "reference", "return_url"),
    *maybe("failure_reason", "cancel_reason", "saved_method_id", "erasure"),
    *maybe("provider_response", "metadata", "method_details", kind=Json),
    flag("pinned_provider"),
    flag("save_method"),
    *text("idempotency_key", "fingerprint", "created_by"),
    *maybe("expires_at", kind=Moment),
    *moment("created_at", "updated_at"),
    *text("number"),  # for people
    *maybe("certainty"),  # of a payment that was taken before polytill; NULL: made here
    *maybe("doubts", kind=Json),  # why it is uncertain
    unique("practice_id", "idempotency_key"),
    index("practice_id", "number", unique=True),
    one_of("status", states.PaymentStatus),
    one_of("capture_mode", states.CaptureMode),
    one_of("certainty", (Certainty.verified, Certainty.recorded, Certainty.uncertain)),
    check("amount", "amount > 0"),
    check(
        "money_order",
        "amount_refunded >= 0 AND refund_reserved >= 0 AND amount_lost >= 0 AND duplicate_refunded >= 0"
        " AND amount_refunded + refund_reserved <= amount_captured AND amount_captured <= amount_authorized",
    ),
    index("environment", "created_at", "id"),
    index("status", "expires_at"),
    sa.Index("ix_payments_counts", "environment", "currency", "status", "created_at"),
)

# The token is sealed and deleted when the method is removed.
_table(
    "saved_methods",
    given_id(),
    *_of_environment(),
    _of_payment(),
    _of_configuration(),
    *text("provider_code", "kind", "same_card"),
    *maybe("customer_email", "customer_key", "brand", "last4", "expires", "fingerprint", "provider_customer_id"),
    *maybe("sealed_token"),
    *moment("created_at"),
    *maybe("removed_at", kind=Moment),
    unique("payment_id"),
    index("customer_email"),
    index("customer_key"),
    index("same_card"),
    check("removed", "(sealed_token IS NULL) = (removed_at IS NOT NULL)"),
)

# Copies of removed methods that have to be detached at the provider. The token is kept until then.
_table(
    "saved_method_detachments",
    given_id(),
    *_of_environment(),
    _of_configuration(),
    *maybe("sealed_token", "provider_customer_id", "last_code"),
    *text("state", default="due"),
    *small("tries", default=0),
    *maybe("next_try_at", kind=Moment),
    *stamps(),
    one_of("state", states.DetachmentState),
    index("state", "next_try_at"),
)

_table(
    "payment_attempts",
    given_id(),
    *_of_environment(),
    _of_payment(),
    _of_configuration(),
    *small("number", "credential_version"),
    *text("provider_code", "state", "currency"),
    *whole("amount"),
    *maybe("provider_transaction_id", "reason", "raw_code", "detail"),
    *maybe("unclear_since", kind=Moment),  # since when the provider answers with unknown words
    *maybe("next_action"),  # sealed: it can contain a client secret
    *_lookups(),
    *moment("created_at", "updated_at"),
    *small("wire_format", default=0),  # the parameters of its create call, so that a repeat is byte for byte the same
    unique("payment_id", "number"),
    one_of("state", states.AttemptState),
    index("config_id", "provider_transaction_id"),
)

# The identifiers that providers, statements and receipts use for an attempt: kinds are in ``domain/identifiers.py``.
_table(
    "payment_identifiers",
    *_of_environment(),
    _of_payment(),
    _of_attempt(),
    *text("kind", "value", "search_key"),
    *moment("created_at"),
    sa.PrimaryKeyConstraint("attempt_id", "kind", "value"),
    index("search_key"),
    index("payment_id"),
)

# One narrow row per payment, in the order of the lists; all words in their search form.
_table(
    "payment_search",
    *environment(),
    *moment("created_at"),
    _of_payment(),
    *text("major_units", "body"),
    *maybe("email", "reference"),
    *whole("block", default=0),  # of ``payment_search_blocks``; 0: in none yet
    sa.PrimaryKeyConstraint("environment", "created_at", "payment_id"),
    index("email"),
    index("reference"),
    sa.Index("ix_payment_search_block", "block", "environment", "created_at"),
    sqlite_with_rowid=False,
)

# What the rows of a block can be found by: ``signature`` of ``domain/search.py``, in parts of which a search reads a
# few.
_table(
    "payment_search_blocks",
    *environment(),
    given_id("block", sa.BigInteger),
    *moment("oldest_at", "newest_at"),
    *(sa.Column(f"part{number}", sa.LargeBinary, nullable=False) for number in range(8)),
    index("environment", "block"),
)

_table(
    "refunds",
    given_id(),
    *_of_environment(),
    _of_payment(),
    _of_attempt(),
    *text("state", "currency", "origin", "idempotency_key", "fingerprint", "created_by"),
    *whole("amount"),
    *maybe("reason", "failure_reason", "raw_code", "detail", "provider_refund_id"),
    *maybe("provider_response", kind=Json),
    # How much of it is in payments.amount_refunded now, and how much in payments.duplicate_refunded.
    *whole("booked", "booked_duplicate", default=0),
    *_lookups(),
    *moment("created_at", "updated_at"),
    *maybe("provider_dispute_id"),  # the dispute that the provider paid by this refund, if it says so
    *maybe("unclear_since", kind=Moment),
    *maybe("search_key"),  # the provider's id in the form in which identifiers are compared
    flag("is_reversal"),  # the provider itself took the money, for a dispute or a bank
    unique("practice_id", "idempotency_key"),
    unique("payment_id", "provider_refund_id"),
    index("search_key"),
    check("amount", "amount > 0"),
    one_of("state", states.RefundState),
    one_of("origin", states.RefundOrigin),
)

_table(
    "payment_operations",
    given_id(),
    *_of_environment(),
    _of_payment(),
    _of_attempt(),
    *text("kind", "state", "idempotency_key", "fingerprint", "created_by"),
    *maybe("amount", kind=sa.BigInteger),
    *maybe("reason", "raw_code", "detail"),
    *_lookups(),
    *moment("created_at", "updated_at"),
    unique("practice_id", "idempotency_key"),
    one_of("kind", states.OperationKind),
    one_of("state", states.OperationState),
    index("payment_id"),
)

_table(
    "disputes",
    given_id(),
    *_of_environment(),
    _of_payment(),
    *text("attempt_id"),  # the attempt whose money it is about
    *text("provider_dispute_id", "state", "provider_state", "currency"),
    *maybe("amount", kind=sa.BigInteger),
    flag("funds_withdrawn"),
    *maybe("due_at", "reason", "provider_reason"),
    *moment("created_at", "updated_at"),
    *text("kind", default="chargeback"),
    *whole("booked", default=0),  # how much of it the ledger has as lost, without what a refund has returned already
    *maybe("counted_as"),  # ``CountedAs``, if staff decided it
    flag("funds_returned"),  # the provider shows that what it withdrew for it came back
    *text("search_key"),  # the provider's id in the form in which identifiers are compared
    unique("payment_id", "provider_dispute_id"),
    index("search_key"),
    one_of("state", states.DisputeState),
    one_of("kind", states.DisputeKind),
    check("booked", "booked >= 0"),
)

add_webhook_tables(practice)
add_identity_tables(practice)

_table(
    "ledger_lines",
    serial_id(),
    *_of_environment(),
    _of_payment(),
    *text("entry_id", "currency", "account", "fact"),
    *whole("amount"),  # debits positive, credits negative: an entry's lines sum to zero
    *maybe("refund_id"),
    *moment("created_at"),
    # On the line that is not on the provider's account: the provider of the entry and the method of the payment.
    *text("provider_code", "method", default=""),
    one_of("fact", LedgerFact),
    index("payment_id"),
    index("environment", "currency", "account"),
    # What overviews sum: it has every column that they read.
    partial_index(
        "ix_ledger_lines_sums",
        "provider_code <> ''",
        *("environment", "currency", "account", "fact", "provider_code", "method", "created_at", "amount"),
    ),
)

_table(
    "operator_cases",
    given_id(),
    *_of_environment(),
    *text("kind", "subject"),
    *maybe("payment_id", "resolved_by"),
    *text("state", default="open"),
    *maybe("detail", kind=Json),
    *moment("created_at"),
    *maybe("resolved_at", kind=Moment),
    unique("kind", "subject"),
    one_of("kind", CaseKind),
    one_of("state", CaseState),
    index("state", "created_at"),
)

# Decisions by staff about an outcome that stayed unknown. A transaction pays one attempt.
_table(
    "staff_decisions",
    given_id(),
    *_of_environment(),
    _of_payment(),
    _of_attempt(),
    _of_configuration(),
    *text("decided_on", "subject", "currency", "note", "decided_by"),
    flag("is_done", None),
    *maybe("transaction_id", "transaction_key"),
    *maybe("amount", kind=sa.BigInteger),
    *moment("decided_at"),
    unique("decided_on", "subject"),
    unique("config_id", "environment", "transaction_key"),
    one_of("decided_on", states.DecidedOn),
    index("attempt_id"),
)

_table(
    "listing_cursors",
    given_id("config_id", sa.Integer, "practice_payment_providers"),
    given_id("environment"),
    one_of("environment", states.Environment),
    *moment("compared_until"),
)

# Events for the platform, written in the transaction that they report and forwarded to the owner's feed.
_table(
    "events",
    serial_id(),
    *_of_environment(),
    *text("event_id", "type", "data"),
    *maybe("payment_id"),
    *moment("created_at"),
    *maybe("forwarded_at", kind=Moment),
    unique("event_id"),
    index("forwarded_at", "id"),
)

_table(
    "payment_links",
    given_id(),
    *_of_environment(),
    *whole("amount"),
    *text("currency", "description", "created_by"),
    *maybe("reference"),
    flag("single_use", True),
    *text("state", default="open"),
    *moment("expires_at", "created_at", "updated_at"),
    one_of("state", states.LinkState),
    check("amount", "amount > 0"),
)

_table(
    "payment_link_payments",
    given_id("payment_id", of="payments"),
    of("link_id", "payment_links", sa.Text),
    *moment("created_at"),
    index("link_id", "created_at"),
)
