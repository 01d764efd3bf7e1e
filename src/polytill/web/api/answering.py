"""The base of all response models. They describe responses in the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Moment = Annotated[str, Field(description="RFC 3339, UTC, milliseconds", examples=["2026-11-22T10:00:00.000Z"])]
Minor = Annotated[int, Field(description="Integer minor units of the currency")]
Environment = Literal["sandbox", "production"]


class Answer(BaseModel):
    """A response: camelCase; every field is always present unless its description says otherwise."""

    model_config = ConfigDict(alias_generator=to_camel)
