"""Routing: policies and their versions, hypothetical decisions, and replays of past payments."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

from fastapi import Path, Query, Response

from polytill.domain.clock import wire_time
from polytill.domain.errors import NotFound
from polytill.domain.states import Environment
from polytill.flows.admin import routing_policies
from polytill.flows.admin.routing_policies import Draft, Published
from polytill.flows.payments import decisions, previews, replay
from polytill.flows.payments.decisions import StoredDecision
from polytill.flows.payments.reading import details_of, find
from polytill.flows.routing.explain import explain
from polytill.storage.payments import Payment
from polytill.web.api.auth import Caller, Configures, PracticeId, Reads
from polytill.web.api.bodies import strict_router
from polytill.web.api.models import routing as models
from polytill.web.api.payments import PaymentId
from polytill.web.api.responses import respond
from polytill.web.decision_sentences import Line, attempt_lines, lines_of, sentence_of
from polytill.web.i18n import LANGUAGES
from polytill.web.words import words_for

router = strict_router("routing", "/api/practices/{practiceId}")

Language = Annotated[
    str, Query(pattern=f"^({'|'.join(LANGUAGES)})$", description="The language of `detail`: en, fr or sw")
]
VersionNumber = Annotated[int, Path(alias="version", ge=1, le=2**31 - 1)]


async def names_of(caller: Caller) -> dict[str, str]:
    """The names of all providers in the catalog."""
    return {code: entry.name for code, entry in (await caller.context.catalog()).items()}


# ── Decisions and replays ──


@router.post("/payment-providers/decide", response_model=models.RoutingDecision)
async def decide_provider(
    caller: Reads, practice_id: PracticeId, body: models.DecideProvider, language: Language = "en"
) -> Response:
    """Decide who would take a payment.

    Nothing is created. The answer has a reason for each provider, its estimated fee, and the share of such payments that
    is expected to be paid.
    """
    found = await previews.preview(caller.context, practice_id, body.payment(), body.under())
    decision = found.decision
    lines = lines_of(words_for(language, ""), explain(decision), await names_of(caller), dict(found.estimates))
    return respond(
        models.RoutingDecision(
            found.environment,
            decision.currency,
            wire_time(found.at) or "",
            decision.strategy,
            decision.version,
            decision.ranked[0].code if decision.ranked else None,
            [models.DecidedProvider.of(line) for line in lines],
        )
    )


@router.post("/payment-providers/simulate-routing", response_model=models.SimulatedRouting)
async def simulate_routing(
    caller: Reads, practice_id: PracticeId, body: models.SimulateRouting, language: Language = "en"
) -> Response:
    """Replay past payments under a proposed policy.

    Reports what would have changed: providers, estimated fees, expected success. Nothing is changed. It takes ten seconds
    at most.
    """
    period = replay.Period(body.environment, body.created_from, body.created_to, body.limit)
    found = await replay.simulate(caller.context, practice_id, period, body.under())
    words = words_for(language, "")
    changes = [
        models.SimulatedChange(
            one.payment.id, one.payment.amount, one.payment.currency, one.before, one.decision.ranked[0].code,
            sentence_of(words, explain(one.decision)[0]),
        )
        for one in found.changes
    ]  # fmt: skip
    return respond(models.SimulatedRouting.of(found, wire_time(found.oldest), changes))


@router.get("/payments/{paymentId}/decision", response_model=models.PaymentDecision)
async def get_payment_decision(
    caller: Reads, practice_id: PracticeId, payment_id: PaymentId, language: Language = "en"
) -> Response:
    """Get the decision of a payment.

    As it was made when the payment was created: why this provider, and why not each other one. Then why each further
    attempt was made, with a decision of its own if the customer tried again. 404 if nothing was decided, as for a payment
    that was taken over from another system.
    """
    practice, payment = await find(caller.context, practice_id, payment_id)
    names, words = await names_of(caller), words_for(language, "")
    made = (await details_of(practice.db, payment)).attempts
    found = await decisions.of_payment(practice.db, payment, made, names)
    if found is None:
        raise NotFound("No decision about this payment is stored.")
    attempts = [
        models.DecidedAttempt(
            one.reason.attempt.number,
            one.reason.attempt.provider_code,
            one.reason.attempt.state,
            one.sentence,
            _decision(payment, own, one.reason.attempt.created_at, one.lines) if (own := one.reason.decision) else None,
        )
        for one in attempt_lines(words, found, names)
    ]
    decided = _decision(payment, found.decision, payment.created_at, lines_of(words, found.decision.explained, names))
    return respond(models.PaymentDecision.of(decided, attempts))


def _decision(payment: Payment, found: StoredDecision, at: datetime, lines: list[Line]) -> models.RoutingDecision:
    return models.RoutingDecision(
        payment.environment,
        payment.currency,
        wire_time(at) or "",
        found.strategy,
        found.version,
        lines[0].code if lines and lines[0].place else None,
        [models.DecidedProvider.of(line) for line in lines],
    )


# ── Policies ──


@router.get("/routing-policies/{environment}", response_model=models.RoutingPolicies)
async def list_routing_policies(caller: Reads, practice_id: PracticeId, environment: Environment) -> Response:
    """List the versions of the routing policy of an environment, newest first."""
    found = await routing_policies.versions(caller.context, practice_id, environment)
    listed = [models.RoutingPolicyVersion.of(one, found.active) for one in found.listed]
    return respond(models.RoutingPolicies(environment, found.active, listed))


@router.post("/routing-policies/{environment}", status_code=201, response_model=models.RoutingPolicyVersion)
async def create_routing_policy(
    caller: Configures, practice_id: PracticeId, environment: Environment, body: models.SaveRoutingPolicy
) -> Response:
    """Create a draft of a routing policy.

    A draft routes no payments until it is published. Its own tests may fail (`failedTests`).
    """
    made = await routing_policies.create_draft(caller.context, practice_id, environment, _draft(body), caller.actor)
    return await _version(caller, practice_id, environment, made.version, 201)


@router.get("/routing-policies/{environment}/{version}", response_model=models.RoutingPolicyVersion)
async def get_routing_policy(
    caller: Reads, practice_id: PracticeId, environment: Environment, version: VersionNumber
) -> Response:
    """Get one version of a routing policy."""
    return await _version(caller, practice_id, environment, version)


@router.put("/routing-policies/{environment}/{version}", response_model=models.RoutingPolicyVersion)
async def change_routing_policy(
    caller: Configures,
    practice_id: PracticeId,
    environment: Environment,
    version: VersionNumber,
    body: models.SaveRoutingPolicy,
) -> Response:
    """Change a draft.

    A version that was published never changes.
    """
    await routing_policies.change_draft(caller.context, practice_id, environment, version, _draft(body), caller.actor)
    return await _version(caller, practice_id, environment, version)


@router.post("/routing-policies/{environment}/rollback", response_model=models.RoutingPolicyActivated)
async def roll_back_routing_policy(
    caller: Configures, practice_id: PracticeId, environment: Environment, body: models.RollBackRoutingPolicy
) -> Response:
    """Return to an earlier version, or to the default order (0)."""
    found = await routing_policies.roll_back(
        caller.context, practice_id, environment, body.version, body.instead_of, caller.actor
    )
    return _activated(environment, found)


@router.post("/routing-policies/{environment}/{version}/publish", response_model=models.RoutingPolicyActivated)
async def publish_routing_policy(
    caller: Configures,
    practice_id: PracticeId,
    environment: Environment,
    version: VersionNumber,
    body: models.PublishRoutingPolicy | None = None,
) -> Response:
    """Publish a draft.

    It is checked with the practice's configurations of now. If it is wrong, or one of its tests fails, nothing is changed.
    """
    found = await routing_policies.publish(
        caller.context, practice_id, environment, version, body.instead_of if body else None, caller.actor
    )
    return _activated(environment, found)


def _draft(body: models.SaveRoutingPolicy) -> Draft:
    return Draft(json.dumps(body.policy, indent=2, ensure_ascii=False), body.note, body.edits)


async def _version(
    caller: Caller, practice_id: int, environment: Environment, number: int, status: int = 200
) -> Response:
    found, active = await routing_policies.version(caller.context, practice_id, environment, number)
    is_draft = found.published_at is None
    failed = await routing_policies.failed_tests(caller.context, found) if is_draft else None
    return respond(models.RoutingPolicyVersion.of(found, active, failed), status)


def _activated(environment: Environment, found: Published) -> Response:
    warnings = models.RoutingPolicyWarning.all_of(found.warnings)
    return respond(models.RoutingPolicyActivated(environment, found.version.version, found.before, warnings))
