"""Faults in what a handler declares, stores and accepts. Each is a function with one mistake."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

from polytill.domain.clock import World
from polytill.domain.identifiers import IdentifierKind
from polytill.domain.states import Environment
from polytill.providers.contract import CustomerFields, Idempotency, KeyField, Page
from polytill.providers.features import features_of
from polytill.providers.http import parse_json
from polytill.testing.conformance.planting import Class, Sound, instead_of, misheard, misread, over, plant

# ── Instances and declarations ──


@plant("paystack")
def last_practice_wins(base: Class) -> Class:
    """Credentials are stored on the class: two practices at once use one account."""

    def initialize(self: Any, config: Any) -> None:
        base.initialize(self, config)
        type(self)._shared = config
        self.config = None

    return over(base, initialize=initialize, config=property(lambda s: type(s)._shared, lambda s, v: None))


@plant("stripe")
def repr_shows_the_key(base: Class) -> Class:
    """An instance shows its key in logs and tracebacks."""
    return over(base, __repr__=lambda self: f"<Stripe {self.config.secret_key.reveal()}>")


@plant("paystack")
def public_config_has_the_secret(base: Class) -> Class:
    """The configuration for browsers contains the secret key."""
    return over(base, get_public_config=lambda self: {"publicKey": self.config.secret_key.reveal()})


@plant("flutterwave")
def feature_without_a_method(base: Class) -> Class:
    """A capability is declared with a value that cannot be called."""
    assert "manual_capture" not in features_of(base)
    return over(base, capture_payment=True)


@plant("paystack")
def refunds_cannot_be_found_again(base: Class) -> Class:
    """Refunds can be started, but not looked up."""
    return over(base, lookup_refund=None)


@plant("paystack")
def receipts_are_sought_elsewhere(base: Class) -> Class:
    """Receipt numbers are declared at a place where no answer has them."""
    return over(base, identifiers={**base.identifiers, IdentifierKind.receipt: ("receiptNo",)})


@plant("flutterwave")
def phone_is_not_declared(base: Class) -> Class:
    """A mobile money charge declares only an e-mail address, and is rejected for the missing phone number."""
    return over(base, customer_fields=classmethod(lambda cls, *_: CustomerFields(("email",))))


@plant("stripe")
def a_field_that_no_payment_has(base: Class) -> Class:
    """The customer's passport is declared as required."""
    return over(base, required_customer_fields=("email", "passport"))


@plant("stripe")
def window_is_missing(base: Class) -> Class:
    """Idempotency by key has no window."""
    return over(base, idempotency=Idempotency.key, idempotency_window_s=0)


@plant("paystack")
def live_keys_pass_as_sandbox(base: Class) -> Class:
    """The key patterns of the two environments are swapped."""
    spec = base.keys["secretKey"]
    return over(base, keys={**base.keys, "secretKey": KeyField(spec.label, spec.production, spec.sandbox)})


@misread("paystack", "test_credentials")
def bad_keys_are_good(tested: Any) -> Any:
    """The credential test accepts every key."""
    return replace(tested, ok=True)


@misread("paystack", "list_refunds", Page)
def refunds_lose_their_payment(page: Any) -> Any:
    """A listed refund does not name its payment: it could not be booked."""
    nameless = [replace(fact, payment_reference=None, provider_transaction_id=None) for fact in page.facts]
    return replace(page, facts=tuple(nameless))


@misread("paystack", "list_transactions")
def failed_listing_is_empty(found: Any) -> Any:
    """A listing that could not be read is returned as empty: nothing would be reported missing."""
    return found if isinstance(found, Page) else Page(())


@instead_of("flutterwave", "list_transactions")
async def cursor_is_ignored(sound: Sound, handler: Any, since_s: int, until_s: int, cursor: str | None = None) -> Any:
    """Every page is the first one."""
    return await sound(handler, since_s, until_s)


# ── Webhooks ──


@plant("stripe")
def every_delivery_is_true(base: Class) -> Class:
    """No signature is checked."""
    return over(base, validate_webhook=lambda self, headers, body: True)


@instead_of("paystack", "validate_webhook")
def signature_over_the_parsed_body(sound: Sound, handler: Any, headers: Any, body: bytes) -> Any:
    """The signature is checked over re-serialized JSON, not over the bytes that arrived."""
    try:
        again = json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False)
    except ValueError:
        return False
    return sound(handler, headers, again.encode())


@instead_of("flutterwave", "validate_webhook")
def empty_secret_admits(sound: Sound, handler: Any, headers: Any, body: bytes) -> Any:
    """If no secret is configured, every webhook is accepted."""
    return not any(handler.config.webhook_secrets) or sound(handler, headers, body)


@instead_of("stripe", "validate_webhook")
def time_is_not_checked(sound: Sound, handler: Any, headers: Any, body: bytes) -> Any:
    """A signature never expires: an old webhook can be replayed."""
    value = next((v for k, v in headers.items() if k.lower() == "stripe-signature"), "")
    signed_at = value.partition("t=")[2].partition(",")[0]
    moment = int(signed_at) if signed_at.isascii() and signed_at.isdigit() and len(signed_at) < 13 else 0
    handler.world = World(lambda: moment)
    return sound(handler, headers, body)


@instead_of("paystack", "validate_webhook")
def only_the_newest_secret(sound: Sound, handler: Any, headers: Any, body: bytes) -> Any:
    """The previous secret is rejected as soon as a new one exists."""
    handler.config = replace(handler.config, webhook_secrets=handler.config.webhook_secrets[:1])
    return sound(handler, headers, body)


@instead_of("stripe", "validate_webhook")
def strange_headers_break_it(sound: Sound, handler: Any, headers: Any, body: bytes) -> Any:
    """A header with characters beyond ASCII raises an error."""
    for value in headers.values():
        value.encode("ascii")
    return sound(handler, headers, body)


@misheard("flutterwave")
def later_states_are_repeats(told: Any) -> Any:
    """The dedupe key is the object alone: "successful" after "pending" is dropped."""
    return replace(told, dedupe_key=told.dedupe_key.partition(":")[0])


_count = itertools.count()


@misheard("paystack")
def every_delivery_is_news(told: Any) -> Any:
    """The dedupe key differs each time: a duplicate is applied twice."""
    return replace(told, dedupe_key=f"{told.dedupe_key}:{next(_count)}")


@misheard("flutterwave")
def hints_are_believed(told: Any) -> Any:
    """A body that anyone can write is trusted."""
    return replace(told, must_fetch=False)


@instead_of("paystack", "process_webhook")
def payouts_are_payments(sound: Sound, handler: Any, body: bytes) -> Any:
    """A transfer that resembles a payment is read as one."""
    told = sound(handler, body)
    charge = json.dumps({**parse_json(body), "event": "charge.success"}, default=str).encode()
    return sound(handler, charge) if told.event_type.startswith("transfer.") else told


@misheard("stripe")
def environment_is_mixed_up(told: Any) -> Any:
    """A sandbox webhook is reported as production."""
    return replace(told, environment=Environment.production)


@instead_of("stripe", "process_webhook")
def nonsense_is_a_crash(sound: Sound, handler: Any, body: bytes) -> Any:
    """A body that is not an object raises another error than ``ValueError``."""
    parse_json(body)["id"]
    return sound(handler, body)


@misheard("paystack")
def kept_deliveries_are_cut(told: Any) -> Any:
    """The stored copy of a webhook cannot be read again."""
    return replace(told, body={"event": told.event_type})
