"""Attempts of a payment, and its captures and cancels, with what the provider answered."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field

from polytill.domain.identifiers import IdentifierKind, Identifiers
from polytill.domain.states import AttemptState, OperationKind, OperationState
from polytill.storage import attempts, operations
from polytill.web.api.responses import Minor, Moment, ResponseBody
from polytill.web.code_by import CodeBy, code_by


class Attempt(ResponseBody):
    """One attempt at one provider."""

    id: str
    reference: str
    number: int
    provider_code: str
    status: AttemptState
    reason: str | None
    code: str | None
    detail: str | None
    code_by: CodeBy
    provider_transaction_id: str | None
    identifiers: dict[IdentifierKind, list[str]]
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, attempt: attempts.Attempt, kept: Identifiers | None = None) -> Self:
        """Build it from its row and the identifiers that are kept for it."""
        return cls.from_record(
            attempt,
            reference=attempt.id,
            status=attempt.state,
            code=attempt.raw_code,
            code_by=code_by(attempt.raw_code, attempt.detail),
            identifiers=external_identifiers(attempt, kept or {}),
        )


class Operation(ResponseBody):
    """A capture or a cancel that was requested."""

    id: str
    kind: OperationKind
    amount: Annotated[Minor | None, Field(description="The amount of a capture; null for a cancel")]
    status: OperationState
    reason: str | None
    code: Annotated[str | None, Field(description="The provider's code, or a note of polytill (`codeBy`)")]
    detail: Annotated[str | None, Field(description="The provider's message, or polytill's")]
    code_by: CodeBy
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, operation: operations.Operation) -> Self:
        """Build it from its row."""
        return cls.from_record(
            operation,
            status=operation.state,
            code=operation.raw_code,
            code_by=code_by(operation.raw_code, operation.detail),
        )


def external_identifiers(attempt: attempts.Attempt, kept: Identifiers) -> dict[IdentifierKind, list[str]]:
    """The external identifiers of an attempt, by kind."""
    found = {kind: list(values) for kind, values in kept.items()}
    if attempt.provider_transaction_id and IdentifierKind.transaction not in kept:
        found[IdentifierKind.transaction] = [attempt.provider_transaction_id]
    return found
