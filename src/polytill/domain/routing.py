"""How providers are ordered, why one takes a payment and why another one does not: closed lists with a text in every
language."""

from __future__ import annotations

from enum import StrEnum


class Strategy(StrEnum):
    """How the providers that can take a payment are ordered."""

    priority = "priority"


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
    healthy = "healthy"


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


class WhyLater(StrEnum):
    """Why a provider that could take a payment is not the first one."""

    not_default = "not_default"
    lower_priority = "lower_priority"
    not_recommended = "not_recommended"
    lower_catalog_priority = "lower_catalog_priority"
    later_code = "later_code"
    failing = "failing"


class HealthState(StrEnum):
    """The state of a provider's circuit breaker. ``closed``: its calls work. ``open``: technical failures, so it is
    skipped. ``half_open``: one payment at a time probes whether its calls work again."""

    closed = "closed"
    open = "open"
    half_open = "half_open"


class Verdict(StrEnum):
    """What a provider's health means for one payment. ``probe``: the payment may be the one that probes it."""

    healthy = "healthy"
    probe = "probe"
    failing = "failing"
