"""The base of all request bodies (pydantic, camelCase)."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel

from polytill.domain.text import is_blank


class RequestBody(BaseModel):
    """A request body: camelCase, without unknown fields."""

    # A message must never quote the input: it may be a key.
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=False, extra="forbid", hide_input_in_errors=True
    )


class BodyWithBlanks(RequestBody):
    """A body whose optional fields may be blank: a blank text counts as absent, as in a form that sends every field."""

    @model_validator(mode="before")
    @classmethod
    def _without_blank(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        required = _required(cls)
        return {k: v for k, v in given.items() if not isinstance(v, str) or k in required or not is_blank(v)}


@cache
def _required(body: type[BaseModel]) -> frozenset[str]:
    """The names in JSON of the fields that must be given."""
    return frozenset(spec.alias or name for name, spec in body.model_fields.items() if spec.is_required())


class EmptyBody(RequestBody):
    """An empty object."""
