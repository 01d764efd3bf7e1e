"""The base of all request bodies (pydantic, camelCase)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel

from polytill.domain.text import visible


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
        required = {spec.alias or name for name, spec in cls.model_fields.items() if spec.is_required()}
        return {k: v for k, v in given.items() if k in required or not (isinstance(v, str) and not visible(v))}


class EmptyBody(RequestBody):
    """An empty object."""
