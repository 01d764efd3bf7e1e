"""Routing policies: drafts, publishing, rolling back, and what other processes see of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import Any

import pytest

from polytill.domain.errors import Conflict, Invalid, NotFound, Stale
from polytill.domain.routing import PolicyError, Strategy, WhyFirst
from polytill.domain.routing_policies import PolicyState
from polytill.domain.states import Environment
from polytill.flows.admin import routing_policies
from polytill.flows.admin.routing_policies import Draft
from polytill.flows.context import SNAPSHOT_TTL_S
from polytill.flows.payments import decisions, previews
from polytill.flows.payments.previews import Hypothetical, Under
from polytill.flows.routing.policy_reading import parse_policy
from polytill.storage import audit
from polytill.storage import routing_policies as stored
from polytill.storage.units import Unit
from tests.flows.scenes import Scene, paid
from tests.flows.test_provider_pool import second, taken_by
from tests.house.reading import ROOT

SANDBOX = Environment.sandbox
NGN = Hypothetical("NGN", 1000)
TO_OTHER = Draft(json.dumps({"strategy": "weighted", "weights": {"other": 1}}), "Try the other one")


async def two(scene: Scene) -> None:
    await scene.configure("scripted", priority=2)
    await scene.configure("other", priority=1)


async def create(scene: Scene, draft: Draft = TO_OTHER) -> int:
    made = await routing_policies.create_draft(scene.context, scene.practice_id, SANDBOX, draft, "test")
    return made.version


async def publish(scene: Scene, number: int, instead_of: int | None = None, till: Any = None) -> Any:
    context = (till or scene.till).context
    return await routing_policies.publish(context, scene.practice_id, SANDBOX, number, instead_of, "test")


async def roll_back(scene: Scene, number: int, instead_of: int | None = None) -> Any:
    return await routing_policies.roll_back(scene.context, scene.practice_id, SANDBOX, number, instead_of, "test")


async def test_a_policy_is_drafted_published_and_rolled_back(scene: Scene) -> None:
    await two(scene)
    number = await create(scene)
    assert await taken_by(scene.till, scene) == "scripted"  # a draft changes nothing
    async with second(scene) as there:
        assert await taken_by(there, scene) == "scripted"
        published = await publish(scene, number, 0)
        assert (published.before, published.warnings) == (0, ())
        assert published.version.published_by == "test"
        # Another process may still have the old copy for a minute; the payment's own commit refuses it. Whatever only
        # reads sees it within a second.
        scene.clock.at_s += SNAPSHOT_TTL_S
        assert (await previews.preview(there.context, scene.practice_id, NGN)).decision.version == number
        assert await taken_by(there, scene) == "other"
        assert await taken_by(scene.till, scene) == "other"
        scene.wire.says("create", paid(transaction="decided"))
        payment = (await scene.pay()).payment
        [line] = [one for one in await audit.listed(scene.db, payment.id) if one["action"] == "payment.created"]
        assert decisions.read({**line["detail"], "why": "of_tomorrow"}, "NGN", {}) is None
        found = decisions.read(line["detail"], "NGN", {})
        assert found is not None
        assert (found.strategy, found.version) == (Strategy.weighted, number)
        assert next((one.code, one.place, one.reason) for one in found.explained) == ("other", 1, WhyFirst.drawn)
        await roll_back(scene, 0, number)
        assert await taken_by(there, scene) == "scripted"
        await roll_back(scene, number)  # forward again, by the same command
        assert await taken_by(there, scene) == "other"
    found = await routing_policies.versions(scene.context, scene.practice_id, SANDBOX)
    assert [one.state(found.active) for one in found.listed] == [PolicyState.active]
    lines = await audit.listed(scene.db, "routing:sandbox")
    assert [one["action"].partition(".")[2] for one in reversed(lines)] == [
        "saved", "published", "rolled_back", "rolled_back",
    ]  # fmt: skip
    assert lines[0]["detail"] == {"environment": "sandbox", "version": number, "instead_of": 0}


async def test_of_two_publications_at_once_one_is_refused(scene: Scene) -> None:
    await two(scene)
    numbers = [await create(scene), await create(scene)]
    async with second(scene) as there:
        tills = scene.till, there
        done = await asyncio.gather(
            *(publish(scene, number, 0, till) for number, till in zip(numbers, tills, strict=True)),
            return_exceptions=True,
        )
        [refused] = [one for one in done if isinstance(one, Conflict)]
        [published] = [one for one in done if not isinstance(one, Exception)]
        assert refused.code == "policy_changed"
        with pytest.raises(Conflict):  # what it was decided instead of is not active any more
            await publish(scene, next(n for n in numbers if n != published.version.version), 0, there)
    found = await routing_policies.versions(scene.context, scene.practice_id, SANDBOX)
    assert found.active == published.version.version
    assert sum(one.published_at is not None for one in found.listed) == 1


async def test_the_active_version_is_compared_and_set(scene: Scene) -> None:
    now = scene.context.world.now()
    for number, instead_of, is_first in ((1, 0, True), (2, 0, False), (2, 1, True), (0, 1, False)):
        unit = Unit()
        stored.activate(unit, scene.practice_id, stored.Switch(SANDBOX, number, instead_of), "test", now)
        with contextlib.nullcontext() if is_first else pytest.raises(Stale):
            await scene.db.commit(unit)
    assert await stored.active_version(scene.db, SANDBOX) == 2


async def test_a_draft_whose_tests_fail_is_kept_and_tried_and_not_published(scene: Scene) -> None:
    await scene.configure("scripted")
    await scene.configure("other")
    rules = {"strategy": "rules", "rules": [], "default": ["other"]}
    failing = {**rules, "tests": [{"given": {"currency": "NGN"}, "expect": "scripted"}]}
    number = await create(scene, Draft(json.dumps(failing)))
    context, practice = scene.context, scene.practice_id
    draft, active = await routing_policies.version(context, practice, SANDBOX, number)
    [failed] = await routing_policies.failed_tests(context, draft)
    assert (failed.pointer, failed.reason, active) == ("/tests/0/expect", PolicyError.test_failed, 0)
    for under in (Under(number), Under(document=failing)):
        tried = await previews.preview(context, practice, NGN, under)
        assert tried.decision.ranked[0].code == "other"
    with pytest.raises(Invalid) as refused:
        await publish(scene, number)
    assert [one.pointer for one in refused.value.errors] == ["/policy/tests/0/expect"]
    assert (await routing_policies.versions(context, practice, SANDBOX)).active == 0
    # With a draft that passes, it becomes one that can be published.
    await routing_policies.change_draft(context, practice, SANDBOX, number, Draft(json.dumps(rules)), "test")
    assert (await publish(scene, number)).before == 0


async def test_what_is_wrong_is_refused_and_changes_nothing(scene: Scene) -> None:
    await scene.configure("scripted")
    with pytest.raises(Invalid) as refused:
        await create(scene, Draft('{"strategy": "cheap", "weight": {}}'))
    assert {error.pointer for error in refused.value.errors} == {"/policy/strategy", "/policy/weight"}
    number = await create(scene)
    context, practice = scene.context, scene.practice_id
    draft = (await routing_policies.version(context, practice, SANDBOX, number))[0]
    changed = Draft('{"strategy": "least_cost"}', "", draft.edits)
    await routing_policies.change_draft(context, practice, SANDBOX, number, changed, "test")
    with pytest.raises(Conflict):  # somebody else has changed it
        await routing_policies.change_draft(context, practice, SANDBOX, number, changed, "test")
    with pytest.raises(Conflict):
        await roll_back(scene, number)
    with pytest.raises(NotFound):
        await publish(scene, number + 1)
    second_number = await create(scene)
    [warning] = (await publish(scene, second_number)).warnings
    assert (warning.reason, warning.about) == ("not_configured", {"code": "other"})
    for again in (publish(scene, second_number), roll_back(scene, second_number)):
        with pytest.raises(Conflict):
            await again
    with pytest.raises(Conflict):
        await routing_policies.change_draft(context, practice, SANDBOX, second_number, TO_OTHER, "test")
    found = await routing_policies.versions(context, practice, SANDBOX)
    assert [(one.version, one.state(found.active)) for one in found.listed] == [
        (second_number, PolicyState.active),
        (number, PolicyState.draft),
    ]
    with pytest.raises(NotFound):
        await routing_policies.version(context, practice, Environment.production, number)


def test_the_documents_policies_are_valid() -> None:
    codes = {"stripe", "paystack", "flutterwave"}
    found = re.findall(r"```json\n(.*?)```", (ROOT / "docs/routing.md").read_text("utf-8"), re.DOTALL)
    assert len(found) == 3
    for text in found:
        value = json.loads(text)
        rules = value if isinstance(value, list) else [value]
        whole = value if "strategy" in value else {"strategy": "rules", "rules": rules, "default": ["paystack"]}
        assert parse_policy(whole, codes)[1] == ()
