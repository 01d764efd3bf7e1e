"""Stripe's calls that are not about payments: balance, customers, saved methods, webhook endpoints."""

from __future__ import annotations

from typing import Any

from polytill.simulator.books import Json
from polytill.simulator.deliveries import Hook, is_loopback
from polytill.simulator.stripe.access import account_json
from polytill.simulator.stripe.answers import missing, page, reply
from polytill.simulator.stripe.cards import card_for
from polytill.simulator.stripe.params import Refused, check_known, items, metadata, need, text, to_wire
from polytill.simulator.stripe.payments import StripeRequest
from polytill.simulator.stripe.shapes import API_VERSION, Card, card_json, live
from polytill.simulator.wire import Answer


def balance(request: StripeRequest, params: Json) -> Answer:
    """GET /v1/balance."""
    check_known(params, "retrieve")
    sums: dict[str, int] = {}
    for tx in request.account.transactions:
        withdrawn = [d for d in tx.disputes if d.kind == "chargeback" and d.status in ("open", "lost")]
        lost = sum(dispute.amount for dispute in withdrawn)
        sums[tx.currency] = sums.get(tx.currency, 0) + tx.captured - tx.reserved - tx.fee - lost
    wire = {code: to_wire(total, code) for code, total in sorted(sums.items())} or {"USD": 0}
    pending = [
        {"amount": total, "currency": code.lower(), "source_types": {"card": total}} for code, total in wire.items()
    ]
    empty = [{"amount": 0, "currency": code.lower(), "source_types": {"card": 0}} for code in wire]
    reserved = [{"amount": 0, "currency": code.lower()} for code in wire]
    document: Json = {"object": "balance", "available": empty, "connect_reserved": reserved}
    return reply(request, params, {**document, "livemode": live(request.account.key), "pending": pending})


def account(request: StripeRequest, params: Json) -> Answer:
    """GET /v1/account."""
    check_known(params, "retrieve")
    return reply(request, params, account_json(request.account))


def create_customer(request: StripeRequest, params: Json) -> Answer:
    """POST /v1/customers."""
    check_known(params, "customer.create")
    customer: Json = {
        "id": request.new_id("cus_", 14),
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": int(request.now),
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": text(params, "description"),
        "email": text(params, "email"),
        "invoice_prefix": request.network.token(8).upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": live(request.account.key),
        "metadata": metadata(params),
        "name": text(params, "name"),
        "next_invoice_sequence": 1,
        "phone": text(params, "phone"),
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
    token = text(params, "payment_method")
    if token is not None:
        card_for(request, token).customer = customer["id"]
    request.index(customer["id"], customer)
    request.emit("customer.created", dict(customer))
    return reply(request, params, dict(customer))


def _customer(request: StripeRequest, name: str, param: str = "id") -> Json:
    thing: Any = request.account.things.get(name)
    if not isinstance(thing, dict) or not name.startswith("cus_"):
        raise missing("customer", name, param)
    return thing


def list_payment_methods(request: StripeRequest, params: Json, id: str) -> Answer:
    """GET /v1/customers/{id}/payment_methods."""
    _customer(request, id)
    cards = [thing for thing in request.account.things.values() if isinstance(thing, Card) and thing.customer == id]
    return page(
        request, params, f"/v1/customers/{id}/payment_methods", [card_json(request.account, card) for card in cards]
    )


def attach_payment_method(request: StripeRequest, params: Json, id: str) -> Answer:
    """POST /v1/payment_methods/{id}/attach."""
    check_known(params, "attach")
    need(params, "customer")
    card = card_for(request, id)
    card.customer = _customer(request, text(params, "customer") or "", "customer")["id"]
    return reply(request, params, card_json(request.account, card))


def detach_payment_method(request: StripeRequest, params: Json, id: str) -> Answer:
    """POST /v1/payment_methods/{id}/detach."""
    check_known(params, "retrieve")
    card = card_for(request, id)
    if card.customer is None:
        what = "The payment method you provided is not attached to a customer so detachment is impossible."
        raise Refused(400, what)
    card.customer = None
    return reply(request, params, card_json(request.account, card))


def create_endpoint(request: StripeRequest, params: Json) -> Answer:
    """POST /v1/webhook_endpoints: the secret is shown once. Loopback addresses only."""
    check_known(params, "endpoint.create")
    need(params, "url", "enabled_events")
    url, events = text(params, "url") or "", [str(event) for event in items(params, "enabled_events")]
    if not is_loopback(url):
        raise Refused(
            400, "Invalid URL: the simulator delivers to loopback addresses only.", code="url_invalid", param="url"
        )
    secret = f"whsec_{request.network.token(32)}"
    wanted = frozenset() if "*" in events else frozenset(events)
    request.network.deliverer.register(Hook("stripe", request.account.key, url, secret, wanted))
    document: Json = {
        "id": request.new_id("we_1"),
        "object": "webhook_endpoint",
        "api_version": text(params, "api_version") or API_VERSION,
        "application": None,
        "created": int(request.now),
        "description": text(params, "description"),
        "enabled_events": events,
        "livemode": live(request.account.key),
        "metadata": metadata(params),
        "secret": secret,
        "status": "enabled",
        "url": url,
    }
    return reply(request, params, document)
