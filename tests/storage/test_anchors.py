"""What tells a practice's database from a copy of it."""

from __future__ import annotations

import pytest

from polytill.domain.behind import BehindReason
from polytill.domain.errors import WrongPractice
from polytill.storage.anchors import Anchor, Identity, Mark, is_elsewhere


@pytest.mark.parametrize(
    ("born", "now", "expected"),
    [
        ("7/1", "7/1", False),
        ("7/1", "7/2", True),
        ("7/1", "8/1", True),
        ("/1", "8/1", False),
        ("7/1", "/2", True),
        (None, "7/1", False),
        ("7/1", None, False),
    ],
)
def test_what_is_elsewhere(born: str | None, now: str | None, expected: bool) -> None:
    assert is_elsewhere(born, now) is expected


HERE = Identity(1, "e1", "7/1", "7/1", "7/1 monday", has_mark=True)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (HERE, None),
        (HERE._replace(epoch="e0"), BehindReason.epoch),
        (HERE._replace(place="7/2"), BehindReason.birthplace),
        (HERE._replace(has_mark=False), BehindReason.mark),
    ],
)
def test_what_a_connection_finds(found: Identity, expected: BehindReason | None) -> None:
    anchor = Anchor(1, "e1", Mark(5, "event"))
    anchor.check(found, anchor.mark)
    assert anchor.behind is expected
    anchor.check(HERE, anchor.mark)
    assert anchor.behind is None  # the newer database is back


def test_another_practices_database_is_refused() -> None:
    with pytest.raises(WrongPractice):
        Anchor(2, "e1", Mark()).check(HERE, Mark())


def test_a_mark_never_goes_back_within_an_epoch() -> None:
    anchor = Anchor(1, "e1", Mark(5, "five"))
    anchor.learn("e1", Mark(4, "four"))
    assert anchor.mark == Mark(5, "five")
    anchor.learn("e1", Mark(6, "six"))
    assert anchor.mark == Mark(6, "six")
    anchor.learn("e1", Mark(payment_id="p2"))
    anchor.learn("e1", Mark(7, "seven", "p1"))
    assert anchor.mark == Mark(7, "seven", "p2")
    anchor.learn("e2", Mark(2, "two"))
    assert (anchor.epoch, anchor.mark) == ("e2", Mark(2, "two"))


def test_the_mark_is_read_again_after_the_database_may_have_been_replaced() -> None:
    anchor = Anchor(1, "e1", Mark())
    anchor.check(HERE, Mark())
    anchor.check(HERE, Mark())
    assert not anchor.must_read
    anchor.check(HERE._replace(visit="7/1 tuesday"), Mark())
    assert anchor.must_read


def test_a_mark_that_rose_during_the_comparison_is_compared_again() -> None:
    anchor = Anchor(1, "e1", Mark(5, "five"))
    asked = anchor.mark
    anchor.learn("e1", Mark(6, "six"))
    anchor.check(HERE, asked)
    assert anchor.must_read
