"""The data that the author of a handler writes: credentials, sample answers of the provider, sample webhooks.

Strings in a sample may contain ``<reference>`` (our attempt), ``<refund>`` (our refund), ``<transaction>`` and
``<refund id>`` (the provider's ids), ``<currency>`` and ``<Currency>`` (lower and upper case). A value that is exactly
``"<amount>"`` becomes the amount in the provider's format. ``<token>`` is the token of a saved method.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from polytill.domain.money import Money
from polytill.providers.contract import Customer, Handler, ProviderConfig
from polytill.providers.http import to_json

Json = dict[str, Any]
# Names of sample answers. Every fixture has created, paid, declined, pending, missing, strange, keys_good and keys_bad.
# Required if the handler has the verb:
#   refund_payment: refunded, refund_missing
#   capture_payment: authorized, captured
#   cancel_payment: canceled
#   charge_saved_method: saved, charged, charge_declined
#   continue_payment: asked, continued
#   list_transactions, list_refunds, list_disputes, get_balance: transactions, refunds, disputes, balance
# Optional: "declined" with a code that no handler knows; the rest of the answer still marks it as a decline.
NEWLY = "declined_newly"


@dataclass(frozen=True)
class Example:
    """One amount: our ``Money``, the text in a request, and the JSON value in an answer."""

    money: Money
    sent: str
    answered: Any


@dataclass(frozen=True)
class Sample:
    """One answer. ``to`` is part of the ``METHOD url`` that it answers; "" answers every request."""

    body: Any  # a JSON value with placeholders, or raw bytes
    status: int = 200
    to: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Delivery:
    """One webhook: its body as a JSON value with placeholders."""

    body: Any


@dataclass(frozen=True)
class Signature:
    """How the provider signs, described independently of the handler.

    The header with the proof is last. ``message`` is the signed text and ``value`` the content of the header. Both may
    contain ``{time}``; ``value`` may also contain ``{signature}``. If ``digest`` is "", the proof is the shared secret
    itself and no signature. If ``tolerance_s`` is None, no time is signed.
    """

    header: str
    digest: str = "sha256"
    encoding: str = "hex"  # or base64
    message: str = "{body}"
    value: str = "{signature}"
    tolerance_s: int | None = None

    def sign(self, body: bytes, secret: str, now_s: int) -> dict[str, str]:
        """The headers of a webhook that is signed now."""
        if not self.digest:
            return {self.header: secret}
        before, _, after = self.message.replace("{time}", str(now_s)).partition("{body}")
        mac = hmac.new(secret.encode(), before.encode() + body + after.encode(), getattr(hashlib, self.digest))
        text = mac.hexdigest() if self.encoding == "hex" else base64.b64encode(mac.digest()).decode()
        return {self.header: self.value.replace("{time}", str(now_s)).replace("{signature}", text)}


@dataclass(frozen=True)
class ProviderFixture:
    """All that the suite must know about a provider. The first two examples are in one currency, a third in another."""

    handler: type[Handler]
    accounts: tuple[ProviderConfig, ProviderConfig]  # of two practices, both sandbox, with different secrets
    examples: tuple[Example, ...]
    amount_field: str  # the create request's field with the amount
    answers: Mapping[str, Sample | tuple[Sample, ...]]  # one, or several that differ by what they answer
    # "paid"; "later": the same object in a later state; "unrelated": not about a payment
    deliveries: Mapping[str, Delivery]
    signature: Signature | None  # None: the provider signs nothing
    too_fine: Money | None = None  # an amount with more decimals than the provider accepts
    transaction_id: str = "tx-1"
    refund_id: str = "re-1"
    customer: Customer = field(default_factory=lambda: Customer("payer@example.com", "Ada Payer", "254708374149"))
    token_at: str | None = None  # part of the ``METHOD url`` that fetches an access token: not a payment call
    # What the provider sent with the request for a payment input.
    continuation: Mapping[str, str] = field(default_factory=dict)
    now_s: int = 1_795_340_000  # the fixed current time

    def samples(self, name: str) -> tuple[Sample, ...]:
        """The answers with this name, if the fixture has any."""
        found = self.answers.get(name, ())
        return (found,) if isinstance(found, Sample) else found

    def sample(self, name: str) -> tuple[Sample, ...]:
        """The answers with this name. ``AssertionError`` if the fixture has none."""
        found = self.samples(name)
        assert found, f"the fixture has no sample answer {name!r}"
        return found

    def delivery(self, name: str, **words: str) -> bytes:
        """The bytes of a webhook."""
        found = self.deliveries.get(name)
        assert found is not None, f"the fixture has no webhook {name!r}"
        return to_json(self.filled(found.body, self.examples[0], **words))

    def filled(self, value: Any, example: Example, **words: str) -> Any:
        """A sample with its placeholders filled in."""
        if value == "<amount>":
            return example.answered
        if isinstance(value, str):
            told = {
                "reference": REFERENCE,
                "refund": REFUND,
                "transaction": self.transaction_id,
                "refund id": self.refund_id,
                "currency": example.money.currency.lower(),
                "token": TOKEN,
                "Currency": example.money.currency,
                **words,
            }
            for name, word in told.items():
                value = value.replace(f"<{name}>", word)
            return value
        if isinstance(value, dict):
            return {name: self.filled(inner, example, **words) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.filled(inner, example, **words) for inner in value]
        return value


REFERENCE = "01conformance-attempt-000001"
OTHER_REFERENCE = "01conformance-attempt-000002"
REFUND = "01conformance-refund-0000001"
# The method that the suite saves with one payment and charges with the next, and the customer's input.
TOKEN = "method-token-of-the-payer"  # noqa: S105
INPUT = "918273"
PAYMENT = "01conformance-payment-000001"
