"""Days of a practice at the edges of the calendar: the overview, the list, the export and the ledger say the same.

Source: issue 18, item 6.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from polytill.domain.localities import zone_of
from polytill.domain.states import Environment
from polytill.flows.admin.practices import PracticeChanges, change_practice, create_key
from polytill.web.console.overview import read_month
from tests.flows.scenes import Scene
from tests.flows.test_sums import served
from tests.regressions.test_summaries import rows_of, signed_in
from tests.web.browsing import Browser

# A zone, and days whose first and last moments are looked at: year ends, 29 February, days of 23 and 25 hours, and one
# day that a zone left out.
EDGES = {
    "Pacific/Kiritimati": (date(2026, 12, 31), date(2027, 1, 1), date(2028, 2, 29)),  # UTC+14
    "Pacific/Pago_Pago": (date(2026, 12, 31), date(2027, 1, 1), date(2028, 2, 29)),  # UTC-11
    "Europe/Paris": (date(2027, 3, 28), date(2027, 10, 31), date(2027, 11, 1)),
    "America/Havana": (date(2027, 3, 14), date(2027, 11, 7)),  # daylight saving time starts at midnight
}


def _first_moment(day: date, zone: ZoneInfo) -> datetime:
    """The first second of a day on the practice's clock, which may be 01:00."""
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=15)
    while moment.astimezone(zone).date() < day:
        moment += timedelta(minutes=30)
    return moment


@pytest.mark.parametrize("name", EDGES)
async def test_the_first_and_the_last_moment_of_a_day(scene: Scene, name: str) -> None:
    zone = zone_of(name)
    await scene.configure()
    await change_practice(scene.context, scene.practice_id, PracticeChanges(time_zone="Africa/Lagos"), "test")
    expected: dict[date, dict[str, int]] = {}
    for number, day in enumerate(EDGES[name]):
        first, following = _first_moment(day, zone), _first_moment(day + timedelta(days=1), zone)
        for part, moment in enumerate(
            (first - timedelta(milliseconds=1), first, following - timedelta(milliseconds=1))
        ):
            scene.clock.at_s = moment.timestamp()
            payment = await scene.succeeded(1000 + 10 * number + part, fee=None)
            expected.setdefault(moment.astimezone(zone).date(), {})[payment.id] = payment.amount
    # The days follow a zone that is set later.
    await change_practice(scene.context, scene.practice_id, PracticeChanges(time_zone=name), "test")
    for first_of_month in {day.replace(day=1) for day in expected}:
        month = await read_month(scene.db, Environment.sandbox, "NGN", first_of_month, zone)
        there = {day: found for day, found in expected.items() if day.replace(day=1) == first_of_month}
        shown = {day: sums.gross for day, sums in month.by_day.items() if sums.any}
        assert shown == {day.isoformat(): sum(found.values()) for day, found in there.items()}
        assert month.total.gross == sum(shown.values())
    key = await create_key(scene.context, "practice", scene.practice_id, "test", None, "test")
    async with served(scene) as house, Browser(house) as browser:
        door, base = await signed_in(scene, browser), f"/api/practices/{scene.practice_id}"
        for day, found in expected.items():
            listed = await house.call("GET", f"{base}/payments?createdFrom={day}&createdTo={day}", key)
            assert {one["id"] for one in listed.body["data"]} == set(found), day
            rows, _ = rows_of((await browser.get(f"{door}/payments.csv?since={day}&until={day}")).html)
            assert {row["id"] for row in rows} == set(found), day
            assert {row["created"][:10] for row in rows} == {day.isoformat()}
            booked = await house.call("GET", f"{base}/ledger?environment=sandbox&from={day}&to={day}", key)
            assert booked.body["balances"]["NGN"]["payments"] == -sum(found.values()), day
