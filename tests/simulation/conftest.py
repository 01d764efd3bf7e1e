"""Prepares the start of all histories once for the test run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from simulation.ground import Ground, ground


@pytest.fixture(scope="session")
def laid() -> Iterator[Ground]:
    """The start of every history."""
    with ground() as made:
        yield made
