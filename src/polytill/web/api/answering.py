"""What all answers of the API have in common, as the OpenAPI document tells it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Moment = Annotated[str, Field(description="RFC 3339, UTC, milliseconds", examples=["2026-11-22T10:00:00.000Z"])]
Minor = Annotated[int, Field(description="Integer minor units of the currency")]
Environment = Literal["sandbox", "production"]


class Answer(BaseModel):
    """An answer: camelCase, every field always there unless it says otherwise."""

    model_config = ConfigDict(alias_generator=to_camel)
