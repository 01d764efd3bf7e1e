"""A request to create a payment, and what it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from polytill.domain.states import Environment
from polytill.flows.payments import customers
from polytill.providers.contract import Customer


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """A request to create a payment, as the caller gave it."""

    amount: int
    currency: str
    payment_method: str | None = None
    customer: Customer = field(default_factory=Customer)
    description: str | None = None
    reference: str | None = None
    metadata: dict[str, str] | None = None
    provider_code: str | None = None
    capture: str = "automatic"
    return_url: str | None = None
    environment: Environment | None = None
    expires_at: datetime | None = None  # None: the default of the settings
    save_method: bool = False
    saved_method: str | None = None  # the id of a method to charge without the payer present
    method_details: dict[str, str] | None = None


# Left out of a request's fingerprint, so that a new optional field changes no fingerprint of stored payments. An empty
# ``method_details`` is none of them: it requests a direct charge.
DEFAULTS: dict[str, Any] = {"capture": "automatic", "save_method": False, "customer": {}, "metadata": {}}


def meaning(request: PaymentRequest) -> dict[str, Any]:
    """What a request asks for, as JSON. What is blank, or the same as the default, is left out."""
    given = {part.name: _given(getattr(request, part.name)) for part in fields(request)}
    given["metadata"] = request.metadata  # stored as it is, blank values too
    return {name: value for name, value in given.items() if value not in (None, DEFAULTS.get(name))}


def _given(value: Any) -> Any:
    if isinstance(value, str):  # a plain one: an Environment and a Phone are texts of types of their own
        return customers.unless_blank(str.__str__(value))
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, Customer):
        value = {name: getattr(value, name) for name in ("email", "name", "phone")}
    if isinstance(value, Mapping):
        return {name: given for name, one in value.items() if (given := _given(one)) is not None}
    return value
