"""The ground is laid once for all histories of the run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from simulation.ground import Ground, ground


@pytest.fixture(scope="session")
def laid() -> Iterator[Ground]:
    """What every history starts from."""
    with ground() as made:
        yield made
