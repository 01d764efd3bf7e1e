"""The owner's pages and the API of clusters: limits, states, bad input, and what each process counts."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import generate_latest

from polytill.background import learn
from polytill.domain.secret import Secret
from polytill.domain.states import ClusterState
from polytill.flows.admin import clusters
from polytill.flows.admin.clusters import ClusterChanges, Limits
from tests.installation import Installation
from tests.web.browsing import Browser, person
from tests.web.support import fresh, snapshot
from tests.wording import said

pytestmark = pytest.mark.asyncio(loop_scope="module")
API = "/api/owner/clusters"


@pytest_asyncio.fixture(loop_scope="module")
async def browser(shared: Installation) -> AsyncIterator[Browser]:
    """An owner's admin, signed in."""
    email = f"{fresh('owner')}@example.com"
    await person(shared, shared.till.context.owner, email, name="Olu")
    async with Browser(shared) as found:
        await found.sign_in("/owner", email)
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def folder(shared: Installation, tmp_path: Path) -> AsyncIterator[Path]:
    """A directory for a cluster named ``shelf``, which is not registered before a test or after it."""
    yield tmp_path
    if any(one.row.name == "shelf" for one in await clusters.survey(shared.till.context)):
        await clusters.remove(shared.till.context, "shelf", "test")


async def add(shared: Installation, folder: Path, **limits: int) -> None:
    await clusters.add(shared.till.context, "shelf", Secret(str(folder)), Limits(**limits), "test")


async def test_limits_on_the_page(shared: Installation, browser: Browser, folder: Path) -> None:
    await add(shared, folder, capacity=7)
    listed = await browser.get("/owner/clusters")
    assert str(folder) in listed.text
    path = "/owner/clusters/shelf"
    done = await browser.send(path, "", state="closed", capacity="1000", connectionLimit="", priority="-2")
    assert (done.status, done.headers["Location"], done.done) == (303, path, "saved")
    row = (await clusters.status_of(shared.till.context, "shelf")).row
    assert (row.state, row.capacity, row.connection_limit, row.priority) == (ClusterState.closed, 1000, None, -2)
    page = await browser.get(path)
    assert said("cluster_state.closed") in page.text
    assert [page.forms[""][name] for name in ("state", "capacity", "connectionLimit", "priority")] == [
        ["closed"], ["1000"], [""], ["-2"],
    ]  # fmt: skip
    assert (await browser.get("/owner/clusters/moon")).status == 404
    assert (await browser.get("/owner/clusters/Moon%20")).status == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("capacity", "0"),
        ("capacity", "-1"),
        ("capacity", "many"),
        ("capacity", "1.5"),
        ("capacity", "9" * 30),
        ("connectionLimit", "1"),
        ("connectionLimit", "5001"),
        ("priority", "1e3"),
        ("state", "ajar"),
    ],
)
async def test_bad_limits(shared: Installation, browser: Browser, folder: Path, field: str, value: str) -> None:
    await add(shared, folder)
    before = await snapshot(shared)
    seen = await browser.send("/owner/clusters/shelf", "", **{field: value})
    assert seen.status == 422, seen.text
    assert f'<div id="h-{field}"><p class="wrong">' in seen.html
    assert await snapshot(shared) == before


async def test_who_only_looks_changes_nothing(shared: Installation, folder: Path) -> None:
    await add(shared, folder)
    email = f"{fresh('viewer')}@example.com"
    await person(shared, shared.till.context.owner, email, role="viewer")
    async with Browser(shared) as viewer:
        await viewer.sign_in("/owner", email)
        seen = await viewer.get("/owner/clusters/shelf")
        refused = await viewer.post("/owner/clusters/shelf", {**seen.forms["/owner/logout"], "state": ["closed"]})
        assert refused.status == 403
    assert (await clusters.status_of(shared.till.context, "shelf")).row.state is ClusterState.open


async def test_a_cluster_that_fails_is_named(shared: Installation, browser: Browser, folder: Path) -> None:
    (folder / "gone").mkdir()
    await add(shared, folder / "gone")
    shutil.rmtree(folder / "gone")
    assert said("clusters.broken") in (await browser.get("/owner/clusters")).text
    assert "does not exist" in (await browser.get("/owner/clusters/shelf")).text
    found = (await shared.call("GET", API, shared.owner_key)).body
    [shelf] = [one for one in found if one["name"] == "shelf"]
    assert (shelf["isReachable"], "does not exist" in shelf["problem"]) == (False, True)


async def test_no_room_is_one_sentence(shared: Installation, browser: Browser) -> None:
    context = shared.till.context
    open_ones = [one.row.name for one in await clusters.survey(context) if one.row.state is ClusterState.open]
    for name in open_ones:
        await clusters.change(context, name, ClusterChanges(state=ClusterState.closed), "test")
    try:
        seen = await browser.send("/owner/practices/new", "", name="Late", defaultCurrency="NGN")
        assert (seen.status, said("fault.no_cluster_room") in seen.text) == (409, True), seen.text
        body = {"name": "Late", "defaultCurrency": "NGN"}
        answered = await shared.call("POST", "/api/owner/practices", shared.owner_key, body)
        assert (answered.status, answered.body["code"]) == (409, "no_cluster_room")
        named = await shared.call("POST", "/api/owner/practices", shared.owner_key, {**body, "cluster": "default"})
        assert (named.status, named.body["errors"][0]["pointer"]) == (422, "/cluster")
    finally:
        for name in open_ones:
            await clusters.change(context, name, ClusterChanges(state=ClusterState.open), "test")


BAD = [
    {"name": "Shelf"},
    {"name": "she lf"},
    {"name": "shélf"},
    {"name": "../etc"},
    {"name": "default"},
    {"name": "x" * 41},
    {"url": "/srv/\x07"},
    {"url": "srv"},
    {"url": "mysql://u@h"},
    {"url": "postgresql://u:hunter2@h:99999"},
    {"capacity": 0},
    {"capacity": True},
    {"connectionLimit": 1},
    {"priority": 10**9},
    {"isActive": True},
]


@pytest.mark.parametrize("wrong", BAD, ids=lambda wrong: next(iter(wrong)))
async def test_bad_clusters(shared: Installation, folder: Path, wrong: dict[str, object]) -> None:
    before = await snapshot(shared)
    body = {"name": "shelf", "url": str(folder)} | wrong
    answered = await shared.call("POST", API, shared.owner_key, body)
    assert answered.status in (409, 422), answered.body
    assert "hunter2" not in str(answered.body)
    assert await snapshot(shared) == before


async def test_changes_over_http(shared: Installation, folder: Path) -> None:
    made = await shared.call("POST", API, shared.owner_key, {"name": "shelf", "url": str(folder), "capacity": 2})
    assert made.status == 201
    assert (made.body["location"], made.body["engine"], made.body["room"]) == (str(folder), "sqlite", 2)
    own = f"{API}/shelf"
    changed = (await shared.call("PATCH", own, shared.owner_key, {"capacity": None, "priority": 3})).body
    assert (changed["capacity"], changed["room"], changed["priority"], changed["state"]) == (None, None, 3, "open")
    assert (await shared.call("PATCH", own, shared.owner_key, {"capacity": 5})).body["priority"] == 3
    assert (await shared.call("PATCH", f"{API}/moon", shared.owner_key, {"capacity": 5})).status == 404
    assert (await shared.call("PATCH", f"{API}/default", shared.owner_key, {"url": "/srv"})).body[
        "code"
    ] == "default_cluster"
    newest = (await shared.call("GET", "/api/owner/audit-log", shared.owner_key)).body[0]
    assert (newest["action"], newest["subject"], newest["detail"]) == ("cluster.changed", "shelf", {"capacity": 5})
    assert (await shared.call("DELETE", own, shared.owner_key)).status == 204


async def test_metrics_of_clusters(shared: Installation, folder: Path) -> None:
    await add(shared, folder, capacity=9)
    await clusters.change(shared.till.context, "shelf", ClusterChanges(state=ClusterState.closed), "test")
    await learn(shared.till.context)
    seen = generate_latest(shared.app.state.metrics.registry).decode()
    assert 'polytill_cluster_capacity{cluster="shelf"} 9.0' in seen
    assert 'polytill_cluster_open{cluster="shelf"} 0.0' in seen
    assert 'polytill_cluster_open{cluster="default"} 1.0' in seen
    assert 'polytill_cluster_practices{cluster="default"} ' in seen
    assert 'polytill_cluster_connections{cluster="shelf"}' not in seen  # a directory
