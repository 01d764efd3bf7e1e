"""Every place that writes out the members of a closed type has all of them, and no other."""

from __future__ import annotations

import pytest

from tests.house.closed_types import PLACES, Place


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.type.__name__}: {place.name}")
def test_place(place: Place) -> None:
    mistakes = list(place.mistakes())
    assert not mistakes, "\n" + "\n".join(mistakes)
