"""Which providers can take a payment: a pure function over the configurations, with a reason for every exclusion.

Conditions: enabled here, allowed by the catalog's status, handler installed, the right environment, currency (for the
catalog and for this practice), payment method, capture mode, customer fields, minimum and maximum. ``rank``
is the order of the strategy `priority`, and breaks the ties of every other one: the practice's default for the
currency, its priority, the owner's recommendation, the owner's priority, the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from polytill.domain.contacts import Phone
from polytill.domain.errors import FieldError
from polytill.domain.money import Money
from polytill.domain.routing import WhyExcluded
from polytill.domain.states import CaptureMode, Environment, ProviderStatus
from polytill.providers.customer_fields import NOTHING, CustomerFields
from polytill.storage.catalog import CurrencySupport

TAKES_NEW_PAYMENTS = frozenset({ProviderStatus.active, ProviderStatus.beta, ProviderStatus.deprecated})


def _no_fields(method: str | None, direct: bool) -> CustomerFields:
    return NOTHING


def _not_charged_directly(method: str, given: Mapping[str, str]) -> tuple[str, ...] | None:
    return None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One configuration, with the declarations of its provider's catalog entry and handler."""

    code: str
    name: str
    config_id: int
    environment: Environment
    is_enabled: bool
    catalog_status: str | None  # None: not in the catalog
    handler_missing: str | None  # a sentence; None: installed
    practice_currencies: frozenset[str]
    support: CurrencySupport | None  # the catalog's terms for the wanted currency
    methods: frozenset[str]
    captures_manually: bool
    is_default: bool
    priority: int
    catalog_priority: int
    charges_saved: bool = False
    amount_step: int = 1  # minor units; the provider accepts only multiples of it
    # As ``Handler.customer_fields`` and ``charge_details``, in the wanted currency.
    customer_fields: Callable[[str | None, bool], CustomerFields] = _no_fields
    charge_details: Callable[[str, Mapping[str, str]], tuple[str, ...] | None] = _not_charged_directly


@dataclass(frozen=True, slots=True)
class Wanted:
    """The requirements of a payment. None: not known yet, so it excludes no provider (previews)."""

    currency: str
    amount: int | None = None
    payment_method: str | None = None
    capture: CaptureMode = CaptureMode.automatic
    customer_fields: frozenset[str] | None = None
    environment: Environment | None = None
    provider_code: str | None = None
    saved_method: str | None = None  # the part of the request that saves a method or charges one
    details: Mapping[str, str] | None = None  # of a direct charge
    phone: Phone | None = None  # the number to charge


@dataclass(frozen=True, slots=True)
class Excluded:
    """Why a provider is excluded. ``pointer`` names the part of the request that could change that, if there is one."""

    code: str
    reason: WhyExcluded
    detail: str
    pointer: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)  # values for the sentence

    @property
    def error(self) -> FieldError:
        """The same as an API error."""
        return FieldError(self.pointer or "/", f"{self.code}: {self.detail}", self.reason, self.about)


@dataclass(frozen=True, slots=True)
class Eligible:
    """The providers that can take a payment, in the order of ``rank``, and why each other one is excluded."""

    candidates: tuple[Candidate, ...]
    excluded: tuple[Excluded, ...]


def eligible(candidates: Iterable[Candidate], wanted: Wanted) -> Eligible:
    """Separate the candidates for a payment. The result does not depend on the order of the input."""
    everyone = sorted(candidates, key=lambda c: c.code)
    environment = environment_of(everyone, wanted)
    able, excluded = [], []
    for candidate in everyone:
        out = _why_not(candidate, wanted, environment)
        if out is None:
            able.append(candidate)
        else:
            excluded.append(out)
    return Eligible(tuple(sorted(able, key=rank)), tuple(excluded))


def rank(candidate: Candidate) -> tuple[bool, int, bool, int, str]:
    """The sort key of a candidate: default, priority here, recommendation, priority in the catalog, code."""
    recommended = candidate.support is not None and candidate.support.is_recommended
    return (not candidate.is_default, -candidate.priority, not recommended, -candidate.catalog_priority, candidate.code)


def environment_of(candidates: Iterable[Candidate], wanted: Wanted) -> Environment:
    """The environment in which a payment is taken."""
    if wanted.environment is not None:
        return wanted.environment
    # If a practice is live for a currency, a test account must never take a real payment.
    live = any(
        c.is_enabled and c.environment is Environment.production and wanted.currency in c.practice_currencies
        for c in candidates
    )
    return Environment.production if live else Environment.sandbox


def _why_not(c: Candidate, wanted: Wanted, environment: Environment) -> Excluded | None:
    def out(reason: WhyExcluded, detail: str, pointer: str | None = None) -> Excluded:
        return Excluded(c.code, reason, detail, pointer, {"provider": c.name, "currency": wanted.currency})

    if wanted.provider_code is not None and c.code != wanted.provider_code:
        return out(WhyExcluded.not_requested, f"The request names {wanted.provider_code}.", "/providerCode")
    if not c.is_enabled:
        return out(WhyExcluded.not_enabled, f"{c.name} is not enabled for this practice.")
    if c.catalog_status not in TAKES_NEW_PAYMENTS:
        return out(WhyExcluded.catalog_status, f"{c.name} takes no new payments (catalog status {c.catalog_status}).")
    if c.handler_missing is not None:
        return out(WhyExcluded.handler_missing, c.handler_missing)
    if c.environment is not environment:
        return out(
            WhyExcluded.environment, f"{c.name} is set to {c.environment}; payments here are taken in {environment}."
        )
    if wanted.currency not in c.practice_currencies:
        return out(
            WhyExcluded.currency_not_configured,
            f"This practice does not use {c.name} for {wanted.currency}.",
            "/currency",
        )
    if c.support is None or not c.support.is_active:
        return out(WhyExcluded.currency_not_supported, f"{c.name} does not support {wanted.currency}.", "/currency")
    return _why_not_this(c, wanted, c.support)


def _why_not_this(c: Candidate, wanted: Wanted, support: CurrencySupport) -> Excluded | None:
    def out(reason: WhyExcluded, detail: str, pointer: str, **about: Any) -> Excluded:
        return Excluded(c.code, reason, detail, pointer, {"provider": c.name, **about})

    if wanted.payment_method is not None and wanted.payment_method not in c.methods:
        return out(
            WhyExcluded.payment_method, f"{c.name} does not take {wanted.payment_method} here.", "/paymentMethod"
        )
    if wanted.capture is CaptureMode.manual and not c.captures_manually:
        return out(WhyExcluded.capture_mode, f"{c.name} cannot hold an amount and capture it later.", "/capture")
    if wanted.saved_method is not None and not c.charges_saved:
        return out(WhyExcluded.saved_methods, f"{c.name} cannot charge a payer again.", wanted.saved_method)
    if wanted.details is not None:
        needed = c.charge_details(wanted.payment_method or "", wanted.details)
        if needed is None:
            method = wanted.payment_method or "payment without a method"
            return out(
                WhyExcluded.method_details, f"{c.name} charges no {method} without its own page.", "/methodDetails"
            )
        missing = [name for name in needed if not wanted.details.get(name)]
        if missing:
            return out(WhyExcluded.method_details, f"{c.name} needs the {missing[0]}.", f"/methodDetails/{missing[0]}")
    if wanted.customer_fields is not None:
        fields = c.customer_fields(wanted.payment_method, wanted.details is not None)
        if lacking := fields.missing(wanted.customer_fields):
            text = f"{c.name} needs the customer's {' or '.join(lacking)}."
            return out(WhyExcluded.customer_field, text, f"/customer/{lacking[0]}", fields=lacking)
        if fields.needs_phone and wanted.phone is not None and not fields.takes_phone(wanted.phone):
            text = f"{c.name} does not take this phone number; it takes mobile numbers like {fields.example_phone}."
            place = "/methodDetails/phone" if "phone" in (wanted.details or {}) else "/customer/phone"
            return out(WhyExcluded.customer_phone, text, place, example=fields.example_phone)
    if wanted.amount is not None and support.min_amount is not None and wanted.amount < support.min_amount:
        least = Money(support.min_amount, wanted.currency)
        return out(WhyExcluded.below_minimum, f"{c.name} takes no less than {least}.", "/amount", least=least)
    if wanted.amount is not None and support.max_amount is not None and wanted.amount > support.max_amount:
        most = Money(support.max_amount, wanted.currency)
        return out(WhyExcluded.above_maximum, f"{c.name} takes no more than {most}.", "/amount", most=most)
    if wanted.amount is not None and wanted.amount % c.amount_step:
        step = Money(c.amount_step, wanted.currency)
        return out(WhyExcluded.amount_step, f"{c.name} takes whole multiples of {step} only.", "/amount", step=step)
    return None


@dataclass(frozen=True, slots=True)
class Way:
    """A provider that could take a payment, and the customer fields that it needs."""

    code: str
    name: str
    fields: CustomerFields


def ways_of(able: Iterable[Candidate], method: str | None = None, direct: bool = False) -> list[Way]:
    """Of providers in order, best first, those that could take a payment; of those that need the same fields only the
    first."""
    ways: dict[CustomerFields, Way] = {}
    for candidate in able:
        fields = candidate.customer_fields(method, direct)
        ways.setdefault(fields, Way(candidate.code, candidate.name, fields))
    return list(ways.values())
