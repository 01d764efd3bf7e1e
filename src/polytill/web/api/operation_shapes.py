"""JSON of captures and cancels, with the provider's result."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from polytill.domain.clock import wire_time
from polytill.domain.states import OperationState
from polytill.storage.refunds import Operation as OperationRow
from polytill.web.api.answering import Answer, Minor, Moment
from polytill.web.code_by import CodeBy, code_by


class Operation(Answer):
    """A capture or a cancel that was requested."""

    id: str
    kind: Literal["capture", "cancel"]
    amount: Annotated[Minor | None, Field(description="The amount of a capture; null for a cancel")]
    status: OperationState
    reason: str | None
    code: Annotated[str | None, Field(description="The provider's code, or a note of polytill (`codeBy`)")]
    detail: Annotated[str | None, Field(description="The provider's message, or polytill's")]
    code_by: CodeBy
    created_at: Moment
    updated_at: Moment


def operation_view(operation: OperationRow) -> dict[str, Any]:
    """One capture or cancel as JSON."""
    return {
        "id": operation.id,
        "kind": operation.kind,
        "amount": operation.amount,
        "status": operation.state.value,
        "reason": operation.reason,
        "code": operation.raw_code,
        "detail": operation.detail,
        "codeBy": code_by(operation.raw_code, operation.detail),
        "createdAt": wire_time(operation.created_at),
        "updatedAt": wire_time(operation.updated_at),
    }
