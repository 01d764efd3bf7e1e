"""Checks of a handler's declarations when it is loaded. A class that passes can be listed, seeded and configured.

The checks call no provider and create no instance. Each check yields sentences. Only a declaration that would break
something is a fault here. ``polytill.testing.conformance`` requires more (labels, titles, descriptions), and checks the
behavior as well.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from polytill.domain.currencies import CURRENCIES
from polytill.domain.identifiers import IdentifierKind
from polytill.providers.contained import cause_of, ends_only_itself
from polytill.providers.contract import CatalogEntry, CurrencyTerms, Handler, Idempotency, KeyField, WebhookProof
from polytill.providers.customer_fields import CUSTOMER_FIELDS, CustomerFields
from polytill.providers.features import FEATURES
from polytill.providers.http import may_receive_keys
from polytill.providers.well_formed import wrong_in

CREDENTIALS = frozenset({"publicKey", "secretKey", "webhookSecret"})
# Every provider must implement these; ``Handler`` only documents them.
REQUIRED_VERBS = ("create_payment_intent", "confirm_payment", "lookup_payment", "test_credentials")
REQUIRED_READERS = ("validate_webhook", "process_webhook")
# A method that starts something needs the method that ends it or looks it up.
NEEDED_BESIDE = (("refund_payment", "lookup_refund"), ("capture_payment", "cancel_payment"))

Check = Callable[[type[Handler]], Iterator[str]]


def faults_of(handler: type[Handler]) -> list[str]:
    """All faults of a declaration, as sentences without a full stop; an empty list if there are none.

    A class may raise any exception while it is read. That is a fault of the declaration, too.
    """
    faults: list[str] = []
    for check in CHECKS:
        try:
            faults += check(handler)
        except BaseException as error:
            if not ends_only_itself(error):
                raise
            faults.append(f"{check.__name__.replace('_', ' ')} cannot be read: {cause_of(error)}")
    return faults


def code_and_name(handler: type[Handler]) -> Iterator[str]:
    """The code is a short lower-case word, and the name is not empty."""
    if not isinstance(handler.code, str) or re.fullmatch(r"[a-z][a-z0-9_]{1,39}", handler.code) is None:
        yield f"{handler.code!r} is not a provider code (lower-case letters, digits and _, 2 to 40 characters)"
    if not isinstance(handler.name, str) or not handler.name.strip():
        yield "name is empty"


def catalog_entry(handler: type[Handler]) -> Iterator[str]:
    """The catalog entry exists and has methods; addresses for people are https."""
    catalog = handler.catalog
    if not isinstance(catalog, CatalogEntry):
        yield "catalog is not a CatalogEntry"
        return
    if wrong := wrong_in(
        replace(catalog, currencies={}), CatalogEntry, "catalog"
    ):  # the currencies have their own check
        yield wrong
    if not catalog.methods:
        yield "catalog.methods is empty"
    for method in catalog.methods:
        if not isinstance(method, str) or re.fullmatch(r"[a-z][a-z0-9_]*", method) is None:
            yield f"{method!r} is not a payment method (lower-case letters, digits and _)"
    for url in (catalog.website_url, catalog.documentation_url):
        if url and not url.startswith("https://"):
            yield f"{url!r} is not an https address"


def hosts(handler: type[Handler]) -> Iterator[str]:
    """Both addresses of the catalog entry are https and at declared hosts."""
    if not handler.hosts and not handler.confirmed_by_staff:
        yield "hosts is empty"
    for host in handler.hosts:
        if not isinstance(host, str) or not host or "/" in host or ":" in host:
            yield f"{host!r} is not a host name (no scheme, port or path)"
    if handler.hosts:
        for url in (handler.catalog.api_base_url, handler.catalog.sandbox_api_base_url):
            if not may_receive_keys(url, handler.hosts, frozenset()):
                yield f"keys cannot be sent to {url!r}: it is not https at a declared host"


def keys(handler: type[Handler]) -> Iterator[str]:
    """Each credential is a known one, and its patterns reject an empty key."""
    for name, spec in handler.keys.items():
        if name not in CREDENTIALS:
            yield f"{name!r} is not a credential (publicKey, secretKey or webhookSecret)"
        elif not isinstance(spec, KeyField):
            yield f"keys[{name!r}] is not a KeyField"
        else:
            if wrong := wrong_in(spec, KeyField, f"keys[{name!r}]"):
                yield wrong
            for pattern in (spec.sandbox, spec.production):
                if re.fullmatch(pattern, "") is not None:
                    yield f"{name}'s pattern {pattern!r} accepts an empty key"
    if handler.webhook_signed_with not in ("webhookSecret", "secretKey"):
        yield f"webhook_signed_with is {handler.webhook_signed_with!r}, not webhookSecret or secretKey"


def config_schema(handler: type[Handler]) -> Iterator[str]:
    """Further settings are a closed JSON object, each of a type that a form supports."""
    schema = handler.config_schema
    json.dumps(schema)
    if schema.get("type") != "object":
        yield "config_schema is not of type object"
    if schema.get("additionalProperties") is not False:
        yield "config_schema must refuse unknown fields (additionalProperties: false)"
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in properties:
            yield f"config_schema requires {name!r}, which it does not declare"
    for name, spec in properties.items():
        if spec.get("type") not in ("string", "integer", "boolean"):
            yield f"the setting {name!r} is not a string, integer or boolean"
        re.compile(spec.get("pattern", ""))
    for name, patterns in handler.settings_by_environment.items():
        if name not in properties:
            yield f"settings_by_environment names {name!r}, which is no setting"
        for pattern in patterns:
            re.compile(pattern)


def currencies(handler: type[Handler]) -> Iterator[str]:
    """Every currency is in ISO 4217, with valid terms."""
    terms = handler.catalog.currencies
    if not terms:
        yield "catalog.currencies is empty"
    for code, one in terms.items():
        if code not in CURRENCIES:
            yield f"{code!r} is not an ISO 4217 currency"
        elif not isinstance(one, CurrencyTerms):
            yield f"catalog.currencies[{code!r}] is not a CurrencyTerms"
        else:
            yield from _terms(code, one)

    more = handler.further_currencies
    if more is not None and (isinstance(more, str) or not all(code in CURRENCIES for code in more)):
        yield "further_currencies is not a set of ISO 4217 currencies"
    for code in terms:
        if handler.takes_currency(code) is not True:
            yield f"{code} is among catalog.currencies, and takes_currency refuses it"


def _terms(code: str, one: CurrencyTerms) -> Iterator[str]:
    whole = (one.percent_ppm, one.fixed_minor, one.min_minor or 0, one.max_minor or 0)
    if any(isinstance(value, bool) or not isinstance(value, int) for value in whole):
        yield f"{code}: terms are whole numbers (parts per million, minor units)"
        return
    if not 0 <= one.percent_ppm < 1_000_000:
        yield f"{code}: a fee of {one.percent_ppm} parts per million"
    if one.fixed_minor < 0:
        yield f"{code}: a negative fixed fee"
    if (one.min_minor or 0) < 0:
        yield f"{code}: a negative minimum"
    if one.max_minor is not None and one.max_minor < (one.min_minor or 0):
        yield f"{code}: the maximum is below the minimum"


def verbs(handler: type[Handler]) -> Iterator[str]:
    """The required methods exist, calls are coroutine functions, and no method lacks another that it needs."""
    for verb in (*REQUIRED_VERBS, *REQUIRED_READERS):
        if getattr(handler, verb, None) is getattr(Handler, verb):
            if verb in REQUIRED_READERS and handler.webhook_proof is WebhookProof.none:
                continue
            yield f"{verb} is missing"
    for verb in dict.fromkeys((*REQUIRED_VERBS, *dict(FEATURES).values(), *OTHER_CALLS)):
        method = getattr(handler, verb, None)
        if method is not None and verb != "process_webhook" and not inspect.iscoroutinefunction(method):
            yield f"{verb} is not an async method"
    for verb in REQUIRED_READERS:
        if inspect.iscoroutinefunction(getattr(handler, verb)):
            yield f"{verb} must not be async"
    for verb, other in NEEDED_BESIDE:
        if getattr(handler, verb) is not None and getattr(handler, other) is None:
            yield f"{verb} needs {other} beside it: what was started could not be ended or found again"


OTHER_CALLS = ("lookup_refund", "continue_payment", "list_refunds", "fetch_webhook_key")


def repeats(handler: type[Handler]) -> Iterator[str]:
    """Idempotency, its window and the horizon for "not found" are consistent."""
    if not isinstance(handler.idempotency, Idempotency):
        yield "idempotency is not one of key, reference and none"
    if (handler.idempotency_window_s > 0) != (handler.idempotency is Idempotency.key):
        yield "idempotency_window_s belongs to idempotency by key, and only there"
    if handler.settle_horizon_s < 30:
        yield "settle_horizon_s is under 30 seconds: a call can still be running"
    if not isinstance(handler.webhook_proof, WebhookProof):
        yield "webhook_proof is not one of signature, word, address and none"


def customer_needs(handler: type[Handler]) -> Iterator[str]:
    """The customer fields that a payment requires are fields that a payment has."""
    for name in handler.required_customer_fields:
        if name not in CUSTOMER_FIELDS:
            yield f"{name!r} is not a customer field (email, name or phone)"
    ways = [
        (code, method, False) for code in handler.catalog.currencies for method in (None, *handler.methods_in(code))
    ]
    for currency, method, direct in [*ways, *((*way, True) for way in handler.direct_charges)]:
        fields = handler.customer_fields(currency, method, direct)
        if not isinstance(fields, CustomerFields):
            yield f"customer_fields({currency!r}, {method!r}) returns no CustomerFields"
            return
        for name in (*fields.required, *fields.one_of):
            if name not in CUSTOMER_FIELDS:
                yield f"customer_fields({currency!r}, {method!r}) names {name!r}, which is not a customer field"
                return


def methods(handler: type[Handler]) -> Iterator[str]:
    """The methods of each currency are listed, and direct charges name a currency, a method and their details."""
    for currency in handler.catalog.currencies:
        for method in handler.methods_in(currency):
            if not isinstance(method, str):
                yield f"methods_in({currency!r}) names {method!r}, which is not a method"
    for (currency, method), details in handler.direct_charges.items():
        if not all(isinstance(word, str) for word in (currency, method, *details)) or isinstance(details, str):
            yield f"direct_charges[{(currency, method)!r}] is not a tuple of names"


def answers(handler: type[Handler]) -> Iterator[str]:
    """Declared data has the right types."""
    json.dumps(handler.webhook_answer)
    if not isinstance(handler.webhook_answer, dict):
        yield "webhook_answer is not an object"
    if faulty := wrong_in(handler.identifiers, Mapping[IdentifierKind, tuple[str, ...]], "identifiers"):
        yield faulty
    if isinstance(handler.redacted, str) or not all(isinstance(name, str) for name in handler.redacted):
        yield "redacted is not a set of field names"


CHECKS: tuple[Check, ...] = (
    code_and_name,
    catalog_entry,
    hosts,
    keys,
    config_schema,
    currencies,
    verbs,
    repeats,
    customer_needs,
    methods,
    answers,
)
