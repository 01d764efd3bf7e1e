"""The parameters of a handler: the credentials of one practice, and the arguments of each method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from polytill.domain.contacts import Phone, stored_phone
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import CaptureMode, Environment
from polytill.providers.outcomes import Wants


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """One practice's credentials at one provider in one environment. ``base_url`` has passed the host check."""

    environment: Environment  # `sandbox` or `production`.
    base_url: str  # The address to call. Its host was checked against ``Handler.hosts``.
    public_key: str | None = None  # The credential `publicKey`.
    secret_key: Secret | None = None  # The credential `secretKey`.
    # Only for validating webhooks: the current secret first, then previous ones that are still accepted.
    webhook_secrets: tuple[Secret, ...] = ()
    # Further settings by ``Handler.config_schema``. Secret ones are ``Secret``.
    config: Mapping[str, Any] = field(default_factory=dict)
    # The webhook address of this configuration. It is named in each call (M-Pesa) or part of what is signed (Square).
    webhook_url: str | None = None


@dataclass(frozen=True, slots=True)
class Customer:
    """The customer, as far as known. A handler receives the normal forms of ``domain/contacts.py``: ``phone`` is E.164."""

    email: str | None = None  # The e-mail address.
    name: str | None = None  # The name.
    phone: str | None = None  # The phone number in E.164.

    def fields(self) -> frozenset[str]:
        """The names of the fields that are known."""
        return frozenset(name for name in ("email", "name", "phone") if getattr(self, name))


@dataclass(frozen=True, slots=True)
class CreatePaymentParams:
    """``reference`` is the attempt's id. It is unique, and the idempotency key if the provider has one.

    ``method_details`` requests a direct charge, without the provider's page. It holds what the charge needs besides the
    method (``{"provider": "mtn"}``; may be empty), and never a card number. None: the customer pays on a page.
    ``save_method`` requests a token with which the customer can be charged again (``Succeeded.saved_method``).

    ``merchant_reference`` identifies the payment for the customer, the merchant and on a statement. It is the host
    application's reference or else ``number``. It need not be unique, and no lookup uses it.
    """

    reference: str  # The attempt's id: unique, and the idempotency key if the provider has one.
    payment_id: str  # Our id of the payment.
    amount: Money  # The amount to pay.
    customer: Customer  # The customer, as far as known.
    return_url: str  # Where the provider sends the customer afterwards.
    method: str | None = None  # The requested payment method; None: the customer chooses.
    capture: CaptureMode = CaptureMode.automatic  # `automatic`, or `manual`: only authorize the amount.
    description: str | None = None  # What the payment is for.
    metadata: Mapping[str, str] = field(default_factory=dict)  # The metadata of the host application.
    merchant_name: str | None = None  # The practice's name.
    expires_in_s: int | None = None  # For how many seconds the payment can be paid.
    # Requests a direct charge, without the provider's page: the details it needs besides the method; may be empty.
    # None: a page.
    method_details: Mapping[str, str] | None = None
    save_method: bool = False  # Whether to save the method, with the customer's consent.
    # Identifies the payment for customer, merchant and statement: the host's reference, or else ``number``. Not unique.
    merchant_reference: str | None = None
    number: str | None = None  # The payment's short number for people.

    @property
    def phone(self) -> Phone | None:
        """The phone number to charge, from the method's details or else from the customer, in the requested form."""
        charged = (self.method_details or {}).get("phone") or self.customer.phone
        return stored_phone(charged, self.amount.currency)


@dataclass(frozen=True, slots=True)
class ConfirmPaymentParams:
    """Request the current state of a payment. ``payment_method`` confirms on the server if the provider can (Stripe).

    A confirmation that may move money carries ``operation_reference``: its own id, the same for each repeat, and the
    idempotency key if the provider has one. Without it, the request must be safe to repeat. ``only_ask``: the payment
    is canceled, so an approval that the customer gave in the meantime must not be captured (PayPal). ``direct``: the
    charge was made without the provider's page, so a decline is final.
    """

    reference: str  # Our reference of the attempt.
    provider_transaction_id: str | None  # The provider's id of the payment, if known.
    amount: Money  # The attempt's amount.
    payment_method: str | None = None  # Confirms on the server, if the provider can (Stripe).
    return_url: str | None = None  # Where the provider sends the customer afterwards.
    # Set if the call may move money: its own id, the same for each repeat, and the idempotency key.
    operation_reference: str | None = None
    # The payment is canceled: an approval that the customer gave in the meantime must not be captured (PayPal).
    only_ask: bool = False
    direct: bool = False  # The charge was made without the provider's page, so a decline is final.


@dataclass(frozen=True, slots=True)
class ContinuePaymentParams:
    """The payment input for ``NextAction.wants``: a PIN, a one-time password, the parts of an address.

    ``values`` is what the customer typed: never stored, never logged. ``operation_reference`` identifies this input;
    ``continuation`` is ``NextAction.continuation``.
    """

    reference: str  # Our reference of the attempt.
    provider_transaction_id: str | None  # The provider's id of the payment, if known.
    amount: Money  # The attempt's amount.
    wants: Wants  # The payment input that the provider required.
    values: Mapping[str, Secret]  # What the customer typed. Never stored or logged.
    operation_reference: str  # The id of this input.
    # ``NextAction.continuation`` of the action that required the input.
    continuation: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChargeSavedMethodParams:
    """Charge a customer who is absent, with the token of ``Succeeded.saved_method``. Always moves money."""

    reference: str  # The attempt's id, as in ``CreatePaymentParams``.
    payment_id: str  # Our id of the payment.
    amount: Money  # The amount to charge.
    customer: Customer  # The customer, with the e-mail address under which the method was saved.
    token: Secret  # The token of ``Succeeded.saved_method``.
    description: str | None = None  # What the payment is for.
    metadata: Mapping[str, str] = field(default_factory=dict)  # The metadata of the host application.
    provider_customer_id: str | None = None  # The provider's customer that holds the method.
    return_url: str | None = None  # Where the provider sends the customer if the bank requires their confirmation.
    merchant_reference: str | None = None  # As in ``CreatePaymentParams``.


@dataclass(frozen=True, slots=True)
class DetachSavedMethodParams:
    """Revoke a saved method at the provider. Moves no money and is safe to repeat."""

    token: Secret  # The token of ``Succeeded.saved_method``.
    provider_customer_id: str | None = None  # The provider's customer that holds the method.


@dataclass(frozen=True, slots=True)
class Detachment:
    """The result of revoking a saved method."""

    # `detached` (also if it was before), `refused` permanently, or `unknown`: try again.
    state: Literal["detached", "refused", "unknown"]
    code: str | None = None  # The provider's own code.


@dataclass(frozen=True, slots=True)
class LookupParams:
    """Find the result of a create call whose answer was lost. ``create`` is that call, byte for byte. ``direct`` as in
    ``ConfirmPaymentParams``."""

    reference: str  # Our reference of the attempt.
    provider_transaction_id: str | None  # The provider's id of the payment, if known.
    amount: Money  # The attempt's amount.
    create: CreatePaymentParams | None = None  # The first call, byte for byte; None: it must not be repeated.
    age_s: float = 0.0  # How long ago the first call was made, in seconds.
    created_at_s: int = 0  # When the first call was made, in seconds since the epoch.
    direct: bool = False  # As in ``ConfirmPaymentParams``.


@dataclass(frozen=True, slots=True)
class RefundParams:
    """``reference`` is the refund's id. ``amount`` is always explicit."""

    reference: str  # Our id of the refund.
    payment_reference: str  # Our reference of the attempt that is refunded.
    provider_transaction_id: str | None  # The provider's id of the payment.
    amount: Money  # The amount to refund; always explicit.
    full: bool  # Whether this is the whole remaining amount of the payment.
    reason: str | None = None  # The reason, in the practice's words.


@dataclass(frozen=True, slots=True)
class RefundLookupParams:
    """Find the result of a refund. ``known`` are the provider's ids of our other refunds."""

    # Our id of the refund. Empty for a refund that was not made here: then the only refund of that amount, if there is
    # one.
    reference: str
    payment_reference: str  # Our reference of the attempt that is refunded.
    provider_transaction_id: str | None  # The provider's id of the payment.
    provider_refund_id: str | None  # The provider's id of the refund, if known.
    amount: Money  # The refund's amount.
    full: bool  # Whether this was the whole remaining amount of the payment.
    reason: str | None = None  # The reason, in the practice's words.
    known: frozenset[str] = frozenset()  # The provider's ids of our other refunds.
    # How long ago the first call was made, in seconds. At least ``idempotency_window_s`` if it must not be repeated.
    age_s: float = 0.0
    created_at_s: int = 0  # When the first call was made, in seconds since the epoch.


@dataclass(frozen=True, slots=True)
class OperationParams:
    """A capture (``amount`` ≤ authorized) or a cancel (``amount`` None)."""

    reference: str  # The operation's id, and its idempotency key.
    payment_reference: str  # Our reference of the attempt.
    provider_transaction_id: str | None  # The provider's id of the payment.
    amount: Money | None = None  # The amount to capture, at most the authorized one; None: a cancel.
