"""An installation behind PgBouncer in transaction mode: each statement may run on another connection of the server."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polytill.domain.database_urls import is_pooled
from polytill.domain.money import Money
from polytill.flows.worker.sweep import sweep_practice
from polytill.providers.outcomes import Succeeded
from tests import calls
from tests.flows import scenes
from tests.flows.scenes import Scene, paid
from tests.postgres.pooler import MISSING, POOL_SIZE, PROGRAM, answers, pooler

pytestmark = [pytest.mark.postgres, pytest.mark.skipif(PROGRAM is None, reason=MISSING)]
AT_ONCE = 8 * POOL_SIZE


@pytest.fixture
async def scene(tmp_path: Path, postgres_url: str) -> AsyncIterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="polytill-pooler-") as folder, pooler(Path(folder), postgres_url) as url:
        await answers(url)
        async with scenes.scene(tmp_path, url) as made:
            assert is_pooled(made.context.settings.practice_databases.get_secret_value())
            await made.configure()
            yield made


async def test_payments_and_refunds_of_many_at_once(scene: Scene) -> None:
    scene.wire.always("create", paid())
    found = await asyncio.gather(*(scene.pay(f"k{number}", amount=1000 + number) for number in range(AT_ONCE)))
    assert [one.payment.amount for one in found] == [1000 + number for number in range(AT_ONCE)]
    repeated = await asyncio.gather(*(scene.pay(f"k{number}", amount=1000 + number) for number in range(AT_ONCE)))
    assert [one.payment.id for one in repeated] == [one.payment.id for one in found]
    assert len(scene.wire.of("create")) == AT_ONCE
    scene.wire.says("refund", Succeeded(Money(1000, "NGN"), "r1"))
    refund = await calls.refund(scene.till, scene.practice_id, found[0].payment.id, key="r")
    assert refund.amount == 1000
    await sweep_practice(scene.context, scene.practice_id, None)


async def test_practices_are_created_from_the_template(scene: Scene) -> None:
    """The pooler still holds connections to the template for a while, and a database in use cannot be copied."""
    made = [await calls.create_practice(scene.till, f"Practice {number}", "NGN") for number in range(3)]
    for entry, _ in made:
        assert (await scene.context.opening.practice(entry.id)).practice_id == entry.id
