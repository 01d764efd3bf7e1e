"""Why a provider takes a payment, and why another one does not: closed lists with a text in every language."""

from __future__ import annotations

from enum import StrEnum


class WhyFirst(StrEnum):
    """Why the first of the providers that can take a payment is first. ``none``: no provider can take it."""

    none = "none"
    requested = "requested"
    default = "default"
    only = "only"
    priority = "priority"
    recommended = "recommended"
    catalog_priority = "catalog_priority"
    code = "code"


class WhyExcluded(StrEnum):
    """Why a provider cannot take a payment."""

    not_requested = "not_requested"
    not_enabled = "not_enabled"
    catalog_status = "catalog_status"
    handler_missing = "handler_missing"
    environment = "environment"
    currency_not_configured = "currency_not_configured"
    currency_not_supported = "currency_not_supported"
    payment_method = "payment_method"
    capture_mode = "capture_mode"
    saved_methods = "saved_methods"
    method_details = "method_details"
    customer_field = "customer_field"
    customer_phone = "customer_phone"
    below_minimum = "below_minimum"
    above_maximum = "above_maximum"
    amount_step = "amount_step"
