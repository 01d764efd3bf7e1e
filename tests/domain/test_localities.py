"""Countries, their time zones and the start of a calendar day, compared with the tables of ``tzdata``."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from itertools import pairwise

import pytest

from polytill.domain.currencies import CURRENCIES
from polytill.domain.localities import (
    COUNTRIES,
    TIME_ZONE_OF,
    Locality,
    day_of,
    locality,
    start_of,
    starts_of,
    time_zones,
    zone_of,
)


def table(name: str) -> list[list[str]]:
    text = resources.files("tzdata").joinpath("zoneinfo", name).read_text("utf-8")
    return [line.split("\t") for line in text.splitlines() if not line.startswith("#")]


def test_the_table_is_that_of_tzdata() -> None:
    zones: dict[str, list[str]] = defaultdict(list)
    for country, _, zone, *_ in table("zone.tab"):
        zones[country].append(zone)
    assert {row[0] for row in table("iso3166.tab")} == COUNTRIES
    for country in COUNTRIES:
        assert TIME_ZONE_OF[country] in (zones[country] or ["UTC"]), country
    assert set(TIME_ZONE_OF.values()) <= time_zones()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("NGN",), Locality("NG", "Africa/Lagos")),
        (("KES",), Locality("KE", "Africa/Nairobi")),
        (("ZAR",), Locality("ZA", "Africa/Johannesburg")),
        (("GBP",), Locality("GB", "Europe/London")),
        (("XOF",), Locality(None, "Africa/Abidjan")),
        (("XAF",), Locality(None, "Africa/Douala")),
        (("EUR",), Locality(None, "UTC")),
        (("USD",), Locality(None, "UTC")),
        (("USD", "ZW"), Locality("ZW", "Africa/Harare")),
        (("XOF", "SN"), Locality("SN", "Africa/Dakar")),
        (("NGN", "IN"), Locality("IN", "Asia/Kolkata")),
        (("NGN", None, "Asia/Kathmandu"), Locality("NG", "Asia/Kathmandu")),
        (("USD", "US", "America/Chicago"), Locality("US", "America/Chicago")),
    ],
)
def test_defaults(given: tuple[str, ...], expected: Locality) -> None:
    assert locality(*given) == expected


def test_every_currency_has_a_place() -> None:
    for currency in CURRENCIES:
        found = locality(currency)
        assert found.country is None or found.country in COUNTRIES
        assert found.time_zone in time_zones()


@pytest.mark.parametrize(
    ("zone", "day", "starts", "hours"),
    [
        ("Africa/Lagos", date(2026, 11, 30), "2026-11-29T23:00", 24),
        ("Africa/Nairobi", date(2026, 11, 30), "2026-11-29T21:00", 24),
        ("Asia/Kolkata", date(2026, 1, 1), "2025-12-31T18:30", 24),
        ("Asia/Kathmandu", date(2026, 1, 1), "2025-12-31T18:15", 24),
        ("Pacific/Chatham", date(2026, 1, 1), "2025-12-31T10:15", 24),
        ("Africa/Cairo", date(2026, 4, 24), "2026-04-23T22:00", 23),  # clocks skip midnight
        ("Africa/Cairo", date(2026, 10, 29), "2026-10-28T21:00", 25),  # its last hour comes twice
        ("America/Havana", date(2024, 3, 10), "2024-03-10T05:00", 23),  # clocks skip midnight
        ("America/Havana", date(2024, 11, 3), "2024-11-03T04:00", 25),  # its first hour comes twice
        ("Europe/London", date(2026, 3, 29), "2026-03-29T00:00", 23),
        ("Europe/London", date(2026, 10, 25), "2026-10-24T23:00", 25),
        ("Australia/Lord_Howe", date(2026, 4, 5), "2026-04-04T13:00", 24.5),  # by half an hour
        ("Africa/Casablanca", date(2024, 3, 10), "2024-03-09T23:00", 25),  # Ramadan
        ("America/Toronto", date(1919, 3, 31), "1919-03-31T04:30", 23.5),  # 23:30 became 00:30
        ("Pacific/Apia", date(2011, 12, 30), "2011-12-30T10:00", 0),  # a day that did not exist
        ("UTC", date(2026, 5, 5), "2026-05-05T00:00", 24),
    ],
)
def test_where_a_day_begins(zone: str, day: date, starts: str, hours: float) -> None:
    rules = zone_of(zone)
    found, following = starts_of([day], rules)
    assert found == datetime.fromisoformat(starts).replace(tzinfo=UTC)
    assert following - found == timedelta(hours=hours)
    assert day_of(found - timedelta(microseconds=1), rules) < day
    if hours:
        assert day_of(found, rules) == day
        assert day_of(following - timedelta(microseconds=1), rules) == day


@pytest.mark.parametrize("zone", sorted(time_zones()))
def test_days_of_every_zone_follow_on_one_another(zone: str) -> None:
    rules, first = zone_of(zone), date(2025, 12, 30)
    days = [first + timedelta(days=n) for n in range(370)]
    starts = starts_of(days, rules)
    for day, (since, until) in zip(days, pairwise(starts), strict=True):
        assert timedelta(hours=22) <= until - since <= timedelta(hours=26)
        assert day_of(since, rules) == day == day_of(until - timedelta(microseconds=1), rules)


def test_a_zone_that_this_version_does_not_know_is_utc() -> None:
    assert str(zone_of("Mars/Olympus")) == "UTC"
    assert start_of(date(2026, 1, 1), zone_of("../../etc/passwd")) == datetime(2026, 1, 1, tzinfo=UTC)
