"""One running service for all tests of a file, on either engine, where a test needs no installation of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.installation import Installation, running
from tests.web.support import Clock


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    file_engine_url: str | None, tmp_path_factory: pytest.TempPathFactory, clock: Clock
) -> AsyncIterator[Installation]:
    """A service that the tests of one file share; each makes the practices that it needs."""
    folder = tmp_path_factory.mktemp("shared")
    async with running(folder, file_engine_url, world=clock.world(), provider_timeout_s=1.0) as found:
        yield found
