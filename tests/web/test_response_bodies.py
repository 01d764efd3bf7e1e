"""The base of response bodies: a field is declared once, and is then both in the response and in the document."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import pytest
from msgspec import UNSET, UnsetType
from pydantic import Field, TypeAdapter

from polytill.web.api.responses import Moment, ResponseBody, respond


@dataclass
class Row:
    """A stored record."""

    id: str
    paid_at: datetime
    seen_at: datetime | None
    color: str


class Body(ResponseBody):
    """What is returned of it."""

    id: str
    paid_at: Moment
    seen_at: Moment | None
    color: Annotated[str, Field(description="As the customer sees it")]


class LargerBody(Body):
    """It with fields that the record does not have."""

    total: int
    hint: str | UnsetType = UNSET


ROW = Row("one", datetime(2026, 11, 22, 10, 0, 0, 123_999, tzinfo=UTC), None, "red")


def test_a_declared_field_is_returned_and_documented() -> None:
    body = json.loads(respond(LargerBody.from_record(ROW, hint="soon", total=3)).body)
    times = {"paidAt": "2026-11-22T10:00:00.123Z", "seenAt": None}
    assert body == {"id": "one", **times, "color": "red", "hint": "soon", "total": 3}
    schema = TypeAdapter(LargerBody).json_schema(mode="serialization")
    assert set(schema["properties"]) == set(body)
    assert schema["required"] == ["id", "paidAt", "seenAt", "color", "total"]
    assert schema["properties"]["color"]["description"] == "As the customer sees it"
    assert schema["description"] == LargerBody.__doc__


def test_a_field_that_is_not_set_is_left_out() -> None:
    body = json.loads(respond(LargerBody.from_record(ROW, total=3, hint=UNSET)).body)
    assert "hint" not in body


def test_a_field_that_the_record_lacks_must_be_given() -> None:
    with pytest.raises(AttributeError):
        LargerBody.from_record(ROW, hint=UNSET)
