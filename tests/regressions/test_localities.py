"""A practice has a country and a time zone: given, derived or changed.

Source: https://github.com/Automattic/woocommerce-payments/issues/9064 and
https://github.com/AlexsanderVargas/vendas-bot/issues/78 (days, months and receipts were UTC whatever the practice's clock).
"""

from __future__ import annotations

import pytest

from polytill.app import Polytill
from polytill.domain.errors import Invalid
from polytill.domain.localities import Locality
from polytill.flows.admin.practices import PracticeChanges, change_practice
from polytill.storage import audit
from tests import calls
from tests.installation import Installation
from tests.storage.making import plain
from tests.web.browsing import Browser, person
from tests.web.support import fresh


async def test_defaults_and_changes(till: Polytill) -> None:
    entry, _ = await calls.create_practice(till, "Lagos", "NGN")
    assert (entry.country, entry.time_zone) == ("NG", "Africa/Lagos")
    practice = await till.context.practice(entry.id)
    assert (await till.context.configured(practice.db)).place == Locality("NG", "Africa/Lagos")
    given, _ = await calls.create_practice(till, "Harare", "USD", country="ZW")
    assert (given.country, given.time_zone) == ("ZW", "Africa/Harare")
    changed = await change_practice(
        till.context, entry.id, PracticeChanges(country="KE", time_zone="Africa/Nairobi"), "test"
    )
    assert (changed.country, changed.time_zone, changed.name) == ("KE", "Africa/Nairobi", "Lagos")
    assert (await till.context.configured(practice.db)).place == Locality("KE", "Africa/Nairobi")
    kept = await change_practice(till.context, entry.id, PracticeChanges(name="Renamed"), "test")
    assert (kept.name, kept.country, kept.time_zone) == ("Renamed", "KE", "Africa/Nairobi")


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"country": "XX"}, "/country"),
        ({"country": "ng"}, "/country"),
        ({"time_zone": "Lagos"}, "/timeZone"),
        ({"time_zone": "africa/lagos"}, "/timeZone"),
        ({"time_zone": "../../etc/passwd"}, "/timeZone"),
        ({"time_zone": "Africa"}, "/timeZone"),
        ({"time_zone": "Factory"}, "/timeZone"),
        ({"time_zone": "+01:00"}, "/timeZone"),
    ],
)
async def test_what_is_no_place_is_rejected_and_changes_nothing(
    till: Polytill, wrong: dict[str, str], pointer: str
) -> None:
    entry, _ = await calls.create_practice(till, "Clinic", "NGN")
    with pytest.raises(Invalid) as found:
        await calls.create_practice(till, "Other", "NGN", **wrong)
    assert found.value.errors[0].pointer == pointer
    with pytest.raises(Invalid):
        await change_practice(till.context, entry.id, PracticeChanges(name="Other", **wrong), "test")  # type: ignore[arg-type]
    assert await plain(till.context.owner, "SELECT name, time_zone FROM practices") == [("Clinic", "Africa/Lagos")]


async def test_over_the_api(installation: Installation) -> None:
    key, path = installation.owner_key, "/api/owner/practices"
    made = await installation.call(
        "POST", path, key, {"name": "A", "defaultCurrency": "USD", "country": "NP", "timeZone": "Asia/Kathmandu"}
    )
    practice = made.body["practice"]
    assert (made.status, practice["country"], practice["timeZone"]) == (201, "NP", "Asia/Kathmandu")
    one = f"{path}/{practice['id']}"
    patched = await installation.call("PATCH", one, key, {"timeZone": "Asia/Kolkata"})
    assert (patched.body["country"], patched.body["timeZone"]) == ("NP", "Asia/Kolkata")
    for wrong in ({"timeZone": "Kathmandu"}, {"country": "np"}, {"country": ""}, {"timeZone": 5}):
        refused = await installation.call("PATCH", one, key, wrong)
        assert (refused.status, refused.body["errors"][0]["pointer"]) == (422, f"/{next(iter(wrong))}")
    assert (await installation.call("GET", one, key)).body["timeZone"] == "Asia/Kolkata"


async def test_on_the_pages(installation: Installation) -> None:
    async with Browser(installation) as browser:
        await person(installation, installation.till.context.owner, "owner@polytill.example")
        await browser.sign_in("/owner", "owner@polytill.example")
        name = fresh("Clinic")
        made = await browser.send(
            "/owner/practices/new", "", name=name, defaultCurrency="XOF", country="SN", timeZone=""
        )
        assert made.status == 303
    [[practice_id, zone]] = await plain(
        installation.till.context.owner, "SELECT id, time_zone FROM practices WHERE name = $1", name
    )
    assert zone == "Africa/Dakar"
    db, door = await installation.till.context.opening.practice(practice_id), f"/practice/{practice_id}"
    async with Browser(installation) as browser:
        await person(installation, db, "admin@clinic.example")
        await browser.sign_in(door, "admin@clinic.example")
        refused = await browser.send(f"{door}/settings", "", timeZone="Dakar")
        assert (refused.status, 'aria-invalid="true"' in refused.html) == (422, True)
        saved = await browser.send(f"{door}/settings", "", country="KE", timeZone="Africa/Nairobi")
        assert saved.status == 303
        page = await browser.get(f"{door}/settings")
        assert 'data-zone="Africa/Nairobi"' in page.html
        assert "EAT" in page.text
    [line] = [line for line in await audit.listed(db, None, limit=50) if line["action"] == "practice.changed"]
    assert line["actor"].startswith("user:")
    assert line["detail"]["timeZone"] == "Africa/Nairobi"
    [own] = await plain(
        installation.till.context.owner, "SELECT actor FROM audit_log WHERE action = 'practice.changed'"
    )
    assert own == (f"practice:{practice_id}",)
