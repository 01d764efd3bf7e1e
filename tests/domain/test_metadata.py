"""Names and values of metadata: what a provider would reject is rejected here, with its path."""

from __future__ import annotations

import pytest

from polytill.domain.errors import Invalid
from polytill.domain.metadata import read_metadata


def test_taken() -> None:
    given = {"order.id": "7", "a b": "x", "naïve": "日本", "a&b=c": "%", "x" * 40: "y" * 500, "empty": ""}
    assert read_metadata(given) == given
    assert (read_metadata(None), read_metadata({})) == (None, {})


@pytest.mark.parametrize(
    ("name", "pointer"),
    [
        ("order[0]", "/metadata/order[0]"),
        ("]", "/metadata/]"),
        ("", "/metadata/"),
        (" ", "/metadata/ "),
        (" a", "/metadata/ a"),
        ("a/b]", "/metadata/a~1b]"),
        ("a\x00", "/metadata/a\x00"),
        ("a\u202eb", "/metadata/a\u202eb"),
        ("x" * 41, "/metadata/" + "x" * 41),
        ("payment_id", "/metadata/payment_id"),
        ("Payment_ID", "/metadata/Payment_ID"),
        ("cancel_action", "/metadata/cancel_action"),
        ("attempt_id", "/metadata/attempt_id"),
        ("polytill_attempt", "/metadata/polytill_attempt"),
        ("authorization", "/metadata/authorization"),
    ],
)
def test_refused_names(name: str, pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_metadata({"good": "x", name: "x"})
    assert [error.pointer for error in refused.value.errors] == [pointer]


@pytest.mark.parametrize("value", ["x\x00", "x" * 501, 7, None])
def test_refused_values(value: object) -> None:
    with pytest.raises(Invalid) as refused:
        read_metadata({"a": value})
    assert [error.pointer for error in refused.value.errors] == ["/metadata/a"]


def test_too_many() -> None:
    with pytest.raises(Invalid) as refused:
        read_metadata({f"n{i}": "x" for i in range(21)})
    assert [error.pointer for error in refused.value.errors] == ["/metadata"]
