"""A practice's month and day: volume, success rate, fees by provider and refunds, as numbers, charts and tables."""

from __future__ import annotations

from calendar import monthrange
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import Query, Response

from polytill.domain.currencies import exponent_of
from polytill.domain.ledger import LedgerAccount
from polytill.domain.localities import day_of, starts_of
from polytill.domain.money import to_major
from polytill.domain.states import Environment
from polytill.storage import overview
from polytill.storage.databases import PracticeDb
from polytill.storage.overview import Counts, Sums
from polytill.web.console import charts
from polytill.web.console.pages import page_router
from polytill.web.console.payments import environment_of
from polytill.web.console.sessions import PracticeViewer
from polytill.web.words import Words

SERIES = 4  # the number of colors in a chart

router = page_router("/practice/{practice_id}/overview")


@dataclass(slots=True)
class Month:
    """A month's days in the practice's time zone, and its sums by day, provider and method."""

    first: date
    days: list[date]
    by_day: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    by_provider: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    by_method: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    created: dict[str, Counts] = field(default_factory=lambda: defaultdict(Counts))
    volume: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    total: Sums = field(default_factory=Sums)
    counts: Counts = field(default_factory=Counts)


def month_of(text: str, today: date) -> date:
    """The first day of the requested month; the current month if the request is invalid or in the future."""
    try:
        first = date.fromisoformat(f"{text}-01")
    except ValueError:
        return today.replace(day=1)
    return first if date(2000, 1, 1) <= first <= today else today.replace(day=1)


async def read_month(db: PracticeDb, environment: Environment, currency: str, first: date, zone: ZoneInfo) -> Month:
    """Read a month in two queries: its ledger lines, and the payments that were created."""
    length = monthrange(first.year, first.month)[1]
    month = Month(first, [first + timedelta(days=n) for n in range(length)])
    starts = starts_of(month.days, zone)
    for line in await overview.booked(db, environment, currency, starts):
        day = month.days[line.day].isoformat()
        for sums in (
            month.total,
            month.by_day[day],
            month.by_provider[line.provider_code],
            month.by_method[line.method],
        ):
            sums.add(line)
        if line.account is LedgerAccount.payments:
            month.volume[(line.provider_code, day)] -= line.amount
    for (number, status), payments in (await overview.created(db, environment, currency, starts)).items():
        for counts in (month.counts, month.created[month.days[number].isoformat()]):
            counts.add(status, payments)
    return month


def _series(month: Month) -> list[list[str]]:
    """The providers of each series, at most four series: the smallest of more than four providers are combined."""
    providers = _largest(month.by_provider)
    if len(providers) <= SERIES:
        return [[code] for code in providers]
    return [*([code] for code in providers[: SERIES - 1]), providers[SERIES - 1 :]]


def legend(words: Words, codes: list[str], names: dict[str, str]) -> str:
    """The label of one series of bars."""
    return words("overview.others") if len(codes) > 1 else names.get(codes[0], codes[0])


def drawn(words: Words, month: Month, currency: str, names: dict[str, str]) -> dict[str, charts.Chart]:
    """The month's charts."""
    labels = [str(day.day) for day in month.days]
    keys = [day.isoformat() for day in month.days]
    series = _series(month)

    def axis(minor: int) -> str:
        return words.short(int(to_major(minor, currency)))

    def volume_title(number: int, day: int) -> str:
        amount = words.money(volume[number][day], currency)
        return f"{words.day(month.days[day])}, {legend(words, series[number], names)}: {amount}"

    least = 4 * 10 ** exponent_of(currency)  # four steps of one whole unit
    rates = [
        (made.succeeded * 100 + made.finished // 2) // made.finished if (made := month.created[key]).finished else None
        for key in keys
    ]
    refunded = [month.by_day[key].refunded for key in keys]
    volume = [[sum(month.volume[(code, key)] for code in codes) for key in keys] for codes in series]
    volume = volume or [[0] * len(keys)]
    return {
        "volume": charts.stacked(labels, volume, volume_title, axis, least),
        "success": charts.shares(
            labels, rates, lambda day: f"{words.day(month.days[day])}: {rates[day]} %", lambda n: f"{n} %"
        ),
        "refunds": charts.stacked(
            labels,
            [refunded],
            lambda _, day: f"{words.day(month.days[day])}: {words.money(refunded[day], currency)}",
            axis,
            least,
        ),
    }


@router.get("")
async def show(
    visitor: PracticeViewer,
    month: Annotated[str, Query(max_length=7)] = "",
    currency: Annotated[str, Query(max_length=3)] = "",
    environment: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Show the overview of a month, with its last day on top."""
    context, words = visitor.context, visitor.words
    chosen = await environment_of(visitor, environment)
    own = (await context.configured(visitor.db)).currency
    currencies = await overview.currencies(visitor.db, chosen)
    money = currency if currency in currencies else own if own in currencies or not currencies else currencies[0]
    zone = visitor.practice.zone
    today = day_of(context.world.now(), zone)
    first = month_of(month, today)
    read = await read_month(visitor.db, chosen, money, first, zone)
    names = await visitor.provider_names()
    last = today if first == today.replace(day=1) else read.days[-1]
    ahead = (read.days[-1] + timedelta(days=1)).replace(day=1)
    return visitor.page(
        "practice/overview.html",
        month=read,
        day=last,
        of_day=read.by_day[last.isoformat()],
        created=read.created[last.isoformat()],
        currency=money,
        currencies=currencies,
        environment=chosen.value,
        names=names,
        providers=_largest(read.by_provider),
        methods=_largest(read.by_method),
        charts=drawn(words, read, money, names),
        legend=[legend(words, codes, names) for codes in _series(read)],
        earlier=(first - timedelta(days=1)).replace(day=1),
        later=ahead if ahead <= today else None,
        today=today,
    )


def _largest(groups: dict[str, Sums]) -> list[str]:
    return sorted(groups, key=lambda name: (-groups[name].gross, name))
