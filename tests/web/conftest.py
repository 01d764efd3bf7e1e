"""One running service for all tests of a file, on either engine, where a test needs no installation of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.installation import Installation, running
from tests.web.support import Clock


@pytest.fixture(scope="module")
def clock() -> Clock:
    """The clock of the file's service: real time plus what a test adds."""
    return Clock()


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
)
async def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, clock: Clock
) -> AsyncIterator[Installation]:
    """A service that the tests of one file share; each makes the practices that it needs."""
    url = None if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    async with running(tmp_path_factory.mktemp("shared"), url, world=clock.world(), provider_timeout_s=1.0) as found:
        yield found
