"""The owner's catalog: seeding, adding, changing, deprecating. A row never chooses code or the destination of keys."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.currencies import CURRENCIES
from polytill.domain.errors import Conflict, Duplicate, FieldError, Invalid, NotFound
from polytill.domain.states import IntegrationType, ProviderStatus
from polytill.flows.context import Context
from polytill.flows.handler_guard import takes
from polytill.flows.handlers import handler_or_reason
from polytill.providers.contract import CurrencyTerms, Handler
from polytill.providers.features import features_of
from polytill.providers.http import may_receive_keys
from polytill.providers.registry import BUILT_IN, HandlerMissing
from polytill.storage import audit, catalog
from polytill.storage.catalog import CurrencySupport, ProviderEntry
from polytill.storage.databases import Tx


def entry_from_handler(handler: type[Handler]) -> ProviderEntry:
    """Return a catalog entry with everything that the handler knows of its provider."""
    facts = handler.catalog
    return ProviderEntry(
        code=handler.code,
        name=handler.name,
        description=facts.description,
        website_url=facts.website_url or None,
        documentation_url=facts.documentation_url or None,
        api_base_url=facts.api_base_url or None,
        sandbox_api_base_url=facts.sandbox_api_base_url or None,
        supported_payment_methods=list(facts.methods),
        supported_features=features_of(handler),
        requires_public_key="publicKey" in handler.keys and handler.keys["publicKey"].required,
        requires_secret_key="secretKey" in handler.keys and handler.keys["secretKey"].required,
        requires_webhook_secret="webhookSecret" in handler.keys and handler.keys["webhookSecret"].required,
        config_schema=handler.config_schema,
        priority=facts.priority,
        integration_type=IntegrationType.built_in if BUILT_IN.get(handler.code) is handler else IntegrationType.plugin,
        handler_module=f"{handler.__module__}.{handler.__name__}",
        currencies={code: _support(code, terms) for code, terms in facts.currencies.items()},
    )


def _support(code: str, terms: CurrencyTerms) -> CurrencySupport:
    return CurrencySupport(
        code, terms.recommended, terms.percent_ppm, terms.fixed_minor, terms.min_minor, terms.max_minor, True
    )


@dataclass(frozen=True, slots=True)
class Seeded:
    """The result of a seeding: providers that were added, that existed, and that failed, with the reason."""

    added: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


async def seed(context: Context, codes: list[str] | None = None, actor: str = "cli") -> Seeded:
    """Add providers with everything that their handlers know. Existing entries stay as they are.

    Without ``codes``, those of a fresh installation: built-in handlers that the catalog lacks, and plug-ins if the
    catalog is new. A failure does not stop the others.
    """
    have = await catalog.all_entries(context.owner)
    if codes is None:
        codes = [code for code in context.registry.installed() if code in BUILT_IN or not have]
    found = Seeded()
    for code in dict.fromkeys(codes):
        if code in have:
            found.present.append(code)
            continue
        try:
            entry = entry_from_handler(context.registry.get(code))
            _check(context, entry, None)
            await _insert(context, replace(entry, created_by=actor), actor)
        except (HandlerMissing, Conflict, Invalid) as error:
            found.refused[code] = getattr(error, "detail", None) or str(error)
        else:
            found.added.append(code)
    return found


async def _insert(context: Context, entry: ProviderEntry, actor: str) -> None:
    now = context.world.now()
    try:
        async with context.owner.transaction() as tx:
            await catalog.insert(tx, entry, now)
            audit.append(tx, now, actor, AuditAction.provider_added, entry.code, {"status": entry.status})
    except Duplicate:
        raise Conflict(f"The catalog already has a provider {entry.code!r}.", code="duplicate_code") from None
    context.forget_catalog()


async def add(context: Context, columns: dict[str, Any], currencies: list[str] | None, actor: str) -> ProviderEntry:
    """Add a new provider. Values that the request leaves out come from the handler, if one is installed."""
    code = columns["code"]
    named = ProviderEntry(
        code=code,
        name=columns.get("name") or code,
        integration_type=columns.get("integration_type") or IntegrationType.built_in,
        handler_module=columns.get("handler_module"),
    )
    handler, missing = handler_or_reason(context, named)
    if handler is None and (columns.get("status") or ProviderStatus.active) != ProviderStatus.inactive:
        detail = f"{missing} Without a handler, a provider can only be added with status inactive."
        where = "/handlerModule" if named.integration_type is IntegrationType.custom else "/code"
        raise Invalid([FieldError(where, detail)], code="handler_missing")
    entry = entry_from_handler(handler) if handler else named
    values = {name: value for name, value in columns.items() if value is not None}
    if values.get("api_base_url", entry.api_base_url) != entry.api_base_url:
        # Another address than the handler's own: without one for the sandbox, it is the address of both.
        values.setdefault("sandbox_api_base_url", None)
    entry = replace(entry, **values, created_by=actor)
    if currencies is not None:
        known = entry.currencies
        entry.currencies = {c: known.get(c) or CurrencySupport(c) for c in currencies}
        _check_taken(entry, handler, currencies)
    _check(context, entry, handler)
    await _insert(context, entry, actor)
    return (await context.catalog())[code]


def _check(context: Context, entry: ProviderEntry, handler: type[Handler] | None) -> None:
    errors = []
    for name, url in (("apiBaseUrl", entry.api_base_url), ("sandboxApiBaseUrl", entry.sandbox_api_base_url)):
        if handler is None or url is None:
            continue
        if not may_receive_keys(url, handler.hosts, context.settings.allowed_provider_origins):
            hosts = ", ".join(sorted(handler.hosts))
            detail = f"Keys of {entry.name} are only sent to {hosts} over https, or to origins that the settings allow."
            errors.append(FieldError(f"/{name}", detail))
    if handler is not None and entry.supported_payment_methods is not None:
        unknown = [m for m in entry.supported_payment_methods if m not in handler.catalog.methods]
        errors += [
            FieldError("/supportedPaymentMethods", f"{entry.name}'s handler has no method {m!r}.") for m in unknown
        ]
    if handler is not None and entry.supported_features is not None:
        real = features_of(handler)
        errors += [
            FieldError("/supportedFeatures", f"{entry.name}'s handler has no feature {f!r}.")
            for f in entry.supported_features
            if f not in real
        ]
    for code, support in entry.currencies.items():
        if code not in CURRENCIES:
            errors.append(FieldError("/supportedCurrencies", f"{code} is not an ISO 4217 currency."))
        elif (
            support.min_amount is not None
            and support.max_amount is not None
            and support.min_amount > support.max_amount
        ):
            errors.append(FieldError("/maxAmount", "The maximum is below the minimum."))
    if errors:
        raise Invalid(errors)


def not_taken(entry: ProviderEntry, currency: str, pointer: str) -> FieldError:
    """Return the error for a currency that the provider does not support."""
    about = {"currency": currency, "provider": entry.name}
    return FieldError(pointer, f"{entry.name} does not support {currency!r}.", "no_such_currency", about)


def _check_taken(entry: ProviderEntry, handler: type[Handler] | None, added: list[str]) -> None:
    """Reject currencies that the provider does not support (``Handler.takes_currency``)."""
    foreign = [code for code in added if code in CURRENCIES and not takes(handler, code)]
    if foreign:
        raise Invalid([not_taken(entry, code, "/supportedCurrencies") for code in foreign])


async def _locked(tx: Tx, code: str) -> ProviderEntry:
    # The row's copy of its currencies is computed from this read: two writers at once take turns.
    await catalog.lock(tx, code)
    entry = (await catalog.all_entries(tx)).get(code)
    if entry is None:
        raise NotFound(f"The catalog has no provider {code!r}.")
    return entry


async def change(
    context: Context, code: str, columns: dict[str, Any], currencies: list[str] | None, actor: str
) -> ProviderEntry:
    """Change some columns. ``supportedCurrencies`` creates, keeps and deactivates rows of the currency table."""
    async with context.owner.transaction() as tx:
        before = await _locked(tx, code)
        after = replace(before, **columns)
        after.currencies = dict(before.currencies)
        handler, missing = handler_or_reason(context, after)
        if handler is None and after.status is not ProviderStatus.inactive:
            raise Invalid([FieldError("/status", f"{missing} It can only be inactive.")], code="handler_missing")
        touched = _with_currencies(after, currencies, handler)
        _check_taken(after, handler, [one.currency_code for one in touched if one.is_active])
        _check(context, after, handler)
        now = context.world.now()
        catalog.update(tx, after, now)
        for support in touched:
            catalog.put_currency(tx, after.id, support, now)
        names = [f.name for f in fields(after) if f.name in columns] + (
            ["supported_currencies"] if currencies is not None else []
        )
        audit.append(tx, now, actor, AuditAction.provider_changed, code, {"fields": names, "status": after.status})
    context.forget_catalog()
    return (await context.catalog())[code]


def _with_currencies(
    entry: ProviderEntry, currencies: list[str] | None, handler: type[Handler] | None
) -> list[CurrencySupport]:
    if currencies is None:
        return []
    touched = []
    facts = handler.catalog.currencies if handler else {}
    for code in dict.fromkeys([*entry.currencies, *currencies]):
        known = entry.currencies.get(code)
        wanted = code in currencies
        if known is not None and known.is_active == wanted:
            continue
        fresh = known or (_support(code, facts[code]) if code in facts else CurrencySupport(code))
        entry.currencies[code] = replace(fresh, is_active=wanted)
        touched.append(entry.currencies[code])
    return touched


async def deprecate(context: Context, code: str, actor: str) -> ProviderEntry:
    """Deprecate a provider, in place of deletion: no new configurations, but refunds of existing payments still work."""
    return await change(context, code, {"status": ProviderStatus.deprecated}, None, actor)


async def put_currency(context: Context, code: str, support: CurrencySupport, actor: str) -> CurrencySupport:
    """Create or replace one currency's terms."""
    async with context.owner.transaction() as tx:
        entry = await _locked(tx, code)
        after = replace(entry, currencies={**entry.currencies, support.currency_code: support})
        handler, _ = handler_or_reason(context, after)
        if support.is_active:
            _check_taken(after, handler, [support.currency_code])
        _check(context, after, handler)
        now = context.world.now()
        catalog.put_currency(tx, entry.id, support, now)
        catalog.update(tx, after, now)
        audit.append(tx, now, actor, AuditAction.provider_currency_set, code, {"currency": support.currency_code})
    context.forget_catalog()
    return support


async def remove_currency(context: Context, code: str, currency_code: str, actor: str) -> None:
    """Delete one currency's terms."""
    async with context.owner.transaction() as tx:
        entry = await _locked(tx, code)
        if currency_code not in entry.currencies:
            raise NotFound(f"{entry.name} has no terms for {currency_code}.")
        after = replace(entry, currencies={c: s for c, s in entry.currencies.items() if c != currency_code})
        now = context.world.now()
        catalog.remove_currency(tx, entry.id, currency_code)
        catalog.update(tx, after, now)
        audit.append(tx, now, actor, AuditAction.provider_currency_removed, code, {"currency": currency_code})
    context.forget_catalog()
