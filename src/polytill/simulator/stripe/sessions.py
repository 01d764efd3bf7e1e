"""Stripe Checkout Sessions: create, show and expire. Paying one is in stripe_payments.py."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from polytill.simulator.books import Json, Transaction
from polytill.simulator.stripe import params as p
from polytill.simulator.stripe.params import Refused, invalid, to_minor, to_wire
from polytill.simulator.stripe.shapes import Intent, Session, live

if TYPE_CHECKING:
    from polytill.simulator.stripe.payments import StripeRequest

DAY = 86_400


def session_json(tx: Transaction) -> Json:
    """A Checkout Session, nothing expanded."""
    session: Session = tx.wire.session
    amount, is_open = to_wire(tx.amount, tx.currency), session.status == "open"
    email = session.customer_email
    paid = session.status == "complete"
    details: Json = {"address": None, "business_name": None, "email": email or "payer@example.com"}
    details |= {"individual_name": None, "name": None, "phone": None, "tax_exempt": "none", "tax_ids": []}
    return {
        "id": session.id,
        "object": "checkout.session",
        "after_expiration": None,
        "allow_promotion_codes": None,
        "amount_subtotal": amount,
        "amount_total": amount,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": None,
        "cancel_url": session.cancel_url,
        "client_reference_id": session.client_reference_id,
        "client_secret": None,
        "consent": None,
        "consent_collection": None,
        "created": session.created,
        "currency": tx.currency.lower(),
        "custom_fields": [],
        "customer": tx.wire.customer,
        "customer_creation": "if_required",
        "customer_details": details if paid else None,
        "customer_email": email,
        "expires_at": session.expires_at,
        "livemode": live(tx.account),
        "locale": None,
        "metadata": dict(session.metadata),
        "mode": "payment",
        "payment_intent": tx.wire.id,
        "payment_link": None,
        "payment_method_collection": "if_required",
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "payment_status": "paid" if paid and tx.status != "authorized" else "unpaid",
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_options": [],
        "status": session.status,
        "submit_type": None,
        "subscription": None,
        "success_url": session.success_url,
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "url": session.url if is_open else None,
    }


def _line_total(params: Json) -> tuple[int, str]:
    """The total of inline-priced line items, in Stripe's units, and the one currency of all of them."""
    lines = p.items(params, "line_items")
    if not lines:
        raise invalid("The `line_items` parameter is required in payment mode.", "line_items", "parameter_missing")
    total, codes = 0, set()
    for index, line in enumerate(lines):
        price = line.get("price_data") if isinstance(line, dict) else None
        if not isinstance(price, dict):
            raise invalid("The simulator takes inline prices only.", f"line_items[{index}][price_data]")
        product = price.get("product_data")
        if not isinstance(product, dict) or not product.get("name"):
            where = f"line_items[{index}][price_data][product_data]"
            raise invalid(f"Missing required param: {where}[name].", where, "parameter_missing")
        unit, quantity = p.integer(price, "unit_amount"), p.integer(line, "quantity")
        if unit is None or unit < 0 or quantity is None or quantity < 1:
            raise invalid("Invalid integer in line item", f"line_items[{index}]", "parameter_invalid_integer")
        codes.add(p.currency(price))
        total += unit * quantity
    if len(codes) > 1:
        raise invalid("All line items must have the same currency.", "line_items")
    return total, codes.pop()


def create(request: StripeRequest, params: Json) -> Transaction:
    """POST /v1/checkout/sessions with mode=payment."""
    p.need(params, "mode", "success_url")
    if p.choice(params, "mode", ("payment", "setup", "subscription")) != "payment":
        raise invalid("The simulator takes mode=payment only.", "mode")
    p.choice(params, "ui_mode", ("hosted_page",))
    total, code = _line_total(params)
    p.check_amount(total, code, "line_items")
    success, cancel = p.text(params, "success_url"), p.text(params, "cancel_url")
    for name, url in (("success_url", success), ("cancel_url", cancel)):
        if url is not None and not re.match(r"https?://", url):
            raise invalid("Not a valid URL", name, "url_invalid")
    reference = p.text(params, "client_reference_id")
    if reference and len(reference) > 200:
        raise invalid("client_reference_id may have up to 200 characters", "client_reference_id")
    now = int(request.now)
    expires = p.integer(params, "expires_at") or now + DAY
    if not now + 1790 <= expires <= now + DAY + 10:
        message = "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation."
        raise invalid(message, "expires_at")
    data = p.nested(params, "payment_intent_data")
    capture = p.choice(data, "capture_method", ("automatic", "automatic_async", "manual")) or "automatic"
    sid = request.new_id("cs_live_" if live(request.account.key) else "cs_test_", 56)
    session = Session(
        id=sid,
        success_url=success,
        cancel_url=cancel,
        metadata=p.metadata(params),
        client_reference_id=reference,
        customer_email=p.text(params, "customer_email"),
        created=now,
        expires_at=expires,
        url=f"{request.base}/stripe/pay/{sid}",
    )
    intent = Intent(None, "", capture, now, metadata=p.metadata(data), session=session)
    intent.description = p.text(data, "description")
    intent.customer = p.text(params, "customer")
    tx = Transaction("stripe", request.account.key, sid, None, to_minor(total, code), code, request.now, wire=intent)
    tx.idempotency_key = request.idempotency_key
    request.keep(tx)
    request.index(sid, tx)
    request.later(expires - request.now, lambda alone: expire(alone, tx) if session.status == "open" else None)
    return tx


def expire(request: StripeRequest, tx: Transaction) -> None:
    """POST /v1/checkout/sessions/{id}/expire, or its expiry time."""
    session: Session = tx.wire.session
    if session.status != "open":
        raise Refused(
            400,
            f'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout '
            f"Session has a status of {session.status}.",
        )
    session.status = "expired"
    tx.status = "canceled"
    if tx.wire.id is not None:
        tx.wire.status, tx.wire.canceled_at = "canceled", int(request.now)
        tx.wire.cancellation_reason = "automatic"
        request.emit_intent("canceled", tx)
    request.emit("checkout.session.expired", session_json(tx))
