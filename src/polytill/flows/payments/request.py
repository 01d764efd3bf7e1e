"""A request to create a payment, and what it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from polytill.domain.money import Money
from polytill.domain.states import CaptureMode, Environment
from polytill.flows.payments import customers
from polytill.providers.contract import Customer


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """A request to create a payment, as the caller gave it. A blank text is the same as None."""

    amount: Money  # What to collect.
    payment_method: str | None = None  # Only providers that take this method are used, such as ``card``.
    customer: Customer = field(default_factory=Customer)  # What is known about the customer.
    description: str | None = None  # Shown to the customer; at most 500 characters.
    reference: str | None = None  # Your own identifier; need not be unique; at most 200 characters.
    metadata: dict[str, str] | None = None  # Up to 20 values of your own, passed to the provider.
    provider_code: str | None = None  # Only this provider is used.
    capture: CaptureMode = CaptureMode.automatic  # ``manual`` authorizes the amount; capture it later.
    return_url: str | None = None  # Where the customer returns to.
    environment: Environment | None = None  # None: production if a provider is configured for it.
    expires_at: datetime | None = None  # None: the default of the settings.
    save_method: bool = False  # Save a method that can charge this customer again.
    saved_method: str | None = None  # The id of a saved method, charged while the customer is away.
    method_details: dict[str, str] | None = None  # Charge directly, without the provider's page.


# Left out of a request's fingerprint, so that a new optional field changes no fingerprint of stored payments. An empty
# ``method_details`` is none of them: it requests a direct charge.
DEFAULTS: dict[str, Any] = {"capture": CaptureMode.automatic, "save_method": False, "customer": {}, "metadata": {}}


def meaning(request: PaymentRequest) -> dict[str, Any]:
    """What a request asks for, as JSON. What is blank, or the same as the default, is left out."""
    given = {name: _given(value) for name, value in zip(_NAMES, _values(request), strict=True) if value is not None}
    given["metadata"] = request.metadata  # stored as it is, blank values too
    return {name: value for name, value in given.items() if value is not None and value != DEFAULTS.get(name)}


_NAMES = tuple(part.name for part in fields(PaymentRequest))
_values = attrgetter(*_NAMES)


def _given(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str):  # a plain one: an Environment and a Phone are texts of types of their own
        return customers.unless_blank(str.__str__(value))
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, Money):
        return {"minor": value.minor, "currency": value.currency}
    if isinstance(value, Customer):
        value = {name: getattr(value, name) for name in ("email", "name", "phone")}
    if isinstance(value, Mapping):
        return {name: given for name, one in value.items() if (given := _given(one)) is not None}
    return value
