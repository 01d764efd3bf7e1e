"""The owner's catalog pages: providers with their handlers' data, and the table of currencies and fees."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from fastapi import Response

from polytill.domain.currencies import CURRENCIES
from polytill.domain.errors import FieldError, NotFound, PolytillError, invalid
from polytill.domain.typed_amounts import typed_percentage, typed_whole
from polytill.flows.admin import catalog
from polytill.flows.context import Context
from polytill.flows.handler_guard import takes
from polytill.flows.handlers import handler_or_reason
from polytill.storage import practices
from polytill.storage.catalog import CurrencySupport, ProviderEntry
from polytill.web.api.models.catalog import AddProvider, ChangeProvider
from polytill.web.console.flashes import Done
from polytill.web.console.pages import EXPECTED, Form, Problems, amount_of, page_router, shaped
from polytill.web.console.sessions import OwnerAdmin, OwnerViewer
from polytill.web.words import Words

router = page_router("/owner/catalog")

TEXTS = {
    "name": "name",
    "description": "description",
    "websiteUrl": "website_url",
    "documentationUrl": "documentation_url",
    "apiBaseUrl": "api_base_url",
    "sandboxApiBaseUrl": "sandbox_api_base_url",
}
REQUIRED_KEYS = ("requiresPublicKey", "requiresSecretKey", "requiresWebhookSecret")
USERS_LOOKED_AT = 100
MOST_PRIORITY = 1_000_000  # the API's limit


def _entry(found: dict[str, ProviderEntry], code: str) -> ProviderEntry:
    if code not in found:
        raise NotFound
    return found[code]


async def _users(context: Context) -> dict[str, list[Any]]:
    """The practices that use each provider, for a bounded number of practices."""
    found: dict[str, list[Any]] = defaultdict(list)
    gate = asyncio.Semaphore(8)

    async def one(entry: Any) -> None:
        async with gate:
            try:
                snapshot = await context.configured(await context.opening.practice(entry.id), 60.0)
            except PolytillError:
                return
        for code, configuration in snapshot.live.items():
            found[code].append((entry, configuration))

    entries = await practices.listed(context.owner, 0, USERS_LOOKED_AT)
    await asyncio.gather(*(one(entry) for entry in entries if entry.state.has_database))
    return found


@router.get("")
async def list_providers(visitor: OwnerViewer) -> Response:
    """List the catalog."""
    context = visitor.context
    entries = sorted((await context.catalog()).values(), key=lambda e: (-e.priority, e.code))
    known = {entry.code for entry in entries}
    missing = [h for code, h in sorted(context.registry.installed().items()) if code not in known]
    return visitor.page(
        "owner/catalog.html",
        entries=entries,
        users=await _users(context),
        reasons={e.code: handler_or_reason(context, e)[1] for e in entries},
        not_added=missing,
        refused=[one for one in context.registry.plug_ins() if one.refused],
    )


# ── A new provider ──


async def _new_page(visitor: OwnerAdmin, **more: Any) -> Response:
    known = await visitor.context.catalog()
    handlers = visitor.context.registry.installed()
    code = more.get("given", {}).get("code") or visitor.request.query_params.get("code", "")
    return visitor.page(
        "owner/provider_new.html",
        handler=handlers.get(code),
        code=code,
        installed={code: one for code, one in handlers.items() if code not in known},
        **more,
    )


@router.get("/new")
async def new_provider(visitor: OwnerAdmin) -> Response:
    """Show the form for a new provider; ``?code=`` of an installed handler fills in the handler's data."""
    return await _new_page(visitor)


@router.post("/new")
async def add_provider(visitor: OwnerAdmin) -> Response:
    """Add a provider. Every practice sees it at its next read."""
    given = visitor.form.given("code", "status", *TEXTS)
    try:
        body = shaped(AddProvider, given)
        sent = body.model_dump(exclude_unset=True, exclude={"supported_currencies"})
        entry = await catalog.add(visitor.context, sent, None, visitor.actor)
    except EXPECTED as error:
        return await _new_page(visitor, error=error, given=given)
    return visitor.see(f"/catalog/{entry.code}", Done.provider_added)


# ── One provider ──


async def _provider_page(visitor: OwnerViewer, code: str, **more: Any) -> Response:
    context = visitor.context
    entry = _entry(await context.catalog(), code)
    handler, missing = handler_or_reason(context, entry)
    typed: Form | None = more.setdefault("typed", None)
    stored = {wire: getattr(entry, column) or "" for wire, column in TEXTS.items()}
    given = {wire: typed.text(wire) for wire in TEXTS} if typed and typed.has("name") else stored
    return visitor.page(
        "owner/provider.html",
        entry=entry,
        handler=handler,
        missing=missing,
        given=given,
        users=(await _users(context)).get(code, []),
        all_currencies=sorted(code for code in set(CURRENCIES) - set(entry.currencies) if takes(handler, code)),
        **more,
    )


@router.get("/{code}")
async def show_provider(visitor: OwnerViewer, code: str) -> Response:
    """Show one provider."""
    return await _provider_page(visitor, code)


@router.post("/{code}")
async def change_provider(visitor: OwnerAdmin, code: str) -> Response:
    """Save the fields of a provider and its table of currencies: one form, so that no edit of either is lost."""
    return await _save(visitor, code)


@router.post("/{code}/currencies/add")
async def add_currency(visitor: OwnerAdmin, code: str) -> Response:
    """Save, and add one more currency, with the handler's terms if it has any."""
    return await _save(visitor, code, visitor.form.text("add").upper())


async def _save(visitor: OwnerAdmin, code: str, add: str | None = None) -> Response:
    """Save all changes; one invalid field prevents all of them."""
    form, words, problems = visitor.form, visitor.words, Problems()
    entry = _entry(await visitor.context.catalog(), code)
    handler, _ = handler_or_reason(visitor.context, entry)
    columns: dict[str, Any] = {}
    changed: list[CurrencySupport] = []
    if form.has("name"):
        with problems.caught():
            columns = _columns(form, problems)
    for currency in form.many("currency"):
        with problems.caught():
            changed += _changed(form, words, entry, currency)
    problems.errors += [
        catalog.not_taken(entry, one.currency_code, f"/active-{one.currency_code}")
        for one in changed
        if one.is_active and not takes(handler, one.currency_code)
    ]
    if add is not None and add not in CURRENCIES:
        problems.errors.append(FieldError("/add", "This is not an ISO 4217 currency.", "no_currency"))
    elif add is not None and not takes(handler, add):
        problems.errors.append(catalog.not_taken(entry, add, "/add"))
    try:
        problems.settle()
        if columns or add is not None:
            present = None if add is None else [*entry.supported_currencies, add]
            await catalog.change(visitor.context, code, columns, present, visitor.actor)
    except EXPECTED as error:
        return await _provider_page(visitor, code, error=error, typed=form)
    for support in changed:
        await catalog.put_currency(visitor.context, code, support, visitor.actor)
    return visitor.see(f"/catalog/{code}" + ("" if add is None else "#terms"), Done.saved)


def _columns(form: Form, problems: Problems) -> dict[str, Any]:
    values: dict[str, Any] = {wire: form.text(wire) or None for wire in TEXTS if form.has(wire)}
    values |= {name: form.has(name) for name in REQUIRED_KEYS}
    with problems.caught("/priority"):
        values["priority"] = typed_whole(form.text("priority") or "0", -MOST_PRIORITY, MOST_PRIORITY)
    values["status"] = form.text("status")
    if form.has("methods"):
        values["supportedPaymentMethods"] = form.many("method")
    if not values.get("name"):
        problems.errors.append(FieldError("/name", "A provider needs a name.", "needs_name"))
    return shaped(ChangeProvider, values).model_dump(exclude_unset=True)


# ── Currencies and fees ──


def _support(form: Form, words: Words, currency: str) -> CurrencySupport:
    """Read one row of the table: a percentage and amounts in local formats. ``Invalid`` names the field."""
    problems, terms = Problems(), dict[str, int | None]()
    for name in ("fixed", "min", "max"):
        text = form.text(f"{name}-{currency}")
        with problems.caught():
            terms[name] = amount_of(words, text, currency, f"/{name}-{currency}", least=0) if text else None
    ppm, percent = None, form.text(f"percent-{currency}")
    if percent:
        with problems.caught(f"/percent-{currency}"):
            ppm = typed_percentage(percent)
    problems.settle()
    return CurrencySupport(
        currency,
        form.has(f"recommended-{currency}"),
        ppm,
        terms["fixed"],
        terms["min"],
        terms["max"],
        form.has(f"active-{currency}"),
    )


def _changed(form: Form, words: Words, entry: ProviderEntry, currency: str) -> list[CurrencySupport]:
    """Read a row of the table; empty if it is unchanged. ``Invalid`` names the field."""
    if currency not in CURRENCIES:
        raise invalid("/add", "This is not an ISO 4217 currency.", reason="no_currency")
    support = _support(form, words, currency)
    low, high = support.min_amount, support.max_amount
    if low is not None and high is not None and low > high:
        raise invalid(f"/max-{currency}", "The maximum is below the minimum.", reason="maximum_below")
    return [support] if support != entry.currencies.get(currency) else []
