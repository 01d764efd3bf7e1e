"""The decision who takes a payment, with the facts of this practice at this time."""

from __future__ import annotations

from polytill.flows.context import Context, Snapshot
from polytill.flows.payments.candidates import candidates
from polytill.flows.routing.decision import Decision, decide
from polytill.flows.routing.eligibility import Wanted
from polytill.flows.routing.facts import NO_TRAITS, RoutingFacts, Traits


async def choose(
    context: Context, snapshot: Snapshot, wanted: Wanted, draw: int = 0, traits: Traits = NO_TRAITS
) -> Decision:
    """Decide who takes a payment. ``draw``: ``draw_of`` the payment; 0 for a preview of no certain payment."""
    facts = RoutingFacts(at=context.world.now().astimezone(snapshot.place.zone), draw=draw, traits=traits)
    return decide(await candidates(context, snapshot, wanted.currency), wanted, facts)
