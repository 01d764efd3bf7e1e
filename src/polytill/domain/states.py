"""The states of payments, attempts, refunds and disputes, and the legal transitions: one table each. Only
``flows/payments/settle.py`` changes states."""

from __future__ import annotations

from enum import StrEnum


class Environment(StrEnum):
    """Whether money is real. It is set when a row is created and never changes; the two are never mixed."""

    sandbox = "sandbox"
    production = "production"


class ApiKeyKind(StrEnum):
    """Who holds an API key: the platform's owner, a practice, or everybody (``publishable``: it reads one payment)."""

    owner = "owner"
    practice = "practice"
    publishable = "publishable"


class StaffRole(StrEnum):
    """What a person may do on the pages. A ``viewer`` changes nothing."""

    admin = "admin"
    viewer = "viewer"


class PracticeState(StrEnum):
    """Whether a practice takes payments. ``provisioning``: its database is being created; nobody sees it yet.
    ``suspended``: no new payments; those that exist are finished. ``closed``: no new payments, payment links and
    credentials; what exists goes on until its run-out ends. ``deleted``: its data key and its database are destroyed."""

    provisioning = "provisioning"
    active = "active"
    suspended = "suspended"
    closed = "closed"
    deleted = "deleted"

    @property
    def has_database(self) -> bool:
        """Whether a practice in this state has a complete database."""
        return self in (PracticeState.active, PracticeState.suspended, PracticeState.closed)


class ClusterState(StrEnum):
    """Whether a cluster accepts new practices. Its practices are served either way."""

    open = "open"
    closed = "closed"


class ProviderStatus(StrEnum):
    """Whether practices may use a provider of the catalog. ``deprecated``: only those that already do."""

    active = "active"
    inactive = "inactive"
    deprecated = "deprecated"
    beta = "beta"


class IntegrationType(StrEnum):
    """Where a provider's handler comes from: this package, an installed plug-in, or a module that the catalog names."""

    built_in = "built_in"
    plugin = "plugin"
    custom = "custom"


class CredentialState(StrEnum):
    """The state of one set of credentials: used, tested for a change of the environment, or replaced. A replaced set
    still verifies webhooks for a time."""

    active = "active"
    prepared = "prepared"
    superseded = "superseded"


class CaptureMode(StrEnum):
    """When the money of a payment is taken: at once, or by a capture after the authorization."""

    automatic = "automatic"
    manual = "manual"


class LinkState(StrEnum):
    """Whether a payment link can be paid. It expires by its time."""

    open = "open"
    closed = "closed"


class PaymentStatus(StrEnum):
    """The status of a payment. "Refunded" is computed from refunds and is not a status."""

    requires_action = "requires_action"
    processing = "processing"
    authorized = "authorized"
    succeeded = "succeeded"
    failed = "failed"
    canceled = "canceled"


class AttemptState(StrEnum):
    """What is known about one try at one provider. ``sent`` is committed before the call is made."""

    sent = "sent"
    needs_action = "needs_action"
    pending = "pending"
    authorized = "authorized"
    succeeded = "succeeded"
    declined = "declined"
    not_sent = "not_sent"
    unknown = "unknown"
    expired = "expired"
    canceled = "canceled"


class RefundState(StrEnum):
    """What is known about one refund. A refund that succeeded can still fail, which lowers the refunded total again."""

    sent = "sent"
    pending = "pending"
    succeeded = "succeeded"
    declined = "declined"
    not_sent = "not_sent"
    unknown = "unknown"
    failed = "failed"


class RefundOrigin(StrEnum):
    """Where a refund was requested: here, or in the provider's dashboard."""

    api = "api"
    provider = "provider"


class OperationKind(StrEnum):
    """What was requested for an authorization."""

    capture = "capture"
    cancel = "cancel"


class OperationState(StrEnum):
    """What is known about one capture or cancel that we requested."""

    sent = "sent"
    pending = "pending"
    succeeded = "succeeded"
    declined = "declined"
    not_sent = "not_sent"
    unknown = "unknown"


class DisputeState(StrEnum):
    """The state of a dispute as far as money goes. ``closed``: it ended without a decision that took money (a closed
    inquiry)."""

    open = "open"
    won = "won"
    lost = "lost"
    closed = "closed"


class DisputeKind(StrEnum):
    """What is disputed: a question without funds withdrawn, or a claim that withdraws them."""

    inquiry = "inquiry"
    chargeback = "chargeback"


class DisputeReason(StrEnum):
    """Why a customer disputes a payment: a closed list. The provider's own code is stored beside it."""

    fraudulent = "fraudulent"
    unrecognized = "unrecognized"
    product_not_received = "product_not_received"
    product_unacceptable = "product_unacceptable"
    duplicate = "duplicate"
    incorrect_amount = "incorrect_amount"
    credit_not_processed = "credit_not_processed"
    subscription_canceled = "subscription_canceled"
    paid_by_other_means = "paid_by_other_means"
    bank_cannot_process = "bank_cannot_process"
    other = "other"


class DecidedOn(StrEnum):
    """What staff can decide where its outcome stays unknown: a closed list."""

    payment = "payment"
    refund = "refund"
    capture = "capture"
    cancel = "cancel"


class CountedAs(StrEnum):
    """How staff decided that a lost dispute counts beside a refund of the same attempt."""

    separate = "separate"
    same = "same"


class DetachmentState(StrEnum):
    """Whether a removed saved method is detached at its provider, or the provider refused."""

    due = "due"
    detached = "detached"
    refused = "refused"


class DeliveryState(StrEnum):
    """The state of one event on its way to the destination."""

    pending = "pending"
    delivered = "delivered"
    abandoned = "abandoned"


class EventState(StrEnum):
    """What happened to a webhook from a provider. ``relaying`` and ``relayed``: it is not about anything here, and is, or
    was, forwarded to the old address of its account. ``dismissed``: parked, and staff need nothing of it."""

    received = "received"
    applied = "applied"
    ignored = "ignored"
    parked = "parked"
    relaying = "relaying"
    relayed = "relayed"
    dismissed = "dismissed"


class RelayState(StrEnum):
    """What happened to the relay of one webhook. ``not_theirs``: the old address does not know it either. ``ours``: its
    payment became known here before it was forwarded. ``turned_off``: the relay was switched off before."""

    waiting = "waiting"
    forwarded = "forwarded"
    not_theirs = "not_theirs"
    gave_up = "gave_up"
    ours = "ours"
    turned_off = "turned_off"


_P = PaymentStatus
_A = AttemptState
_R = RefundState

PAYMENT_NEXT: dict[PaymentStatus, frozenset[PaymentStatus]] = {
    _P.requires_action: frozenset({_P.processing, _P.authorized, _P.succeeded, _P.failed, _P.canceled}),
    _P.processing: frozenset({_P.requires_action, _P.authorized, _P.succeeded, _P.failed, _P.canceled}),
    _P.authorized: frozenset({_P.processing, _P.succeeded, _P.canceled, _P.failed}),
    _P.succeeded: frozenset(),
    # A late success is legal, audited and reported. A failed payment may also be tried again.
    _P.failed: frozenset({_P.processing, _P.authorized, _P.succeeded}),
    _P.canceled: frozenset({_P.processing, _P.authorized, _P.succeeded}),
}

ATTEMPT_CLOSED = frozenset({_A.declined, _A.not_sent, _A.expired, _A.canceled})  # unless the provider says otherwise

ATTEMPT_NEXT: dict[AttemptState, frozenset[AttemptState]] = {
    _A.sent: frozenset(_A) - {_A.sent},
    _A.needs_action: frozenset({_A.pending, _A.authorized, _A.succeeded, _A.declined, _A.expired, _A.canceled}),
    _A.pending: frozenset({_A.needs_action, _A.authorized, _A.succeeded, _A.declined, _A.expired, _A.canceled}),
    _A.authorized: frozenset({_A.succeeded, _A.canceled, _A.expired}),
    _A.succeeded: frozenset(),
    # Only a lookup or a webhook resolves ``unknown``, or a decision by staff if neither is possible.
    _A.unknown: frozenset(_A) - {_A.sent, _A.unknown},
    # The provider's fact overrides what we took to be closed.
    **dict.fromkeys(ATTEMPT_CLOSED, frozenset({_A.authorized, _A.succeeded})),
}

REFUND_NEXT: dict[RefundState, frozenset[RefundState]] = {
    _R.sent: frozenset({_R.pending, _R.succeeded, _R.declined, _R.not_sent, _R.unknown, _R.failed}),
    _R.pending: frozenset({_R.succeeded, _R.failed}),
    _R.unknown: frozenset({_R.pending, _R.succeeded, _R.declined, _R.not_sent, _R.failed}),
    _R.succeeded: frozenset({_R.failed}),
    # A provider's later fact overrides the earlier one here, too.
    _R.declined: frozenset({_R.succeeded}),
    # Not to ``pending``: its amount was released and another refund may use it by now.
    _R.not_sent: frozenset({_R.succeeded}),
    _R.failed: frozenset({_R.succeeded}),
}

ATTEMPT_LIVE = frozenset({_A.sent, _A.needs_action, _A.pending, _A.authorized, _A.unknown})  # can still bring money
OPERATION_OPEN = frozenset({OperationState.sent, OperationState.pending, OperationState.unknown})
ATTEMPT_WON = frozenset({_A.succeeded})

# Refunds that reserve part of the captured amount, refunds that returned money, and refunds that do neither.
REFUND_RESERVES = frozenset({_R.sent, _R.pending, _R.unknown})
REFUND_DONE = frozenset({_R.succeeded})
REFUND_VOID = frozenset({_R.declined, _R.not_sent, _R.failed})
# The provider accepted these, and refunded nothing in the end.
REFUNDED_NOTHING = frozenset({_R.failed, _R.declined})
