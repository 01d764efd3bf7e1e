"""The source of the code and detail of an attempt, a refund or an operation: the provider or polytill."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from polytill.web.i18n import known_sentence, texts

CodeBy = Annotated[
    Literal["provider", "polytill"] | None,
    Field(
        description="The source of code and detail: the provider, or polytill (no answer, expired, staff);"
        " null if there is neither"
    ),
]


def code_by(code: str | None, detail: str | None) -> Literal["provider", "polytill"] | None:
    """The source of a code and its detail. Every note that polytill writes has a text (``noted``), which identifies it."""
    if code is None and detail is None:
        return None
    is_ours = known_sentence("noted", detail or "") is not None or f"noted_code.{code}" in texts("en")
    return "polytill" if is_ours else "provider"
