"""A month and a day of a practice: volume, success, fees by provider and refunds, as numbers, charts and tables."""

from __future__ import annotations

from calendar import monthrange
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from polytill.domain.currencies import exponent_of
from polytill.domain.money import to_major
from polytill.domain.states import Environment
from polytill.storage import overview
from polytill.storage.databases import PracticeDb
from polytill.storage.overview import DaySum
from polytill.web import charts
from polytill.web.console_payments import environment_of
from polytill.web.pages import PageRoute, page, words_of
from polytill.web.visitors import PracticeViewer
from polytill.web.words import Words

router = APIRouter(prefix="/practice/{practice_id}/overview", route_class=PageRoute, include_in_schema=False)


@dataclass(slots=True)
class Sums:
    """Sums over a day or a month, in minor units of one currency."""

    payments: int = 0
    succeeded: int = 0
    over: int = 0  # payments that are not open any more
    captured: int = 0
    fees: int = 0
    refunds: int = 0
    refunded: int = 0

    def add(self, row: DaySum) -> None:
        """Count a day's group in."""
        self.payments += row.payments
        self.captured += row.captured
        self.fees += row.fees
        if row.status == "succeeded":
            self.succeeded += row.payments
        if row.status in ("succeeded", "failed", "canceled"):
            self.over += row.payments


@dataclass(slots=True)
class Month:
    """A month's days, and its sums by day and by provider."""

    first: date
    days: list[date]
    by_day: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    by_provider: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    volume: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    total: Sums = field(default_factory=Sums)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)


def month_of(text: str, today: date) -> date:
    """The first day of the month that is asked for; this month where that is none, or lies ahead."""
    try:
        first = date.fromisoformat(f"{text}-01")
    except ValueError:
        return today.replace(day=1)
    return first if date(2000, 1, 1) <= first <= today else today.replace(day=1)


async def read_month(db: PracticeDb, environment: Environment, currency: str, first: date) -> Month:
    """Everything of a month, in two queries."""
    length = monthrange(first.year, first.month)[1]
    month = Month(first, [first + timedelta(days=n) for n in range(length)])
    since, until = _midnight(first), _midnight(first + timedelta(days=length))
    for row in await overview.days(db, environment, currency, since, until):
        provider = row.provider_code or "–"
        for sums in (month.total, month.by_day[row.day], month.by_provider[provider]):
            sums.add(row)
        month.volume[(provider, row.day)] += row.captured
    for day, (count, amount) in (await overview.refunds_by_day(db, environment, currency, since, until)).items():
        for sums in (month.total, month.by_day[day]):
            sums.refunds += count
            sums.refunded += amount
    return month


def drawn(words: Words, month: Month, currency: str, names: dict[str, str]) -> dict[str, charts.Chart]:
    """The month's charts."""
    labels = [str(day.day) for day in month.days]
    keys = [day.isoformat() for day in month.days]
    providers = sorted(month.by_provider, key=lambda code: -month.by_provider[code].captured)[:4]

    def axis(minor: int) -> str:
        return words.short(int(to_major(minor, currency)))

    def volume_title(series: int, day: int) -> str:
        code = providers[series]
        amount = words.money(month.volume[(code, keys[day])], currency)
        return f"{words.day(month.days[day])}, {names.get(code, code)}: {amount}"

    least = 4 * 10 ** exponent_of(currency)  # four steps of one whole unit
    rates = [
        (sums.succeeded * 100 + sums.over // 2) // sums.over if (sums := month.by_day[key]).over else None
        for key in keys
    ]
    refunded = [month.by_day[key].refunded for key in keys]
    volume = [[month.volume[(code, key)] for key in keys] for code in providers] or [[0] * len(keys)]
    return {
        "volume": charts.stacked(labels, volume, volume_title, axis, least),
        "success": charts.shares(
            labels, rates, lambda day: f"{words.day(month.days[day])}: {rates[day]} %", lambda n: f"{n} %"
        ),
        "refunds": charts.stacked(
            labels, [refunded],
            lambda _, day: f"{words.day(month.days[day])}: {words.money(refunded[day], currency)}", axis, least,
        ),
    }  # fmt: skip


@router.get("")
async def show(
    request: Request,
    found: PracticeViewer,
    month: Annotated[str, Query(max_length=7)] = "",
    currency: Annotated[str, Query(max_length=3)] = "",
    environment: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """The overview of a month, with its last day in front."""
    desk, words = found.visitor.desk, words_of(request)
    chosen = await environment_of(desk, found.db, environment)
    own = (await desk.configured(found.db)).currency
    currencies = await overview.currencies(found.db, chosen)
    money = currency if currency in currencies else own if own in currencies or not currencies else currencies[0]
    today = desk.world.now().date()
    first = month_of(month, today)
    read = await read_month(found.db, chosen, money, first)
    names = {code: entry.name for code, entry in (await desk.catalog()).items()}
    last = today if first == today.replace(day=1) else read.days[-1]
    ahead = (read.days[-1] + timedelta(days=1)).replace(day=1)
    return page(
        request, "practice/overview.html", visitor=found.visitor, month=read, day=last,
        of_day=read.by_day[last.isoformat()], currency=money, currencies=currencies, environment=chosen.value,
        names=names, providers=sorted(read.by_provider, key=lambda code: -read.by_provider[code].captured),
        charts=drawn(words, read, money, names), earlier=(first - timedelta(days=1)).replace(day=1),
        later=ahead if ahead <= today else None, today=today,
    )  # fmt: skip
