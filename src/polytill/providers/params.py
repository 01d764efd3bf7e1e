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

    environment: Environment
    base_url: str
    public_key: str | None = None
    secret_key: Secret | None = None
    webhook_secrets: tuple[Secret, ...] = ()  # the present one first, then those still honoured
    config: Mapping[str, Any] = field(default_factory=dict)  # by configSchema; secret fields are ``Secret``
    # Where this configuration's deliveries arrive: named in each call (M-Pesa), or part of what is signed (Square).
    webhook_url: str | None = None


@dataclass(frozen=True, slots=True)
class Customer:
    """The payer, as far as known. A handler gets the normal forms of ``domain/contacts.py``: ``phone`` is E.164."""

    email: str | None = None
    name: str | None = None
    phone: str | None = None

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

    reference: str
    payment_id: str
    amount: Money
    customer: Customer
    return_url: str
    method: str | None = None
    capture: str = "automatic"
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    merchant_name: str | None = None
    expires_in_s: int | None = None
    method_details: Mapping[str, str] | None = None
    save_method: bool = False
    merchant_reference: str | None = None
    number: str | None = None

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

    reference: str
    provider_transaction_id: str | None
    amount: Money
    payment_method: str | None = None
    return_url: str | None = None
    operation_reference: str | None = None
    only_ask: bool = False
    direct: bool = False


@dataclass(frozen=True, slots=True)
class ContinuePaymentParams:
    """The payer's answer to ``NextAction.wants``: a PIN, a one-time password, the parts of an address.

    ``values`` are written by the payer: never kept, never logged. ``operation_reference`` names this answer;
    ``continuation`` is what came with the question (``NextAction.continuation``).
    """

    reference: str
    provider_transaction_id: str | None
    amount: Money
    wants: Wants
    values: Mapping[str, Secret]
    operation_reference: str
    continuation: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChargeSavedMethodParams:
    """Charge a payer who is not there, with a token from ``Succeeded.saved_method``. Always moves money. ``return_url``:
    where the payer comes back to, if the bank wants them all the same."""

    reference: str
    payment_id: str
    amount: Money
    customer: Customer  # with the e-mail under which the method was saved
    token: Secret
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    provider_customer_id: str | None = None
    return_url: str | None = None
    merchant_reference: str | None = None  # as in ``CreatePaymentParams``


@dataclass(frozen=True, slots=True)
class DetachSavedMethodParams:
    """Make a saved method useless at the provider. Moves no money; to repeat it is harmless."""

    token: Secret
    provider_customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class Detachment:
    """How detaching ended: ``detached`` (also where it was before), ``refused`` for good, or ``unknown``: ask again."""

    state: Literal["detached", "refused", "unknown"]
    code: str | None = None


@dataclass(frozen=True, slots=True)
class SaveMethodParams:
    """Keep a payer's method without taking money, where a provider can."""

    reference: str
    customer: Customer
    return_url: str


@dataclass(frozen=True, slots=True)
class LookupParams:
    """What happened to a create call whose answer was lost? ``create`` is that call, byte for byte. ``direct`` as in
    ``ConfirmPaymentParams``."""

    reference: str
    provider_transaction_id: str | None
    amount: Money
    create: CreatePaymentParams | None = None
    age_s: float = 0.0  # since the first call was made
    created_at_s: int = 0  # when it was made, seconds since the epoch
    direct: bool = False


@dataclass(frozen=True, slots=True)
class RefundParams:
    """``reference`` is the refund's id. ``amount`` is always explicit."""

    reference: str
    payment_reference: str
    provider_transaction_id: str | None
    amount: Money
    full: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RefundLookupParams:
    """What happened to a refund? ``known`` are the provider's ids of refunds that belong to other rows of ours."""

    reference: str  # our id of it; empty for one that is none of ours: the only one of that amount, if there is one
    payment_reference: str
    provider_transaction_id: str | None
    provider_refund_id: str | None
    amount: Money
    full: bool
    reason: str | None = None
    known: frozenset[str] = frozenset()
    age_s: float = 0.0
    created_at_s: int = 0


@dataclass(frozen=True, slots=True)
class OperationParams:
    """A capture (``amount`` ≤ authorized) or a cancel (``amount`` None)."""

    reference: str
    payment_reference: str
    provider_transaction_id: str | None
    amount: Money | None = None
