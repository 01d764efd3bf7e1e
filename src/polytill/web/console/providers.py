"""A practice's providers: the configured ones in order, the available ones, and which one would take a payment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from polytill.domain.currencies import CURRENCIES
from polytill.domain.money import fee_of
from polytill.domain.typed_amounts import TypedAmountError
from polytill.flows.admin import provider_configs
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.context import Context, Snapshot
from polytill.flows.payments.candidates import candidates
from polytill.flows.payments.route import Route, Wanted, rank, route
from polytill.storage.catalog import CurrencySupport, ProviderEntry
from polytill.storage.provider_configs import Configuration
from polytill.web.console.flashes import Done
from polytill.web.console.pages import PageRoute, form_of, page, provider_names, see, words_of
from polytill.web.console.sessions import OfPractice, PracticeAdmin, PracticeViewer
from polytill.web.console.texts import Words

router = APIRouter(prefix="/practice/{practice_id}/providers", route_class=PageRoute, include_in_schema=False)

STEP = 10  # the gap between the priorities of two neighbors


async def ranked(context: Context, snapshot: Snapshot) -> list[Configuration]:
    """The configured providers in the order of routing for the practice's own currency, without regard to defaults."""
    everyone = sorted(await candidates(context, snapshot, snapshot.currency), key=lambda c: rank(c)[1:])
    return [snapshot.configurations[candidate.code] for candidate in everyone]


def defaults_of(snapshot: Snapshot, configuration: Configuration) -> list[str]:
    """The currencies for which a configuration is the default."""
    return sorted(
        currency
        for (environment, currency), config_id in snapshot.defaults.items()
        if config_id == configuration.id and environment is configuration.environment
    )


@dataclass(frozen=True, slots=True)
class Offer:
    """A provider that this practice could configure."""

    entry: ProviderEntry
    support: CurrencySupport
    fee_of_example: int | None


async def _offers(context: Context, snapshot: Snapshot, example: int) -> list[Offer]:
    known = {c.provider_code for c in await ranked(context, snapshot)}
    found = []
    for entry in (await context.catalog()).values():
        support = entry.currencies.get(snapshot.currency)
        if (
            entry.code in known
            or entry.status not in provider_configs.NEW_ALLOWED
            or support is None
            or not support.is_active
        ):
            continue
        percent, fixed = support.transaction_fee_percent, support.transaction_fee_fixed
        fee = None if percent is None and fixed is None else fee_of(example, percent or 0, fixed or 0)
        found.append(Offer(entry, support, fee))
    return sorted(found, key=lambda o: (not o.support.is_recommended, -o.entry.priority, o.entry.code))


@dataclass(frozen=True, slots=True)
class Question:
    """The input of the form "who will take this payment?"."""

    amount: str
    currency: str
    method: str
    problem: str
    found: Route | None
    minor: int


async def _question(context: Context, snapshot: Snapshot, words: Words, asked: dict[str, str]) -> Question:
    currency = asked["currency"].upper() or snapshot.currency
    example = 5000 * 10 ** CURRENCIES[snapshot.currency].exponent
    text = asked["amount"] or words.major(example, snapshot.currency)
    if currency not in CURRENCIES:
        return Question(text, currency[:3], asked["method"], words("who.no_currency"), None, 0)
    try:
        minor = words.minor(text, currency)
    except TypedAmountError as error:
        problem = words.told(error.at("/amount").errors[0])
        return Question(text[:40], currency, asked["method"], problem, None, 0)
    wanted = Wanted(currency, minor, asked["method"] or None)
    return Question(
        text, currency, asked["method"], "", route(await candidates(context, snapshot, currency), wanted), minor
    )


async def _methods(context: Context, snapshot: Snapshot) -> list[str]:
    catalog = await context.catalog()
    found = {
        method
        for configuration in await ranked(context, snapshot)
        if configuration.provider_code in catalog
        for method in catalog[configuration.provider_code].supported_payment_methods or []
    }
    return sorted(found)


@router.get("")
async def show(
    request: Request,
    found: PracticeViewer,
    amount: Annotated[str, Query(max_length=40)] = "",
    currency: Annotated[str, Query(max_length=3)] = "",
    method: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """Show the practice's providers. With a query, also the provider that would take that payment."""
    return await _page(request, found, {"amount": amount.strip(), "currency": currency.strip(), "method": method})


async def _page(request: Request, found: OfPractice, asked: dict[str, str]) -> Response:
    context, words = found.visitor.context, words_of(request)
    snapshot = await context.configured(found.db)
    catalog = await context.catalog()
    question = await _question(context, snapshot, words, asked)
    values: dict[str, Any] = {
        "visitor": found.visitor,
        "question": question,
        "methods": await _methods(context, snapshot),
        "names": provider_names(words_of(request), catalog.values()),
    }
    if request.headers.get("hx-request"):
        return page(request, "practice/provider_question.html", **values)
    example = 5000 * 10 ** CURRENCIES[snapshot.currency].exponent
    configured = [(c, defaults_of(snapshot, c), catalog.get(c.provider_code)) for c in await ranked(context, snapshot)]
    return page(
        request,
        "practice/providers.html",
        configured=configured,
        currency=snapshot.currency,
        example=example,
        offers=await _offers(context, snapshot, example),
        **values,
    )


def _moved(codes: list[str], up: str, down: str) -> list[str]:
    """The order after one provider moved up or down by one position."""
    for code, step in ((up, -1), (down, +1)):
        if code in codes:
            at = codes.index(code)
            to = min(max(at + step, 0), len(codes) - 1)
            codes.insert(to, codes.pop(at))
    return codes


@router.post("/order")
async def order(request: Request, found: PracticeAdmin) -> Response:
    """Set the priorities from an order, which was dragged or changed by a button."""
    context, practice_id, form = found.visitor.context, found.visitor.practice_id, form_of(request)
    present = await ranked(context, await context.configured(found.db))
    known = {c.provider_code: c for c in present}
    wanted = [code for code in dict.fromkeys(form.many("order")) if code in known]
    wanted += [code for code in known if code not in wanted]
    codes = _moved(wanted, form.text("up"), form.text("down"))
    for place, code in enumerate(codes):
        priority = (len(codes) - place) * STEP
        if known[code].priority != priority:
            wish = Wish(code, priority=priority, configured_by=known[code].configured_by)
            await provider_configs.configure(context, practice_id, wish, found.visitor.actor, patch=True)
    return see(f"{found.visitor.door}/providers", Done.order)
