"""Stripe's API calls: one function per address, parameters in, answer out."""

from __future__ import annotations

from polytill.simulator.books import Json, Transaction
from polytill.simulator.stripe import payments as money
from polytill.simulator.stripe import sessions, shapes
from polytill.simulator.stripe.answers import missing, page, reply, shape_of
from polytill.simulator.stripe.cards import card_for
from polytill.simulator.stripe.params import (
    boolean,
    check_amount,
    check_known,
    choice,
    currency,
    integer,
    invalid,
    metadata,
    need,
    statement_suffix,
    text,
    to_minor,
    to_wire,
)
from polytill.simulator.stripe.payments import StripeRequest, set_status
from polytill.simulator.stripe.shapes import Intent
from polytill.simulator.wire import Answer


def intent_of(request: StripeRequest, name: str, param: str = "intent") -> Transaction:
    """The intent with this id."""
    thing = request.account.things.get(name)
    if not isinstance(thing, Transaction) or not name.startswith("pi_"):
        raise missing("payment_intent", name, param)
    return thing


def intents(request: StripeRequest, name: str | None = None) -> list[Transaction]:
    """The intent with this id, or all of the account, oldest first."""
    if name is not None:
        return [intent_of(request, name, "payment_intent")]
    return [tx for tx in request.account.transactions if tx.wire.id is not None]


def _shown(request: StripeRequest, params: Json, tx: Transaction) -> Answer:
    return reply(request, params, shapes.intent_json(tx))


def retrieve(kind: str, prefix: str, request: StripeRequest, params: Json, id: str, param: str = "id") -> Answer:
    """GET of one object. The prefix of an id tells its kind."""
    check_known(params, "retrieve")
    shape = shape_of(request, id) if id.startswith(prefix) else None
    if shape is None:
        raise missing(kind, id, param)
    return reply(request, params, shape)


# Payment intents


def _apply(request: StripeRequest, tx: Transaction, params: Json) -> None:
    """Parameters that create, update and confirm share."""
    intent: Intent = tx.wire
    for name in ("description", "receipt_email", "return_url"):
        if name in params:
            setattr(intent, name, text(params, name))
    if "statement_descriptor_suffix" in params:
        intent.statement_descriptor_suffix = statement_suffix(params)
    if "customer" in params:
        customer = text(params, "customer")
        if customer is not None and not isinstance(request.account.things.get(customer), dict):
            raise missing("customer", customer, "customer")
        intent.customer = customer
    if "setup_future_usage" in params:
        intent.setup_future_usage = choice(params, "setup_future_usage", ("off_session", "on_session"))
    if "capture_method" in params:
        words = ("automatic", "automatic_async", "manual")
        intent.capture_method = choice(params, "capture_method", words) or "automatic"
    if "metadata" in params:
        fresh = metadata(params)
        merged = {**intent.metadata, **fresh} if params["metadata"] else {}
        intent.metadata = {key: value for key, value in merged.items() if value != ""}
    token = text(params, "payment_method")
    data = params.get("payment_method_data")
    if isinstance(data, dict):
        token = "pm_card_visa" if choice(data, "type", ("card",)) else None
    if token is not None:
        intent.card = card_for(request, token)
        if intent.card.customer not in (None, intent.customer):
            message = (
                "The payment method belongs to a customer. Please include the customer in the `customer` parameter."
            )
            raise invalid(message, "payment_method")
        if intent.status == "requires_payment_method":
            set_status(tx, "requires_confirmation")


def _check_methods(params: Json, confirm: bool) -> None:
    automatic = params.get("automatic_payment_methods", {})
    if not isinstance(automatic, dict) or set(automatic) - {"enabled", "allow_redirects"}:
        raise invalid("Invalid object", "automatic_payment_methods")
    boolean(automatic, "enabled")
    redirects = choice(automatic, "allow_redirects", ("always", "never"))
    if "automatic_payment_methods" in params and "allowed_payment_method_types" in params:
        message = (
            "You may only specify one of these parameters: automatic_payment_methods, allowed_payment_method_types."
        )
        raise invalid(message, "allowed_payment_method_types")
    if not confirm and "return_url" in params:
        message = (
            "The parameter `return_url` cannot be passed when creating a PaymentIntent unless `confirm` is set to true."
        )
        raise invalid(message, "return_url")
    if not confirm and "off_session" in params:
        raise invalid("The parameter `off_session` requires `confirm` to be set to true.", "off_session")
    free = redirects == "never" or "allowed_payment_method_types" in params or boolean(params, "off_session")
    if confirm and not (free or params.get("return_url")):
        message = (
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of "
            "these payment methods might redirect your customer off of your page, you must provide a `return_url`. If "
            "you don't want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` to "
            "`true` and `automatic_payment_methods[allow_redirects]` to `never`."
        )
        raise invalid(message, "return_url")


def create_intent(request: StripeRequest, params: Json) -> Answer:
    """POST /v1/payment_intents."""
    check_known(params, "intent.create")
    need(params, "amount", "currency")
    code = currency(params)
    wire = integer(params, "amount") or 0
    check_amount(wire, code)
    confirm = boolean(params, "confirm")
    _check_methods(params, confirm)
    name = request.new_id("pi_3")
    intent = Intent(name, f"{name}_secret_{request.network.token(25)}", "automatic", int(request.now))
    tx = Transaction("stripe", request.account.key, name, None, to_minor(wire, code), code, request.now, wire=intent)
    tx.idempotency_key = request.idempotency_key
    _apply(request, tx, params)
    request.keep(tx)
    request.index(name, tx)
    request.emit_intent("created", tx)
    if confirm:
        _confirm(request, tx, params)
    return _shown(request, params, tx)


def _confirm(request: StripeRequest, tx: Transaction, params: Json) -> None:
    away = boolean(params, "off_session") if params.get("off_session") in ("true", "false", None) else True
    money.confirm(request, tx, off_session=away, refuse_action=boolean(params, "error_on_requires_action"))


def list_intents(request: StripeRequest, params: Json) -> Answer:
    """GET /v1/payment_intents."""
    customer = text(params, "customer")
    rows = [tx for tx in intents(request) if customer in (None, tx.wire.customer)]
    return page(request, params, "/v1/payment_intents", [shapes.intent_json(tx) for tx in rows])


def update_intent(request: StripeRequest, params: Json, id: str) -> Answer:
    """POST /v1/payment_intents/{id}."""
    check_known(params, "intent.update")
    tx = intent_of(request, id)
    frozen = {"amount", "currency", "payment_method", "customer", "capture_method"} & set(params)
    if frozen and tx.wire.status not in ("requires_payment_method", "requires_confirmation", "requires_action"):
        message = (
            f"This PaymentIntent's {sorted(frozen)[0]} could not be updated because it has a status "
            f"of {tx.wire.status}."
        )
        raise money.unexpected(tx, message)
    if "amount" in params or "currency" in params:
        code = currency(params) if "currency" in params else tx.currency
        wire = integer(params, "amount") if "amount" in params else to_wire(tx.amount, tx.currency)
        check_amount(wire or 0, code)
        tx.amount, tx.currency = to_minor(wire or 0, code), code
    _apply(request, tx, params)
    request.refer(tx)
    return _shown(request, params, tx)


def confirm_intent(request: StripeRequest, params: Json, id: str) -> Answer:
    """POST /v1/payment_intents/{id}/confirm."""
    check_known(params, "intent.confirm")
    tx = intent_of(request, id)
    if tx.payable:
        _apply(request, tx, params)
    _confirm(request, tx, params)
    return _shown(request, params, tx)


def capture_intent(request: StripeRequest, params: Json, id: str) -> Answer:
    """POST /v1/payment_intents/{id}/capture."""
    check_known(params, "intent.capture")
    tx = intent_of(request, id)
    money.capture(request, tx, integer(params, "amount_to_capture"))
    return _shown(request, params, tx)


def cancel_intent(request: StripeRequest, params: Json, id: str) -> Answer:
    """POST /v1/payment_intents/{id}/cancel."""
    check_known(params, "intent.cancel")
    words = ("abandoned", "duplicate", "fraudulent", "requested_by_customer")
    tx = intent_of(request, id)
    money.cancel(request, tx, choice(params, "cancellation_reason", words))
    return _shown(request, params, tx)


# Refunds, charges, disputes, events


def _paid_by(request: StripeRequest, params: Json) -> Transaction:
    name, charge = text(params, "payment_intent"), text(params, "charge")
    if name is not None:
        return intent_of(request, name, "payment_intent")
    thing = request.account.things.get(charge or "")
    if charge is None:
        raise invalid(
            "One of the following params should be provided for this request: payment_intent or charge.", "charge"
        )
    if not isinstance(thing, tuple) or not charge.startswith("ch_"):
        raise missing("charge", charge, "charge")
    tx: Transaction = thing[0]
    return tx


def create_refund(request: StripeRequest, params: Json) -> Answer:
    """POST /v1/refunds."""
    check_known(params, "refund.create")
    reason = choice(params, "reason", ("duplicate", "fraudulent", "requested_by_customer"))
    made_of = _paid_by(request, params)
    made = money.refund(request, made_of, integer(params, "amount"), reason, metadata(params))
    return reply(request, params, shapes.refund_json(made_of, made))


def list_refunds(request: StripeRequest, params: Json) -> Answer:
    """GET /v1/refunds."""
    rows = [_paid_by(request, params)] if {"payment_intent", "charge"} & set(params) else request.account.transactions
    found = [(refund.created_at, shapes.refund_json(tx, refund)) for tx in rows for refund in tx.refunds]
    return page(request, params, "/v1/refunds", [row for _, row in sorted(found, key=lambda pair: pair[0])])


def list_charges(request: StripeRequest, params: Json) -> Answer:
    """GET /v1/charges."""
    rows = intents(request, text(params, "payment_intent"))
    shown = [shapes.charge_json(tx, charge) for tx in rows for charge in tx.wire.charges]
    return page(request, params, "/v1/charges", sorted(shown, key=lambda row: row["created"]))


def list_disputes(request: StripeRequest, params: Json) -> Answer:
    """GET /v1/disputes."""
    rows = intents(request, text(params, "payment_intent"))
    shown = [shapes.dispute_json(tx, dispute) for tx in rows for dispute in tx.disputes]
    return page(request, params, "/v1/disputes", sorted(shown, key=lambda row: row["created"]))


def list_events(request: StripeRequest, params: Json) -> Answer:
    """GET /v1/events."""
    kind = text(params, "type")
    return page(
        request, params, "/v1/events", [event for event in request.account.events if kind in (None, event["type"])]
    )


def retrieve_event(request: StripeRequest, params: Json, id: str) -> Answer:
    """GET /v1/events/{id}."""
    check_known(params, "retrieve")
    for event in request.account.events:
        if event["id"] == id:
            return reply(request, params, event)
    raise missing("event", id)


# Checkout


def create_session(request: StripeRequest, params: Json) -> Answer:
    """POST /v1/checkout/sessions."""
    check_known(params, "session.create")
    return reply(request, params, sessions.session_json(sessions.create(request, params)))


def expire_session(request: StripeRequest, params: Json, id: str) -> Answer:
    """POST /v1/checkout/sessions/{id}/expire."""
    check_known(params, "retrieve")
    tx = request.account.things.get(id)
    if not isinstance(tx, Transaction) or not id.startswith("cs_"):
        raise missing("checkout.session", id)
    sessions.expire(request, tx)
    return reply(request, params, sessions.session_json(tx))
