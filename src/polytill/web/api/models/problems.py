"""Problems: the body of every error response of the API."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, UnsetType
from pydantic import Field

from polytill.web.api.responses import ResponseBody


class FieldProblem(ResponseBody):
    """What is wrong with one part of a request."""

    pointer: Annotated[str, Field(description="Of the body: `/amount`. Else `query:name` or `header:name`")]
    detail: str


class Problem(ResponseBody):
    """An error (RFC 9457). `code` is stable; programs decide by it."""

    type: str
    title: str
    status: int
    detail: Annotated[str, Field(description="What is wrong and what to do next, in English")]
    code: str
    request_id: Annotated[str | None, Field(description="The log of polytill has it, too")]
    errors: list[FieldProblem] | UnsetType = UNSET
