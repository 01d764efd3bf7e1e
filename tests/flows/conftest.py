"""The scene that most tests of the flows play in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.flows import scenes
from tests.flows.scenes import Scene


@pytest.fixture
async def scene(tmp_path: Path, engine_url: str | None) -> AsyncIterator[Scene]:
    """Scripted providers, a clock moved by hand, one practice; on both engines. Ends with the books checked."""
    async with scenes.scene(tmp_path, engine_url) as made:
        yield made
