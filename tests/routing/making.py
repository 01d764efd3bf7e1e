"""Candidates and facts for the tests of routing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from polytill.domain.states import Environment, ProviderStatus
from polytill.flows.routing.decision import Decision, decide
from polytill.flows.routing.eligibility import Candidate, Wanted
from polytill.flows.routing.facts import RoutingFacts
from polytill.providers.contract import CustomerFields
from polytill.storage.catalog import CurrencySupport

SANDBOX, LIVE = Environment.sandbox, Environment.production
EMAIL = CustomerFields(("email",))
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)  # a Monday
ANY = Candidate(
    code="able",
    name="Able",
    config_id=1,
    environment=SANDBOX,
    is_enabled=True,
    catalog_status=ProviderStatus.active,
    handler_missing=None,
    practice_currencies=frozenset({"NGN"}),
    support=CurrencySupport("NGN", False, 0, 0, 100, 1000),
    methods=frozenset({"card"}),
    captures_manually=True,
    customer_fields=lambda *_: EMAIL,
    is_default=False,
    priority=0,
    catalog_priority=0,
)


def decided(candidates: Iterable[Candidate], wanted: Wanted, **facts: Any) -> Decision:
    """The decision at noon, by the default policy unless the facts say otherwise."""
    return decide(candidates, wanted, RoutingFacts(**{"at": NOON, **facts}))
