"""Faults in what a handler declares, stores and accepts: each a function from a sound handler to one with one mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from polytill.domain.clock import World
from polytill.domain.identifiers import IdentifierKind
from polytill.domain.states import Environment
from polytill.providers.contract import CustomerFields, Idempotency, KeyField, Page
from polytill.providers.features import features_of
from polytill.providers.http import parse_json
from polytill.testing.conformance.planting import Class, after, over, plant

# ── Instances and declarations ──


@plant("paystack")
def last_practice_wins(base: Class) -> Class:
    """Credentials are stored on the class: two practices at once use one account."""

    def initialize(self: Any, config: Any) -> None:
        base.initialize(self, config)
        type(self)._shared = config
        self.config = None

    members = {"initialize": initialize, "config": property(lambda s: type(s)._shared, lambda s, v: None)}
    return over(base, **members)


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


@plant("paystack")
def bad_keys_are_good(base: Class) -> Class:
    """The credential test accepts every key."""
    return after(base, "test_credentials", lambda _, tested: replace(tested, ok=True))


@plant("paystack")
def refunds_lose_their_payment(base: Class) -> Class:
    """A listed refund does not name its payment: it could not be booked."""

    def forgotten(_: Any, page: Any) -> Any:
        if not isinstance(page, Page):
            return page
        return replace(
            page, facts=tuple(replace(f, payment_reference=None, provider_transaction_id=None) for f in page.facts)
        )

    return after(base, "list_refunds", forgotten)


@plant("paystack")
def failed_listing_is_empty(base: Class) -> Class:
    """A listing that could not be read is returned as empty: nothing would be reported missing."""
    return after(base, "list_transactions", lambda _, o: o if isinstance(o, Page) else Page(()))


@plant("flutterwave")
def cursor_is_ignored(base: Class) -> Class:
    """Every page is the first one."""
    sound = base.list_transactions

    async def list_transactions(self: Any, since_s: int, until_s: int, cursor: str | None = None) -> Any:
        return await sound(self, since_s, until_s)

    return over(base, list_transactions=list_transactions)


# ── Webhooks ──


@plant("stripe")
def every_delivery_is_true(base: Class) -> Class:
    """No signature is checked."""
    return over(base, validate_webhook=lambda self, headers, body: True)


@plant("paystack")
def signature_over_the_parsed_body(base: Class) -> Class:
    """The signature is checked over re-serialized JSON, not over the bytes that arrived."""
    sound = base.validate_webhook

    def validate_webhook(self: Any, headers: Any, body: bytes) -> Any:
        try:
            return sound(
                self, headers, json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False).encode()
            )
        except ValueError:
            return False

    return over(base, validate_webhook=validate_webhook)


@plant("flutterwave")
def empty_secret_admits(base: Class) -> Class:
    """If no secret is configured, every webhook is accepted."""
    sound = base.validate_webhook
    return over(
        base,
        validate_webhook=lambda self, headers, body: not any(self.config.webhook_secrets) or sound(self, headers, body),
    )


@plant("stripe")
def time_is_not_checked(base: Class) -> Class:
    """A signature never expires: an old webhook can be replayed."""
    sound = base.validate_webhook

    def validate_webhook(self: Any, headers: Any, body: bytes) -> Any:
        value = next((v for k, v in headers.items() if k.lower() == "stripe-signature"), "")
        signed_at = value.partition("t=")[2].partition(",")[0]
        moment = int(signed_at) if signed_at.isascii() and signed_at.isdigit() and len(signed_at) < 13 else 0
        self.world = World(lambda: moment)
        return sound(self, headers, body)

    return over(base, validate_webhook=validate_webhook)


@plant("paystack")
def only_the_newest_secret(base: Class) -> Class:
    """The previous secret is rejected as soon as a new one exists."""
    sound = base.validate_webhook

    def validate_webhook(self: Any, headers: Any, body: bytes) -> Any:
        self.config = replace(self.config, webhook_secrets=self.config.webhook_secrets[:1])
        return sound(self, headers, body)

    return over(base, validate_webhook=validate_webhook)


@plant("stripe")
def strange_headers_break_it(base: Class) -> Class:
    """A header with characters beyond ASCII raises an error."""
    sound = base.validate_webhook
    return over(
        base,
        validate_webhook=lambda self, headers, body: (
            ([value.encode("ascii") for value in headers.values()] and None) or sound(self, headers, body)
        ),
    )


def _telling(base: Class, change: Callable[[Any, bytes], Any]) -> Class:
    sound = base.process_webhook
    return over(base, process_webhook=lambda self, body: change(sound(self, body), body))


@plant("flutterwave")
def later_states_are_repeats(base: Class) -> Class:
    """The dedupe key is the object alone: "successful" after "pending" is dropped."""
    return _telling(base, lambda told, _: replace(told, dedupe_key=told.dedupe_key.partition(":")[0]))


@plant("paystack")
def every_delivery_is_news(base: Class) -> Class:
    """The dedupe key differs each time: a duplicate is applied twice."""
    count = iter(range(10**6))
    return _telling(base, lambda told, _: replace(told, dedupe_key=f"{told.dedupe_key}:{next(count)}"))


@plant("flutterwave")
def hints_are_believed(base: Class) -> Class:
    """A body that anyone can write is trusted."""
    return _telling(base, lambda told, _: replace(told, must_fetch=False))


@plant("paystack")
def payouts_are_payments(base: Class) -> Class:
    """A transfer that resembles a payment is read as one."""

    def change(told: Any, body: bytes) -> Any:
        event = parse_json(body)
        charge = json.dumps({**event, "event": "charge.success"}, default=str).encode()
        return base.process_webhook(_Still(), charge) if told.event_type.startswith("transfer.") else told

    class _Still:
        redacted = base.redacted

    return _telling(base, change)


@plant("stripe")
def environment_is_mixed_up(base: Class) -> Class:
    """A sandbox webhook is reported as production."""
    return _telling(base, lambda told, _: replace(told, environment=Environment.production))


@plant("stripe")
def nonsense_is_a_crash(base: Class) -> Class:
    """A body that is not an object raises another error than ``ValueError``."""

    def process_webhook(self: Any, body: bytes) -> Any:
        parse_json(body)["id"]
        return base.process_webhook(self, body)

    return over(base, process_webhook=process_webhook)


@plant("paystack")
def kept_deliveries_are_cut(base: Class) -> Class:
    """The stored copy of a webhook cannot be read again."""
    return _telling(base, lambda told, _: replace(told, body={"event": told.event_type}))
