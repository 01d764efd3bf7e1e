"""How providers are ordered, why one takes a payment and why another one does not: closed lists with a text in every
language."""

from __future__ import annotations

from enum import StrEnum


class Strategy(StrEnum):
    """How the providers that can take a payment are ordered."""

    priority = "priority"
    least_cost = "least_cost"
    weighted = "weighted"
    success_rate = "success_rate"
    rules = "rules"


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
    untried = "untried"
    healthy = "healthy"
    cheapest = "cheapest"
    fee_known = "fee_known"
    drawn = "drawn"
    success_rate = "success_rate"
    explored = "explored"
    rule = "rule"
    rule_default = "rule_default"


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
    tried = "tried"
    failing = "failing"
    dearer = "dearer"
    fee_unknown = "fee_unknown"
    not_drawn = "not_drawn"
    no_weight = "no_weight"
    less_successful = "less_successful"
    explored_other = "explored_other"
    later_in_rule = "later_in_rule"
    not_in_rule = "not_in_rule"


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


class FeeSource(StrEnum):
    """Where the estimate of a fee comes from: the catalog's terms, or the fees that the provider really charged."""

    catalog = "catalog"
    charged = "charged"


class PolicyError(StrEnum):
    """What is wrong at one place of a routing policy."""

    unreadable = "policy_unreadable"
    unreadable_at = "policy_unreadable_at"
    not_object = "policy_not_object"
    not_list = "policy_not_list"
    not_text = "policy_not_text"
    not_integer = "policy_not_integer"
    unknown_field = "policy_unknown_field"
    unused_field = "policy_unused_field"
    missing_field = "policy_missing_field"
    unknown_value = "policy_unknown_value"
    unknown_provider = "policy_unknown_provider"
    out_of_range = "policy_out_of_range"
    too_many = "policy_too_many"
    too_long = "policy_too_long"
    empty = "policy_empty"
    no_weight = "policy_no_weight"
    not_writable = "policy_not_writable"
    too_deep = "policy_too_deep"
    repeated = "policy_repeated"
    unreachable = "policy_unreachable"
    never_true = "policy_never_true"
    amount_without_currency = "policy_amount_without_currency"
    not_currency = "policy_not_currency"
    not_country = "policy_not_country"
    not_time = "policy_not_time"
    not_domain = "policy_not_domain"
    test_failed = "policy_test_failed"
