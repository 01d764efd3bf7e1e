"""What a handler is given: one practice's credentials, and what each verb is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from polytill.domain.contacts import Phone, stored_phone
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.outcomes import Wants


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """One practice's credentials at one provider in one environment. ``base_url`` has passed the host check."""

    environment: Environment  # `sandbox` or `production`.
    base_url: str  # Where to call; the host was checked against ``Handler.hosts``.
    public_key: str | None = None  # The credential `publicKey`.
    secret_key: Secret | None = None  # The credential `secretKey`.
    # For checking a webhook only: the present secret first, then those that are still accepted.
    webhook_secrets: tuple[Secret, ...] = ()
    # Further settings by ``Handler.config_schema``; secret ones are ``Secret``.
    config: Mapping[str, Any] = field(default_factory=dict)
    # Where this configuration's webhooks arrive: named in each call (M-Pesa), or part of what is signed (Square).
    webhook_url: str | None = None


@dataclass(frozen=True, slots=True)
class Customer:
    """The payer, as far as known. A handler gets the normal forms of ``domain/contacts.py``: ``phone`` is E.164."""

    email: str | None = None  # The e-mail address.
    name: str | None = None  # The name.
    phone: str | None = None  # The phone number in E.164.

    def fields(self) -> frozenset[str]:
        """The names of the fields that are known."""
        return frozenset(name for name in ("email", "name", "phone") if getattr(self, name))


@dataclass(frozen=True, slots=True)
class CreatePaymentParams:
    """``reference`` is the attempt's id: unique, ours, and the provider's idempotency key where it has one.

    ``method_details`` asks for a direct charge, without the provider's page, and is what that needs besides the method
    (``{"provider": "mtn"}``; may be empty): never a card's number. None: the payer is sent to a page. ``save_method``
    asks for a token with which the payer can be charged again (``Succeeded.saved_method``).

    ``merchant_reference`` is what the customer, the merchant and a statement know the payment by: the host's reference, or
    else ``number``, the payment's number for people. It need not be unique, and no lookup goes by it.
    """

    reference: str  # The attempt's id: unique, ours, and the provider's idempotency key where it has one.
    payment_id: str  # Our id of the payment.
    amount: Money  # What is to be paid.
    customer: Customer  # Who pays, as far as known.
    return_url: str  # Where the provider sends the customer afterwards.
    method: str | None = None  # The payment method that was asked for; None: the customer chooses.
    capture: str = "automatic"  # `automatic`, or `manual`: hold the amount only.
    description: str | None = None  # What the payment is for.
    metadata: Mapping[str, str] = field(default_factory=dict)  # The host application's own entries.
    merchant_name: str | None = None  # The practice's name.
    expires_in_s: int | None = None  # How long the payment can be paid, in seconds.
    # Asks for a direct charge, without the provider's page: what it needs besides the method; may be empty. None: a
    # page.
    method_details: Mapping[str, str] | None = None
    save_method: bool = False  # Whether to keep the method, with the customer's consent.
    # What customer, merchant and statement know the payment by: the host's reference, or else ``number``. Not unique.
    merchant_reference: str | None = None
    number: str | None = None  # The payment's short number for people.

    @property
    def phone(self) -> Phone | None:
        """The number that is charged: that of the method's details, else the customer's, in whichever form is wanted."""
        charged = (self.method_details or {}).get("phone") or self.customer.phone
        return stored_phone(charged, self.amount.currency)


@dataclass(frozen=True, slots=True)
class ConfirmPaymentParams:
    """Ask for the truth about a payment. ``payment_method`` confirms on the server where the provider can (Stripe).

    A confirmation that may move money carries ``operation_reference``: its own id, the same for each repeat of it, and
    the provider's idempotency key where it has one. Without it the question must be safe to repeat. ``only_ask``: the
    payment is called off here, so what the payer has approved meanwhile must not be taken (PayPal). ``direct``: the
    charge was made without the provider's page, so that a decline is the end of it.
    """

    reference: str  # Our reference of the attempt.
    provider_transaction_id: str | None  # The provider's id of the payment, where it is known.
    amount: Money  # The attempt's amount.
    payment_method: str | None = None  # Confirms on the server, where the provider can (Stripe).
    return_url: str | None = None  # Where the provider sends the customer afterwards.
    # Set where the call may move money: its own id, the same for each repeat, and the idempotency key.
    operation_reference: str | None = None
    # The payment is canceled here: what the customer has approved meanwhile must not be captured (PayPal).
    only_ask: bool = False
    direct: bool = False  # The charge was made without the provider's page, so a decline is final.


@dataclass(frozen=True, slots=True)
class ContinuePaymentParams:
    """The payer's answer to ``NextAction.wants``: a PIN, a one-time password, the parts of an address.

    ``values`` are written by the payer: never kept, never logged. ``operation_reference`` names this answer;
    ``continuation`` is what came with the question (``NextAction.continuation``).
    """

    reference: str  # Our reference of the attempt.
    provider_transaction_id: str | None  # The provider's id of the payment, where it is known.
    amount: Money  # The attempt's amount.
    wants: Wants  # What the provider asked for.
    values: Mapping[str, Secret]  # What the customer typed. Never kept or logged.
    operation_reference: str  # The id of this answer.
    # What came with the question (``NextAction.continuation``).
    continuation: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChargeSavedMethodParams:
    """Charge a payer who is not there, with a token from ``Succeeded.saved_method``. Always moves money. ``return_url``:
    where the payer comes back to, if the bank wants them all the same."""

    reference: str  # The attempt's id, as in ``CreatePaymentParams``.
    payment_id: str  # Our id of the payment.
    amount: Money  # What is to be charged.
    customer: Customer  # Who pays, with the e-mail address under which the method was saved.
    token: Secret  # The token of ``Succeeded.saved_method``.
    description: str | None = None  # What the payment is for.
    metadata: Mapping[str, str] = field(default_factory=dict)  # The host application's own entries.
    provider_customer_id: str | None = None  # The provider's customer that holds the method.
    return_url: str | None = None  # Where the customer comes back to, if the bank asks for them after all.
    merchant_reference: str | None = None  # As in ``CreatePaymentParams``.


@dataclass(frozen=True, slots=True)
class DetachSavedMethodParams:
    """Make a saved method useless at the provider. Moves no money; to repeat it is harmless."""

    token: Secret  # The token of ``Succeeded.saved_method``.
    provider_customer_id: str | None = None  # The provider's customer that holds the method.


@dataclass(frozen=True, slots=True)
class Detachment:
    """How detaching ended: ``detached`` (also where it was before), ``refused`` for good, or ``unknown``: ask again."""

    # `detached` (also where it was before), `refused` for good, or `unknown`: ask again.
    state: Literal["detached", "refused", "unknown"]
    code: str | None = None  # The provider's own code.


@dataclass(frozen=True, slots=True)
class SaveMethodParams:
    """Keep a payer's method without taking money, where a provider can."""

    reference: str  # Our reference of this call.
    customer: Customer  # Whose method it is.
    return_url: str  # Where the provider sends the customer afterwards.


@dataclass(frozen=True, slots=True)
class LookupParams:
    """What happened to a create call whose answer was lost? ``create`` is that call, byte for byte. ``direct`` as in
    ``ConfirmPaymentParams``."""

    reference: str  # Our reference of the attempt.
    provider_transaction_id: str | None  # The provider's id of the payment, where it is known.
    amount: Money  # The attempt's amount.
    create: CreatePaymentParams | None = None  # The first call, byte for byte; None: it must not be repeated.
    age_s: float = 0.0  # How long ago the first call was made, in seconds.
    created_at_s: int = 0  # When it was made, in seconds since the epoch.
    direct: bool = False  # As in ``ConfirmPaymentParams``.


@dataclass(frozen=True, slots=True)
class RefundParams:
    """``reference`` is the refund's id. ``amount`` is always explicit."""

    reference: str  # Our id of the refund.
    payment_reference: str  # Our reference of the attempt that is refunded.
    provider_transaction_id: str | None  # The provider's id of the payment.
    amount: Money  # What is to be refunded; always explicit.
    full: bool  # Whether that is all that is left of the payment.
    reason: str | None = None  # Why, in the practice's words.


@dataclass(frozen=True, slots=True)
class RefundLookupParams:
    """What happened to a refund? ``known`` are the provider's ids of refunds that belong to other rows of ours."""

    # Our id of the refund; empty for one that was not made here: the only one of that amount, if there is one.
    reference: str
    payment_reference: str  # Our reference of the attempt that is refunded.
    provider_transaction_id: str | None  # The provider's id of the payment.
    provider_refund_id: str | None  # The provider's id of the refund, where it is known.
    amount: Money  # The refund's amount.
    full: bool  # Whether that was all that was left of the payment.
    reason: str | None = None  # Why, in the practice's words.
    known: frozenset[str] = frozenset()  # The provider's ids of refunds that belong to other refunds of ours.
    age_s: float = 0.0  # How long ago the first call was made, in seconds.
    created_at_s: int = 0  # When it was made, in seconds since the epoch.


@dataclass(frozen=True, slots=True)
class OperationParams:
    """A capture (``amount`` ≤ authorized) or a cancel (``amount`` None)."""

    reference: str  # The operation's id, and its idempotency key.
    payment_reference: str  # Our reference of the attempt.
    provider_transaction_id: str | None  # The provider's id of the payment.
    amount: Money | None = None  # A capture's amount, at most what is held; None: a cancel.
