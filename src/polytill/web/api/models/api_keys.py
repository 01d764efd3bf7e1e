"""API keys: requests and responses."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from polytill.domain.states import ApiKeyKind
from polytill.web.api.requests import RequestBody
from polytill.web.api.responses import Moment, ResponseBody
from polytill.web.api.values import Word


class CreateKey(RequestBody):
    """An API key to create. Without ``scopes`` it has all of them, so an empty list is invalid."""

    name: Word = "key"
    kind: Literal["practice", "publishable"] = "practice"
    scopes: list[Literal["read", "payments", "refunds", "configure"]] | None = Field(
        None, min_length=1, max_length=4, description="Default and null: all four"
    )


class CreateOwnerKey(RequestBody):
    """An owner key to create."""

    name: Word = "key"


class ApiKey(ResponseBody):
    """An API key without its secret."""

    id: int
    kind: ApiKeyKind
    name: str
    practice_id: int | None
    last4: str
    scopes: list[str]
    created_at: Moment
    revoked_at: Moment | None


class NewApiKey(ResponseBody):
    """A new API key, which is shown only once."""

    key: str
