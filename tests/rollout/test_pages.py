"""The owner's page of the rollout, its API and its commands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from polytill.doctor import examine
from polytill.domain.rollout import RolloutPhase
from polytill.flows.rollout import hand_over, readers, sync
from polytill.flows.rollout.hand_over import FieldChanged
from polytill.flows.rollout.overview import read_overview
from polytill.settings import Settings
from polytill.web.api import rollout as api
from polytill.web.console import rollout as console
from tests.cli.process import one_sentence, polytill
from tests.installation import Installation, running
from tests.rollout.scene import One, Table, a_practice, connect
from tests.web.browsing import Browser, person

pytestmark = pytest.mark.asyncio(loop_scope="module")
LEGACY, SHADOW, LIVE, CLOSED = RolloutPhase


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    async with running(tmp_path_factory.mktemp("pages"), codes=["stripe", "paystack"]) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def one(house: Installation) -> One:
    """A practice that is live, and whose field somebody has changed."""
    table = Table()
    connect(house.till, table)
    made = await a_practice(house.till, table)
    await made.move(LEGACY, SHADOW, LIVE)
    return made


async def test_the_page_moves_practices(house: Installation, one: One) -> None:
    context = house.till.context
    await person(house, context.owner, "rollout@example.com", name="Olu")
    await readers.count(context, {"invoices <b>": 3})
    async with Browser(house) as browser:
        await browser.sign_in("/owner", "rollout@example.com")
        page = await browser.get("/owner/rollout?phase=live")
        assert f'data-practice="{one.id}"' in page.html
        assert "invoices &lt;b&gt;" in page.html
        assert 'data-phase="live" data-count="1"' in page.html
        moved = await browser.send("/owner/rollout", f"/owner/rollout/{one.id}", to="shadow")
        assert (moved.status, (await one.rollout()).phase) == (303, SHADOW)
        moved = await browser.send("/owner/rollout", f"/owner/rollout/{one.id}", to="closed")
        assert (moved.status, (await one.rollout()).phase) == (409, SHADOW)
        moved = await browser.send("/owner/rollout", "/owner/rollout", to="live", externalIds=f" {one.external_id} ")
        assert (moved.status, (await one.rollout()).phase) == (303, LIVE)
        for wrong in ({"to": "moon", "percent": "5"}, {"to": "live"}, {"to": "live", "percent": "101"},
                      {"to": "live", "percent": "x"}, {"to": "live", "externalIds": "nobody"}):  # fmt: skip
            assert (await browser.send("/owner/rollout", "/owner/rollout", **wrong)).status == 422, wrong
        one.put({})
        found = await browser.send("/owner/rollout", f"/owner/rollout/{one.id}", action="sync")
        assert found.status == 303
        page = await browser.get("/owner/rollout")
        assert 'name="keep"' in page.html
        found = await browser.send("/owner/rollout", f"/owner/rollout/{one.id}", action="keep", keep="polytill")
        assert found.status == 303
        assert set(one.field()) == {"stripe", "paystack"}
        assert (await browser.get("/owner/rollout/differences?reason=limits")).status == 200


async def test_the_api_moves_practices(house: Installation, one: One) -> None:
    async def ask(method: str, path: str, body: Any = None) -> Any:
        found = await house.call(method, f"/api/owner/rollout{path}", house.owner_key, body)
        return found.status, found.body

    status, body = await ask("POST", "/moves", {"to": "closed", "practiceIds": [one.id], "percent": 5})
    assert status == 422
    status, body = await ask("POST", "/moves", {"to": "legacy", "externalIds": [one.external_id]})
    assert (status, body["moved"], [r["practiceId"] for r in body["refused"]]) == (200, [], [one.id])
    status, body = await ask("POST", f"/practices/{one.id}/back")
    assert (status, body["phase"]) == (200, "shadow")
    status, body = await ask("POST", f"/practices/{one.id}/sync")
    assert (status, body["state"]) == (200, "in_sync")
    refused = await house.call(
        "PATCH", f"/api/practices/{one.id}/payment-providers/paystack", one.key, {"isEnabled": False}
    )
    assert (refused.status, refused.body["code"]) == (409, "field_decides")
    refused = await house.call("GET", f"/api/owner/rollout/practices/{one.id}/field", house.owner_key)
    assert refused.status == 409
    for path in ("/practices/999999/back", "/practices/999999/sync"):
        assert (await ask("POST", path))[0] == 404


async def test_practices_that_are_refused_are_not_in_the_way_of_others(
    house: Installation, one: One, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MOVED_AT_ONCE", 1)
    monkeypatch.setattr(console, "MOVED_AT_ONCE", 1)
    good, *wrong = sorted([await a_practice(house.till, one.table) for _ in range(3)], key=lambda each: -each.id)
    await person(house, house.till.context.owner, "parts@example.com", name="Olu")
    for each in (good, *wrong):
        await each.move(LEGACY)
    await sync.sync(good.context, good.id, "test")
    for each in wrong:
        each.put("{")
    path, names = "/api/owner/rollout/moves", [each.external_id for each in (good, *wrong)]
    asked, tried = {"to": "shadow", "externalIds": names}, []
    for _ in wrong:
        found = (await house.call("POST", path, house.owner_key, asked)).body
        tried += [refused["practiceId"] for refused in found["refused"]]
        asked = {**asked, "after": found["next"]}
    assert (tried, found["left"]) == (sorted(each.id for each in wrong), 1)
    async with Browser(house) as browser:
        await browser.sign_in("/owner", "parts@example.com")
        given = {"to": "shadow", "externalIds": " ".join(names)}
        page = await browser.send("/owner/rollout", "/owner/rollout", **given)
        for left in (2, 1):
            assert f'data-left="{left}"' in page.html
            after = page.html.partition('name="after" value="')[2].partition('"')[0]
            page = await browser.send("/owner/rollout", "/owner/rollout", **given, after=after)
    assert (await good.rollout()).phase is SHADOW


async def test_the_api_decides_a_conflict_without_the_hosts_database(house: Installation, one: One) -> None:
    connect(house.till, None)
    with pytest.raises(FieldChanged):
        await hand_over.written(one.context, one.id, {}, "test")
    path = f"/api/owner/rollout/practices/{one.id}/resolve"
    found = await house.call("POST", path, house.owner_key, {"keep": "polytill"})
    assert (found.status, found.body["code"]) == (409, "field_needed")
    # A field that is null was sent, too.
    found = await house.call("POST", path, house.owner_key, {"keep": "polytill", "paymentProviders": None})
    assert (found.status, found.body["state"]) == (200, "pending")


async def test_plain_keys_are_not_given_where_polytill_writes_the_field_itself(house: Installation, one: One) -> None:
    path = f"/api/owner/rollout/practices/{one.id}/field"
    body = {"paymentProviders": one.field()}
    asked: list[tuple[Any, ...]] = [("GET", path, house.owner_key), ("POST", path, house.owner_key, body)]
    for given in asked:
        found = await house.call(*given)
        assert (found.status, found.body["code"]) == (409, "host_database"), given[0]
    connect(house.till, None)
    for given in asked:
        found = await house.call(*given)
        assert found.status == 200, found.body
        assert found.body["paymentProviders"]["stripe"]["secretKey"]


async def test_the_old_code_reports_reads_with_a_practice_key(house: Installation, one: One) -> None:
    path = f"/api/practices/{one.id}/rollout/field-reads"
    reads = {"reads": [{"caller": "nightly batch", "count": 2}]}
    before = (await readers.readers(house.till.context)).reports
    for key, expected in ((house.owner_key, 403), (one.key, 204)):
        assert (await house.call("POST", path, key, reads)).status == expected
    found = await readers.readers(house.till.context)
    assert {reader.caller: reader.reads for reader in found.callers}["nightly batch"] == 2
    assert found.reports is not None
    assert before is None or found.reports.last_at > before.last_at


async def test_metrics_have_every_phase(house: Installation, one: One) -> None:
    await read_overview(house.till.context)
    registry = house.app.state.metrics.registry
    assert registry.get_sample_value("polytill_rollout_practices", {"phase": "live"}) >= 1
    assert registry.get_sample_value("polytill_rollout_differences", {"reason": "limits"}) == 0


async def test_commands(house: Installation, one: One, tmp_path: Path) -> None:
    settings: Settings = house.till.context.settings

    more = {
        "POLYTILL_OWNER_DATABASE_URL": settings.owner_database_url.get_secret_value(),
        "POLYTILL_PRACTICE_DATABASES": settings.practice_databases.get_secret_value(),
        "POLYTILL_KEYRING": str(settings.keyring),
    }

    async def run(*arguments: str, expect: int = 0) -> Any:
        found = await asyncio.to_thread(polytill, tmp_path, "rollout", *arguments, "--json", **more)
        assert found.returncode == expect, found.stderr
        return json.loads(found.stdout) if found.stdout else one_sentence(found)

    practice = ("--practice", str(one.id))
    connect(house.till, None)
    with pytest.raises(FieldChanged):
        await hand_over.written(one.context, one.id, {}, "test")
    (tmp_path / "field.json").write_text(json.dumps(one.field()))
    assert "--field" in await run("resolve", str(one.id), "--keep", "field", expect=1)
    found = await run("resolve", str(one.id), "--keep", "field", "--field", str(tmp_path / "field.json"))
    assert found["state"] == "in_sync"
    [back] = await run("back", *practice)
    assert (back["phase"], back["changed"]) == ("shadow", True)
    [refused] = await run("move", "closed", *practice, expect=1)
    assert refused["refused"]
    state = await run("status", *practice)
    assert state["practices"][0]["phase"] == "shadow"
    assert "field_hash" not in state["practices"][0]
    assert (await run("differences"))["differences"] == []
    await readers.count(house.till.context, {"nightly export": 2})
    assert {one["caller"]: one["reads"] for one in (await run("readers"))["callers"]}["nightly export"] == 2
    assert "POLYTILL_HOST_DATABASE_URL" in await run("sync", expect=1)
    assert "POLYTILL_HOST_DATABASE_URL" in await run("drop-column", expect=1)


async def test_the_doctor_names_conflicts_and_readers(house: Installation, one: One) -> None:
    await readers.count(house.till.context, {"nightly export": 1})
    one.put({})
    await sync.sync(one.context, one.id, "test")
    said = [finding.sentence for finding in await examine(house.till.context.settings) if "field" in finding.sentence]
    assert any(str(one.id) in sentence and "resolve" in sentence for sentence in said), said
    assert any("nightly export" in sentence for sentence in said), said
