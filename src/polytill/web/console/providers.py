"""A practice's providers: the configured ones in order, the available ones, and which one would take a payment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query, Response

from polytill.domain.currencies import CURRENCIES, exponent_of
from polytill.domain.money import fee_of
from polytill.domain.typed_amounts import TypedAmountError
from polytill.flows.admin import provider_configs
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.context import Context, Snapshot
from polytill.flows.payments import previews
from polytill.flows.payments.candidates import candidates
from polytill.flows.payments.choose import choose
from polytill.flows.routing.decision import Decision
from polytill.flows.routing.eligibility import Wanted, rank
from polytill.flows.routing.explain import Explained, explain
from polytill.storage.catalog import CurrencySupport, ProviderEntry
from polytill.storage.provider_configs import Configuration
from polytill.web.api.models.provider_configs import defaults_of
from polytill.web.console.flashes import Done
from polytill.web.console.pages import page_router
from polytill.web.console.sessions import PracticeAdmin, PracticeViewer, PracticeVisitor

router = page_router("/practice/{practice_id}/providers")

STEP = 10  # the gap between the priorities of two neighbors


async def ranked(context: Context, snapshot: Snapshot) -> list[Configuration]:
    """The configured providers in the order of routing for the practice's own currency, without regard to defaults."""
    everyone = sorted(await candidates(context, snapshot, snapshot.currency), key=lambda c: rank(c)[1:])
    return [snapshot.configurations[candidate.code] for candidate in everyone]


def example_of(currency: str) -> int:
    """An amount that serves as an example, in minor units."""
    example: int = 5000 * 10 ** exponent_of(currency)
    return example


@dataclass(frozen=True, slots=True)
class Offer:
    """A provider that this practice could configure."""

    entry: ProviderEntry
    support: CurrencySupport
    fee_of_example: int | None


async def _offers(context: Context, snapshot: Snapshot, example: int) -> list[Offer]:
    found = []
    for entry in (await context.catalog()).values():
        support = entry.currencies.get(snapshot.currency)
        if (
            entry.code in snapshot.live
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
    found: Decision | None
    explained: tuple[Explained, ...]
    minor: int


async def _question(visitor: PracticeVisitor, snapshot: Snapshot, amount: str, currency: str, method: str) -> Question:
    words, currency = visitor.words, currency.upper() or snapshot.currency
    amount = amount or words.major(example_of(snapshot.currency), snapshot.currency)
    problem, found, minor = "", None, 0
    if currency not in CURRENCIES:
        problem = words("who.no_currency")
    else:
        try:
            minor = words.minor(amount, currency)
            found = await choose(visitor.context, snapshot, Wanted(currency, minor, method or None))
        except TypedAmountError as error:
            problem = words.told(error.at("/amount").errors[0])
    return Question(amount, currency[:3], method, problem, found, explain(found) if found else (), minor)


@router.get("")
async def show(
    visitor: PracticeViewer,
    amount: Annotated[str, Query(max_length=40)] = "",
    currency: Annotated[str, Query(max_length=3)] = "",
    method: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """Show the practice's providers. With a query, also the provider that would take that payment."""
    context = visitor.context
    snapshot, catalog = await context.configured(visitor.db), await context.catalog()
    entries = [catalog[code] for code in snapshot.live if code in catalog]
    values: dict[str, Any] = {
        "question": await _question(visitor, snapshot, amount.strip(), currency.strip(), method),
        "methods": sorted({one for entry in entries for one in entry.supported_payment_methods or ()}),
        "names": await visitor.provider_names(),
    }
    if visitor.request.headers.get("hx-request"):
        return visitor.page("practice/provider_question.html", **values)
    example = example_of(snapshot.currency)
    configured = [(c, defaults_of(snapshot, c), catalog.get(c.provider_code)) for c in await ranked(context, snapshot)]
    return visitor.page(
        "practice/providers.html",
        configured=configured,
        currency=snapshot.currency,
        example=example,
        costs=await previews.costs(context, snapshot, snapshot.currency, example),
        verdicts={c.provider_code: previews.health_of(context, c) for c in snapshot.live.values()},
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
async def order(visitor: PracticeAdmin) -> Response:
    """Set the priorities from an order, which was dragged or changed by a button."""
    context, form = visitor.context, visitor.form
    known = {c.provider_code: c for c in await ranked(context, await context.configured(visitor.db))}
    wanted = [code for code in dict.fromkeys(form.many("order")) if code in known]
    wanted += [code for code in known if code not in wanted]
    codes = _moved(wanted, form.text("up"), form.text("down"))
    for place, code in enumerate(codes):
        priority = (len(codes) - place) * STEP
        if known[code].priority != priority:
            wish = Wish(code, priority=priority, configured_by=known[code].configured_by)
            await provider_configs.configure(context, visitor.practice_id, wish, visitor.actor, patch=True)
    return visitor.see("/providers", Done.order)
