"""A practice's configurations as the router sees them: one candidate for each.

A handler's code declares what it needs. If that code fails in a plug-in, only the plug-in is excluded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from polytill.flows.context import Context, Snapshot
from polytill.flows.handler_guard import declared, takes
from polytill.flows.handlers import amount_step, handler_or_reason
from polytill.flows.routing.decision import Decision
from polytill.flows.routing.eligibility import Candidate
from polytill.providers.contract import CustomerFields, Handler
from polytill.providers.customer_fields import NOTHING


@dataclass(slots=True)
class Routed:
    """The candidates of a snapshot for one currency, and the decisions that were made of them by the default order.

    ``catalog``: what they were made of. ``decisions``: by ``choose``, each for another kind of payment.
    """

    catalog: Any
    candidates: tuple[Candidate, ...]
    decisions: dict[Any, Decision] = field(default_factory=dict)

    def take_alike(self, amount: int | None) -> bool:
        """Whether every candidate takes this amount, so that no decision depends on it."""
        return amount is None or all(_takes(one, amount) for one in self.candidates)


def _takes(candidate: Candidate, amount: int) -> bool:
    support = candidate.support
    if support is None or amount % candidate.amount_step:
        return support is None
    least, most = support.min_amount, support.max_amount
    return (least is None or amount >= least) and (most is None or amount <= most)


async def candidates(context: Context, snapshot: Snapshot, currency: str) -> list[Candidate]:
    """All configurations of a practice as candidates for a currency."""
    catalog = await context.catalog()
    known: Routed | None = snapshot.routed.get(currency)
    if known is not None and known.catalog is catalog:
        return list(known.candidates)
    found = []
    for configuration in snapshot.configurations.values():
        if configuration.removed_at is not None:
            continue
        entry = catalog.get(configuration.provider_code)
        handler, missing = handler_or_reason(context, entry) if entry else (None, "")
        methods = entry.supported_payment_methods if entry else None
        found.append(
            Candidate(
                code=configuration.provider_code,
                name=entry.name if entry else configuration.provider_name,
                config_id=configuration.id,
                environment=configuration.environment,
                is_enabled=configuration.is_enabled,
                catalog_status=entry.status if entry else None,
                handler_missing=missing or None,
                practice_currencies=frozenset(configuration.supported_currencies),
                support=entry.currencies.get(currency)
                if entry and takes(handler, currency)
                else None,  # the handler may reject a currency that a row of an earlier version has
                methods=frozenset(methods if methods is not None else handler.catalog.methods if handler else ()),
                captures_manually=handler is not None and handler.capture_payment is not None,
                charges_saved=handler is not None and handler.charge_saved_method is not None,
                **_declared(handler, currency),
                is_default=snapshot.defaults.get((configuration.environment, currency)) == configuration.id,
                priority=configuration.priority,
                catalog_priority=entry.priority if entry else 0,
            )
        )
    snapshot.routed[currency] = Routed(catalog, tuple(found))
    return found


def _declared(handler: type[Handler] | None, currency: str) -> dict[str, Any]:
    if handler is None:
        return {}

    def customer_fields(method: str | None, direct: bool) -> CustomerFields:
        fields: CustomerFields = declared(handler, "customer_fields", CustomerFields, NOTHING, currency, method, direct)
        return fields

    def charge_details(method: str, given: Mapping[str, str]) -> tuple[str, ...] | None:
        kind = (tuple, type(None))
        details: tuple[str, ...] | None = declared(handler, "charge_details", kind, None, currency, method, given)
        return details

    made: dict[str, Callable[..., Any]] = {"customer_fields": customer_fields, "charge_details": charge_details}
    return {**made, "amount_step": amount_step(handler, currency)}
