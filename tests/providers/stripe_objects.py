"""Objects as Stripe answers them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def intent(status: str = "requires_payment_method", **more: Any) -> Json:
    whole = {"id": "pi_1", "object": "payment_intent", "amount": 1050, "currency": "usd", "status": status}
    return {**whole, "client_secret": "pi_1_secret_x", "metadata": {"polytill_attempt": "att-1"}, **more}


def refund(status: str = "succeeded", **more: Any) -> Json:
    whole = {"id": "re_1", "object": "refund", "amount": 500, "currency": "usd", "status": status}
    return {**whole, "payment_intent": "pi_1", "metadata": {"polytill_refund": "ref-1"}, **more}
