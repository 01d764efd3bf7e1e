"""Checks of the declarations of a handler and of its instances: facts, capabilities, secrets, isolation of practices."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import replace

from polytill.domain.contacts import example_phone, read_phone
from polytill.domain.currencies import CURRENCIES
from polytill.domain.money import Money
from polytill.providers.contract import Customer, CustomerFields, Handler, Idempotency, environment_of_key
from polytill.providers.customer_fields import CUSTOMER_FIELDS
from polytill.providers.features import FEATURES, features_of
from polytill.providers.http import may_receive_keys, origin_of
from polytill.providers.outcomes import NeedsAction, NotSent, Reason
from polytill.testing.conformance.fixture import OTHER_REFERENCE, REFERENCE
from polytill.testing.conformance.register import check, is_confirmed_by_staff
from polytill.testing.conformance.wire import Stand, expect

DECLARED, SENDING, INSTANCES = "declares", "sends", "instances"
declares = check(DECLARED, needs_network=False)
instance = check(INSTANCES, needs_network=False)
networked_instance = check(INSTANCES)


@declares
async def code_and_name(stand: Stand) -> None:
    """The code is a short lower-case word, and the handler has a display name."""
    handler = stand.handler_class
    assert re.fullmatch(r"[a-z][a-z0-9_]{1,39}", handler.code), f"{handler.code!r} is not a valid provider code"
    assert handler.name.strip(), "the name is empty"


@declares
async def hosts_take_the_catalogs_addresses(stand: Stand) -> None:
    """Both addresses of the catalog entry are https, at hosts that the handler declares."""
    handler = stand.handler_class
    assert handler.hosts or handler.confirmed_by_staff, "no host is declared"
    assert not any("/" in host or ":" in host for host in handler.hosts), "a host must be a name without scheme or path"
    for url in (handler.catalog.api_base_url, handler.catalog.sandbox_api_base_url):
        assert may_receive_keys(url, handler.hosts, frozenset()), f"keys could not be sent to {url}"


@declares
async def keys_tell_their_environment(stand: Stand) -> None:
    """Each credential's patterns accept the fixture's sandbox keys and reject an empty key."""
    handler = stand.handler_class
    assert set(handler.keys) <= {"publicKey", "secretKey", "webhookSecret"}, "an unknown credential is declared"
    for name, spec in handler.keys.items():
        assert spec.label.strip(), f"{name} has no label"
        for pattern in (spec.sandbox, spec.production):
            assert re.fullmatch(pattern, "") is None, f"{name} may be empty"
    for account in stand.fixture.accounts:
        secret = account.secret_key.reveal() if account.secret_key else None
        for name, value in (("publicKey", account.public_key), ("secretKey", secret)):
            if name in handler.keys and value is not None:
                spec = handler.keys[name]
                assert re.fullmatch(spec.sandbox, value), f"{name}'s sandbox pattern rejects the fixture's key"
                told = environment_of_key(handler, name, value)
                assert told in (None, account.environment), f"{name} is read as a key of {told}"


@declares
async def config_schema_is_closed(stand: Stand) -> None:
    """Further settings are a closed JSON object, each with a title for the form."""
    schema = stand.handler_class.config_schema
    assert schema.get("type") == "object", "the schema is not one of an object"
    assert schema.get("additionalProperties") is False, "the schema must reject unknown fields"
    properties = schema.get("properties", {})
    assert set(schema.get("required", ())) <= set(properties), "a required field is not declared"
    for name, spec in properties.items():
        assert spec.get("title"), f"{name} has no title"
        assert spec.get("type") in ("string", "integer", "boolean"), f"{name} has a type that forms do not support"


@declares
async def currencies_are_real(stand: Stand) -> None:
    """Every currency is in ISO 4217, with plausible terms."""
    terms = stand.handler_class.catalog.currencies
    assert terms, "no currency is declared"
    for code, one in terms.items():
        assert code in CURRENCIES, f"{code} is not an ISO 4217 currency"
        assert 0 <= one.percent_ppm < 1_000_000, f"{code}: a fee of {one.percent_ppm} parts per million"
        assert one.fixed_minor >= 0, f"{code}: a negative fee"
        low, high = one.min_minor or 0, one.max_minor
        assert low >= 0, f"{code}: a negative minimum"
        assert high is None or high >= low, f"{code}: the maximum is below the minimum"


@declares
async def every_exponent_has_an_example(stand: Stand) -> None:
    """The fixture has an amount for every number of decimals (0, 2, 3) among the currencies."""
    catalog, examples = stand.handler_class.catalog, stand.fixture.examples
    needed = {CURRENCIES[code].exponent for code in catalog.currencies if code in CURRENCIES} & {0, 2, 3}
    given = {CURRENCIES[example.money.currency].exponent for example in examples}
    assert needed <= given, f"no example has {sorted(needed - given)} decimals"
    assert len(examples) >= 2, "the fixture needs two examples in one currency"
    first, second = examples[0].money, examples[1].money
    assert first.currency == second.currency, "the second example has another currency"
    assert first != second, "the first two examples are the same"


@declares
async def methods_and_texts_are_there(stand: Stand) -> None:
    """The catalog entry has payment methods, a description, a website address and a documentation address."""
    catalog = stand.handler_class.catalog
    assert catalog.methods, "no payment method is declared"
    words = all(re.fullmatch(r"[a-z][a-z0-9_]*", method) for method in catalog.methods)
    assert words, "a method is not a lower-case word"
    assert catalog.description.strip(), "the description is empty"
    addresses = (catalog.website_url, catalog.documentation_url)
    is_right = all(url.startswith("https://") or (not url and not stand.handler_class.hosts) for url in addresses)
    assert is_right, addresses


@declares
async def features_equal_methods(stand: Stand) -> None:
    """Every feature is a method that exists, and no verb is present without the verbs that it needs."""
    handler = stand.handler_class
    real = [
        feature
        for feature, verb in FEATURES
        if callable(getattr(handler, verb, None)) and getattr(handler, verb) is not getattr(Handler, verb)
    ]
    assert features_of(handler) == real, "the features do not match the methods"
    for verb in dict(FEATURES).values():
        method = getattr(handler, verb, None)
        asynchronous = inspect.iscoroutinefunction(method)
        assert method is None or asynchronous or verb == "process_webhook", f"{verb} is not async"
    needed = (("refund_payment", "lookup_refund"), ("capture_payment", "cancel_payment"))
    for verb, other in needed:
        missing = getattr(handler, verb) is not None and getattr(handler, other) is None
        assert not missing, f"{verb} without {other}: a started operation could not be ended or looked up"


@declares
async def repeats_are_declared(stand: Stand) -> None:
    """Idempotency, its window and the horizon for "not found" are consistent."""
    handler = stand.handler_class
    assert isinstance(handler.idempotency, Idempotency), "idempotency is not from the closed list"
    windowed = handler.idempotency is Idempotency.key
    assert (handler.idempotency_window_s > 0) == windowed, "only idempotency by key has a window, and it must have one"
    assert handler.settle_horizon_s >= 30, "a call can still be running after this time"


def ways_of(handler: type[Handler]) -> Iterator[tuple[str, str | None, bool]]:
    """Every currency, method and way to charge (on the provider's page, or without it) that a handler declares."""
    for currency in handler.catalog.currencies:
        for method in (None, *handler.methods_in(currency)):
            yield currency, method, False
    for currency, method in handler.direct_charges:
        yield currency, method, True


@declares
async def customer_fields_are_known(stand: Stand) -> None:
    """For every currency and method, the customer fields are from the closed set, and a phone's countries exist."""
    handler = stand.handler_class
    for currency, method, direct in ways_of(handler):
        fields = handler.customer_fields(currency, method, direct)
        where = f"{method or 'any method'} in {currency}"
        unknown = {*fields.required, *fields.one_of} - set(CUSTOMER_FIELDS)
        assert not unknown, f"{where} requires {sorted(unknown)}, which no payment has"
        assert not set(fields.one_of) & set(fields.required), f"{where}: a field is both required and one of several"
        assert len(fields.one_of) != 1, f"{where}: one_of has one field, which must be a required field instead"
        for country in fields.phone_countries:
            phone = read_phone(example_phone(country))
            assert phone is not None, f"{where}: {country} is not a country with phone numbers"
            assert fields.takes_phone(phone), f"{where}: the phone pattern rejects numbers like {phone}"


@check(SENDING, needs_network=False)
async def the_declared_fields_are_enough(stand: Stand) -> None:
    """For every currency and method, a create with exactly the declared customer fields is not rejected for a missing
    field."""
    handler = stand.handler_class
    for currency, method, direct in ways_of(handler):
        fields = handler.customer_fields(currency, method, direct)
        for chosen in fields.one_of or ("",):
            customer = _customer_with({*fields.required, chosen}, fields)
            details = dict.fromkeys(handler.charge_details(currency, method or "", {}) or (), "1") if direct else None
            params = replace(
                stand.creation(money=Money(100_000, currency)), customer=customer, method=method, method_details=details
            )
            outcome = await stand.handler(stand.wire("created")).create_payment_intent(params)
            if isinstance(outcome, NotSent) and outcome.reason is Reason.validation:
                named = f"{outcome.code} {outcome.detail}".lower()
                lacking = [name for name in (*CUSTOMER_FIELDS, "e-mail") if name in named]
                where = f"{method or 'any method'} in {currency}"
                assert not lacking, f"{where} is rejected although every declared field is present: {outcome.detail}"


def _customer_with(names: set[str], fields: CustomerFields) -> Customer:
    country = (fields.phone_countries or ("KE",))[0]
    every = {"email": "payer@example.com", "name": "Ada Payer", "phone": read_phone(example_phone(country))}
    return Customer(**{name: value for name, value in every.items() if name in names})


# ── Instances ──


@instance
async def building_asks_nobody(stand: Stand) -> None:
    """Creating an instance sends no request."""
    wire = stand.wire()
    stand.handler(wire)
    assert not wire.asked, "creating a handler sent a request"


@instance
async def repr_holds_no_secret(stand: Stand) -> None:
    """Neither ``repr`` nor ``str`` of an instance or its outcomes shows a secret."""
    handler = stand.handler(stand.wire("created"))
    outcome = await handler.create_payment_intent(stand.creation())
    shown = f"{handler!r} {handler} {outcome!r} {outcome}"
    for secret in stand.secrets(0):
        assert secret not in shown, "a secret is shown"
    token = getattr(getattr(outcome, "action", None), "provider_token", None)
    if token is not None:
        assert token.reveal() not in shown, "the customer's token is shown"


@instance
async def public_config_is_public(stand: Stand) -> None:
    """The configuration for browsers is JSON and contains no secret."""
    text = json.dumps(stand.handler(stand.wire()).get_public_config())
    for secret in stand.secrets(0):
        assert secret not in text, "browsers would receive a secret"


@networked_instance
async def two_practices_never_mix(stand: Stand) -> None:
    """Two instances, used in turn, each send only their own credentials."""
    wires = stand.wire("created"), stand.wire("created")
    handlers = stand.handler(wires[0], 0), stand.handler(wires[1], 1)
    for _ in range(2):
        for handler in handlers:
            await handler.create_payment_intent(stand.creation())
    _assert_apart(stand, [wire.asked for wire in wires])


@networked_instance
async def two_practices_never_mix_at_once(stand: Stand) -> None:
    """Two instances over one connection, used at the same time, each send only their own credentials."""
    wire = stand.wire("created")
    references = REFERENCE, OTHER_REFERENCE
    await asyncio.gather(
        *(stand.handler(wire, n % 2).create_payment_intent(stand.creation(references[n % 2])) for n in range(8))
    )
    apart = [[one for one in wire.payments if reference in one.text] for reference in references]
    _assert_apart(stand, apart)


def _assert_apart(stand: Stand, asked: list[list]) -> None:  # type: ignore[type-arg]
    assert stand.secrets(0), "the fixture's accounts have no secret"
    assert not set(stand.secrets(0)) & set(stand.secrets(1)), "the fixture's accounts share a secret"
    for own, requests in enumerate(asked):
        assert requests, "no request was sent"
        for one in requests:
            for secret in stand.secrets(1 - own):
                assert secret not in one.text, "a request contains another practice's secret"


@networked_instance
async def keys_go_where_declared(stand: Stand) -> None:
    """Every request goes to https at a declared host, and no address contains a secret."""
    wire = stand.wire("created")
    await stand.call("create_payment_intent", wire)
    assert wire.asked, "creating a payment sent no request"
    for one in wire.asked:
        origin = origin_of(one.url) or ""
        assert may_receive_keys(origin, stand.handler_class.hosts, frozenset()), f"a request went to {origin}"
        for secret in stand.secrets(0):
            assert secret not in one.url, "an address contains a secret"


@networked_instance
async def good_keys_are_accepted(stand: Stand) -> None:
    """The credential test accepts valid keys."""
    tested = await stand.handler(stand.wire("keys_good")).test_credentials()
    assert tested.ok, f"valid keys are rejected: {tested.detail}"
    assert tested.environment in (None, stand.fixture.accounts[0].environment), "the keys belong to another environment"


@networked_instance
async def bad_keys_are_refused(stand: Stand) -> None:
    """The credential test rejects invalid keys with a sentence that does not contain the key."""
    tested = await stand.handler(stand.wire("keys_bad")).test_credentials()
    assert not tested.ok, "keys that the provider rejects are accepted"
    assert tested.detail.strip(), "the detail has no sentence"
    for secret in stand.secrets(0):
        assert secret not in tested.detail, "the sentence contains the key"


@check(INSTANCES, only=is_confirmed_by_staff, needs_network=False)
async def staff_alone_confirm(stand: Stand) -> None:
    """If staff confirm payments, no request is sent, no webhook is accepted, and no verb reports a payment as paid."""
    wire = stand.wire()
    assert not stand.handler(wire).validate_webhook({}, b"{}"), "a webhook without proof is accepted"
    for verb in ("create_payment_intent", "confirm_payment", "lookup_payment"):
        expect(NeedsAction, await stand.call(verb, wire), "a payment that staff have not confirmed")
    assert not wire.asked, "a request was sent"
