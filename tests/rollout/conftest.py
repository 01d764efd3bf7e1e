"""One installation for all tests of a file, on either engine, with a host's table in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from polytill.app import Polytill
from tests.installation import fresh_settings, opened
from tests.rollout.scene import Table, connect
from tests.web.support import Clock


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    file_engine_url: str | None, tmp_path_factory: pytest.TempPathFactory, clock: Clock
) -> AsyncIterator[Polytill]:
    """A migrated and seeded installation; each test makes the practices that it needs."""
    settings = fresh_settings(tmp_path_factory.mktemp("rollout"), file_engine_url)
    async with opened(settings, ["stripe", "paystack", "flutterwave"], world=clock.world()) as till:
        yield till


@pytest.fixture
def table(shared: Polytill) -> Table:
    """The host's table, reachable unless a test says otherwise."""
    made = Table()
    connect(shared, made)
    return made
