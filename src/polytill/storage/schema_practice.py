"""The tables of a practice's database: configurations, payments, refunds, disputes, webhooks, ledger and events."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from polytill.domain import states
from polytill.domain.ledger import LedgerFact
from polytill.domain.review_cases import CaseKind, CaseState
from polytill.storage.schema_columns import (
    NAMING,
    Json,
    Moment,
    audit,
    currencies,
    environment,
    flag,
    id_column,
    locality,
    maybe,
    moment,
    one_of,
    serial_id,
    signing_in,
    stamps,
    text,
    users,
    whole,
)

practice = sa.MetaData(naming_convention=NAMING)

currencies(practice)
users(practice)
signing_in(practice)
audit(practice)


def _of_practice() -> sa.Column[Any]:
    # Redundant within one database: a check that the handle and the row agree.
    return sa.Column("practice_id", sa.Integer, sa.ForeignKey("practices.id"), nullable=False)


def _of_payment(nullable: bool = False) -> sa.Column[Any]:
    return sa.Column("payment_id", sa.Text, sa.ForeignKey("payments.id"), nullable=nullable)


def _lookups() -> tuple[sa.Column[Any], sa.Column[Any]]:
    return maybe("next_lookup_at", Moment), whole("lookups", 0, sa.Integer)


sa.Table(
    "identity",
    practice,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    whole("practice_id", kind=sa.Integer),
    moment("created_at", now=True),
    sa.CheckConstraint("id = 1", name="one_row"),
)

sa.Table(
    "practices",
    practice,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    text("name"),
    sa.Column("default_currency_id", sa.Integer, sa.ForeignKey("currencies.id"), nullable=False),
    *stamps(),
    maybe("checkout_color"),  # #rrggbb
    *locality(),
)

sa.Table(
    "practice_payment_providers", practice, id_column(), _of_practice(),
    text("provider_code"), text("provider_name"),
    flag("is_enabled", False), flag("is_default", False),
    maybe("public_key"), maybe("secret_key"), maybe("webhook_secret"),  # sealed
    text("environment", server_default="sandbox"),
    maybe("config", Json), maybe("supported_currencies", Json), whole("priority", 0, sa.Integer),
    sa.Column("configured_by", sa.Integer, sa.ForeignKey("users.id"), nullable=True),
    maybe("last_tested_at", Moment), maybe("last_used_at", Moment), *stamps(),
    whole("credential_version", 1, sa.Integer), text("hook_token"),
    whole("revision", 1, sa.Integer),  # counts changes, including those of its defaults and kept credentials
    maybe("removed_at", Moment),  # deleted for the practice; kept so that payments already taken can be refunded
    sa.UniqueConstraint("practice_id", "provider_code", name="practice_provider_unique"),
    sa.UniqueConstraint("hook_token"), one_of("environment", states.Environment),
)  # fmt: skip

sa.Table(
    "provider_credentials",
    practice,
    id_column(),
    _of_practice(),
    sa.Column("config_id", sa.Integer, sa.ForeignKey("practice_payment_providers.id"), nullable=False),
    *environment(),
    whole("version", kind=sa.Integer),
    text("state"),
    maybe("public_key"),
    maybe("secret_key"),
    maybe("webhook_secret"),
    maybe("config", Json),  # sealed
    moment("created_at", now=True),
    maybe("superseded_at", Moment),
    sa.UniqueConstraint("config_id", "version"),
    one_of("state", (states.CredentialState.prepared, states.CredentialState.superseded)),
)

sa.Table(
    "currency_defaults",
    practice,
    _of_practice(),
    *environment(),
    text("currency_code"),
    sa.Column("config_id", sa.Integer, sa.ForeignKey("practice_payment_providers.id"), nullable=False),
    sa.PrimaryKeyConstraint("practice_id", "environment", "currency_code"),
)

sa.Table(
    "payments", practice, sa.Column("id", sa.Text, primary_key=True), _of_practice(), *environment(),
    text("status"), whole("amount"), text("currency"), maybe("payment_method"), text("capture_mode"),
    whole("amount_authorized", 0), whole("amount_captured", 0), whole("amount_refunded", 0),
    whole("refund_reserved", 0),
    # Amounts lost to disputes, and refunds that a provider made beyond what was captured: facts that are never
    # rejected.
    whole("amount_lost", 0), whole("duplicate_refunded", 0),
    whole("amount_disputed", 0),  # in open chargebacks about this payment: refunded only if the caller accepts the risk
    whole("version", 0), whole("dispute_version", 0),  # count every change, and news of disputes: what must not overlap
    maybe("provider_code"), maybe("provider_transaction_id"), maybe("provider_response", Json),
    maybe("provider_fee", sa.BigInteger), maybe("provider_fee_currency"),
    maybe("customer_email"), maybe("customer_name"), maybe("customer_phone"),
    maybe("description"), maybe("reference"), maybe("metadata", Json), maybe("return_url"),
    maybe("failure_reason"), maybe("cancel_reason"), flag("pinned_provider", False),
    flag("save_method", False), maybe("saved_method_id"), maybe("method_details", Json),
    text("idempotency_key"), text("fingerprint"), text("created_by"),
    maybe("expires_at", Moment), moment("created_at"), moment("updated_at"),
    text("number"),  # for people
    sa.UniqueConstraint("practice_id", "idempotency_key"), sa.Index(None, "practice_id", "number", unique=True),
    one_of("status", states.PaymentStatus), one_of("capture_mode", states.CaptureMode),
    sa.CheckConstraint("amount > 0", name="amount"),
    sa.CheckConstraint(
        "amount_refunded >= 0 AND refund_reserved >= 0 AND amount_lost >= 0 AND duplicate_refunded >= 0"
        " AND amount_refunded + refund_reserved <= amount_captured AND amount_captured <= amount_authorized",
        name="money_order",
    ),
    sa.Index(None, "environment", "created_at", "id"), sa.Index(None, "status", "expires_at"),
    sa.Index("ix_payments_counts", "environment", "currency", "status", "created_at"),
)  # fmt: skip

# The token is sealed and deleted when the method is removed.
sa.Table(
    "saved_methods", practice, sa.Column("id", sa.Text, primary_key=True), _of_practice(), *environment(),
    _of_payment(), sa.Column("config_id", sa.Integer, sa.ForeignKey("practice_payment_providers.id"), nullable=False),
    text("provider_code"), maybe("customer_email"), text("kind"), maybe("brand"), maybe("last4"),
    maybe("expires"), maybe("fingerprint"), maybe("provider_customer_id"), maybe("sealed_token"),
    moment("created_at"), maybe("removed_at", Moment),
    text("same_card"), maybe("customer_key"),
    sa.UniqueConstraint("payment_id"), sa.Index(None, "customer_email"), sa.Index(None, "customer_key"),
    sa.Index(None, "same_card"),
    sa.CheckConstraint("(sealed_token IS NULL) = (removed_at IS NOT NULL)", name="removed"),
)  # fmt: skip

# Copies of removed methods that have to be detached at the provider. The token is kept until then.
sa.Table(
    "saved_method_detachments",
    practice,
    sa.Column("id", sa.Text, primary_key=True),
    _of_practice(),
    *environment(),
    sa.Column("config_id", sa.Integer, sa.ForeignKey("practice_payment_providers.id"), nullable=False),
    maybe("sealed_token"),
    maybe("provider_customer_id"),
    text("state", server_default="due"),
    whole("tries", 0, sa.Integer),
    maybe("next_try_at", Moment),
    maybe("last_code"),
    *stamps(),
    one_of("state", states.DetachmentState),
    sa.Index(None, "state", "next_try_at"),
)

sa.Table(
    "payment_attempts", practice, sa.Column("id", sa.Text, primary_key=True), _of_payment(), _of_practice(),
    *environment(), whole("number", kind=sa.Integer), text("provider_code"),
    sa.Column("config_id", sa.Integer, sa.ForeignKey("practice_payment_providers.id"), nullable=False),
    whole("credential_version", kind=sa.Integer), text("state"), whole("amount"), text("currency"),
    maybe("provider_transaction_id"), maybe("reason"), maybe("raw_code"), maybe("detail"),
    maybe("unclear_since", Moment),  # since when the provider answers with unknown words
    maybe("next_action"),  # sealed: it can contain a client secret
    *_lookups(), moment("created_at"), moment("updated_at"),
    whole("wire_format", 0, sa.Integer),  # the parameters of its create call, so that a repeat is byte for byte the same
    sa.UniqueConstraint("payment_id", "number"), one_of("state", states.AttemptState),
    sa.Index(None, "config_id", "provider_transaction_id"), sa.Index(None, "next_lookup_at"),
)  # fmt: skip

# The identifiers that providers, statements and receipts use for an attempt: kinds are in ``domain/identifiers.py``.
sa.Table(
    "payment_identifiers",
    practice,
    sa.Column("attempt_id", sa.Text, sa.ForeignKey("payment_attempts.id"), nullable=False),
    _of_payment(),
    _of_practice(),
    *environment(),
    text("kind"),
    text("value"),
    text("search_key"),
    moment("created_at"),
    sa.PrimaryKeyConstraint("attempt_id", "kind", "value"),
    sa.Index(None, "search_key"),
    sa.Index(None, "payment_id"),
)

# One narrow row per payment, in the order of the lists; all words in their search form.
sa.Table(
    "payment_search",
    practice,
    *environment(),
    moment("created_at"),
    _of_payment(),
    text("major_units"),
    maybe("email"),
    maybe("reference"),
    text("body"),
    whole("block", 0),  # of ``payment_search_blocks``; 0: in none yet
    sa.PrimaryKeyConstraint("environment", "created_at", "payment_id"),
    sa.Index(None, "email"),
    sa.Index(None, "reference"),
    sa.Index("ix_payment_search_block", "block", "environment", "created_at"),
    sqlite_with_rowid=False,
)

# What the rows of a block can be found by: ``signature`` of ``domain/search.py``, in parts of which a search reads a
# few.
sa.Table(
    "payment_search_blocks",
    practice,
    *environment(),
    sa.Column("block", sa.BigInteger, primary_key=True, autoincrement=False),
    moment("oldest_at"),
    moment("newest_at"),
    *(sa.Column(f"part{number}", sa.LargeBinary, nullable=False) for number in range(8)),
    sa.Index(None, "environment", "block"),
)

sa.Table(
    "refunds", practice, sa.Column("id", sa.Text, primary_key=True), _of_payment(), _of_practice(), *environment(),
    text("attempt_id"), text("state"), whole("amount"), text("currency"), maybe("reason"), text("origin"),
    maybe("failure_reason"), maybe("raw_code"), maybe("provider_refund_id"), maybe("provider_response", Json),
    whole("booked", 0),  # how much of it is in payments.amount_refunded now
    whole("booked_duplicate", 0),  # and how much in payments.duplicate_refunded
    text("idempotency_key"), text("fingerprint"), text("created_by"), *_lookups(),
    moment("created_at"), moment("updated_at"),
    maybe("provider_dispute_id"),  # the dispute that the provider paid by this refund, if it says so
    maybe("detail"), maybe("unclear_since", Moment),
    maybe("search_key"),  # the provider's id in the form in which identifiers are compared
    flag("is_reversal", False),  # the provider itself took the money, for a dispute or a bank
    sa.ForeignKeyConstraint(["attempt_id"], ["payment_attempts.id"]),
    sa.UniqueConstraint("practice_id", "idempotency_key"), sa.UniqueConstraint("payment_id", "provider_refund_id"),
    sa.Index(None, "search_key"), sa.CheckConstraint("amount > 0", name="amount"), one_of("state", states.RefundState),
    one_of("origin", states.RefundOrigin), sa.Index(None, "next_lookup_at"),
)  # fmt: skip

sa.Table(
    "payment_operations", practice, sa.Column("id", sa.Text, primary_key=True), _of_payment(), _of_practice(),
    *environment(), text("attempt_id"), text("kind"), maybe("amount", sa.BigInteger), text("state"),
    maybe("reason"), maybe("raw_code"), text("idempotency_key"), text("fingerprint"), text("created_by"),
    *_lookups(), moment("created_at"), moment("updated_at"), maybe("detail"),
    sa.ForeignKeyConstraint(["attempt_id"], ["payment_attempts.id"]),
    sa.UniqueConstraint("practice_id", "idempotency_key"), one_of("kind", states.OperationKind),
    one_of("state", states.OperationState), sa.Index(None, "payment_id"), sa.Index(None, "next_lookup_at"),
)  # fmt: skip

sa.Table(
    "disputes", practice, sa.Column("id", sa.Text, primary_key=True), _of_payment(), _of_practice(), *environment(),
    text("provider_dispute_id"), text("state"), text("provider_state"), maybe("amount", sa.BigInteger),
    text("currency"), flag("funds_withdrawn", False), maybe("due_at"), moment("created_at"), moment("updated_at"),
    text("attempt_id"),  # the attempt whose money it is about
    text("kind", server_default="chargeback"), maybe("reason"), maybe("provider_reason"),
    whole("booked", 0),  # how much of it the ledger has as lost, without what a refund has returned already
    maybe("counted_as"),  # ``CountedAs``, if staff decided it
    flag("funds_returned", False),  # the provider shows that what it withdrew for it came back
    text("search_key"),  # the provider's id in the form in which identifiers are compared
    sa.UniqueConstraint("payment_id", "provider_dispute_id"), sa.Index(None, "search_key"),
    one_of("state", states.DisputeState),
    one_of("kind", states.DisputeKind), sa.CheckConstraint("booked >= 0", name="booked"),
)  # fmt: skip

sa.Table(
    "webhook_events", practice, sa.Column("id", sa.Text, primary_key=True), _of_practice(), *environment(),
    sa.Column("config_id", sa.Integer, sa.ForeignKey("practice_payment_providers.id"), nullable=False),
    text("provider_code"), text("dedupe_key"), text("event_type"), text("state"), maybe("reason"),
    maybe("body", Json), flag("must_fetch", False), maybe("payment_id"), whole("tries", 0, sa.Integer),
    moment("received_at"), maybe("applied_at", Moment),
    sa.UniqueConstraint("config_id", "environment", "dedupe_key"), one_of("state", states.EventState),
    sa.Index(None, "state", "received_at"), sa.Index(None, "payment_id"),
)  # fmt: skip

sa.Table(
    "ledger_lines", practice, serial_id(), text("entry_id"), _of_practice(), *environment(), text("currency"),
    text("account"), whole("amount"),  # debits positive, credits negative: an entry's lines sum to zero
    text("fact"), _of_payment(), maybe("refund_id"), moment("created_at"),
    # On the line that is not on the provider's account: the provider of the entry and the method of the payment.
    text("provider_code", server_default=""), text("method", server_default=""),
    one_of("fact", LedgerFact), sa.Index(None, "payment_id"), sa.Index(None, "environment", "currency", "account"),
    # What overviews sum: it has every column that they read.
    sa.Index(
        "ix_ledger_lines_sums", "environment", "currency", "account", "fact", "provider_code", "method", "created_at",
        "amount", sqlite_where=sa.text("provider_code <> ''"), postgresql_where=sa.text("provider_code <> ''"),
    ),
)  # fmt: skip

sa.Table(
    "operator_cases",
    practice,
    sa.Column("id", sa.Text, primary_key=True),
    _of_practice(),
    *environment(),
    text("kind"),
    text("subject"),
    maybe("payment_id"),
    text("state", server_default="open"),
    maybe("detail", Json),
    moment("created_at"),
    maybe("resolved_at", Moment),
    maybe("resolved_by"),
    sa.UniqueConstraint("kind", "subject"),
    one_of("kind", CaseKind),
    one_of("state", CaseState),
    sa.Index(None, "state", "created_at"),
)

# Decisions by staff about an outcome that stayed unknown. A transaction pays one attempt.
sa.Table(
    "staff_decisions", practice, sa.Column("id", sa.Text, primary_key=True), _of_practice(), *environment(),
    _of_payment(), sa.Column("attempt_id", sa.Text, sa.ForeignKey("payment_attempts.id"), nullable=False),
    text("decided_on"), text("subject"), sa.Column("is_done", sa.Boolean, nullable=False),
    sa.Column("config_id", sa.Integer, sa.ForeignKey("practice_payment_providers.id"), nullable=False),
    maybe("transaction_id"), maybe("transaction_key"), maybe("amount", sa.BigInteger), text("currency"), text("note"),
    text("decided_by"), moment("decided_at"),
    sa.UniqueConstraint("decided_on", "subject"), sa.UniqueConstraint("config_id", "environment", "transaction_key"),
    one_of("decided_on", states.DecidedOn), sa.Index(None, "attempt_id"),
)  # fmt: skip

sa.Table(
    "listing_cursors",
    practice,
    sa.Column(
        "config_id", sa.Integer, sa.ForeignKey("practice_payment_providers.id"), primary_key=True, autoincrement=False
    ),
    text("environment", primary_key=True),
    one_of("environment", states.Environment),
    moment("compared_until"),
)

# Events for the platform, written in the transaction that they report and forwarded to the owner's feed.
sa.Table(
    "events",
    practice,
    serial_id(),
    text("event_id"),
    _of_practice(),
    *environment(),
    text("type"),
    maybe("payment_id"),
    text("data"),
    moment("created_at"),
    maybe("forwarded_at", Moment),
    sa.UniqueConstraint("event_id"),
    sa.Index(None, "forwarded_at", "id"),
)

sa.Table(
    "payment_links",
    practice,
    sa.Column("id", sa.Text, primary_key=True),
    _of_practice(),
    *environment(),
    whole("amount"),
    text("currency"),
    text("description"),
    maybe("reference"),
    flag("single_use", True),
    text("state", server_default="open"),
    moment("expires_at"),
    text("created_by"),
    moment("created_at"),
    moment("updated_at"),
    one_of("state", states.LinkState),
    sa.CheckConstraint("amount > 0", name="amount"),
)

sa.Table(
    "payment_link_payments",
    practice,
    sa.Column("payment_id", sa.Text, sa.ForeignKey("payments.id"), primary_key=True),
    sa.Column("link_id", sa.Text, sa.ForeignKey("payment_links.id"), nullable=False),
    moment("created_at"),
    sa.Index(None, "link_id", "created_at"),
)
